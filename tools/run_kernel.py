"""Execute a Kaggle notebook as Kaggle does, without Kaggle: another Python, no network, folders for input and output.

    python tools/run_kernel.py NOTEBOOK EXECUTED INPUT WORKING --python PYTHON [--network] [--timeout SECONDS]

PYTHON is the kernel's interpreter: the environment that stands in for Kaggle's image. The network is cut off by a
network namespace of its own, in which only the loopback is brought up, as Jupyter talks to its kernel over it.
Exit status 0; 3 where no such namespace can be made; 1 if a cell fails, with its error on stderr.
"""
import argparse, ctypes, fcntl, os, socket, struct, sys, time
from pathlib import Path

NO_NAMESPACE = 3
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


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


def kernel_spec(folder: Path, python: str) -> None:
    "A kernel named kaggle that runs `python`."
    import json
    (folder/"kernels"/"kaggle").mkdir(parents=True)
    argv = [python, "-m", "ipykernel_launcher", "--log-level=40", "-f", "{connection_file}"]
    (folder/"kernels"/"kaggle"/"kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Kaggle", "language": "python"}))


def environment(input: Path, working: Path) -> dict:
    "What the kernel sees of the environment: nothing that leads to this checkout."
    keep = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR", "COVID_CACHE", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return keep | {"KAGGLE_INPUT": str(input), "KAGGLE_WORKING": str(working), "KAGGLE_KERNEL_RUN_TYPE": "Batch",
                   "MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONNOUSERSITE": "1"}


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("notebook", "executed", "input", "working"): p.add_argument(name, type=Path)
    p.add_argument("--python", required=True)
    p.add_argument("--network", action="store_true", help="leave the network as it is")
    p.add_argument("--timeout", type=int, default=300)
    a = p.parse_args()
    if not a.network:
        if not cut_network(): return NO_NAMESPACE
        if not network_is_off(): sys.exit("the network is still there")
    import tempfile
    sys.modules["rfc3987_syntax"] = None     # as in tools/docs.py
    import nbformat
    from nbclient.exceptions import CellExecutionError
    from patience import PatientClient
    with tempfile.TemporaryDirectory() as folder:
        kernel_spec(Path(folder), a.python)
        os.environ["JUPYTER_PATH"] = folder
        nb = nbformat.read(a.notebook, as_version=4)
        nb.metadata["before"] = time.time()              # just before the kernel starts
        client = PatientClient(nb, timeout=a.timeout, kernel_name="kaggle", resources={"metadata": {"path": str(a.working)}})
        try: client.execute(env=environment(a.input.resolve(), a.working.resolve()))
        except CellExecutionError as e:
            print(e, file=sys.stderr)
            return 1
        finally: nbformat.write(nb, a.executed)
    return 0


if __name__ == "__main__": sys.exit(main())
