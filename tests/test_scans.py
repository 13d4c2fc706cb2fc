"""Scans from outside: phantom → DICOM and NIfTI → the same HU → predicted → the mask back in its place; refusals in one line."""
import gzip, os, re, stat, subprocess, sys, time, zipfile
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

from conftest import ROOT, note, real_data
from covid_nbdev import dicom, pixels
from covid_nbdev.core import BadInput
from covid_nbdev.phantom import make_volume
from covid_nbdev.scans import (AIR_HU, find_axes, read_dicom, read_nifti, read_scan, turn, write_dicom_series, write_nifti,
                               write_nifti_labels)

MM = (14., 3.25, 3.)
PYDICOM = Path(pydicom.__file__).parent/"data"/"test_files"


def one_line(read, *words):
    "The promise of a refusal: BadInput, one line, found and expected, these words in it."
    with pytest.raises(BadInput) as e: read()
    text = str(e.value)
    assert "\n" not in text and text.startswith("found ") and "; expected " in text and len(text) < 700, text
    for w in words: assert w in text, text
    return text


@pytest.fixture(scope="session")
def chest():
    "A phantom of 12 slices, from the feet up, not square: 96 rows, 80 columns."
    hu = make_volume(400_003, n_slices=12, size=96)[0][::-1]
    return hu[:, :, 8:88].copy()


def inner(scan): return scan.hu[:, *scan.inside]


# ---- round trips
def test_all_orientations_by_landmark():
    "48 ways three axes can lie: found from the affine; each voxel stays where it is in mm; back again the same."
    hu = np.arange(2*3*4).reshape(2, 3, 4)
    axial = nib.affines.from_matvec(np.array([(0, 0, -.7), (0, -.8, 0), (5, 0, 0)]))           # SPL, in mm to the right, the front, the head
    for code in (a + b + c for p in permutations(("LR", "PA", "SI")) for a in p[0] for b in p[1] for c in p[2]):
        image = nib.Nifti1Image(hu.astype(np.int16), axial)
        ours, other = turn(hu, "SPL", code), image.as_reoriented(nib.orientations.ornt_transform(
            nib.io_orientation(axial), nib.orientations.axcodes2ornt(code)))
        assert np.array_equal(ours, other.dataobj) and find_axes(other.affine[:3, :3]) == code == "".join(nib.aff2axcodes(other.affine))
        for value in range(0, hu.size, 5):
            place = [nib.affines.apply_affine(A, np.argwhere(a == value)[0]) for A, a in ((axial, hu), (other.affine, ours))]
            assert np.allclose(*place)
        assert np.array_equal(turn(ours, code), hu)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SPL", "AIR"])
@pytest.mark.parametrize("name", ["chest.nii", "chest.nii.gz"])
def test_nifti_round_trip(axes, name, chest, tmp_path):
    scan = read_nifti(write_nifti(chest, tmp_path/name, MM, axes))
    assert scan.hu.dtype == np.int16 and scan.hu.shape == (12, 96, 96)
    assert np.array_equal(inner(scan), chest) and (np.delete(scan.hu, np.arange(8, 88), 2) == AIR_HU).all()
    assert np.allclose(scan.spacing_mm, MM) and not scan.notes and not scan.skipped
    own = nib.load(tmp_path/name)
    assert np.array_equal(scan.restore(scan.hu), own.get_fdata())


@pytest.mark.parametrize("dtype, slope, inter", [(np.float32, 1, 0), (np.int16, .5, -100), (np.uint16, 1, -1100), (np.float64, 2, 0), (">i2", 1, 0)])
def test_nifti_stored_otherwise(dtype, slope, inter, chest, tmp_path):
    "Slope and intercept, floats, the other byte order; and version 2 of the format."
    for kind, offset in ((nib.Nifti1Header, 352), (nib.Nifti2Header, 544)):
        stored = ((chest.transpose(2, 1, 0).astype(float) - inter)/slope).round().astype(dtype)
        header = kind(endianness=">" if np.dtype(dtype).byteorder == ">" else "<")
        header.set_data_shape(stored.shape); header.set_data_dtype(stored.dtype); header.set_sform(np.diag([-3., -3.25, 14., 1]), 1)   # LPS
        header["scl_slope"], header["scl_inter"], header["vox_offset"], header["magic"] = slope, inter, offset, b"n+1" if offset == 352 else b"n+2"
        (tmp_path/"a.nii").write_bytes(header.binaryblock + b"\0"*4 + stored.tobytes(order="F"))
        assert np.array_equal(nib.load(tmp_path/"a.nii").get_fdata().round(), (slope*stored.astype(float) + inter).round()), "nibabel reads it as meant"
        assert np.abs(inner(read_nifti(tmp_path/"a.nii")).astype(int) - chest).max() <= 1


