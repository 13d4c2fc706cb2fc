"""Notebooks' kernels, and Pythons for tests, forked from one process that has imported torch and other large packages: seconds
saved for each (Linux).

Each is a process of its own, as clean as a new one: before the fork none of our code was imported, nothing was computed,
no thread was started. Jupyter starts this file's `ask`, which is there as long as the kernel is; so does the script `python`,
which takes what Python takes and ends as that ended; Ctrl-C and the end of who asked go through. Kernels take it for their
Python, and our commands lie beside it.
"""
import json, os, signal, socket, sys

# None that looks at the notebook when it is imported, as pandas, pyplot and ipywidgets do. multiprocessing.spawn remembers the Python
# that imports it first: it must be the real one, as what is forked inherits no pipes.
HEAVY = ("accelerate", "albumentations", "ipykernel.kernelapp", "matplotlib.figure", "multiprocessing.spawn", "scipy.ndimage",
         "segmentation_models_pytorch", "torch", "torch.distributed.run")


def start(env: dict, folder: str = "", executable: str = sys.executable, heavy: tuple = HEAVY) -> list[str]:
    """Start the process that forks kernels, with the kernels' environment; a kernel's command. It ends when this process does.
    Processes that name the same folder share one: the first of them starts it, and it ends when all of them have."""
    import fcntl, tempfile
    folder = folder or tempfile.mkdtemp()
    asks = [executable, "-I", "-S", os.path.abspath(__file__), "ask", os.path.join(folder, "socket")]
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try: os.open(os.path.join(folder, "wanted"), os.O_WRONLY | os.O_NONBLOCK)      # stays open as long as this process lives
        except OSError: start_process(env, folder, asks, heavy)      # nobody has started it, or it has ended
    return [*asks, "kernel", "-f", "{connection_file}"]


def start_process(env: dict, folder: str, asks: list, heavy: tuple):
    "In the folder: the socket, the scripts that are called as Python and our commands are, and a pipe whose end is the end of all."
    import shlex, shutil, subprocess
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    os.mkfifo(wanted := os.path.join(folder, "wanted"))
    ends = os.open(wanted, os.O_RDONLY | os.O_NONBLOCK)
    os.open(wanted, os.O_WRONLY)      # stays open, as above
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as calls:
        calls.bind(asks[-1])
        calls.listen()
        command = [asks[0], asks[3], "serve", str(calls.fileno()), *heavy]
        subprocess.Popen(command, env=env, stdin=ends, pass_fds=[calls.fileno()], start_new_session=True)
    os.close(ends)
    bin = os.path.dirname(asks[0])
    scripts = {"python": [], **{name: [os.path.join(bin, name)] for name in os.listdir(bin) if name.startswith("covid_")}}
    for name, words in scripts.items():
        with open(os.path.join(folder, name), "w", opener=lambda path, flags: os.open(path, flags, 0o755)) as f:
            f.write(f'#!/bin/sh\nexec {shlex.join([*asks, "python", *words])} "$@"\n')


def python(address: str) -> str:
    "The script that is called as Python is."
    return os.path.join(os.path.dirname(address), "python")


def ask(address: str, kind: str, *args: str):
    "Ask for a kernel or a Python with this process's environment, folder and output; wait for its end, and end likewise."
    if kind == "python" and args[0].startswith("-") and args[0] not in ("-c", "-m"): os.execv(sys.executable, [sys.executable, *args])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as call:
        call.connect(address)
        # Jupyter sends one before it asks a kernel to end
        signal.signal(signal.SIGINT, signal.SIG_IGN if kind == "kernel" else lambda *_: call.send(b"interrupt"))
        socket.send_fds(call, [json.dumps([kind, args, dict(os.environ), os.getcwd()]).encode()], [0, 1, 2])
        status = int(call.recv(9) or kind == "python")
    if status >= 0: sys.exit(status)
    signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
    os.kill(os.getpid(), -status)


