"""Damaged and hostile scans: whatever the file, a clear error or a right result. COVID_FUZZ=10000 for the slow run."""
import gzip, json, os, struct, subprocess, sys, zipfile
from collections import Counter

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from conftest import ROOT, note
from covid_nbdev.scans import read_scan, write_dicom_series, write_nifti
from test_scans import PYDICOM, gdcm_compress

TRIES = int(os.environ.get("COVID_FUZZ", 150))
MM = (10., 6., 6.)
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    "Good files to damage: name -> bytes. All of them small, so that a change often hits something that matters."
    d = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    hu = (rng.integers(-1000, 400, (3, 8, 10)).repeat(4, 1).repeat(3, 2)).astype(np.int16)     # 32 rows, 30 columns
    plain = write_dicom_series(hu, d/"series", MM)
    files = {"plain.dcm": plain[0].read_bytes()}
    for name in ("RLELossless", "JPEGLSLossless", "JPEG2000Lossless"):
        gdcm_compress(plain[0], d/"packed.dcm", name); files[f"{name}.dcm"] = (d/"packed.dcm").read_bytes()
    for name, syntax in (("implicit", pydicom.uid.ImplicitVRLittleEndian), ("deflated", pydicom.uid.DeflatedExplicitVRLittleEndian)):
        ds = pydicom.dcmread(plain[1]); ds.PixelPaddingValue = -3000; ds["PixelPaddingValue"].VR = "SS"
        out = pydicom.Dataset(); out.update(ds); out.file_meta = ds.file_meta; out.file_meta.TransferSyntaxUID = syntax
        out.save_as(d/"other.dcm", enforce_file_format=True); files[f"{name}.dcm"] = (d/"other.dcm").read_bytes()
    files["CT_small.dcm"] = (PYDICOM/"CT_small.dcm").read_bytes()
    files["RAS.nii"] = write_nifti(hu, d/"a.nii", MM).read_bytes()
    files["PIL.nii"] = write_nifti(hu, d/"b.nii", MM, "PIL", np.float32).read_bytes()
    nib.save(nib.Nifti2Image(hu, np.diag([6., 6, 10, 1])), d/"c.nii"); files["two.nii"] = (d/"c.nii").read_bytes()
    files["packed.nii.gz"] = gzip.compress(files["RAS.nii"], mtime=0)
    with zipfile.ZipFile(d/"series.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for f in plain: z.write(f, f.name)
    files["series.zip"] = (d/"series.zip").read_bytes()
    with zipfile.ZipFile(d/"packed.zip", "w") as z:
        for f in plain: gdcm_compress(f, d/f.name, "JPEGLSLossless"); z.write(d/f.name, f.name)
    files["packed.zip"] = (d/"packed.zip").read_bytes()
    for name, data in files.items():
        (d/name).write_bytes(data)
        read_scan(d/name)                      # they are good
    return files


@pytest.fixture(scope="module")
def worker():
    "The process from which each try is forked."
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    p = subprocess.Popen([sys.executable, ROOT/"tests"/"support"/"fuzz_worker.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True, env=env)
    assert p.stdout.readline() == "ready\n"
    def read(path):
        p.stdin.write(f"{path}\n"); p.stdin.flush()
        return json.loads(p.stdout.readline())
    yield read
    p.stdin.close(); p.wait()


# ---- mutations
ODD16 = [0, 1, 2, 7, 8, 31, 127, 128, 255, 256, 32767, 32768, 65535]
ODD32 = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 1 << 20, 1 << 28]
ODD_FLOAT = [0., -1., 1e-30, 1e30, float("nan"), float("inf"), -1e9, 1e-3]
WEIRD = ["", "0", "-1", "1e400", "nan", "abc", "99999999999999999999", "1\\1", "\\\\\\", "1" * 70, "../..", "\x00", "é", "MR", "CT"]
KEYWORDS = """Modality SOPClassUID SeriesInstanceUID SeriesNumber InstanceNumber ImageType NumberOfFrames PhotometricInterpretation
ImageOrientationPatient ImagePositionPatient PixelSpacing SliceThickness RescaleSlope RescaleIntercept PatientPosition SpecificCharacterSet""".split()
NUMBERS = "Rows Columns SamplesPerPixel BitsAllocated BitsStored HighBit PixelRepresentation".split()
FIELDS = """dim datatype bitpix pixdim vox_offset scl_slope scl_inter xyzt_units qform_code sform_code quatern_b quatern_c qoffset_x
srow_x srow_y srow_z magic sizeof_hdr""".split()

where = st.one_of(st.integers(0, 700), st.integers(0, 6000), st.integers(-600, -1))
raw = st.one_of(st.tuples(st.just("byte"), where, st.integers(0, 255)), st.tuples(st.just("16"), where, st.sampled_from(ODD16)),
                st.tuples(st.just("32"), where, st.sampled_from(ODD32)), st.tuples(st.just("float"), where, st.sampled_from(ODD_FLOAT)),
                st.tuples(st.just("cut"), where, st.just(0)), st.tuples(st.just("insert"), where, st.binary(min_size=1, max_size=12)),
                st.tuples(st.just("delete"), where, st.integers(1, 64)), st.tuples(st.just("copy"), where, where))
meaning = st.one_of(st.tuples(st.just("text"), st.sampled_from(KEYWORDS), st.sampled_from(WEIRD)),
                    st.tuples(st.just("number"), st.sampled_from(NUMBERS), st.sampled_from(ODD16)),
                    st.tuples(st.just("field"), st.sampled_from(FIELDS), st.sampled_from([*ODD16, *ODD32, *ODD_FLOAT])))
changes = st.lists(st.one_of(raw, raw, meaning), min_size=1, max_size=5)


def change_bytes(data: bytearray, how, at, what) -> bytearray:
    at = at % max(1, len(data))
    if how == "byte" and data: data[at] = what
    elif how == "16": data[at:at + 2] = struct.pack("<H", what)
    elif how == "32": data[at:at + 4] = struct.pack("<I", what)
    elif how == "float": data[at:at + 4] = struct.pack("<f", what)
    elif how == "cut": data = data[:at]
    elif how == "insert": data[at:at] = what
    elif how == "delete": del data[at:at + what]
    elif how == "copy": data[at:at + 40] = data[what % max(1, len(data)):][:40]
    return data


def change_meaning(name: str, data: bytearray, how, key, value) -> bytearray:
    "Another value where the format says it belongs: damage that still parses."
    if how == "field" and ".nii" in name:
        header = (nib.Nifti2Header if data[:4] == b"\x1c\x02\0\0" else nib.Nifti1Header).template_dtype
        place, base = header.fields[key][1], header.fields[key][0].base
        with np.errstate(all="ignore"): new = np.array(value).astype(base).tobytes() if base.kind in "iuf" else b"n+9\0"
        k = (place + base.itemsize) if key in ("dim", "pixdim") else place     # the first of them is special
        data[k:k + len(new)] = new
    elif how in ("text", "number") and name.endswith(".dcm"):
        tag = pydicom.datadict.tag_for_keyword(key)
        at = data.find(struct.pack("<HH", tag >> 16, tag & 0xffff))
        if at < 0: return data
        explicit = data[at + 4:at + 6].isalpha()
        start, length = (at + 8, struct.unpack_from("<H", data, at + 6)[0]) if explicit else (at + 8, struct.unpack_from("<I", data, at + 4)[0])
        new = struct.pack("<H", value) if how == "number" else value.encode("utf-8")
        new += b" "*(len(new) % 2)
        if length < 4000: data[start:start + length] = new; struct.pack_into("<H" if explicit else "<I", data, at + (6 if explicit else 4), len(new))
    return data


def mutant(name: str, data: bytes, plan, inside: bool) -> bytes:
    "The damaged file. `inside`: damage what is packed, then pack it again, so that the damage gets through."
    packed = inside and name.endswith(".gz")
    data = bytearray(gzip.decompress(data) if packed else data)
    for how, a, b in plan:
        try: data = change_meaning(name, data, how, a, b) if how in ("text", "number", "field") else change_bytes(data, how, a, b)
        except (struct.error, IndexError): pass
    return gzip.compress(bytes(data), 1) if packed else bytes(data)


def test_fuzz(good, worker, tmp_path_factory):
    "Many damaged files (thousands with COVID_FUZZ): each is refused in one line, or read as another reader reads it."
    folder, ends, names, bad = tmp_path_factory.mktemp("mutants"), Counter(), Counter(), []

    @settings(max_examples=TRIES, deadline=None, database=None, derandomize=TRIES <= 300, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(good)), changes, st.booleans())
    def attempt(name, plan, inside):
        path = folder/name
        path.write_bytes(mutant(name, good[name], plan, inside))
        answer = worker(path)
        ends[answer["end"], answer["why"]] += 1
        names[name] += 1
        if answer["end"] not in ("read", "refused", "unchecked"): bad.append(f"{name} {plan} {inside}: {answer['why']}")

    attempt()
    count, tried = Counter(), sum(ends.values())
    for (end, _), n in ends.items(): count[end] += n
    kinds = Counter({why: n for (end, why), n in ends.items() if end == "refused"})
    note(f"fuzz: {tried} damaged files of {len(names)} kinds, {count['read']} read and compared with another reader, "
         f"{count['unchecked']} read where that one fails, {count['refused']} refused with {len(kinds)} kinds of errors: "
         + "; ".join(f"{why} {n}" for why, n in kinds.most_common(12)))
    note("fuzz: " + "; ".join(f"{why} {n}" for (end, why), n in ends.items() if end == "unchecked"))
    assert not bad, f"{len(bad)} files:\n" + "\n".join(bad[:20])
    assert tried >= min(TRIES, 250) and len(kinds) >= 8 and count["refused"] > tried/4 and count["read"] > tried/6
    assert count["unchecked"] <= max(5, tried/100)


FAULTS = """
import json, os, signal, sys
import numpy as np
import fuzz_worker
honest = fuzz_worker.read_scan
def spoiled(change):
    def read(path, progress, headers):
        scan = honest(path, progress=progress, headers=headers)
        scan.hu = np.array(scan.hu)
        change(scan)
        return scan
    return read
def numbers(scan): scan.hu[0, 3, 3] += 1
def mirrored(scan): scan.hu = scan.hu[:, :, ::-1]
def shifted(scan): scan.hu = np.roll(scan.hu, 1, 1)
def swapped(scan): scan.hu[[0, 1]] = scan.hu[[1, 0]]
def reversed_(scan): scan.hu = scan.hu[::-1]
def other_axes(scan):      # there and back: no number differs
    scan.axes, scan.hu = scan.axes.translate(str.maketrans("LR", "RL")), scan.hu[:, :, ::-1]
def moved(scan): scan.affine = scan.affine + np.array([[0, 0, 0, 1]]*3 + [[0]*4])
def volume(scan): scan.slice_mm = scan.slice_mm*1.1
def hang(*args, **more):
    while True: pass
faults = {f.__name__: spoiled(f) for f in (numbers, mirrored, shifted, swapped, reversed_, other_axes, moved, volume)}
faults |= dict(honest=honest, hang=hang, greedy=lambda *args, **more: bytearray(2 << 30),
               dead=lambda *args, **more: os.kill(os.getpid(), signal.SIGKILL))
for path in sys.argv[1:]:
    for name, reader in faults.items():
        fuzz_worker.read_scan, fuzz_worker.SECONDS = reader, 1 if name == "hang" else 10
        if name in ("hang", "greedy", "dead") and path != sys.argv[1]: continue
        print(json.dumps([path.split("/")[-1], name, fuzz_worker.in_child(fuzz_worker.Path(path))]), flush=True)
fuzz_worker.read_scan, fuzz_worker.by_nibabel = honest, lambda *args: 1/0
print(json.dumps(["a.nii", "other", fuzz_worker.in_child(fuzz_worker.Path(sys.argv[1]))]))
"""


def test_faults_are_found(good, tmp_path):
    "A reader that eats memory, hangs, dies, mirrors, shifts, swaps, invents. (Not in this process: torch may have filled it.)"
    names = ["PIL.nii", "packed.zip", "implicit.dcm"]
    for name in names: (tmp_path/name).write_bytes(good[name])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT/'tests'/'support'}", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", FAULTS, *(tmp_path/name for name in names)]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    found = {(path, name): answer for path, name, answer in map(json.loads, said.splitlines())}
    for name in names:
        assert found[name, "honest"]["end"] == "read", found[name, "honest"]
        faults = "numbers mirrored shifted swapped reversed_ other_axes moved" + " volume"*name.endswith("nii")
        for fault in faults.split():
            one = name.endswith(".dcm") and fault in ("swapped", "reversed_")         # nothing to swap
            assert found[name, fault]["end"] == "wrong" or one, (name, fault, found[name, fault])
    assert found["PIL.nii", "hang"] == {"end": "crashed", "why": "took more than 1 s"}
    assert found["PIL.nii", "greedy"]["end"] == "crashed" and "MemoryError" in found["PIL.nii", "greedy"]["why"]
    assert found["PIL.nii", "dead"] == {"end": "crashed", "why": "signal 9"}
    assert found["a.nii", "other"] == {"end": "unchecked", "why": "the other reader fails: ZeroDivisionError"}
