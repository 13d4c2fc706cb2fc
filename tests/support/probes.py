"""What the tests do inside a lesson's own kernel, right after the cell concerned: play with its explorer, break its solutions."""
import contextlib, io, json, sys
from pathlib import PurePath
from types import FunctionType

MARK = "probe: "


def _say(**found): sys.stdout.write(MARK + json.dumps(found) + "\n")


# ---- explorers: every control is moved, and pixels inside the axes must change
def _controls(widget) -> list:
    "Everything a hand can move below `widget`."
    if hasattr(widget, "click"): return [widget]
    if hasattr(widget, "value") and (hasattr(widget, "min") or hasattr(widget, "options") or isinstance(widget.value, bool)):
        return [widget]
    return [c for child in getattr(widget, "children", ()) for c in _controls(child)]


def _interactives(widget) -> list:
    from ipywidgets import interactive
    if isinstance(widget, interactive): return [widget]
    return [i for child in getattr(widget, "children", ()) for i in _interactives(child)]


def _other_values(control) -> list:
    "Values to try in place of the present one."
    if isinstance(control.value, bool): return [not control.value]
    if hasattr(control, "min"):
        low, high = control.min, control.max
        if isinstance(control.value, tuple): return [(low, (low + high)//2), ((low + high)//2, high)]
        return [v for v in (high, low, type(control.value)((low + high)/2)) if v != control.value]
    values = list(control._options_values)
    if isinstance(control.value, tuple): return [tuple(values[:1]), tuple(values), tuple(values[-1:])]
    return [v for v in values if v is not control.value and v != control.value]


def _inside_axes() -> list[bytes]:
    "The pixels inside the axes of all open figures: titles, ticks and labels do not count."
    import matplotlib.pyplot as plt, numpy as np
    found = []
    for number in plt.get_fignums():
        fig = plt.figure(number)
        fig.set_layout_engine("none")
        for ax in fig.axes: ax.set_title(""); ax.set_title("", loc="left")
        fig.canvas.draw()
        pixels = np.asarray(fig.canvas.buffer_rgba())
        for ax in fig.axes:
            box = ax.get_window_extent()
            top = pixels.shape[0]
            found.append(pixels[max(0, int(top - box.y1)):int(top - box.y0), max(0, int(box.x0)):int(box.x1)].tobytes())
    return found


def explorer(name: str, widget):
    "Move each control of `widget`; say for each whether the pictures changed."
    from ipywidgets.widgets import interaction
    import matplotlib.pyplot as plt
    shown, show = [], interaction.show_inline_matplotlib_plots

    def look():      # called before and after the drawing function
        if plt.get_fignums(): shown.append(_inside_axes())
        plt.close("all")

    plt.close("all")
    interaction.show_inline_matplotlib_plots = look
    try:
        moved = {}
        with contextlib.redirect_stdout(io.StringIO()):
            for inner in _interactives(widget): inner.update()
            start = list(shown)
            for k, control in enumerate(_controls(widget)):
                label = f"{k} {getattr(control, 'description', '')}"
                before = shown[-1] if shown else None
                moved[label] = False
                if hasattr(control, "click"):
                    control.click(); moved[label] = bool(shown) and shown[-1] != before
                    continue
                was = control.value
                for value in _other_values(control):
                    n = len(shown)
                    control.value = value
                    if len(shown) > n and shown[-1] and shown[-1] != before: moved[label] = True; break
                control.value = was
    finally: interaction.show_inline_matplotlib_plots = show
    _say(explorer=name, drawn=bool(start and start[0]), moved=moved)


# ---- solutions: with an exported function damaged, they must fail
class Spoiled:
    "Stands for an object whose every result is damaged."
    def __init__(self, real): self._real = real
    def __call__(self, *args, **kwargs): return spoil(self._real(*args, **kwargs))
    def __getattr__(self, name): return spoil(getattr(self._real, name))
    def __getitem__(self, key): return spoil(self._real[key])
    def __len__(self): return len(self._real) + 1
    def __iter__(self): return (spoil(x) for x in self._real)


def spoil(x):
    "A damaged copy of a result: flipped and shifted arrays, numbers one too high, truth turned around."
    import numpy as np
    if x is None or isinstance(x, (PurePath, type(np))): return x
    if isinstance(x, (bool, np.bool_)): return not x
    if isinstance(x, (int, float, np.number)): return x + 1
    if isinstance(x, str): return x[::-1] + "?"
    if isinstance(x, np.ndarray):
        if x.dtype == bool: return ~x
        return np.flip(x) + x.dtype.type(1) if x.dtype.kind in "iuf" else np.flip(x)
    if type(x).__module__.startswith("torch") and hasattr(x, "flip"): return x.flip(tuple(range(x.ndim))) + 1
    if type(x).__module__.startswith("pandas"):
        if hasattr(x, "columns"): return x.assign(**{c: x[c] + 1 for c in x.columns if x[c].dtype.kind in "iuf"})
        return x + 1 if getattr(x, "dtype", None) is not None and x.dtype.kind in "iuf" else x
    if isinstance(x, dict): return {k: spoil(v) for k, v in x.items()}
    if isinstance(x, tuple): return type(x)(*map(spoil, x)) if hasattr(x, "_fields") else tuple(map(spoil, x))
    if isinstance(x, list): return [spoil(v) for v in x]
    return Spoiled(x)


def _damaged(f):
    "What takes an export's place: wrong results; nothing at all where the work is a side effect."
    if isinstance(f, FunctionType):
        def broken(*args, **kwargs):
            result = f(*args, **kwargs)
            return result if result is None else spoil(result)
        def idle(*args, **kwargs): return None
        return [broken, idle] if _only_side_effect(f) else [broken]
    return [spoil(f), _idle_class(f)] if isinstance(f, type) else [spoil(f)]


def _idle_class(c: type) -> type:
    "A class whose methods, as far as the lessons wrote them, do nothing."
    ours = [k for k in c.__mro__ if k.__module__.startswith(("covid_nbdev", "__main__"))]
    methods = {n for k in ours for n, v in vars(k).items() if isinstance(v, FunctionType) and not n.startswith("__")}
    return type(c)(c.__name__, (c,), {n: lambda self, *args, **kwargs: None for n in methods})


def solution(name: str, source: str, exported: list[str], namespace: dict):
    "Run a solution again with each exported name it uses damaged; say which one made it fail first."
    import matplotlib.pyplot as plt
    code = compile(source, name, "exec")
    used = [n for n in exported if n in code.co_names or any(n in getattr(c, "co_names", ()) for c in code.co_consts)]
    caught = []
    for n in used:
        if isinstance(namespace[n], type) and issubclass(namespace[n], BaseException): continue
        failures = []
        for damaged in _damaged(namespace[n]):
            try:
                with contextlib.redirect_stdout(io.StringIO()): exec(code, {**namespace, n: damaged})
                failures.append(False)
            except Exception: failures.append(True)
            finally: plt.close("all")
        if any(failures): caught.append(n); break      # one is enough: some solutions train a network
    _say(solution=name, used=used, caught=caught)


def _only_side_effect(f) -> bool:
    "Does a function give back nothing, or the path of what it wrote?"
    back = getattr(f, "__annotations__", {}).get("return", "")
    return back is None or "Path" in str(back)
