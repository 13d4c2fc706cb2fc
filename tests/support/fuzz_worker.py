"""Reads files for tests/test_fuzz_scans.py. Each is read in a process of its own, forked from this one, with 1 GB of memory and 10 seconds
of computing (and a minute by the clock: other programs may want the processor too). What was read is compared with what another reader
makes of the same file, voxel by voxel and by the place of each in the body; it is noted before that reader starts, which may crash.

A line on stdin is a path; the answer is a line of JSON: {"end": "read" | "refused" | "unchecked" | "wrong" | "crashed", "why": …}.
Unchecked: read, but the other reader fails on it."""
import io, json, os, re, resource, signal, sys, traceback, zipfile
from contextlib import nullcontext, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import gdcm
import nibabel as nib
import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, pixel_array

from covid_nbdev import pixels
from covid_nbdev.core import BadInput
from covid_nbdev.dicom import BY_GDCM
from covid_nbdev.hu import AIR_HU, PADDING_BELOW_HU
from covid_nbdev.scans import read_scan

MEMORY, SECONDS = 1 << 30, 10
pixels.get_context = lambda method: get_context("fork")      # the decoder need not import pydicom for each file; as users start it: test_scans.py
LEADS = np.array([(0, 0, 1), (0, -1, 0), (-1, 0, 0)])      # a step to the next slice, row, column: to the head, the back, the left


# ---- the other readers: each gives HU as the file's own array lies, and the place of each voxel: (4, 4), mm to the right, front, head
def by_nibabel(path, scan):
    image = nib.load(path)
    mm = {1: 1000, 3: .001}.get(int(image.header["xyzt_units"]) & 7, 1)
    return image.get_fdata().reshape(image.shape[:3]), np.diag([mm, mm, mm, 1])@image.affine, None


def padded(ds, stored):
    "Where the header says that nothing was measured."
    ends = [ds[k].value for k in ("PixelPaddingValue", "PixelPaddingRangeLimit") if ds.get(k) not in (None, "", b"")]
    kind = np.dtype(np.int16 if ds.PixelRepresentation else np.uint16)
    ends = [np.frombuffer(v[:2] if isinstance(v, bytes) else (int(v) % 65536).to_bytes(2, "little"), kind)[0] for v in ends]
    return np.zeros(stored.shape, bool) if not ends else (min(ends) <= stored) & (stored <= max(ends))


def by_pydicom(path, scan):
    "Each slice is found by its UID; its place is its own position."
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        read = [partial(archive.read, name) for name in archive.namelist()]
    else: read = [path.read_bytes]
    others, pictures, corners = [], [], []
    for one in read:
        with suppress(Exception) if len(read) > 1 else nullcontext():      # one of an archive may be damaged
            others.append(pydicom.dcmread(io.BytesIO(one())))
    def key(ds): return ds.get("SOPInstanceUID"), ds.ImagePositionPatient
    for header in scan.headers:
        ds = next(ds for ds in others if key(ds) == key(header))
        stored = pixel_array(ds, decoding_plugin="gdcm" if ds.file_meta.TransferSyntaxUID in BY_GDCM else "pydicom")
        pictures.append(np.where(padded(ds, stored), AIR_HU, apply_modality_lut(stored, ds)))
        corners.append(np.array(ds.ImagePositionPatient, float)*(-1, -1, 1))
    columns, rows = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)*(-1, -1, 1)
    normal, (high, wide) = np.cross(columns, rows), map(float, ds.get("PixelSpacing") or (1, 1))
    normal *= np.sign(normal[2])
    if (np.diff([corner@normal for corner in corners]) <= 0).any(): raise Wrong("slices are not in order")
    affine = np.eye(4)
    affine[:3] = np.stack([normal, rows*high, columns*wide, corners[0]], 1)
    return np.stack(pictures), affine, np.array(corners)


class Wrong(Exception):
    "What our reader did wrong."