@pytest.mark.parametrize("axes", ["PL", "AR", "LP", "RA", "PR"])
def test_dicom_round_trip(axes, chest, tmp_path):
    files = write_dicom_series(chest, tmp_path/"series", MM, axes)
    rng = np.random.default_rng(0)
    for f, k in zip(files, rng.permutation(len(files))): f.rename(tmp_path/"series"/f"IM{k:04}")    # names say nothing
    scan = read_dicom(tmp_path/"series")
    assert np.array_equal(inner(scan), chest) and np.allclose(scan.spacing_mm, MM) and not scan.skipped and not scan.notes
    z, y, x = 7, 20, 60
    mark = np.zeros(scan.hu.shape, np.uint8)
    mark[z, scan.inside[0].start + y, scan.inside[1].start + x] = 1
    k, row, column = (int(v[0]) for v in np.nonzero(scan.restore(mark)))
    ds = sorted((pydicom.dcmread(f) for f in (tmp_path/"series").iterdir()), key=lambda d: d.ImagePositionPatient[2])[k]
    r, c = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
    place = np.array(ds.ImagePositionPatient) + row*ds.PixelSpacing[0]*c + column*ds.PixelSpacing[1]*r
    assert np.allclose(place, (x*MM[2], y*MM[1], z*MM[0]), atol=.01), "a landmark in mm, by the standard's own formula"


def test_orientation_agrees_with_nibabel(chest, tmp_path):
    "Another way to the same picture: nibabel's as_closest_canonical, for a tilted and sheared affine too."
    for tilt in (0, 8, 15):
        c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        turn = np.array([[c, -s, 0], [s, c, 0], [.05, 0, 1]])
        for code in ("RAS", "PIL", "SAR"):
            image = nib.load(write_nifti(chest, tmp_path/"a.nii", MM, code))
            affine = image.affine.copy(); affine[:3] = turn @ affine[:3]
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path/"b.nii")
            canonical = nib.as_closest_canonical(nib.load(tmp_path/"b.nii")).get_fdata()      # R A S
            assert np.array_equal(inner(read_nifti(tmp_path/"b.nii")), canonical[::-1, ::-1].transpose(2, 1, 0))