def serve(fileno: str, *heavy: str):
    "Import these, then fork a process for each call, until standard input ends."
    import gc, importlib, pathlib, select, shutil
    del sys.path[0]      # this folder: a kernel doesn't see it
    os.environ["JPY_PARENT_PID"] = str(os.getpid())
    for name in heavy: importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    calls = socket.socket(fileno=int(fileno))
    while sys.stdin not in select.select([calls, sys.stdin], [], [])[0]:
        call, _ = calls.accept()
        if os.fork() == 0:
            address = calls.getsockname()
            calls.close()
            return child(call, address)
        call.close()
    gc.unfreeze()      # else triton 3.9 complains of leaks at the end
    shutil.rmtree(pathlib.Path(calls.getsockname()).parent, ignore_errors=True)


def child(call: socket.socket, address: str):
    "In the forked process: be what was asked for. It ends when who asked has gone."
    import threading
    message, files, *_ = socket.recv_fds(call, 1 << 20, 3)
    kind, args, env, folder = json.loads(message)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if kind == "python": watched(call, files)
    become(env, folder, files)
    if kind == "python": return ended(run_python, *args)
    threading.Thread(target=lambda: (call.recv(1), os._exit(1)), daemon=True).start()
    from ipykernel import kernelapp
    sys.argv[1:], sys.executable = args, python(address)
    ended(kernelapp.launch_new_instance)


def ended(run, *args):
    "Do it, then end as Python ends, but leave the packages to the system: to take torch apart takes a second, and triton 3.9 complains."
    import atexit, threading
    status = 0
    try: run(*args)
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
        if isinstance(e.code, str): print(e.code, file=sys.stderr)
    except BaseException as e:
        sys.excepthook(type(e), e, e.__traceback__)
        status = -signal.SIGINT if isinstance(e, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr): stream.flush()
    except (OSError, ValueError): status = 120      # nobody reads, as Python says
    if status < 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status & 255)


def watched(call: socket.socket, files: list):
    "Fork once more: back in the new process. The old one passes signals on, and tells who asked how the new one ended."
    import select
    if (pid := os.fork()) == 0:
        call.close()
        return os.setpgid(0, 0)
    for file in files: os.close(file)
    ended = os.pidfd_open(pid)
    while ended not in select.select([call, ended], [], [])[0]:
        if call.recv(9): os.kill(pid, signal.SIGINT)
        else: os.killpg(pid, signal.SIGKILL); os.waitpid(pid, 0); os._exit(1)
    call.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    os._exit(0)


def become(env: dict, folder: str, files: list):
    "Take the output, the environment and the folder of who asked."
    import numpy as np, torch
    for to, file in enumerate(files): os.dup2(file, to); os.close(file)
    os.environ.clear(); os.environ.update(env)
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    os.chdir(folder)
    for name in ("tqdm.auto", "tqdm.autonotebook"): sys.modules.pop(name, None)      # chose their bar before there was a notebook
    if threads := env.get("OMP_NUM_THREADS"): torch.set_num_threads(int(threads))      # else it counts when torch is imported
    np.random.seed(); torch.seed()      # as at their import, from the operating system; Python's random does so by itself


def run_python(first: str, *more: str):
    "What `python first *more` does."
    import runpy
    import matplotlib
    matplotlib.rcParams["backend"] = os.environ.get("MPLBACKEND") or matplotlib.rcsetup._auto_backend_sentinel     # else read when it is imported
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)      # those there are know whether another file can seek
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    if first in ("-c", "-m"): what, *more = more
    else: what = first
    sys.argv = [first if first == "-c" else what, *more]
    sys.path.insert(0, "" if first in ("-c", "-m") else os.path.dirname(os.path.abspath(what)))
    if first == "-c": exec(compile(what, "<string>", "exec"), sys.modules["__main__"].__dict__)
    elif first == "-m": runpy.run_module(what, run_name="__main__", alter_sys=True)
    else: runpy.run_path(what, run_name="__main__")


if __name__ == "__main__": {"ask": ask, "serve": serve}[sys.argv[1]](*sys.argv[2:])