def compare(path, scan) -> None:
    "Raises Wrong where the other reader finds another number, or the same one in another place of the body."
    expected, affine, corners = (by_nibabel if scan.headers is None else by_pydicom)(path, scan)
    expected = np.rint(np.where(expected < PADDING_BELOW_HU, AIR_HU, expected))
    got = scan.restore(scan.hu)
    if got.shape != expected.shape: raise Wrong(f"shape {got.shape}, not {expected.shape}")
    if (np.abs(got - expected) > .5).any(): raise Wrong("other numbers")
    voxels = scan.restore(np.arange(scan.hu.size).reshape(scan.hu.shape))        # where each axial voxel lies in the file's own array
    def own(voxel): return np.argwhere(voxels == np.ravel_multi_index(voxel, scan.hu.shape))[0]
    first = np.array([0, scan.inside[0].start, scan.inside[1].start])
    for axis, leads in enumerate(LEADS):
        last = np.array([scan.hu.shape[0], scan.inside[0].stop, scan.inside[1].stop])[axis] - 1
        if last == first[axis]: continue
        end = first.copy(); end[axis] = last
        step = affine[:3, :3]@(own(end) - own(first))
        if abs(step@leads) < .9*np.linalg.norm(step) or step@leads <= 0: raise Wrong(f"axis {axis} doesn't lead to {leads}")
    if scan.spacing_mm is None: return
    ends = np.array([(0, 0, 0), np.subtract(got.shape, 1)])
    if corners is None: places = nib.affines.apply_affine(affine, ends)
    else:      # each slice has its own place; one step for all only where they lie evenly
        even = np.ptp(np.diff(corners, axis=0), axis=0).max() < .01 if len(corners) > 2 else True
        places = np.array([corners[k] + affine[:3, 1:3]@(r, c) for k, r, c in ends]) if even else None
    if places is not None and np.abs(nib.affines.apply_affine(scan.affine, ends) - places).max() > .01*max(1, np.abs(places).max()/1000):
        raise Wrong("voxels lie elsewhere")
    if corners is None and not np.allclose(scan.ml_per_voxel, abs(np.linalg.det(affine[:3, :3]))/1000, rtol=1e-3):
        raise Wrong("another volume")


def kind(error: BadInput) -> str:
    "The error without what belongs to this one file."
    found = re.sub(r"^no CT slice in \S+: ", "", error.parts[0]).split(" (")[0]
    for what, short in ((r"modality .*, not CT", "modality, not CT"), (r",? ?(which|in)? ?\S+\.(nii\.gz|nii|dcm|zip)(, which)?", ""),
                        (r"[-\w.|]*\d[-+\w.,×]*|'.*?'|\.\.+", "…")): found = re.sub(what, short, found)
    return " ".join(found.split())[:60]


def answer(end: str, why: str) -> dict: return {"end": end, "why": why}


def attempt(path: Path, say) -> dict:
    "`say` notes what holds if the process ends here."
    try: scan = read_scan(path, progress=False, headers=".nii" not in path.name)
    except BadInput as e:
        line = str(e)
        good = "\n" not in line and line.isprintable() and "; expected " in line and len(line) < 700
        return answer("refused", kind(e)) if good else answer("wrong", f"not one clear line: {line!r}")
    n, height, width = scan.hu.shape
    if not (scan.hu.dtype == np.int16 and n >= 1 and height == width >= 1): return answer("wrong", f"{scan.hu.shape}")
    if scan.spacing_mm is not None and not all(.05 <= v <= 50 for v in (*scan.spacing_mm, *scan.slice_mm)):
        return answer("wrong", f"{scan.spacing_mm}")
    say(answer("unchecked", "the other reader fails: its process ended"))
    try: compare(path, scan)
    except Wrong as e: return answer("wrong", str(e))
    except BaseException as e: return answer("unchecked", f"the other reader fails: {traceback.format_exception_only(e)[-1].strip().split(':')[0]}")
    return answer("read", "read, and another reader agrees")


def in_child(path: Path) -> dict:
    "Fork, limit, attempt; how it ended."
    def say(line): os.write(writable, f"{json.dumps(line)}\n".encode())      # all of it is less than a pipe holds
    readable, writable = os.pipe()
    if not (pid := os.fork()):
        try:
            os.setpgid(0, 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            signal.alarm(60)
            try: say(attempt(path, say))
            except BaseException as e: say(answer("crashed", "".join(traceback.format_exception(e))[-1500:]))
        finally: os._exit(0)
    os.close(writable)
    _, status = os.waitpid(pid, 0)
    with suppress(ProcessLookupError): os.killpg(pid, signal.SIGKILL)      # a decoder that was left
    with os.fdopen(readable, "rb") as f: said = f.read().splitlines()
    if said: return json.loads(said[-1])
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return answer("crashed", f"took more than {SECONDS} s" if number in (signal.SIGALRM, signal.SIGXCPU) else f"signal {number}")
    return answer("crashed", "no answer")


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin: print(json.dumps(in_child(Path(line.strip()))), flush=True)
