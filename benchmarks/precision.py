"""bf16, fp16, TF32 and torch.compile against plain fp32, for b2 U-Net++: speed on a CPU and on a CUDA GPU, memory, scores.

    python benchmarks/precision.py --part cpu-speed                      a minute with two threads
    python benchmarks/precision.py --part prepare --store runs/bf16      computed patients for cpu-scores, half a minute
    python benchmarks/precision.py --part cpu-scores --store runs/bf16 --seed 0 --precision bf16      one to two minutes
    python benchmarks/precision.py --part cuda-speed                     a minute and a half; --no-compile leaves compiled rows out
    python benchmarks/precision.py --part cuda-scores --data FOLDER      three seeds in fp32 and in bf16; FOLDER: a store, or Kaggle's layout

cpu-scores --emulate rounds to bf16 in fp32 arithmetic, for a CPU without units for it (autocast would be done in software,
twenty times as slow): what goes into convolutions and what each layer gives, forward and back, as autocast does.

Each part prints Markdown, names the device, and stands alone: what fails becomes a line that says why. `--tiny` tries all
of it with small sizes and a small network. Several cpu-scores can run beside each other; they only read what `prepare` made.
Everything is fixed before: recipe of covid_demo (learning rate 3e-3, cross-entropy and Dice, rotation by 10 degrees).
"""
import argparse, copy, gc, os, platform, re, signal, statistics, sys, tempfile, time, warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path

warnings.filterwarnings("ignore")
import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from covid_nbdev.model import build_model, loss_function

FRESH = range(7_000_000, 7_000_040)         # patients that no training saw: `prepare` computes them, never the store
RECIPE = dict(lr=3e-3, loss="ce+dice", rotate=10)
BITS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def cpu_flags() -> tuple[str, str]:
    "The CPU's name, and which bf16 units it says to have."
    try: text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError: return platform.processor() or "unknown CPU", "unknown"
    name = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"^flags\s*: (.*)", text, re.M)
    units = [f for f in ("amx_bf16", "avx512_bf16", "avx512f") if flags and f in flags[1].split()]
    return name[1] if name else "unknown CPU", ", ".join(units) or "no bf16 units"


def describe(part: str) -> None:
    "Where this was measured."
    name, units = cpu_flags()
    print(f"## {part}, {time.strftime('%Y-%m-%d')}\n\nCPU {name} ({units}), {os.cpu_count()} seen, {torch.get_num_threads()} threads; "
          f"Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {np.__version__}", flush=True)
    if torch.cuda.is_available():
        p = torch.cuda.get_device_properties(0)
        print(f"GPU {p.name}, {p.total_memory/2**30:.0f} GiB, capability {p.major}.{p.minor}, cuDNN {torch.backends.cudnn.version()}; "
              f"by default TF32 is {'on' if torch.backends.cudnn.allow_tf32 else 'off'} in convolutions")
    print(flush=True)


def row(*cells) -> None: print("|", " | ".join(str(c) for c in cells), "|", flush=True)


def head(*names) -> None:
    row(*names)
    row(*["---"]*len(names))


def reason(error: BaseException) -> str:
    "One line of it, fit for a cell."
    return f"failed: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:150].replace("|", "/")


def cast(device: str, precision: str):
    "Autocast, or nothing."
    return torch.autocast(device, BITS[precision]) if BITS[precision] else nullcontext()


def network(tiny: bool, device="cpu"):
    torch.manual_seed(0)
    return build_model("efficientnet-b0" if tiny else "efficientnet-b2").to(device, memory_format=torch.channels_last)


def batch(n: int, size: int, device="cpu"):
    "Slices and labels: noise, as time does not depend on what is in them."
    g = torch.Generator().manual_seed(n)
    return torch.randn(n, 1, size, size, generator=g).to(device), torch.randint(4, (n, size, size), generator=g).to(device)


# ---- CPU: speed

