"""Notebooks' kernels, forked from one process that has imported torch and other large packages: seconds saved for each (Linux).

Each is ipykernel's kernel in a process of its own, as clean as a new one: before the fork none of our code was imported,
nothing was computed, no thread was started. Jupyter starts this file's `ask`, which is there as long as the kernel is.
"""
import json, os, signal, socket, sys

# None that looks at the notebook when it is imported, as pandas, pyplot and ipywidgets do.
HEAVY = ("albumentations", "ipykernel.kernelapp", "matplotlib.figure", "scipy.ndimage", "segmentation_models_pytorch", "torch")


def start(env: dict) -> list[str]:
    "Start the process that forks kernels, with the kernels' environment; a kernel's command. It ends when this process does."
    import subprocess, tempfile
    address = f"{tempfile.mkdtemp()}/socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as calls:
        calls.bind(address)
        calls.listen()
        command = [sys.executable, __file__, "serve", str(calls.fileno())]
        subprocess.Popen(command, env=env, stdin=subprocess.PIPE, pass_fds=[calls.fileno()], start_new_session=True)
    return [sys.executable, "-I", "-S", __file__, "ask", address, "-f", "{connection_file}"]


def ask(address: str, *args: str):
    "Ask for a kernel with this process's environment, folder and output; wait for its end."
    signal.signal(signal.SIGINT, signal.SIG_IGN)      # Jupyter sends one before it asks a kernel to end
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as call:
        call.connect(address)
        socket.send_fds(call, [json.dumps([args, dict(os.environ), os.getcwd()]).encode()], [0, 1, 2])
        call.recv(1)


def serve(fileno: str):
    "Fork a kernel for each call, until standard input ends."
    import gc, importlib, pathlib, select, shutil
    del sys.path[0]      # this folder: a kernel doesn't see it
    os.environ["JPY_PARENT_PID"] = str(os.getpid())
    for name in HEAVY: importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    calls = socket.socket(fileno=int(fileno))
    while sys.stdin not in select.select([calls, sys.stdin], [], [])[0]:
        call, _ = calls.accept()
        if os.fork() == 0:
            calls.close()
            return kernel(call)
        call.close()
    shutil.rmtree(pathlib.Path(calls.getsockname()).parent)


def kernel(call: socket.socket):
    "In the forked process: be the kernel that was asked for. It ends when who asked has gone."
    import threading
    import numpy as np, torch
    from ipykernel import kernelapp
    message, files, *_ = socket.recv_fds(call, 1 << 20, 3)
    args, env, folder = json.loads(message)
    for to, file in enumerate(files): os.dup2(file, to); os.close(file)
    os.environ.clear(); os.environ.update(env)
    os.chdir(folder)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for name in ("tqdm.auto", "tqdm.autonotebook"): sys.modules.pop(name, None)      # chose their bar before there was a notebook
    np.random.seed(); torch.seed()      # as at their import, from the operating system; Python's random does so by itself
    threading.Thread(target=lambda: (call.recv(1), os._exit(1)), daemon=True).start()
    sys.argv[1:] = args
    kernelapp.launch_new_instance()


if __name__ == "__main__": {"ask": ask, "serve": serve}[sys.argv[1]](*sys.argv[2:])
