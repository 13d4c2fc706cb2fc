"""What is written from a scan: labels where the scan lies, in NIfTI and in DICOM; volumes by what each slice stands for."""
import gzip, sys

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

from covid_nbdev.outputs import command, make_dicom_seg, write_predictions
from covid_nbdev.scans import read_dicom, read_nifti, read_scan, turn, write_dicom_series, write_nifti, write_nifti_labels
from test_scans import MM, chest, inner, one_line     # noqa: F401 (a fixture)


class Bands:
    "Labels by HU alone: every class is there."
    about = {"encoder": "none", "size": 96, "epoch": 0}
    def __init__(self, *args, **kwargs): pass
    def __call__(self, hu): return np.select([hu < -900, hu < -500, hu < 0], [2, 0, 1], 3).astype(np.uint8)


@pytest.fixture
def predict(cli, tmp_path, monkeypatch):
    "covid_predict with a predictor that needs no training: (status, stdout, stderr), the folder."
    import covid_nbdev.results as results
    monkeypatch.setattr(results, "Predictor", Bands)
    def run(path, *options, out="out"): return cli("covid_predict", "run", path, tmp_path/out, *options), tmp_path/out
    return run


def edited(files, edit):
    "Change each file's header; `edit` takes the dataset and its number from the feet."
    for i, f in enumerate(files):
        ds = pydicom.dcmread(f); ds.PixelData; edit(ds, i); ds.save_as(f)


def in_files(hu): return (Bands()(hu) + 1) % 4      # as labels.nii.gz and labels.dcm have them


def place_by_the_standard(ds, row, column):
    "In mm to the left, the back, the head: PS3.3, C.7.6.2.1.1."
    along_row, along_column = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
    return np.array(ds.ImagePositionPatient, float) + column*ds.PixelSpacing[1]*along_row + row*ds.PixelSpacing[0]*along_column


def check_places(folder, image):
    "Every voxel of a NIfTI lies where its DICOM file puts the pixel that it was made of."
    files, data, to_index = [pydicom.dcmread(f) for f in folder.iterdir()], np.asarray(image.dataobj), np.linalg.inv(image.affine)
    assert image.shape == (files[0].Columns, files[0].Rows, len(files)), "columns, rows, slices: as other readers stack it"
    for ds in files:
        labels = in_files(ds.pixel_array + float(ds.RescaleIntercept))
        for row, column in ((0, 0), (0, ds.Columns - 1), (ds.Rows - 1, 3), (20, 33), (50, 60), (70, 11)):
            index = nib.affines.apply_affine(to_index, place_by_the_standard(ds, row, column)*(-1, -1, 1))
            assert np.abs(index - index.round()).max() < .02, "a voxel's middle"
            assert data[tuple(index.round().astype(int))] == labels[row, column]


# ---- NIfTI
@pytest.mark.parametrize("axes", ["PL", "AR", "LP", "RA", "PR"])
def test_dicom_gets_labels_where_it_lies(axes, chest, tmp_path):      # noqa: F811
    write_dicom_series(chest[:, :80], tmp_path/"d", MM, axes)
    write_predictions(read_dicom(tmp_path/"d"), Bands(), tmp_path)
    image = nib.load(tmp_path/"labels.nii.gz")
    check_places(tmp_path/"d", image)
    assert image.get_data_dtype() == np.uint8 and (image.header["qform_code"], image.header["sform_code"]) == (1, 1)
    assert np.linalg.det(image.affine) > 0, "right-handed, as ITK reads the series"
    assert np.allclose(image.get_qform(), image.affine) and image.header.get_intent()[0] == "label"
    assert image.header["descrip"].item() == b"0 background, 1 ground glass, 2 consolidation, 3 other lung. Not for diagnosis"


def test_a_tilted_gantry_shears(chest, tmp_path):      # noqa: F811
    "The slices lean, their stack does not: each pixel is still where the standard puts it; no quaternion claims otherwise."
    c, s = np.cos(np.radians(12)), np.sin(np.radians(12))
    def lean(ds, i): ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, float(c), float(s)], [0, 0, float(MM[0]*i)]
    edited(write_dicom_series(chest, tmp_path/"d", MM), lean)
    scan = read_dicom(tmp_path/"d")
    write_predictions(scan, Bands(), tmp_path)
    image = nib.load(tmp_path/"labels.nii.gz")
    check_places(tmp_path/"d", image)
    assert (image.header["qform_code"], image.header["sform_code"]) == (0, 1)
    assert np.allclose(scan.ml_per_voxel, abs(np.linalg.det(image.affine))/1000), "the slices' distance, not their step along the table"