@pytest.mark.parametrize("tilt", [25, 40, 45])
def test_oblique_is_refused(tilt, chest, tmp_path):
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    nib.save(nib.Nifti1Image(chest, np.array([[3*c, -3*s, 0, 0], [3*s, 3*c, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])), tmp_path/"a.nii")
    one_line(lambda: read_nifti(tmp_path/"a.nii"), "tilted", "a.nii")
    write_dicom_series(chest[:2], tmp_path/"d", MM, header={"ImageOrientationPatient": [1, 0, 0, 0, float(c), float(s)]})
    one_line(lambda: read_dicom(tmp_path/"d"), "tilted" if tilt < 45 else "")


# ---- what a DICOM folder may hold
def test_padding_is_air(chest, tmp_path):
    for k, (signed, value, range_end) in enumerate([(1, -2000, None), (1, 63536, None), (1, -2000, -1990), (1, None, None)]):
        padded = chest.astype(np.int32)
        padded[:, :10] = -2000 + 1024 - 2048 if value is None else -2000 - 1024
        header = {"PixelRepresentation": signed, "RescaleIntercept": -1024}
        if value is not None: header["PixelPaddingValue"] = value if value < 1 << 15 else -2000
        if range_end is not None: header["PixelPaddingRangeLimit"] = range_end
        write_dicom_series(padded, tmp_path/str(k), MM, header=header)
        scan = read_dicom(tmp_path/str(k))
        assert (inner(scan)[:, :10] == AIR_HU).all() and np.array_equal(inner(scan)[:, 10:], chest[:, 10:]) and "padding" in scan.notes[0]


def test_padding_in_implicit_files(chest, tmp_path):
    "There the header doesn't say whether the value is signed: pydicom gives bytes."
    for f in write_dicom_series(chest, tmp_path/"d", MM, header={"PixelPaddingValue": -24}):     # -24 - 1024 = -1048 HU
        ds = pydicom.dcmread(f); ds.PixelData
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        ds.save_as(f, implicit_vr=True, little_endian=True)
    expected = np.where(chest == -1048, AIR_HU, chest)
    assert np.array_equal(inner(read_dicom(tmp_path/"d")), expected)


def test_padding_of_unsigned_pixels(chest, tmp_path):
    "The value is signed in the header and unsigned in the picture, or the other way around."
    chest = chest.clip(-1000)         # noise below the intercept has no place in unsigned pixels
    for representation, value in ((0, -2000), (0, 63536), (1, 63536), (1, -2000)):
        for f in write_dicom_series(chest, tmp_path/"d", MM):
            ds = pydicom.dcmread(f)
            stored = ds.pixel_array.copy(); stored[:10] = -2000
            ds.PixelData, ds.PixelRepresentation = stored.tobytes(), representation
            ds.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
            ds.save_as(f)
        scan = read_dicom(tmp_path/"d")
        assert (inner(scan)[:, :10] == AIR_HU).all() and np.array_equal(inner(scan)[:, 10:], chest[:, 10:]) and not scan.skipped


def test_one_rule_for_padding(chest, tmp_path):
    "What no scanner measures is air from every kind of file, and counted; MedSeg's -1606 is HU."
    padded = chest.copy(); padded[:, :8] = -3024; padded[3, 40, 40] = -1606
    np.save(tmp_path/"a.NPY".lower(), padded.astype(np.float32))
    (tmp_path/"a.npy").rename(tmp_path/"A.NPY")
    write_dicom_series(padded, tmp_path/"d", MM)
    for path in (tmp_path/"A.NPY", write_nifti(padded, tmp_path/"a.nii", MM), tmp_path/"d"):
        scan = read_scan(path)
        assert np.array_equal(inner(scan), np.where(padded == -3024, AIR_HU, padded)) and "8.3 % of the pixels were padding" in scan.notes[0]


def test_a_corner_hides_no_offset(chest, tmp_path):
    shifted = (chest + 1024).clip(0); shifted[:, :20, :20] = -2000
    np.save(tmp_path/"a.npy", shifted)
    write_dicom_series(shifted, tmp_path/"d", MM)
    for path in (tmp_path/"a.npy", write_nifti(shifted, tmp_path/"a.nii.gz", MM), tmp_path/"d"):
        one_line(lambda: read_scan(path), "HU + 1024", "subtract 1024")


def test_rescale_and_photometric(chest, tmp_path):
    "Slope and intercept; MONOCHROME1 is about display and leaves the numbers alone."
    for k, header in enumerate([{"RescaleSlope": 2, "RescaleIntercept": -2048}, {"PixelRepresentation": 0, "RescaleIntercept": -2000},
                                {"PhotometricInterpretation": "MONOCHROME1"}, {"RescaleSlope": -1, "RescaleIntercept": 500}]):
        even = chest//2*2
        write_dicom_series(even, tmp_path/str(k), MM, header=header)
        assert np.array_equal(inner(read_dicom(tmp_path/str(k))), even), header


def gdcm_compress(source, dest, name):
    import gdcm
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source)); assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name))); change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(dest)); writer.SetFile(reader.GetFile()); writer.SetImage(change.GetOutput()); assert writer.Write()


@pytest.mark.parametrize("name", ["RLELossless", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "DeflatedExplicitVRLittleEndian",
                                  "ExplicitVRBigEndian"])
def test_compressed(name, chest, tmp_path):
    files = write_dicom_series(chest[3:6], tmp_path/"plain", MM)
    (tmp_path/"packed").mkdir()
    for f in files:
        if "VR" not in name: gdcm_compress(f, tmp_path/"packed"/f.name, name)
        else:
            ds = pydicom.dcmread(f)
            if "Big" in name: ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
            ds.file_meta.TransferSyntaxUID = getattr(pydicom.uid, name)
            out = pydicom.Dataset(); out.update(ds); out.file_meta = ds.file_meta
            out.save_as(tmp_path/"packed"/f.name, enforce_file_format=True)
    scan = read_dicom(tmp_path/"packed")
    assert np.array_equal(inner(scan), chest[3:6]) and not scan.skipped


def test_unknown_compression(chest, tmp_path):
    for f in write_dicom_series(chest[:2], tmp_path/"d", MM):
        ds = pydicom.dcmread(f)
        ds.PixelData = pydicom.encaps.encapsulate([b"\0"*100]); ds["PixelData"].VR = "OB"
        ds.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
        ds.save_as(f)
    one_line(lambda: read_dicom(tmp_path/"d"), "High-Throughput JPEG 2000")


@pytest.fixture(scope="module")
def packed(chest, tmp_path_factory):
    "Three slices in JPEG-LS."
    d = tmp_path_factory.mktemp("packed")
    for f in write_dicom_series(chest[3:6], d/"plain", MM): gdcm_compress(f, d/f.name, "JPEGLSLossless"); f.unlink()
    return d


