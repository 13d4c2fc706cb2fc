"""DICOM as people have it: passes, phases and reconstructions told apart, slices as they lie, and a reason for what is left out."""
import os, shutil, subprocess, sys, zipfile
from collections import Counter

import numpy as np
import pydicom
import pytest

from conftest import ROOT, real_data
from covid_nbdev import dicom
from covid_nbdev.core import BadInput, check_zip
from covid_nbdev.dicom import list_series, read_stack
from covid_nbdev.phantom import make_volume
from covid_nbdev.scans import read_dicom, read_scan, write_dicom_series, write_nifti
from test_scans import gdcm_compress, inner, one_line

MM = (5., 6., 6.)
CT = dict(StudyInstanceUID="1.2.3", FrameOfReferenceUID="1.2.4", SeriesInstanceUID="1.2.3.4")


@pytest.fixture(scope="module")
def hu(): return make_volume(400_003, n_slices=16, size=64)[0][::-1].copy()


def write(hu, folder, edit=None, **header):
    "A series whose files are changed one by one; a header of None is removed."
    files, removed = write_dicom_series(hu, folder, MM, header={k: v for k, v in header.items() if v is not None}), [k for k in header if header[k] is None]
    for i, f in enumerate(files) if edit or removed else ():
        ds = pydicom.dcmread(f); ds.PixelData
        for k in removed: delattr(ds, k)
        if edit: edit(ds, i)
        ds.save_as(f)
    return folder


def at(*places):
    def edit(ds, i): ds.ImagePositionPatient = [0, 0, places[i]]
    return edit


def ml(stack): return float(((stack.hu < -500).sum((1, 2))*stack.slice_mm).sum()*36/1000)


FIVE = np.arange(16)*5.


# ---- slices as they lie
@pytest.mark.parametrize("places, share", [
    (FIVE, [5]*16), ([*FIVE[:9], *45 + np.arange(7)*2.5], [5]*9 + [3.75] + [2.5]*6),
    (np.cumsum([0, *[5, 7]*7, 5]), [5] + [6]*14 + [5]), (np.delete(FIVE, 4), [5]*3 + [7.5]*2 + [5]*10),
    (FIVE/2, [2.5]*16), ((np.arange(16)*.65).round(1), None)])
def test_each_slice_counts_for_its_own_share(places, share, hu, tmp_path):
    stack = read_stack(write(hu[:len(places)], tmp_path/"d", at(*places)))
    if share is not None: assert np.allclose(stack.slice_mm, share) and stack.slice_mm.dtype == np.float64
    assert np.isclose(stack.slice_mm.sum(), places[-1] - places[0] + (places[1] - places[0])/2 + (places[-1] - places[-2])/2)
    assert stack.even == (np.ptp(np.diff(places)) < .2) and np.allclose(stack.affine @ (len(places) - 1, 2, 3, 1), (18, 12, places[-1], 1))
    changing = " ".join(stack.notes)
    assert stack.even or "each counts half the way" in changing or "a gap of 10.0 mm after slice 3" in changing


def test_affine_of_other_orientations(hu, tmp_path):
    "Tilted by 12°, lying on the side, feet first: a voxel's place by the standard's formula."
    c, s = np.cos(np.radians(12)), np.sin(np.radians(12))
    for k, (orientation, step) in enumerate([([1, 0, 0, 0, c, -s], (0, 0, 5)), ([0, 1, 0, -1, 0, 0], (0, 0, 5)), ([1, 0, 0, 0, 1, 0], (0, 0, -5))]):
        def edit(ds, i): ds.ImageOrientationPatient, ds.ImagePositionPatient = list(orientation), [*np.round(np.array(step)*i + (7, 8, 9), 4)]
        stack = read_stack(write(hu, tmp_path/str(k), edit), headers=True)
        assert stack.even and [len(stack.headers), stack.notes] == [16, []]
        for n, ds in enumerate(stack.headers):
            r, q = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
            place = np.array(ds.ImagePositionPatient, float) + 4*6*q + 9*6*r
            assert np.allclose(stack.affine @ (n, 4, 9, 1), (*place, 1), atol=.01) and "PixelData" not in ds
    assert np.array_equal(stack.hu, hu[::-1])