def test_volumes_of_uneven_slices(chest, tmp_path, predict):      # noqa: F811
    "Steps of 5 mm, then of 2.5: each slice counts for what lies nearest to it. A NIfTI has one step; that is said."
    at_mm = np.r_[5*np.arange(7), 30 + 2.5*np.arange(1, 6)]
    edited(write_dicom_series(chest, tmp_path/"d", (5, 3, 3)), lambda ds, i: setattr(ds, "ImagePositionPatient", [0, 0, float(at_mm[i])]))
    (status, text, err), out = predict(tmp_path/"d")
    slice_mm = np.array([5]*6 + [3.75] + [2.5]*5)
    table, counts = pd.read_csv(out/"extent.csv"), (in_files(chest) > 0).sum((1, 2))
    assert status == 0 and np.allclose(table["lung_ml"], [*(counts*slice_mm*.009), (counts*slice_mm).sum()*.009], atol=1e-3)
    assert "unevenly" in text and "unevenly" in (out/"summary.html").read_text()
    image = nib.load(out/"labels.nii.gz")
    for k in (0, 11): assert np.allclose(image.affine@(0, 0, k, 1), (0, 0, at_mm[k], 1), atol=1e-3), "its ends lie where they should"


def test_a_sheared_nifti_has_the_volume_of_its_voxels(chest, tmp_path):      # noqa: F811
    image = nib.load(write_nifti(chest, tmp_path/"a.nii", MM))
    affine = image.affine.copy(); affine[1, 2] = 3
    nib.save(nib.Nifti1Image(image.dataobj, affine), tmp_path/"b.nii")
    scan = read_nifti(tmp_path/"b.nii")
    assert np.allclose(scan.ml_per_voxel, np.prod(MM)/1000) and scan.spacing_mm[0] > MM[0] and len(scan.slice_mm) == 12


def test_slices_alone_have_no_place(chest, tmp_path, predict):      # noqa: F811
    np.save(tmp_path/"a.npy", chest)
    (status, text, err), out = predict(tmp_path/"a.npy")
    assert status == 0 and [f.name for f in out.glob("labels.*")] == ["labels.npy"]
    assert "labels.nii" not in (out/"summary.html").read_text()
    one_line(lambda: write_nifti_labels(tmp_path/"a.nii.gz", read_scan(tmp_path/"a.npy"), chest), "without a place")
    (status, text, err), out = predict(tmp_path/"a.npy", "--dicom_seg", out="second")
    assert status == 2 and "a.npy" in err and "expected DICOM" in err and not out.exists()


def test_the_numbers_are_said(chest, tmp_path, predict, cli):      # noqa: F811
    words = "0 background, 1 ground glass, 2 consolidation, 3 other lung"
    for path in (write_nifti(chest, tmp_path/"a.nii.gz", MM), write_dicom_series(chest, tmp_path/"d", MM)[0].parent):
        _, out = predict(path, out=f"out_{path.name}")
        assert words in (out/"summary.html").read_text() and words.encode() in gzip.decompress((out/"labels.nii.gz").read_bytes())
        found, labels = nib.load(out/"labels.nii.gz"), np.load(out/"labels.npy")
        assert np.array_equal(np.bincount(np.ravel(found.dataobj), minlength=4)[[1, 2, 3]], np.bincount(labels.ravel())[:3])
    status, text, _ = cli("covid_predict", "--help")
    assert status == 0 and words in " ".join(text.split())