def cpu_speed(a) -> None:
    "Both precisions in turn, so that what else the machine does falls on both; the first round warms up."
    torch.set_num_threads(a.threads)
    describe("cpu-speed")
    model, end = network(a.tiny), time.monotonic() + a.budget
    forward = [64] if a.tiny else [512, 256, 128]
    steps = [(2, 64)] if a.tiny else [(8, 128), (8, 256), (2, 512)]
    loss_fn, optimizer = loss_function("ce"), None

    def ahead(x, y, precision):
        with torch.inference_mode(), cast("cpu", precision): model(x).float()

    def step(x, y, precision):
        with cast("cpu", precision): logits = model(x).float()
        loss_fn(logits, y).backward()
        optimizer.step()
        optimizer.zero_grad()

    jobs = [(f"forward of 1 × {s}²", ahead, *batch(1, s), 3) for s in forward]
    jobs += [(f"training step of {n} × {s}²", step, *batch(n, s), 1) for n, s in steps]
    seconds, failed, longest = {}, {}, 0.
    for n in range(a.rounds + 1):
        began = time.monotonic()
        if n > 1 and began + longest > end: break
        for name, what, x, y, times in jobs:
            model.train(what is step)
            optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=1e-4)
            for precision in ("fp32", "bf16") if n % 2 else ("bf16", "fp32"):
                try:
                    for _ in range(times):
                        start = time.perf_counter()
                        what(x, y, precision)
                        if n: seconds.setdefault((name, precision), []).append(time.perf_counter() - start)
                except Exception as e: failed[name, precision] = reason(e)
        longest = max(longest, time.monotonic() - began)
    head("what", "fp32, s", "from, to", "bf16, s", "from, to", "times as fast", "measured")
    for name, *_ in jobs:
        try:
            full, half = (seconds[name, p] for p in ("fp32", "bf16"))
            a32, a16 = map(statistics.median, (full, half))
            row(name, f"{a32:.3f}", f"{min(full):.3f}, {max(full):.3f}", f"{a16:.3f}", f"{min(half):.3f}, {max(half):.3f}",
                f"{a32/a16:.2f}", f"{len(full)} times each")
        except KeyError: row(name, *[failed.get((name, p), "not measured") for p in ("fp32", "bf16")], "", "", "", "")
    print(flush=True)


# ---- CPU: scores

def prepare(a) -> None:
    "Computed patients at the network's size: a store to train on, and fresh slices, all in one folder."
    from covid_nbdev.etl import build_store, split
    from covid_nbdev.phantom import make_slice, write_phantom_dataset
    size, n = (64, 40) if a.tiny else (a.size or 256, 168)
    folder, start = Path(a.store), time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder/"store").is_dir():
        with tempfile.TemporaryDirectory() as tmp:
            write_phantom_dataset(Path(tmp)/"raw", n_radiopaedia=0, n_medseg=n, n_test=1, size=size, seed=0)
            build_store(Path(tmp)/"raw", folder/"store", progress=False)
    from covid_nbdev.etl import Store
    slices = [make_slice(seed, size) for seed in FRESH[:4 if a.tiny else None]]
    np.savez(folder/"fresh.npz", hu=np.stack([hu for hu, _ in slices]), labels=np.stack([labels for _, labels in slices]))
    rows = split(Store(folder/"store"))
    print(f"{len(rows.train)} training, {len(rows.valid)} validation and {len(slices)} fresh slices of {size}² in {folder}, "
          f"{time.perf_counter() - start:.0f} s", flush=True)


@torch.inference_mode()
def labels_of(model, x, precision: str, device="cpu"):
    "Slice by slice, as covid_predict does."
    model.eval()
    with cast(device, precision): return torch.cat([model(one).float().argmax(1).cpu() for one in x.to(device).split(1)])


def judged(pred, true) -> tuple[float, float]:
    "Lesion mIoU and mIoU, pooled."
    from covid_nbdev.metrics import ConfusionMatrix
    counts = ConfusionMatrix().update(torch.as_tensor(pred), torch.as_tensor(true))
    return counts.miou((0, 1)), counts.miou()


class Rounded(torch.autograd.Function):
    "To the nearest bf16, the gradient as well."
    @staticmethod
    def forward(ctx, x): return x.bfloat16().float()
    @staticmethod
    def backward(ctx, gradient): return gradient.bfloat16().float()


class Rounding(TorchFunctionMode):
    "What autocast computes in bf16, in fp32 arithmetic: sums in 32 bits, what goes in and what comes out rounded."
    CONVOLUTIONS = {"conv2d", "conv_transpose2d"}
    OTHERS = {"batch_norm", "silu", "silu_", "relu", "relu_", "sigmoid", "add", "add_", "mul", "mul_", "cat", "adaptive_avg_pool2d", "mean", "interpolate"}
    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "").removeprefix("__").removesuffix("__")
        if name in self.CONVOLUTIONS: args = [Rounded.apply(v) if isinstance(v, torch.Tensor) else v for v in args]
        out = func(*args, **(kwargs or {}))
        fits = name in self.CONVOLUTIONS | self.OTHERS and isinstance(out, torch.Tensor) and out.dtype == torch.float32
        return Rounded.apply(out) if fits else out