def test_a_picture_that_kills_the_decoder(chest, packed, monkeypatch):
    "The codec's process dies or hangs: that slice is named, the others are read. Too much memory ends nothing."
    honest = dicom._slice_hu
    for crime, lost in (((os.abort,), 1), ((time.sleep, 60), 1), ((bytearray, 2 << 30), 0)):
        seen = []
        def spoiled(s, decode):
            seen.append(s)
            if len(seen) == 2: decode.pool.submit(*crime)
            return honest(s, decode)
        monkeypatch.setattr(dicom, "_slice_hu", spoiled)
        monkeypatch.setattr(pixels, "_DECODE_S", 3)
        scan = read_dicom(packed)
        assert len(scan) == 3 - lost and all("decoder" in reason for reason in scan.skipped.values()) and len(scan.skipped) == lost


def test_decoder_in_any_program(chest, packed, tmp_path):
    "A script without a main guard is not run again by the second process; python -c has no file at all."
    code = f"from covid_nbdev.scans import read_dicom; print(read_dicom({str(packed)!r}).hu.sum())"
    (tmp_path/"script.py").write_text(code)
    here = str(read_dicom(packed).hu.sum())
    for args in ([tmp_path/"script.py"], ["-c", code]):
        done = subprocess.run([sys.executable, *args], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0 and done.stderr == "" and done.stdout.split() == [here], done


def test_messy_folder(chest, tmp_path):
    "Gap, duplicate, broken file, second series, coronal series, localizer, other modality, foreign files: all told."
    d = tmp_path/"disc"
    files = write_dicom_series(chest, d/"ct", MM)
    write_dicom_series(chest[:4]*0 - 900, d/"thin", MM, header={"SeriesNumber": 7})
    write_dicom_series(chest, d/"coronal", MM, header={"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]})
    write_dicom_series(chest[:1], d/"scout", MM, header={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    write_dicom_series(chest[:2], d/"mr", MM, header={"Modality": "MR"})
    (d/"copy.dcm").write_bytes(files[2].read_bytes())
    files[5].unlink()
    files[9].write_bytes(files[9].read_bytes()[:3000])
    (d/"DICOMDIR").write_bytes(b"\0"*128 + b"DICM" + b"\0"*50)
    (d/"autorun.inf").write_text("[autorun]")
    scan = read_dicom(d)
    assert np.array_equal(inner(scan), chest[[0, 1, 2, 3, 4, 6, 7, 8, 10, 11]]) and np.allclose(scan.spacing_mm, MM)
    notes = "; ".join(scan.notes)
    assert "3 series" in notes and "duplicates: 1" in notes and notes.count("a gap of 28.0 mm") == 2, notes
    assert {Path(k).parts[0] for k in scan.skipped} == {"ct", "scout", "mr", "DICOMDIR", "autorun.inf"}
    assert "damaged" in scan.skipped["ct/slice_0003.dcm"] and "same place as copy.dcm" in scan.skipped["ct/slice_0010.dcm"]
    assert np.array_equal(inner(read_dicom(d, series=2)), chest[:4]*0 - 900)
    one_line(lambda: read_dicom(d, series=3), "coronal")
    one_line(lambda: read_dicom(d, series=9), "1 to 3")


@pytest.mark.parametrize("header, word", [
    ({"Modality": "MR"}, "modality MR"), ({"BitsStored": 8, "HighBit": 7}, "8-bit"), ({"NumberOfFrames": 4}, "enhanced"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "enhanced"), ({"PhotometricInterpretation": "RGB"}, "color"),
    ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "coronal"), ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "sagittal"),
    ({"ImageOrientationPatient": None}, "no orientation"), ({"ImageOrientationPatient": [1, 1, 1, 1, 1, 1]}, "ImageOrientationPatient"),
    ({"ImagePositionPatient": None}, "no position"), ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
    ({"RescaleIntercept": 2000, "PixelRepresentation": 1}, "")], ids=str)
def test_dicom_refusals(header, word, chest, tmp_path):
    if "RescaleIntercept" in header:     # values without air
        write_dicom_series(chest.clip(-400, 900), tmp_path/"d", MM); word = "without any air"
    else: write_dicom_series(chest[:2], tmp_path/"d", MM, header=header)
    one_line(lambda: read_dicom(tmp_path/"d"), word)


def test_prone_is_said(chest, tmp_path):
    write_dicom_series(chest, tmp_path/"d", MM, header={"PatientPosition": "FFP"})
    scan = read_dicom(tmp_path/"d")
    assert "prone" in scan.notes[-1] and np.array_equal(inner(scan), chest), "the coordinates are the patient's, however they lie"


def test_no_spacing_no_ml(chest, tmp_path):
    write_dicom_series(chest, tmp_path/"d", MM, header={"PixelSpacing": None})
    scan = read_dicom(tmp_path/"d")
    assert scan.spacing_mm is None and scan.ml_per_voxel is None and "no ml" in scan.notes[-1]


# ---- NIfTI refusals
def test_nifti_refusals(chest, tmp_path):
    p, affine = tmp_path/"a.nii", np.diag([-3., -3, 5, 1])
    def saved(data, affine=affine): nib.save(nib.Nifti1Image(data, affine), p); return lambda: read_nifti(p)
    one_line(saved(chest, None), "no orientation")
    one_line(saved(np.zeros((8, 8, 4, 3), np.int16) - 900), "4 axes", "(8, 8, 4, 3)")
    one_line(saved(((chest + 1100)/8).clip(0, 255).astype(np.uint8)), "8-bit")
    one_line(saved(((chest + 1100)/8).clip(0, 255).astype(np.int16)), "8-bit")
    one_line(saved(np.where(chest > 500, np.nan, chest).astype(np.float32)), "NaN")
    one_line(saved(np.zeros((4, 4, 4), np.complex64)), "complex64")
    one_line(saved(chest.astype(np.float32)*1e4), "values from")
    good = write_nifti(chest, tmp_path/"good.nii", MM).read_bytes()
    for name, data, word in (("short.nii", good[:-10], "cut short"), ("empty.nii", b"", "no NIfTI"), ("text.nii", b"hello"*200, "no NIfTI"),
                             ("short.nii.gz", gzip.compress(good)[:-3000], "damaged"), ("pair.nii", good[:344] + b"ni1\0" + good[348:], "second file")):
        (tmp_path/name).write_bytes(data)
        one_line(lambda: read_nifti(tmp_path/name), word, name)
    one_line(lambda: read_nifti(tmp_path/"none.nii"), "no file none.nii")
    one_line(lambda: read_scan(tmp_path/"good.nii", series=2), "series")


def test_absurd_sizes_cost_nothing(tmp_path):
    "A header that claims 32767³ voxels; a packed file that would deliver many."
    header = nib.Nifti1Header(); header.set_data_dtype(np.int16); header.set_data_shape((32767, 32767, 32767))
    header.set_sform(np.eye(4), 1); header["magic"] = b"n+1"; header["vox_offset"] = 352
    (tmp_path/"huge.nii").write_bytes(header.binaryblock + b"\0"*4)
    one_line(lambda: read_nifti(tmp_path/"huge.nii"), "32767×32767×32767")
    for offset in (-352, 0, 16, 340, 348, 351, 1 << 27):
        header.set_data_shape((16, 16, 4)); header["vox_offset"] = offset
        (tmp_path/"a.nii").write_bytes(header.binaryblock + b"\0"*4 + (np.zeros(2048, "<i2") - 900).tobytes())
        one_line(lambda: read_nifti(tmp_path/"a.nii"), "begin at byte")
    header.set_data_shape((2048, 2048, 200)); header["vox_offset"] = 352
    with gzip.open(tmp_path/"bomb.nii.gz", "wb", 1) as f: f.write(header.binaryblock + b"\0"*4 + b"\0"*10_000_000)
    one_line(lambda: read_nifti(tmp_path/"bomb.nii.gz"), "cut short")


# ---- zips
def test_zip_is_read_in_place(chest, tmp_path):
    files = write_dicom_series(chest, tmp_path/"d", MM)
    with zipfile.ZipFile(tmp_path/"d.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for f in files: z.write(f, f"a/b/{f.name}")
    before = sorted(p.name for p in tmp_path.iterdir())
    assert np.array_equal(inner(read_dicom(tmp_path/"d.zip")), chest)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def evil_zips(folder, good):
    "name -> archive that must be refused, and a word of the refusal."
    link = zipfile.ZipInfo("link.dcm"); link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    entries = {"up": ("../../up.dcm", good, "leads elsewhere"), "root": ("/etc/up.dcm", good, "leads elsewhere"),
               "windows": ("..\\up.dcm", good, "leads elsewhere"), "drive": ("C:/up.dcm", good, "leads elsewhere"), "link": (link, b"/etc/passwd", "a link")}
    for name, (entry, data, word) in entries.items():
        with zipfile.ZipFile(folder/f"{name}.zip", "w") as z: z.writestr(entry, data); z.writestr("good.dcm", good)
        yield folder/f"{name}.zip", word
    with zipfile.ZipFile(folder/"bomb.zip", "w", zipfile.ZIP_DEFLATED) as z: z.writestr("big.dcm", bytes(10_000_000))
    data = bytearray((folder/"bomb.zip").read_bytes())
    for size, name in ((2_000_000_000, "bomb.zip"), (1000, "liar.zip")):       # what the archive declares
        at = data.rfind(b"PK\x01\x02") + 24
        data[at:at + 4] = size.to_bytes(4, "little")
        (folder/name).write_bytes(data)
    yield folder/"bomb.zip", "packed in"
    yield folder/"liar.zip", "big.dcm"
    with zipfile.ZipFile(folder/"many.zip", "w") as z:
        for k in range(20_001): z.writestr(f"{k}", b"")
    yield folder/"many.zip", "20,001 files"
    (folder/"cut.zip").write_bytes((folder/"up.zip").read_bytes()[:-30])
    yield folder/"cut.zip", "damaged"


def test_evil_zips(chest, tmp_path):
    good = write_dicom_series(chest[:1], tmp_path/"d", MM)[0].read_bytes()
    for path, word in evil_zips(tmp_path, good): one_line(lambda: read_dicom(path), word)
    with zipfile.ZipFile(tmp_path/"locked.zip", "w") as z: z.writestr("a.dcm", good)
    data = bytearray((tmp_path/"locked.zip").read_bytes())
    data[6] |= 1; data[data.rfind(b"PK\x01\x02") + 8] |= 1
    (tmp_path/"locked.zip").write_bytes(data)
    one_line(lambda: read_dicom(tmp_path/"locked.zip"), "encrypted")


@pytest.mark.filterwarnings("ignore::UserWarning")     # pydicom's, of so long a comment
def test_deflated_bomb(chest, tmp_path, monkeypatch):
    "A deflated DICOM file that unpacks to more than a slice can have."
    f = write_dicom_series(chest[:1], tmp_path/"d", MM, header={"ImageComments": "x"*5_000_000})[0]
    ds = pydicom.dcmread(f); ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    ds.save_as(f, enforce_file_format=True)
    assert len(read_dicom(f)) == 1
    monkeypatch.setattr(dicom, "MOST_FILE_BYTES", 1_000_000)
    one_line(lambda: read_dicom(f), "when unpacked")


# ---- other people's files
def test_pydicoms_own_files():
    "Every file that pydicom tests itself with: read, or one line."
    read, refused = [], 0
    for f in sorted(p for p in PYDICOM.rglob("*") if p.is_file()):
        try: scan = read_dicom(f, progress=False); read.append(f.name)
        except BadInput as e: assert "\n" not in str(e); refused += 1
        else: assert scan.hu.dtype == np.int16 and scan.hu.shape[1] == scan.hu.shape[2]
    assert {"CT_small.dcm", "693_J2KI.dcm"} <= set(read) and refused > 50
    expected = pydicom.pixels.apply_modality_lut((ds := pydicom.dcmread(PYDICOM/"CT_small.dcm")).pixel_array, ds)
    assert np.array_equal(inner(read_dicom(PYDICOM/"CT_small.dcm"))[0], np.where(expected < -1700, AIR_HU, expected))
    note(f"pydicom's own files: {len(read)} read as CT, {refused} refused in one line")


def test_real_dicom(tmp_path, tiny_run, cli):
    "The real series: told apart, in order, upright, lungs where lungs are. Nothing of it is kept."
    folder = real_data()
    if folder is None: pytest.skip("real CT not found: set COVID_REAL_DATA")
    from covid_nbdev.results import lung_mask
    scan = read_dicom(folder/"chest_dicom.zip")
    assert scan.hu.shape == (25, 512, 512) and np.allclose(scan.spacing_mm, (12, .748046875, .748046875))
    assert "2 series" in scan.notes[0] and "kernel D40s, slices 2 mm thick" == scan.notes[1] and "what lies between" in scan.notes[2] and not scan.skipped
    second = read_dicom(folder/"chest_dicom.zip", series=2)
    assert len(second) == 2 and second.hu.min() > -1500 and any("padding" in n for n in second.notes)
    lungs = np.stack([lung_mask(hu) for hu in scan.hu[4:22]])
    rows, columns = (np.flatnonzero(lungs.any((0, a)))/512 for a in (2, 1))
    assert .1 < rows[0] and rows[-1] < .9 and columns[0] < .35 and columns[-1] > .6, "both lungs, within the body"
    table_rows = [np.flatnonzero((hu[300:, 156:356] > -200).mean(1) > .5)[-1] for hu in scan.hu[4:22]]
    assert np.median(table_rows) > 50, "the back, with the table under it, is below"
    status, out, err = cli("covid_predict", tiny_run, folder/"chest_dicom.zip", tmp_path/"out")
    assert status == 0 and "25 slices" in out, err
    page = (tmp_path/"out"/"summary.html").read_text()
    assert "98C14734" not in page and "covid_P001" not in page


# ---- covid_predict
def check_outputs(out, n, side, ml):
    labels = np.load(out/"labels.npy")
    assert labels.shape == (n, side, side) and labels.dtype == np.uint8 and labels.max() <= 3
    assert len(list(out.glob("slice_*.png"))) == n
    table = pd.read_csv(out/"extent.csv")
    columns = "slice lung_px ground_glass_px consolidation_px ground_glass_percent consolidation_percent".split()
    extra = "lung_ml ground_glass_ml consolidation_ml".split() if ml is not None else []
    assert list(table.columns) == columns + extra and list(table["slice"]) == [*map(str, range(n)), "all"]
    assert (table["lung_px"][:n] == (labels < 3).sum((1, 2))).all() and table["lung_px"][n] == (labels < 3).sum()
    if ml is not None:
        for name in ("lung", "ground_glass"):
            each = table[f"{name}_px"][:n]*ml
            assert np.allclose(table[f"{name}_ml"], [*each, each.sum()], atol=1e-3)
    page = (out/"summary.html").read_text()
    assert "Not for diagnosis" in page and page.count("<img ") == min(6, n) and page.count("alt=") == min(6, n)
    assert not re.search(r'(src|href)="(?!data:)', page), "self-contained"
    return labels


def test_predict_nifti(tiny_run, chest, tmp_path, cli):
    "The same labels whatever the orientation, and in the input's own grid the same voxels."
    known = None
    for axes in ("RAS", "LPS", "AIR"):
        path, out = write_nifti(chest, tmp_path/f"{axes}.nii.gz", MM, axes), tmp_path/f"out_{axes}"
        status, text, err = cli("covid_predict", tiny_run, path, out)
        assert status == 0 and "Not for diagnosis" in text, err
        labels = check_outputs(out, 12, 96, np.prod(MM)/1000)
        assert (np.delete(labels, np.arange(8, 88), 2) == 3).all(), "nothing is found in the rim"
        assert known is None or np.array_equal(labels, known)
        known = labels
        back, source = nib.load(out/"labels.nii.gz"), nib.load(path)
        assert back.shape == source.shape and np.array_equal(back.affine, source.affine) and back.get_data_dtype() == np.uint8
        assert (back.header["qform_code"], back.header["sform_code"]) == (source.header["qform_code"], source.header["sform_code"])
        assert np.array_equal(turn(np.asarray(back.dataobj), axes), (labels[:, :, 8:88] + 1) % 4), "background is 0 there"


def test_predict_dicom(tiny_run, chest, tmp_path, cli):
    files = write_dicom_series(chest, tmp_path/"d", MM)
    files[2].write_bytes(b"broken")
    status, text, err = cli("covid_predict", tiny_run, tmp_path/"d", tmp_path/"out")
    assert status == 0 and "left out: slice_0010.dcm: no DICOM file" in text and "note: a gap" in text, text + err
    labels = check_outputs(tmp_path/"out", 11, 96, read_dicom(tmp_path/"d").ml_per_voxel)
    np.save(tmp_path/"a.npy", read_dicom(tmp_path/"d").hu)
    assert cli("covid_predict", tiny_run, tmp_path/"a.npy", tmp_path/"out_npy")[0] == 0
    same = check_outputs(tmp_path/"out_npy", 11, 96, None)
    assert np.array_equal(same[:, :, 8:88], labels[:, :, 8:88]) and (np.delete(labels, np.arange(8, 88), 2) == 3).all()


def test_a_landmark_comes_back(chest, tmp_path, cli, monkeypatch):
    "A predictor that finds one bright voxel as consolidation: in the file's own grid it is that voxel."
    import covid_nbdev.results as results
    class Bright:
        about = {"encoder": "none", "size": 96, "epoch": 0}
        def __init__(self, *args, **kwargs): pass
        def __call__(self, hu): return np.where(np.asarray(hu) > 2500, 1, np.where(np.asarray(hu) < -500, 2, 3)).astype(np.uint8)
    monkeypatch.setattr(results, "Predictor", Bright)
    marked = chest.copy(); marked[8, 30, 61] = 3000
    for axes in ("RAS", "LPI", "SAR"):
        path = write_nifti(marked, tmp_path/f"{axes}.nii", MM, axes)
        assert cli("covid_predict", "run", path, tmp_path/axes)[0] == 0
        found, source = np.asarray(nib.load(tmp_path/axes/"labels.nii.gz").dataobj), np.asarray(nib.load(path).dataobj)
        assert np.argwhere(found == 2).tolist() == np.argwhere(source == 3000).tolist() and (found == 2).sum() == 1


def test_predict_refusals(tiny_run, chest, tmp_path, cli):
    knee = np.full((3, 96, 96), -1000, np.int16); knee[:, 30:70, 30:70] = 40
    write_nifti(knee, tmp_path/"knee.nii", MM)
    np.save(tmp_path/"knee.npy", knee)
    write_dicom_series(chest[:2], tmp_path/"mr", MM, header={"Modality": "MR"})
    (tmp_path/"letter.txt").write_text("Dear colleague")
    (tmp_path/"empty").mkdir()
    for name, words in (("knee.nii", "no lungs in sight"), ("knee.npy", "no lungs in sight"), ("mr", "modality MR"), ("letter.txt", "no DICOM"),
                        ("empty", "no CT slice in empty"), ("nothing", "no file or folder nothing")):
        status, _, err = cli("covid_predict", tiny_run, tmp_path/name, tmp_path/"out")
        assert status == 2 and err.count("\n") == 1 and words in err and "expected" in err, err
        assert not (tmp_path/"out").exists()
    status, _, err = cli("covid_predict", tiny_run, tmp_path/"knee.npy", tmp_path/"out", "--series", 1)
    assert status == 2 and "series 1" in err


def test_nothing_personal_stays(chest, tmp_path):
    "Names in either header reach neither the scan nor what is written from it."
    write_dicom_series(chest, tmp_path/"d", MM, header={"PatientName": "Secret^Name", "PatientID": "Secret1", "InstitutionName": "Secret Hospital",
                                                       "SeriesDescription": "Secret", "StudyDate": "20200401"})
    scan = read_dicom(tmp_path/"d")
    assert "Secret" not in repr([vars(scan)[k] for k in ("notes", "skipped", "axes", "header")])
    image = nib.load(write_nifti(chest, tmp_path/"a.nii", MM))
    image.header["descrip"], image.header["db_name"] = b"Secret", b"Secret"
    nib.save(image, tmp_path/"b.nii")
    scan = read_nifti(tmp_path/"b.nii")
    write_nifti_labels(tmp_path/"c.nii.gz", scan, np.zeros(scan.hu.shape, np.uint8))
    assert b"Secret" in (tmp_path/"b.nii").read_bytes() and b"Secret" not in gzip.decompress((tmp_path/"c.nii.gz").read_bytes())


def test_memory_stays_small(tmp_path):
    "HU are held as int16: reading takes at most three times that, whatever the file's own numbers."
    import tracemalloc
    hu = np.full((16, 512, 512), -800, np.int16); hu[:, :40] = 40
    files = [write_nifti(hu, tmp_path/"a.nii", MM, dtype=np.float64), write_nifti(hu, tmp_path/"b.nii", MM, "PIR")]
    write_dicom_series(hu, tmp_path/"d", MM)
    del hu
    for path in (*files, tmp_path/"d"):
        tracemalloc.start()
        scan = read_scan(path)
        peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
        assert peak < 3*scan.hu.nbytes, (path.name, peak/scan.hu.nbytes)


def test_each_slice_of_npy(chest, tmp_path):
    for which, f, words in (([5], lambda hu: hu + 1024, ["a.npy, slice 5", "subtract 1024"]), ([2], lambda hu: hu*0, ["slice 2", "a single value"]),
                            (range(0, 12, 2), lambda hu: ((hu + 1500)/8).clip(0, 255), ["slice 0", "8-bit", "6 slices hold no HU: 0, 2, 4, 6, 8 …"])):
        hu = chest.astype(np.float32)
        for i in which: hu[i] = f(hu[i])
        np.save(tmp_path/"a.npy", hu)
        one_line(lambda: read_scan(tmp_path/"a.npy"), *words)


def test_predict_npy_of_any_size(tiny_run, chest, tmp_path, cli):
    "Labels have the size of the input: no rim."
    for name, hu in (("square", np.pad(chest, ((0, 0), (0, 0), (8, 8)), constant_values=-1000)[:3, :94, :94]), ("oblong", chest[:3])):
        np.save(tmp_path/f"{name}.npy", hu)
        assert cli("covid_predict", tiny_run, tmp_path/f"{name}.npy", tmp_path/name)[0] == 0
        assert np.load(tmp_path/name/"labels.npy").shape == hu.shape


def test_npy_as_a_scan(chest, tmp_path):
    "Square slices, as they are: no spacing, no way back to anywhere else."
    hu = chest[:, 8:88].astype(np.float32)
    np.save(tmp_path/"a.npy", hu)
    scan = read_scan(tmp_path/"a.npy")
    assert np.array_equal(scan.hu, hu) and np.array_equal(scan.restore(scan.hu), hu) and np.array_equal(inner(scan), hu)
    assert scan.spacing_mm is None and scan.ml_per_voxel is None and scan.header is None and len(scan) == 12
    one_line(lambda: read_scan(tmp_path/"a.npy", series=1), "series 1 of a.npy")