# ---- NIfTI as it comes
@pytest.mark.parametrize("first", [0, 1, -1, 3])
def test_a_qform_alone(first, chest, tmp_path):      # noqa: F811
    "pixdim[0] tells a mirrored quaternion; where it is neither -1 nor 1, the standard takes 1."
    image = nib.load(write_nifti(chest, tmp_path/"a.nii", MM, "LPS" if first < 0 else "RAS"))
    affine = image.affine if first >= 0 else image.affine@np.diag([1, 1, -1, 1])      # left-handed
    image.set_qform(affine, 1); image.set_sform(None, 0); nib.save(image, tmp_path/"b.nii")
    data = bytearray((tmp_path/"b.nii").read_bytes())
    data[76:80] = np.float32(first).tobytes(); (tmp_path/"b.nii").write_bytes(data)
    scan = read_nifti(tmp_path/"b.nii")
    assert np.array_equal(inner(scan), chest if first >= 0 else chest[::-1])
    write_nifti_labels(tmp_path/"c.nii.gz", scan, Bands()(scan.hu))
    assert np.allclose(nib.load(tmp_path/"c.nii.gz").affine, affine, atol=1e-3)
    assert np.array_equal(turn(np.asarray(nib.load(tmp_path/"c.nii.gz").dataobj), scan.axes), in_files(inner(scan)))


def test_formats_that_are_not_read(chest, tmp_path):      # noqa: F811
    for name in ("a.mhd", "a.mha", "a.nrrd", "a.hdr", "a.img", "a.IMG.GZ"):
        (tmp_path/name).write_bytes(b"ObjectType = Image\n"*40)
        one_line(lambda: read_scan(tmp_path/name), name, "convert ", ".nii.gz")
    dicom = write_dicom_series(chest[:1], tmp_path/"d", MM)[0]
    dicom.rename(tmp_path/"b.img")
    assert np.array_equal(inner(read_scan(tmp_path/"b.img")), chest[:1]), "a DICOM file of that name is read"
    one_line(lambda: read_scan(tmp_path/"c.img"), "no file or folder c.img")


def test_advice_on_nan(chest, tmp_path):      # noqa: F811
    hu = chest.astype(np.float32); hu[:, :9] = np.nan
    one_line(lambda: read_nifti(write_nifti(hu, tmp_path/"a.nii", MM, dtype=np.float32)), "NaN", "slab 0", "-1000")
    np.save(tmp_path/"a.npy", hu)
    one_line(lambda: read_scan(tmp_path/"a.npy"), "NaN", "slice 0", "leave out those slices")


# ---- DICOM segmentations
def test_segmentation_read_back(chest, tmp_path, predict):      # noqa: F811
    "By another library, by the UID of each source slice: the same pixels; coded; the place of each frame; the patient's name."
    import highdicom as hd
    names = {"PatientName": "Rivera^Ana", "PatientSex": "W", "SpecificCharacterSet": "ISO_IR 100"}
    files = write_dicom_series(chest, tmp_path/"d", MM, "AR", names)
    (status, text, err), out = predict(tmp_path/"d", "--dicom_seg")
    assert status == 0, err
    seg = hd.seg.segread(out/"labels.dcm")
    kinds = [(s.SegmentNumber, s.segmented_property_type.value, s.segmented_property_type.scheme_designator) for s in seg.SegmentSequence]
    assert kinds == [(1, "112120", "DCM"), (2, "95436008", "SCT"), (3, "39607008", "SCT")]
    assert seg.PatientName == "Rivera^Ana" and seg.PatientSex == "" and "Not for diagnosis" in seg.ContentDescription
    sources = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, files)}
    found = seg.get_pixels_by_source_instance(list(sources), combine_segments=True)
    assert np.array_equal(found, [in_files(ds.pixel_array + float(ds.RescaleIntercept)) for ds in sources.values()])
    assert seg.FrameOfReferenceUID == sources[next(iter(sources))].FrameOfReferenceUID
    volume = seg.get_volume(combine_segments=True)
    image = nib.load(out/"labels.nii.gz")
    for index in ((0, 0, 0), (1, 5, 40)):      # highdicom's own geometry, in mm to the left, the back, the head
        ours = nib.affines.apply_affine(np.linalg.inv(image.affine), (volume.affine@(*index, 1))[:3]*(-1, -1, 1))
        assert np.allclose(ours, ours.round(), atol=.01) and volume.array[index] == image.dataobj[tuple(ours.round().astype(int))]