class Emulated(torch.nn.Module):
    "A network in rounded arithmetic; its weights stay fp32."
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        with Rounding(): return self.model(x)


SCORES = ("trained in", "seed", "judged in", "lesion mIoU", "mIoU", "pixels that differ from fp32's", "training loss, last epoch", "minutes")


def cpu_scores(a) -> None:
    "Train by the trainer, the last epoch counts; judge on fresh slices in both precisions."
    from covid_nbdev.augment import dataloaders
    from covid_nbdev.devices import placed
    from covid_nbdev.etl import Store
    from covid_nbdev.train import fit, TrainConfig
    torch.set_num_threads(a.threads)
    describe("cpu-scores")
    store, fresh = Store(Path(a.store)/"store"), np.load(Path(a.store)/"fresh.npz")
    size = store.size
    head(*SCORES)
    for seed in a.seed or [0]:
        for precision in a.precision or ["fp32", "bf16"]:
            try:
                start = time.perf_counter()
                torch.manual_seed(seed)
                loaders = dataloaders(store, size, 8, seed, rotate=RECIPE["rotate"])
                rounding = a.emulate and precision == "bf16"
                config = TrainConfig(epochs=a.epochs or (1 if a.tiny else 5), size=size, seed=seed, precision="fp32" if rounding else precision, **RECIPE)
                net = placed(network_for(a, seed), "cpu")
                model, last = Emulated(net) if rounding else net, {}

                class KeepLast:
                    def after_epoch(self, learn):
                        last.update(copy.deepcopy(learn.model.state_dict()))
                        print(f"{precision} seed {seed} epoch {len(learn.history)}/{config.epochs}: {learn.history[-1]['seconds']:.0f} s, "
                              f"valid. lesions {learn.history[-1]['valid_lesion_miou']:.3f}", file=sys.stderr, flush=True)

                loaders.valid.dataset.rows = loaders.valid.dataset.rows[:8]       # a look; nothing is chosen by it
                history = fit(model, loaders, config, [KeepLast()])
                model.load_state_dict(last)
                minutes = (time.perf_counter() - start)/60
                x = torch.from_numpy(np.stack([loaders.standardizer(hu.astype(np.float32)) for hu in fresh["hu"]]))[:, None]
                preds = {"fp32": labels_of(net, x, "fp32"),
                         "bf16": labels_of(Emulated(net), x, "fp32") if a.emulate else labels_of(net, x, "bf16")}
                for p, pred in preds.items():
                    row(precision, seed, p, *[f"{s:.4f}" for s in judged(pred, fresh["labels"])],
                        f"{(pred != preds['fp32']).float().mean():.4%}", f"{history['train_loss'].iloc[-1]:.4f}", f"{minutes:.1f}")
                print(f"({config.epochs} epochs of {len(loaders.train)} steps of 8 × {size}², {a.threads} threads)", file=sys.stderr, flush=True)
            except Exception as e: row(precision, seed, reason(e), *[""]*5)
    print(flush=True)


def network_for(a, seed: int):
    "A new network, of this seed."
    torch.manual_seed(seed)
    return build_model("efficientnet-b0" if a.tiny else "efficientnet-b2")


# ---- GPU: speed