def test_headers_of_a_zip(hu, tmp_path):
    write(hu, tmp_path/"d", PatientName="Secret^Name")
    with zipfile.ZipFile(tmp_path/"d.zip", "w") as z:
        for f in (tmp_path/"d").iterdir(): z.write(f, f.name)
    stack = read_stack(tmp_path/"d.zip", headers=True)
    assert [ds.InstanceNumber for ds in stack.headers] == list(range(16, 0, -1)) and stack.headers[0].PatientName == "Secret^Name"
    assert read_stack(tmp_path/"d.zip").headers is None


# ---- one UID is not one volume
def two(folder, hu, other, places, first={}, second={}):
    write(hu, folder/"a", **CT | first)
    write(other, folder/"b", at(*places), **CT | second)
    return folder


MARKS = [({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}), ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}),
         ({"AcquisitionTime": "101500"}, {"AcquisitionTime": "101530.5"}), ({}, {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}),
         ({"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}), ({}, {"ContrastBolusAgent": "Iodine"}), ({}, {"SeriesDescription": "expiration"}),
         ({}, {"NominalPercentageOfCardiacPhase": 70}), ({"KVP": 80}, {"KVP": 140}), ({}, {"FrameOfReferenceUID": "1.9"}), ({}, {"SeriesNumber": 2})]


@pytest.mark.parametrize("first, second, shift", [(*MARKS[0], 0), (*MARKS[0], .1), (*MARKS[0], 2.5), *((*m, 1.7) for m in MARKS), (*MARKS[4], 0)])
def test_two_passes(first, second, shift, hu, tmp_path):
    "Over the same part of the body, whatever tells them apart, and at whatever distance they lie."
    hu = hu[:8]; lower = (hu + 100).clip(-1000, 2000)
    stack = read_stack(two(tmp_path, hu, lower, FIVE[:len(hu)] + shift, first, second))
    assert np.array_equal(stack.hu, hu) and np.allclose(stack.slice_mm, 5) and not stack.skipped
    assert len(stack.series) == 2 and "2 series, number 1 taken, the first of the 2 with the most axial slices" in stack.notes[0]
    assert np.array_equal(read_stack(tmp_path, series=2).hu, lower)
    if "AcquisitionNumber" in first: assert stack.series[1].acquisition == "AcquisitionNumber 2" and "AcquisitionNumber 2" in stack.notes[0]


@pytest.mark.parametrize("how", ["one after the other", "in turns", "twice the same", "by time"])
@pytest.mark.parametrize("shift", [0, 1.7])
def test_two_passes_by_their_numbers_alone(how, shift, hu, tmp_path):
    lower = (hu + 100).clip(-1000, 2000)
    for k, (name, pixels) in enumerate((("a", hu), ("b", lower))):
        def edit(ds, i):
            ds.ImagePositionPatient = [0, 0, 5*i + k*shift]
            ds.InstanceNumber = {"one after the other": 1 + i + 16*k, "in turns": 1 + 2*i + k, "twice the same": 1 + i, "by time": None}[how]
            ds.SOPInstanceUID = f"1.2.{k}.{i}"
            if how == "by time": ds.AcquisitionTime = f"1015{i + 20*k:02}"
        write(pixels, tmp_path/name, edit, **CT)
    for f in tmp_path.rglob("*.dcm"): f.rename(tmp_path/f"{Counter(f.name).total()}{abs(hash(str(f)))}")      # names and folders say nothing
    if (shift > 0) == (how != "in turns") or how in ("one after the other", "by time"):
        stack = read_stack(tmp_path)
        assert np.array_equal(stack.hu, hu) and len(stack.series) == 2 and np.array_equal(read_stack(tmp_path, 2).hu, lower)
    elif shift: assert any("slices 1.7 to 3.3 mm apart" in n for n in read_stack(tmp_path).notes), "could be one series as well"
    else: one_line(lambda: read_stack(tmp_path), "different pictures at the same place", "32 slices at 16 places", "one reconstruction")


def test_reconstructions_without_numbers(hu, tmp_path):
    "Emptied by an anonymizer: never mixed slice by slice, and never decided by file names."
    def anon(ds, i): ds.SeriesInstanceUID, ds.SeriesNumber = "", None
    for uids in ({}, dict(StudyInstanceUID="", FrameOfReferenceUID="")):
        write(hu, tmp_path/"d"/"soft", anon, **uids); write((hu + 200).clip(-1000, 3000), tmp_path/"d"/"sharp", anon, **uids)
        rng = np.random.default_rng(0)
        for f in list((tmp_path/"d").rglob("*.dcm")): f.rename(tmp_path/"d"/f"IM{rng.integers(1 << 40)}")
        if uids: one_line(lambda: read_stack(tmp_path/"d"), "different pictures at the same place")
        else: assert any(np.array_equal(read_stack(tmp_path/"d").hu, pixels) for pixels in (hu, (hu + 200).clip(-1000, 3000)))
        shutil.rmtree(tmp_path/"d")


def test_passes_that_overlap(hu, tmp_path):
    "Two breath-holds from the top to the bottom: each place once, the volume that of the 16 slices."
    write(hu[:10], tmp_path/"d"/"a", **CT, AcquisitionNumber=1)
    write(hu[7:], tmp_path/"d"/"b", at(*37.3 + 5*np.arange(9)), **CT, AcquisitionNumber=2)
    stack, whole = read_stack(tmp_path/"d"), read_stack(write(hu, tmp_path/"whole"))
    assert np.array_equal(stack.hu, hu) and np.isclose(ml(stack), ml(whole)) and not stack.even
    assert any("2 passes overlap: 3 slices of later ones" in n for n in stack.notes) and len(stack.skipped) == 3


def test_what_is_one_series_stays_one(hu, tmp_path):
    "Numbers and times that change within a good series, and pieces that fill each other's holes."
    def rotations(ds, i): ds.AcquisitionNumber, ds.AcquisitionTime, ds.InstanceNumber = 1 + i//4, f"1015{i//4:02}", 16 - i
    def each(ds, i): ds.AcquisitionNumber, ds.AcquisitionTime, ds.FrameOfReferenceUID, ds.StudyInstanceUID = i, f"1015{i:02}", f"1.{i}", f"2.{i}"
    def turns(ds, i): ds.AcquisitionNumber = 1 + i % 2
    def strays(ds, i): ds.ImageType = ["DERIVED" if i in (4, 9, 10) else "ORIGINAL", "PRIMARY", "AXIAL"]
    def halves(ds, i): ds.AcquisitionNumber, ds.ContrastBolusAgent = (1, "") if i < 8 else (2, "Iodine")
    def chance(ds, i): ds.InstanceNumber = [3, 9, 1, 12, 5, 16, 8, 2, 14, 6, 11, 4, 15, 7, 10, 13][i]
    def noise(ds, i): ds.ImageOrientationPatient = [1, 0, (-1)**i*.0005, 0, 1, 0]
    for edit in (rotations, each, turns, strays, halves, chance, noise):
        stack = read_stack(write(hu, tmp_path/edit.__name__, edit, **CT))
        assert np.array_equal(stack.hu, hu) and len(stack.series) == 1 and not stack.skipped and np.allclose(stack.slice_mm, 5), edit.__name__


# ---- one UID for each slice, one place for all
def test_a_series_uid_for_each_slice(hu, tmp_path):
    def own(ds, i): ds.SeriesInstanceUID = f"1.2.3.{i}"
    def apart(ds, i): own(ds, i); ds.StudyInstanceUID, ds.FrameOfReferenceUID = f"1.3.{i}", f"1.4.{i}"
    stack = read_stack(write(hu, tmp_path/"own", own, **CT))
    assert np.array_equal(stack.hu, hu) and "a SeriesInstanceUID for each slice" in stack.series[0].acquisition and "fit one series" in stack.notes[0]
    frame = read_stack(write(hu, tmp_path/"frame", lambda ds, i: (apart(ds, i), setattr(ds, "FrameOfReferenceUID", "1.4")), **CT))
    assert np.array_equal(frame.hu, hu)
    write(hu, tmp_path/"apart", apart, **CT)
    with pytest.raises(BadInput, match="16 series of one slice each in apart, of different studies"): read_stack(tmp_path/"apart")
    assert len(read_stack(tmp_path/"apart", series=3).hu) == 1


def test_one_place_for_all(hu, tmp_path):
    for own in (False, True):
        def edit(ds, i):
            ds.ImagePositionPatient = [0, 0, 0]
            if own: ds.SeriesInstanceUID = f"1.2.{i}"
        one_line(lambda: read_stack(write(hu, tmp_path/"d", edit, **CT)), "different pictures at the same place", "16 slices at 1 places")


def test_copies(hu, tmp_path):
    "The same series twice is one, also where a program gave the copies new numbers."
    write(hu, tmp_path/"d"/"a", **CT); shutil.copytree(tmp_path/"d"/"a", tmp_path/"d"/"b")
    write(hu[:5], tmp_path/"d"/"c", lambda ds, i: setattr(ds, "SOPInstanceUID", f"1.9.{i}"), **CT)
    stack = read_stack(tmp_path/"d")
    assert np.array_equal(stack.hu, hu) and len(stack.skipped) == 21 and all("duplicate" in why for why in stack.skipped.values())


# ---- a choice with information
def test_nine_series(hu, tmp_path):
    for k in range(9):
        write(hu[:8 + k % 2], tmp_path/"d"/str(k), SeriesNumber=10 + k, SeriesDescription=f"Thorax {k}", ConvolutionKernel=[f"B{k}0f", "2"],
              SliceThickness=1 + k/4)
    found = list_series(tmp_path/"d")
    assert [s.number for s in found] == list(range(1, 10)) and sorted(s.series_number for s in found) == list(range(10, 19))
    assert str(found[1]) == '2: 9 axial slices of 64×64, 1.75 mm thick, kernel B30f/2, SeriesNumber 13, "Thorax 3"'
    stack = read_stack(tmp_path/"d", series=3)
    assert stack.series == found and all(str(s) in stack.notes[0] for s in found) and "number 3 taken, as asked" in stack.notes[0]
    assert "kernel B50f/2, slices 2.25 mm thick" in stack.notes
    with pytest.raises(BadInput) as e: read_stack(tmp_path/"d", series=10)
    assert all(str(s) in str(e.value) for s in found) and "\n" not in str(e.value)


def test_what_is_chosen(hu, tmp_path):
    "Pictures at one place, as of a contrast bolus, are no chest, and a projection is no slice."
    write(hu[:6], tmp_path/"chest", SeriesNumber=3)
    write(hu[:12], tmp_path/"bolus", at(*[0.]*12), SeriesNumber=1)
    write(hu, tmp_path/"mip", SeriesNumber=2, ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"])
    assert len(read_stack(tmp_path).hu) == 6


# ---- files that are no Part 10, and what is no scan
def rewrite(f, implicit: bool, bare: bool, syntax: bool):
    ds = pydicom.dcmread(f); ds.PixelData
    out = pydicom.Dataset(); out.update(ds); buffer = f.with_suffix(".tmp")
    if syntax or not bare:
        out.file_meta = ds.file_meta
        out.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        out.save_as(buffer, enforce_file_format=True)
        data = buffer.read_bytes()
        if not syntax:
            meta = pydicom.filereader.read_file_meta_info(buffer)
            del meta.TransferSyntaxUID
            body = data[data.index(b"\x08\x00\x08\x00", 132):]
            with open(buffer, "wb") as g:
                g.write(bytes(128) + b"DICM")
                pydicom.filewriter.write_file_meta_info(g, meta, enforce_standard=False)
                g.write(body)
            data = buffer.read_bytes()
    else:
        pydicom.dcmwrite(buffer, out, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        data = buffer.read_bytes()
    buffer.unlink()
    f.write_bytes(data[132:] if bare and data[128:132] == b"DICM" else data)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("bare, syntax", [(True, True), (True, False), (False, False)])
def test_no_part_10(implicit, bare, syntax, hu, tmp_path):
    for f in write_dicom_series(hu[:4], tmp_path/"d", MM): rewrite(f, implicit, bare, syntax)
    assert (f.read_bytes()[128:132] == b"DICM") != bare
    stack = read_stack(tmp_path/"d", headers=True)
    assert np.array_equal(stack.hu, hu[:4]) and not stack.skipped and len(stack.headers) == 4


def test_cut_short(hu, tmp_path):
    "Wherever a file ends, it is called cut short: no other reason."
    good = write_dicom_series(hu[:1], tmp_path/"d", MM)[0]
    gdcm_compress(good, tmp_path/"packed.dcm", "JPEGLSLossless")
    for f in (good, tmp_path/"packed.dcm"):
        data = f.read_bytes()
        for end in (*range(400, len(data) - 1, len(data)//40), len(data) - 100):
            (tmp_path/"cut.dcm").write_bytes(data[:end])
            one_line(lambda: read_stack(tmp_path/"cut.dcm"), "cut short")


@pytest.mark.parametrize("header, word", [
    (dict(SeriesDescription="SCREEN SAVES", ImageType=["DERIVED", "SECONDARY"]), "secondary capture"), (dict(SeriesDescription="Dose Report"), "dose sheet"),
    (dict(SecondaryCaptureDeviceManufacturer="Vital Images"), "secondary capture"), (dict(DateOfSecondaryCapture="20200417"), "secondary capture"),
    (dict(BurnedInAnnotation="YES"), "text is in its picture"), (dict(ImageType=["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]), "dose sheet"),
    (dict(RescaleType="MGML"), "values in MGML"), (dict(PhotometricInterpretation="RGB"), "color")], ids=str)
def test_text_in_the_picture(header, word, hu, tmp_path):
    "Left out and named; the series beside it is read."
    write_dicom_series(hu[:1], tmp_path/"d"/"shot", MM, header=header)
    one_line(lambda: read_stack(tmp_path/"d"), word)
    write(hu, tmp_path/"d"/"ct")
    stack = read_stack(tmp_path/"d")
    assert np.array_equal(stack.hu, hu) and len(stack.series) == 1 and word in stack.skipped["shot/slice_0001.dcm"]


def test_a_segmentation_is_judged_by_its_beginning(hu, tmp_path, monkeypatch):
    "Nothing behind Modality is looked at: 3000 frames take as long as one."
    f = write_dicom_series(hu[:1], tmp_path/"d", MM, header={"Modality": "SEG"})[0]
    f.write_bytes(f.read_bytes()[:-1000] + b"\xff"*1000)
    ds = pydicom.dcmread(f); ds.PixelData
    ds.PerFrameFunctionalGroupsSequence = [pydicom.Dataset()]*3000
    ds.save_as(f)
    seen, read = [], dicom.read_partial
    def watched(file, stop, **more):
        got = read(file, stop, **more); seen.append(file.tell()); return got
    monkeypatch.setattr(dicom, "read_partial", watched)
    one_line(lambda: read_stack(tmp_path/"d"), "modality SEG")
    assert len(seen) == 1 and seen[0] < 2000 < f.stat().st_size


@pytest.mark.parametrize("names, words", [
    (["a.mhd", "a.raw"], ["MetaImage", "convert it to .nii.gz"]), (["a.hdr", "a.img"], ["two files", "convert the pair"]), (["a.nrrd"], ["NRRD", "convert"]),
    (["a.nii.gz"], ["NIfTI, not DICOM (a.nii.gz)", "give the .nii or .nii.gz itself"]), (["a.zip"], ["an archive", "unpack it"]),
    (["a.jpg", "b.jpg"], ["without Hounsfield units", "and 1 more", "export the series in DICOM"])], ids=lambda v: v[0])
def test_other_formats_are_named(names, words, tmp_path):
    (tmp_path/"d").mkdir()
    for name in names: (tmp_path/"d"/name).write_bytes(b"ObjectType = Image\n"*20)
    one_line(lambda: read_dicom(tmp_path/"d"), *words)
    if ".nii" not in names[0] and ".zip" not in names[0]: one_line(lambda: read_scan(tmp_path/"d"/names[0]), *words[:1])
    with zipfile.ZipFile(tmp_path/"d.zip", "w") as z: z.write(tmp_path/"d"/names[0], names[0])
    one_line(lambda: read_dicom(tmp_path/"d.zip"), words[0].replace("a.jpg", "a"))


def test_dicomdir(hu, tmp_path):
    write(hu, tmp_path/"disc"/"DICOM")
    index = pydicom.dcmread(next((tmp_path/"disc"/"DICOM").iterdir()))
    index.file_meta.MediaStorageSOPClassUID = index.SOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    index.save_as(tmp_path/"disc"/"DICOMDIR")
    stack = read_stack(tmp_path/"disc"/"DICOMDIR")
    assert np.array_equal(stack.hu, hu) and "DICOMDIR" in stack.notes[0]
    assert "table of contents" in stack.skipped["DICOMDIR"] and np.array_equal(read_stack(tmp_path/"disc").hu, hu)


# ---- links, many files, names in archives
@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links(hu, tmp_path):
    write(hu, tmp_path/"t"); d = tmp_path/"d"; d.mkdir()
    (d/"CT").symlink_to("../t"); (d/"again").symlink_to("../t"); (d/"loop").symlink_to("."); (d/"up").symlink_to(".."); (d/"gone.dcm").symlink_to("nowhere")
    stack = read_stack(d)
    assert np.array_equal(stack.hu, hu) and set(stack.skipped) == {"again", "loop", "up", "gone.dcm"}
    assert all("link" in why for why in stack.skipped.values()), stack.skipped
    (tmp_path/"e").symlink_to(d); one = tmp_path/"f"; one.mkdir(); (one/"a.dcm").symlink_to(next((tmp_path/"t").iterdir()))
    assert np.array_equal(read_stack(tmp_path/"e").hu, hu) and len(read_stack(one).hu) == 1


def test_all_files_are_looked_at(hu, tmp_path, monkeypatch):
    monkeypatch.setattr(dicom, "MOST_FILES", 20, raising=False)        # it was 20,000, and silent
    write(hu[:3], tmp_path/"d"/"z")
    for k in range(30): (tmp_path/"d"/f"{k}").touch()
    stack = read_stack(tmp_path/"d")
    assert np.array_equal(stack.hu, hu[:3]) and len(stack.skipped) == 30


def test_names_in_archives(hu, tmp_path):
    files = sorted(write(hu[:3], tmp_path/"d").iterdir())
    with zipfile.ZipFile(tmp_path/"a.zip", "w") as z:
        for f, name in zip(files, ("CT\\10:15:30\\1.dcm", "./CT/2.dcm", "CT//Icon\r")): z.write(f, name)
    assert np.array_equal(read_stack(tmp_path/"a.zip").hu, hu[:3])
    for name in ("..\\a", "a/../../b", "/a", "\\a", "C:\\a", "c:a"):
        with zipfile.ZipFile(tmp_path/"b.zip", "w") as z: z.writestr(name, b"")
        with zipfile.ZipFile(tmp_path/"b.zip") as z, pytest.raises(BadInput, match="leads elsewhere"): check_zip(z)


# ---- pixels
def test_limits_are_named():
    for shape, limit in (((2100, 1024, 1024), "at most 1,073,741,824, not 2,202,009,600"), ((5000, 64, 64), "axes of 1 to 4096"),
                         ((4096, 4096, 2), "8.4 million pixels a slice")):
        with pytest.raises(BadInput, match=limit): dicom.check_size(shape, "a")


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on memory is set on Linux alone")
def test_a_limit_on_memory_not_on_addresses(hu, tmp_path):
    "A library that reserves 3 GB of addresses at its start, as OpenBLAS does on a machine of 64 cores, hinders no decoder."
    for f in write_dicom_series(hu[:2], tmp_path/"d", MM): gdcm_compress(f, tmp_path/"d"/"p.dcm", "JPEGLSLossless"); os.replace(tmp_path/"d"/"p.dcm", f)
    (tmp_path/"sitecustomize.py").write_text("import mmap; held = mmap.mmap(-1, 3 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)")
    code = f"from covid_nbdev.dicom import read_stack; print(read_stack({str(tmp_path/'d')!r}).hu.sum())"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}, capture_output=True, text=True)
    assert done.stdout.split() == [str(hu[:2].sum())], done.stderr


def test_the_real_series():
    folder = real_data()
    if folder is None: pytest.skip("real CT not found: set COVID_REAL_DATA")
    stack = read_stack(folder/"chest_dicom.zip", headers=True)
    assert stack.even and np.allclose(stack.slice_mm, 12) and len(stack.headers) == 25 and all(s.kernel and s.thickness_mm for s in stack.series[:1])
    back = np.linalg.inv(stack.affine) @ (*map(float, stack.headers[20].ImagePositionPatient), 1)
    assert np.allclose(back, (20, 0, 0, 1), atol=.01) and any("kernel" in n and "mm thick" in n for n in stack.notes)