def test_segmentation_of_little(chest, tmp_path):      # noqa: F811
    "One class, or nothing at all: all three segments are declared. Uneven slices keep their places."
    edited(write_dicom_series(chest[:4], tmp_path/"d", MM), lambda ds, i: setattr(ds, "ImagePositionPatient", [0, 0, float(i*i)]))
    scan = read_dicom(tmp_path/"d", headers=True)
    for labels in (np.full(scan.hu.shape, 3, np.uint8), np.where(np.arange(96) == 40, 1, 3).astype(np.uint8)*np.ones((4, 96, 1), np.uint8)):
        seg = make_dicom_seg(scan, labels)
        seg.save_as(tmp_path/"a.dcm")
        back = pydicom.dcmread(tmp_path/"a.dcm")
        assert len(back.SegmentSequence) == 3 and back.pixel_array.sum() == (labels < 3)[:, *scan.inside].sum()
    assert sorted(f.PlanePositionSequence[0].ImagePositionPatient[2] for f in back.PerFrameFunctionalGroupsSequence) == [0, 1, 4, 9]


def test_segmentation_refusals(chest, tmp_path, predict, monkeypatch):      # noqa: F811
    files = write_dicom_series(chest, tmp_path/"d", MM)
    (status, _, err), out = predict(write_nifti(chest, tmp_path/"a.nii", MM), "--dicom_seg")
    assert status == 2 and "a.nii without DICOM headers" in err and not out.exists()
    one_line(lambda: make_dicom_seg(read_dicom(tmp_path/"d"), chest), "without headers", "headers=True")
    for keyword in ("FrameOfReferenceUID", "StudyInstanceUID"):
        edited(files, lambda ds, i: ds.pop(keyword))
        (status, _, err), out = predict(tmp_path/"d", "--dicom_seg")
        assert status == 2 and err.count("\n") == 1 and keyword in err and "labels.nii.gz" in err and not out.exists(), err
    monkeypatch.setitem(sys.modules, "highdicom", None)
    (status, _, err), out = predict(tmp_path/"d", "--dicom_seg")
    assert status == 2 and err.count("\n") == 1 and "pip install 'covid_nbdev[seg]'" in err and not out.exists()


def test_headers_only_if_asked_for(chest, tmp_path):      # noqa: F811
    write_dicom_series(chest[:2], tmp_path/"d", MM, header={"PatientName": "Rivera^Ana"})
    assert "Rivera" not in repr(vars(read_dicom(tmp_path/"d"))) and "Rivera" in repr(read_dicom(tmp_path/"d", headers=True).headers)


# ---- the command
def test_list_of_series(chest, tmp_path, predict):      # noqa: F811
    "All of them, each with what one chooses by; nothing is written."
    for k in range(9):
        header = {"SeriesNumber": 3*k + 2, "SeriesDescription": f"recon {k}", "ConvolutionKernel": f"B{k}0f", "SliceThickness": k + .5}
        write_dicom_series(chest[:12 - k], tmp_path/"d"/str(k), MM, header=header)
    (status, text, err), out = predict(tmp_path/"d", "--series")
    lines = text.splitlines()
    assert status == 0 and not out.exists() and len(lines) == 10, text + err
    for k, line in enumerate(lines[:9]):
        words = f"{k + 1}: {12 - k} axial slices", f"B{k}0f", f"recon {k}", f"{k + .5:g} mm", f"SeriesNumber {3*k + 2}"
        assert all(w in line for w in words), line
    (status, text, err), out = predict(tmp_path/"d", "--series", 5)
    assert status == 0 and len(np.load(out/"labels.npy")) == 8 and "B40f" in text and "4.5 mm" in text
    assert "B40f" in (page := (out/"summary.html").read_text()) and "4.5 mm" in page and "recon" not in page


def test_kernel_and_thickness_of_the_only_series(chest, tmp_path, predict):      # noqa: F811
    write_dicom_series(chest, tmp_path/"d", MM, header={"ConvolutionKernel": ["Br49d", "3"], "SliceThickness": 12})
    (status, text, err), out = predict(tmp_path/"d")
    assert status == 0 and "Br49d" in text and "12 mm" in text and "Br49d" in (out/"summary.html").read_text()


@pytest.mark.parametrize("error", [MemoryError(), np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(int)),
                                   RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")], ids=str)
def test_too_little_memory_is_one_line(error, monkeypatch, capsys):
    @command("work")
    def work(): raise error
    monkeypatch.setattr(sys, "argv", ["work"])
    assert work() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "too little memory" in said and "expected" in said


def test_a_broken_program_is_no_lack_of_memory(monkeypatch):
    @command("work")
    def work(): raise RuntimeError("a bug")
    monkeypatch.setattr(sys, "argv", ["work"])
    with pytest.raises(RuntimeError, match="a bug"): work()
