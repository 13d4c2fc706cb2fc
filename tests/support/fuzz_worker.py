"""Reads files for tests/test_fuzz_scans.py. Each is read in a process of its own, forked from this one, with 1 GB of memory and 10 seconds
of computing (and a minute by the clock: other programs may want the processor too).

A line on stdin is a path; the answer is a line of JSON: {"end": "read" | "refused" | "wrong" | "crashed", "why": …}."""
import json, os, re, resource, signal, sys, traceback
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom.pixels

from covid_nbdev.core import BadInput
from covid_nbdev.dicom import BY_GDCM, PADDING_BELOW_HU
from covid_nbdev.scans import AIR_HU, read_scan

MEMORY, SECONDS = 1 << 30, 10


def other_reader(path, scan) -> str:
    "What another program gets from the same file, against what we got: what is wrong, or nothing."
    got = scan.hu[:, *scan.inside]
    if path.suffix in (".nii", ".gz"):
        data = nib.as_closest_canonical(nib.load(path)).get_fdata()      # axes to the right, the front, the head
        expected = data.reshape(data.shape[:3])[::-1, ::-1].transpose(2, 1, 0)
    elif path.suffix == ".zip": return ""
    else:
        ds = pydicom.dcmread(path)
        if ds.file_meta.TransferSyntaxUID in BY_GDCM: return ""          # may end this process; that is why we have another
        stored = ds.pixel_array
        expected = pydicom.pixels.apply_modality_lut(stored, ds).astype(float)
        if ds.get("PixelPaddingValue") not in (None, "", b""): return ""
    expected = np.rint(np.where(expected < PADDING_BELOW_HU, AIR_HU, expected))
    if path.suffix == ".dcm": got, expected = np.sort(got.ravel()), np.sort(expected.ravel())    # turned as the header says
    if got.shape != expected.shape: return f"shape {got.shape}, not {expected.shape}"
    return "" if (np.abs(got - expected) <= .5).all() else "other numbers"


def kind(error: BadInput) -> str:
    "The error without what belongs to this one file."
    found = re.sub(r"^no CT slice in \S+: ", "", error.parts[0]).split(" (")[0]
    for what, short in ((r"modality .*, not CT", "modality, not CT"), (r",? ?(which|in)? ?\S+\.(nii\.gz|nii|dcm|zip)(, which)?", ""),
                        (r"[-\w.|]*\d[-+\w.,×]*|'.*?'|\.\.+", "…")): found = re.sub(what, short, found)
    return " ".join(found.split())[:60]


def attempt(path: Path) -> dict:
    try: scan = read_scan(path, progress=False)
    except BadInput as e:
        line = str(e)
        good = "\n" not in line and line.isprintable() and "; expected " in line and len(line) < 700
        return {"end": "refused" if good else "wrong", "why": kind(e) if good else f"not one clear line: {line!r}"}
    n, height, width = scan.hu.shape
    if not (scan.hu.dtype == np.int16 and n >= 1 and height == width and height % 32 == 0): return {"end": "wrong", "why": f"{scan.hu.shape}"}
    if scan.spacing_mm is not None and not all(.05 <= v <= 50 for v in scan.spacing_mm): return {"end": "wrong", "why": f"{scan.spacing_mm}"}
    if sorted(scan.restore(scan.hu).shape) != sorted(np.shape(scan.hu[:, *scan.inside])): return {"end": "wrong", "why": "no way back"}
    try: problem = other_reader(path, scan)
    except Exception as e: return {"end": "read", "why": f"read; the other reader fails: {type(e).__name__}"}
    return {"end": "wrong" if problem else "read", "why": problem or "read, and another reader agrees"}


def in_child(path: Path) -> dict:
    "Fork, limit, read; how it ended."
    readable, writable = os.pipe()
    if not (pid := os.fork()):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            signal.alarm(60)
            try: answer = attempt(path)
            except BaseException as e: answer = {"end": "crashed", "why": "".join(traceback.format_exception(e))[-1500:]}
            os.write(writable, json.dumps(answer).encode())
        finally: os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as f: said = f.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return {"end": "crashed", "why": f"took more than {SECONDS} s" if number in (signal.SIGALRM, signal.SIGXCPU) else f"signal {number}"}
    return json.loads(said) if said else {"end": "crashed", "why": "no answer"}


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin: print(json.dumps(in_child(Path(line.strip()))), flush=True)
