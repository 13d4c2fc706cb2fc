"""Why a training stopped: loader processes that really fail, and PyTorch's recorded words where that would take a machine of its own."""
import errno, os, signal, subprocess, sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from covid_nbdev.core import BadInput
from covid_nbdev.devices import memory_advice
from covid_nbdev.train import TrainConfig


@pytest.fixture(autouse=True)
def quick_to_end(monkeypatch):
    "How long processes wait for each other when one has failed: 5 s in PyTorch."
    for module in ("_utils", "_utils.worker"): monkeypatch.setattr(f"torch.utils.data.{module}.MP_STATUS_CHECK_INTERVAL", .2)


class Failing(Dataset):
    "Its one slice is what happens to the process that reads it."
    def __init__(self, what): self.what = what
    def __len__(self): return 1
    def __getitem__(self, i): return self.what()


def fail(error): raise error


def load(what, config=TrainConfig(batch_size=8)):
    "Through one loader process, as a training does it. It ends here, or another test would wait for it."
    batches = iter(DataLoader(Failing(what), num_workers=1, multiprocessing_context="fork"))
    try:
        with memory_advice(config): return next(batches)
    finally: batches._shutdown_workers()


ERRORS = {   # what a loader process raises: the type and the line that arrive
    "BadInput": (BadInput("8-bit pixels; 0 to 255", "HU", "subtract 1024"),
                 BadInput, "^found 8-bit pixels; 0 to 255; expected HU; subtract 1024$"),
    "BadInput without advice": (BadInput("NaN", "numbers"), BadInput, "^found NaN; expected numbers$"),
    "disk": (OSError(errno.ENOSPC, "No space left on device", "/data/x.npy"), OSError, r"^\[Errno 28\] No space left on device: '/data/x.npy'$"),
    "missing": (FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/shm/images.npy"), FileNotFoundError, "No such file"),
    "no name": (PermissionError(errno.EACCES, "Permission denied"), PermissionError, r"^\[Errno 13\] Permission denied$"),
    "value": (ValueError("of shared memory I know nothing"), ValueError, "Caught ValueError in DataLoader worker"),
    "runtime": (RuntimeError("something else"), RuntimeError, "something else"),
    "key": (KeyError("slice"), KeyError, "Caught KeyError"),
    "no room": (RuntimeError("unable to allocate shared memory(shm) for file </torch_7_8_0>: No space left on device (28)"), BadInput, "--shm-size=1g"),
    "shm is full": (OSError(errno.ENOSPC, "No space left on device", "/dev/shm/x"), BadInput, "--workers 0"),
    "open files": (OSError(errno.EMFILE, "Too many open files", "/data/x.npy"), BadInput, "ulimit -n"),
    "RAM": (MemoryError(), BadInput, r"memory \(RAM\).*fewer --workers"),
    "RAM of torch": (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
                     BadInput, r"memory \(RAM\)"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_a_loader_process_raises(case):
    "It arrives as itself, whatever torch made of it; a known cause in one line."
    error, kind, line = ERRORS[case]
    with pytest.raises(Exception, match=line) as e: load(lambda: fail(error))
    assert type(e.value) is kind
    if isinstance(error, BadInput): assert str(e.value) == str(error)
    if isinstance(error, OSError) and kind is not BadInput: assert (e.value.errno, e.value.filename) == (error.errno, error.filename)


@pytest.mark.parametrize("end, line", [
    (signal.SIGKILL, r"memory \(RAM\).*fewer --workers or a smaller --batch_size"), (signal.SIGBUS, "shared memory.*--shm-size=1g.*--workers 0"),
    (signal.SIGSEGV, "signal: Segmentation fault.*--workers 0"), (signal.SIGTERM, "signal: Terminated"), (3, "exit code 3")], ids=str)
def test_how_a_loader_process_ends(end, line):
    kill = lambda: os.kill(os.getpid(), end)
    with pytest.raises(BadInput, match=line) as e: load(kill if isinstance(end, signal.Signals) else lambda: os._exit(end))
    assert "too little memory for batches" not in str(e.value)


RECORDED = {   # what stood in reports, or was raised here once: a part of the line
    "RuntimeError: unable to open shared memory object </torch_29919_1396182366> in read-write mode": "--shm-size=1g",
    "RuntimeError: unable to write to file </torch_18692_1954506624>": "--shm-size=1g",
    "RuntimeError: unable to mmap 524288 bytes from file </torch_7_8_0>: Cannot allocate memory (12)": "--workers 0",
    "RuntimeError: Couldn't open shared file mapping: <torch_13684_2004809651_0>, error code: <1455>": "--workers 0",
    "RuntimeError: unable to open shared memory object </torch_40_1_0> in read-write mode: Too many open files (24)": "ulimit -n",
    "RuntimeError: Too many open files. Communication with the workers is no longer possible.": "ulimit -n",
    "RuntimeError: DataLoader worker (pid(s) 13424, 8844) exited unexpectedly": "ended early.*--workers 0",      # Windows says no more
    "RuntimeError: received 0 items of ancdata": "ulimit -n",
    "OSError: [WinError 1455] The paging file is too small for this operation to complete": "fewer --workers",
    "RuntimeError: DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.": "--batch_size 4 --accumulate 2",
    "RuntimeError: CUDA out of memory. Tried to allocate 2 GiB": "--batch_size 4 --accumulate 2",
    "RuntimeError: HIP out of memory. Tried to allocate 2 GiB": "--batch_size 4 --accumulate 2",
    "RuntimeError: MPS backend out of memory (MPS allocated: 8 GB, other allocations: 1 GB, max allowed: 9 GB).": "--batch_size 4",
    "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED": "--batch_size 4",
    "NotImplementedError: The operator 'aten::bincount' is not currently implemented for the MPS device. As a temporary fix, you can set …":
        "aten::bincount.*PYTORCH_ENABLE_MPS_FALLBACK=1",
}


@pytest.mark.parametrize("text", RECORDED)
def test_recorded_words(text):
    kind, message = text.split(": ", 1)
    with pytest.raises(BadInput, match=RECORDED[text]):
        with memory_advice(TrainConfig(batch_size=8)): raise {"OSError": OSError, "NotImplementedError": NotImplementedError}.get(kind, RuntimeError)(message)


@pytest.mark.parametrize("error", [AttributeError("Can't pickle local object 'f.<locals>.<lambda>'"), OSError(errno.ENOSPC, "No space left on device", "last.pt"),
                                   RuntimeError("CUDA error: no kernel image is available for execution on the device"), KeyboardInterrupt()], ids=repr)
def test_other_errors_pass_through(error):
    with pytest.raises(type(error)) as e:
        with memory_advice(TrainConfig()): raise error
    assert e.value is error


def test_64_kb_of_shared_memory():
    "A container's default. With two loader processes a batch finds no room; with four, not even the semaphores do."
    inside = 'mount --make-rprivate / && mount -t tmpfs -o size=64k tmpfs /dev/shm || exit 77; exec "$@"'
    code = """if True:
        import torch; from torch.utils.data import DataLoader; from covid_nbdev.devices import memory_advice
        for workers in (2, 4):
            try:
                with memory_advice(None): list(DataLoader(torch.zeros(8, 1, 128, 128), 8, num_workers=workers))
            except ValueError as e: print(e)"""
    try: r = subprocess.run(["unshare", "-m", "sh", "-c", inside, "sh", sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=200)
    except FileNotFoundError: pytest.skip("a small tmpfs can't be mounted here (needs root)")
    if r.returncode == 77 or "unshare" in r.stderr: pytest.skip("a small tmpfs can't be mounted here (needs root)")
    assert r.stdout.count("too little shared memory") == r.stdout.count("--workers 0") == 2 and r.stdout.count("\n") == 2, (r.stdout, r.stderr)