@contextmanager
def tf32(on: bool):
    "TensorFloat-32 for convolutions and products, put back afterwards."
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = on
    try: yield
    finally: torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def limit(seconds: float):
    "Raise TimeoutError after so many seconds, where the system knows alarms: compiling can be long."
    def ring(*_): raise TimeoutError(f"stopped after {seconds:.0f} s")
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(max(1, round(seconds)))
    try: yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def measure(start, kind: str, n: int, size: int, precision: str, fast: bool, compiled: bool, seconds: float) -> tuple:
    "Slices a second, seconds a batch, peak GiB, seconds until the first batch was done."
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = copy.deepcopy(start).to(device).train(kind == "training step")
    run = torch.compile(model) if compiled else model
    x, y = batch(n, size, device)
    loss_fn, optimizer = loss_function("ce"), torch.optim.Adam(model.parameters(), lr=1e-4)
    scaler = torch.amp.GradScaler(device, enabled=precision == "fp16" and kind == "training step")

    def once():
        if kind == "forward":
            with torch.inference_mode(), cast(device, precision): run(x).float()
            return
        with cast(device, precision): logits = run(x).float()
        scaler.scale(loss_fn(logits, y)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    with tf32(fast):
        began = time.perf_counter()
        once(); wait()
        first = time.perf_counter() - began
        for _ in range(2): once()
        wait()
        times, end = [], time.perf_counter() + seconds
        while len(times) < 5 or (time.perf_counter() < end and len(times) < 30):
            began = time.perf_counter()
            once(); wait()
            times.append(time.perf_counter() - began)
    middle = statistics.median(times)
    peak = torch.cuda.max_memory_allocated()/2**30 if device == "cuda" else float("nan")
    return n/middle, middle, peak, first


def cuda_speed(a) -> None:
    "Rows that need no compiling first; compiled ones as long as time is left."
    describe("cuda-speed")
    if not torch.cuda.is_available() and not a.tiny: return print("no CUDA GPU here: not measured")
    size, eight, sixteen = (64, 2, 4) if a.tiny else (512, 8, 16)
    end, longest = time.monotonic() + a.budget, 0.
    ways = exact, fast32, bf16, fp16 = ("fp32", "fp32", False), ("fp32 with TF32", "fp32", True), ("bf16", "bf16", True), ("fp16", "fp16", True)
    if not torch.cuda.is_available(): ways, bf16 = ways[:1], exact       # tiny, on a CPU
    start = network(a.tiny)
    jobs = [(kind, n, *way, False) for kind, n in (("training step", eight), ("forward", eight), ("training step", sixteen)) for way in ways]
    if not a.no_compile:      # what matters most comes first
        jobs += [("training step", eight, *bf16, True), ("forward", eight, *bf16, True), ("training step", eight, *fast32, True),
                 ("training step", eight, *exact, True), ("forward", eight, *exact, True), ("training step", sixteen, *bf16, True)]
    head("what", "batch", "precision", "compiled", "slices a second", "ms a batch", "peak memory, GiB", "first batch, s")
    for kind, n, name, precision, fast, compiled in jobs:
        cells = f"{kind}, {size}²", n, name, "yes" if compiled else "no"
        if time.monotonic() + (max(longest, 20*(not a.tiny)) if compiled else 0) > end:
            row(*cells, "not measured: no time left", "", "", "")
            continue
        began = time.monotonic()
        try:
            if compiled: torch._dynamo.reset()
            with limit(max(20, end - began + 20)): rate, middle, peak, first = measure(start, kind, n, size, precision, fast, compiled, .8)
            row(*cells, f"{rate:.1f}", f"{1e3*middle:.1f}", f"{peak:.2f}", f"{first:.1f}")
        except Exception as e: row(*cells, reason(e), "", "", "")
        if compiled: longest = max(longest, time.monotonic() - began)
    print("\nThe first batch holds cuDNN's start, and the compiling where there is any. fp32 rows without TF32 are exact fp32; "
          "PyTorch's own default allows TF32 in convolutions.\n", flush=True)


# ---- GPU: scores

@contextmanager
def opened(data: str):
    "The store, built for the while if the folder is Kaggle's."
    from covid_nbdev.etl import build_store, is_store, Store
    with tempfile.TemporaryDirectory() as tmp:
        yield Store(data) if is_store(data) else build_store(data, Path(tmp)/"store", progress=False)


def judged_run(folder, store, precision: str, device) -> tuple[float, float]:
    "The kept network on the validation slices at the masks' own size, as covid_train measures it."
    from covid_nbdev.etl import split
    from covid_nbdev.results import predict, Predictor
    predictor, rows = Predictor(folder, device), split(store).valid
    model = predictor.model
    def forward(x):
        with torch.autocast(device.type, BITS[precision] or torch.bfloat16, enabled=precision != "fp32"): return model(x).float()
    predictor.model = forward
    inside = store.inside
    preds = [p[inside] for p in predict(predictor, (store.images[r] for r in rows), progress=False)]
    return judged(np.stack(preds), np.stack([store.labels[r][inside] for r in rows]))


def cuda_scores(a) -> None:
    "covid_train's own way, train_run, in fp32 and in bf16; both judge in both."
    from covid_nbdev.devices import check_gpu
    from covid_nbdev.etl import split
    from covid_nbdev.run import train_run
    from covid_nbdev.train import TrainConfig
    describe("cuda-scores")
    if not torch.cuda.is_available() and not a.tiny: return print("no CUDA GPU here: not measured")
    device, size = check_gpu("auto"), 64 if a.tiny else a.size or 512
    end, longest = time.monotonic() + a.budget, 0.
    with opened(a.data) as store, tempfile.TemporaryDirectory() as tmp:
        rows = split(store)
        print(f"{len(rows.train)} training and {len(rows.valid)} validation slices of {store.size}², network's side {size}\n", flush=True)
        head("trained in", "seed", "judged in", "lesion mIoU", "mIoU", "epochs", "seconds an epoch", "training slices a second", "peak memory, GiB")
        for seed in a.seed or [0, 1, 2]:
            for precision in a.precision or ["fp32", "bf16"]:
                began, folder = time.monotonic(), Path(tmp)/f"{precision}-{seed}"
                if began + longest > end:
                    row(precision, seed, "not measured: no time left", *[""]*6)
                    continue
                try:
                    if device.type == "cuda":
                        torch.cuda.empty_cache()
                        torch.cuda.reset_peak_memory_stats()
                    config = TrainConfig(epochs=a.epochs or (1 if a.tiny else 20), size=size, seed=seed, precision=precision, best="lesion_miou",
                                         encoder="efficientnet-b0" if a.tiny else "efficientnet-b2",
                                         workers=0 if a.tiny else a.workers, **RECIPE)
                    history = train_run(store, folder, config, device=device, progress=False, on_epoch=None)
                    peak = torch.cuda.max_memory_allocated()/2**30 if device.type == "cuda" else float("nan")
                    middle = history["seconds"].iloc[1 if len(history) > 1 else 0:].median()
                    for p in ("fp32", "bf16"):
                        row(precision, seed, p, *[f"{s:.4f}" for s in judged_run(folder, store, p, device)], len(history),
                            f"{middle:.2f}", f"{len(rows.train)/middle:.1f}", f"{peak:.2f}")
                except Exception as e: row(precision, seed, reason(e), *[""]*6)
                longest = max(longest, time.monotonic() - began)
    print("\nSeconds an epoch: the median after the first, validation, loading and saving included; fp32 with PyTorch's default, "
          "TF32 in convolutions.\n", flush=True)


PARTS = {"cpu-speed": cpu_speed, "prepare": prepare, "cpu-scores": cpu_scores, "cuda-speed": cuda_speed, "cuda-scores": cuda_scores}
BUDGET = {"cpu-speed": 55, "cuda-speed": 85, "cuda-scores": 300}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--part", choices=PARTS, required=True)
    p.add_argument("--store", help="folder that `prepare` fills and cpu-scores reads")
    p.add_argument("--data", help="cuda-scores: a store, or a folder in Kaggle's layout")
    p.add_argument("--seed", type=int, nargs="+", help="one or more")
    p.add_argument("--precision", choices=("fp32", "bf16", "fp16"), nargs="+", help="to train in: one or more")
    p.add_argument("--epochs", type=int, help="5 of 18 steps for cpu-scores, 20 for cuda-scores")
    p.add_argument("--size", type=int, help="side of the network's input: prepare 256, cuda-scores 512")
    p.add_argument("--emulate", action="store_true", help="cpu-scores: bf16 by rounding, for a CPU without units for it")
    p.add_argument("--workers", type=int, default=8, help="cuda-scores: loader processes")
    p.add_argument("--threads", type=int, default=2, help="of the CPU parts")
    p.add_argument("--rounds", type=int, default=5, help="cpu-speed: at most")
    p.add_argument("--budget", type=float, help="seconds after which nothing new is begun (speed parts, cuda-scores)")
    p.add_argument("--no-compile", action="store_true", help="cuda-speed: leave the compiled rows out")
    p.add_argument("--tiny", action="store_true", help="small sizes: to try the script itself")
    a = p.parse_args()
    if a.part in ("prepare", "cpu-scores") and not a.store: p.error(f"{a.part} needs --store")
    if a.part == "cuda-scores" and not a.data: p.error("cuda-scores needs --data")
    a.budget = a.budget or BUDGET.get(a.part, 1e9)
    PARTS[a.part](a)


if __name__ == "__main__": main()
