"""Execute a Kaggle notebook as Kaggle does, without Kaggle: another Python, no network, folders for input and output.

    python tools/run_kernel.py NOTEBOOK EXECUTED INPUT WORKING --python PYTHON [--warm] [--network] [--timeout SECONDS]

Without the four paths: those of one notebook after the other are read from standard input, each a line of JSON; for each, a line
of JSON says how it ended, "" or the error of the cell that failed.
PYTHON is the kernel's interpreter: the environment that stands in for Kaggle's image. The network is cut off by a
network namespace of its own, in which only the loopback is brought up, as Jupyter talks to its kernel over it.
Exit status 0; 3 where no such namespace can be made; 1 if a cell fails, with its error on stderr.
"""
import argparse, ctypes, fcntl, json, os, socket, struct, sys, tempfile, time
from pathlib import Path

import warm_kernel

NO_NAMESPACE = 3
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
# What --warm imports: what PYTHON has. But not albumentations, which looks for a newer version unless the notebook forbids it.
HEAVY = *(name for name in warm_kernel.HEAVY if name not in ("albumentations", "segmentation_models_pytorch")), "timm"


def cut_network() -> bool:
    "Leave the network, for this process and its children; False where that isn't allowed."
    try: libc = ctypes.CDLL(None, use_errno=True)
    except OSError: return False
    if not hasattr(libc, "unshare"): return False                                        # not Linux
    # as root a network namespace is enough; others may make one inside a user namespace of their own
    if libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET): return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(s, SIOCGIFFLAGS, request)[:18])[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))
    return True


def network_is_off() -> bool:
    "No interface but the loopback, and no route to anywhere."
    if {name for _, name in socket.if_nameindex()} != {"lo"}: return False
    try: socket.create_connection(("192.0.2.1", 80), 2).close()      # an address reserved for documentation
    except OSError as e: return "unreachable" in str(e)
    return False


def kernel_spec(folder: Path, python: str, warm: bool) -> None:
    "A kernel named kaggle that runs `python`."
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    if warm: argv = warm_kernel.start(environment(folder, folder), str(folder/"warm"), python, HEAVY)
    (folder/"kernels"/"kaggle").mkdir(parents=True)
    spec = {"argv": [*argv, "--log-level=40"], "display_name": "Kaggle", "language": "python"}
    (folder/"kernels"/"kaggle"/"kernel.json").write_text(json.dumps(spec))


def environment(input: Path, working: Path) -> dict:
    "What the kernel sees of the environment: nothing that leads to this checkout."
    keep = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR", "COVID_CACHE", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return keep | {"KAGGLE_INPUT": str(input), "KAGGLE_WORKING": str(working), "KAGGLE_KERNEL_RUN_TYPE": "Batch",
                   "MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONNOUSERSITE": "1"}


def execute(notebook: Path, executed: Path, input: Path, working: Path, timeout: int) -> str:
    "One notebook; nothing, or the error of the cell that failed."
    import nbformat
    from nbclient.exceptions import CellExecutionError
    from patience import PatientClient
    nb = nbformat.read(notebook, as_version=4)
    nb.metadata["before"] = time.time()              # just before the kernel starts
    client = PatientClient(nb, timeout=timeout, kernel_name="kaggle", resources={"metadata": {"path": str(working)}})
    try: client.execute(env=environment(input.resolve(), working.resolve()))
    except CellExecutionError as e: return str(e)
    finally: nbformat.write(nb, executed)
    return ""


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("paths", type=Path, nargs="*", metavar="NOTEBOOK EXECUTED INPUT WORKING")
    p.add_argument("--python", required=True)
    p.add_argument("--warm", action="store_true", help="kernels and their processes are forked from one Python that has imported torch")
    p.add_argument("--network", action="store_true", help="leave the network as it is")
    p.add_argument("--timeout", type=int, default=300)
    a = p.parse_args()
    if len(a.paths) not in (0, 4): p.error("expected four paths, or none")
    if not a.network:
        if not cut_network(): return NO_NAMESPACE
        if not network_is_off(): sys.exit("the network is still there")
    sys.modules["rfc3987_syntax"] = None     # as in tools/docs.py
    answers = os.dup(1)
    os.dup2(2, 1)                            # what a kernel's process says is no answer
    with tempfile.TemporaryDirectory() as folder:
        kernel_spec(Path(folder), a.python, a.warm)
        os.environ["JUPYTER_PATH"] = folder
        if a.paths:
            if error := execute(*a.paths, a.timeout): print(error, file=sys.stderr)
            return int(bool(error))
        for line in sys.stdin: os.write(answers, f"{json.dumps(execute(*map(Path, json.loads(line)), a.timeout))}\n".encode())
    return 0


if __name__ == "__main__": sys.exit(main())
