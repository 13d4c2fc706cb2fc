"De-identification on what people have on disk: other kinds of names, dates, files and folders. One case, one fault that was."
import os, zipfile
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pydicom, pytest
from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from covid_nbdev import profile
from covid_nbdev.core import BadInput
from covid_nbdev.scans import read_dicom, write_dicom_series
from test_privacy import make_ct, marker, moment, results, run, save, warnings_off


def once(tmp_path, ds, **options):
    "The copy of one file, its bytes and the report."
    source = ds if hasattr(ds, "read_bytes") else save(ds, tmp_path/"src"/"a.dcm")
    report = run(source, tmp_path/"out", **options)
    path, = (tmp_path/"out").rglob("*.dcm")
    return SimpleNamespace(ds=pydicom.dcmread(path), raw=path.read_bytes(), report=report)


# ---- what may stay
TECHNIQUE = dict(KVP="120", SliceThickness="1.5", ConvolutionKernel="Br40f\\3", ScanOptions="HELICAL MODE", BodyPartExamined="CHEST",
                 RescaleSlope="1", RescaleIntercept="-1024", PixelSpacing=[.75, .75], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                 ImagePositionPatient=[-120.5, 3, 77.25], PatientPosition="FFS", XRayTubeCurrent="220", ExposureTime="500",
                 ReconstructionDiameter="350", Manufacturer="ACME", ManufacturerModelName="Scan 64", ImageType=["ORIGINAL", "PRIMARY"],
                 WindowCenter="-600", WindowWidth="1500", SpiralPitchFactor=.9, CTDIvol=4.5, InstanceNumber="7", SeriesNumber="3")


@warnings_off
def test_what_a_segmentation_needs_stays(tmp_path):
    found = once(tmp_path, make_ct(**TECHNIQUE)).ds
    for name, value in TECHNIQUE.items(): assert str(found[name].value) == str(make_ct(**{name: value})[name].value), name


@warnings_off
def test_what_is_in_no_list_goes(tmp_path):
    "Every attribute of the dictionary that isn't named and holds a text, a date, an address, bytes or digits: at the top and inside."
    ds, item, looked_for = make_ct(), Dataset(), []
    for n, (tag, (vr, _, _, _, name)) in enumerate(DicomDictionary.items(), 10_000):
        if tag >> 16 < 8 or tag >> 16 == 0x7fe0 or tag in ds or tag == 0x00080005: continue
        if vr not in ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "UI", "DA", "DT", "OB", "UN", "CS", "AS", "IS", "DS"): continue
        named = name in profile.STAYS | {"ReferencedSOPClassUID", "ICCProfile"} or profile.PROFILE.get(tag)
        if named or vr in ("IS", "DS") and tag >> 16 in profile.PICTURE: continue
        value, text = marker(n, vr)
        ds.add_new(tag, vr, value); item.add_new(tag, vr, value)
        looked_for += [text]*bool(text)
    ds.CTDIPhantomTypeCodeSequence = [item]
    raw = once(tmp_path, ds, shift_dates=True, keep_secondary=True).raw
    assert len(looked_for) > 1000 and not [t for t in looked_for if t.encode() in raw]


def test_the_list_names_what_exists():
    assert all(tag_for_keyword(name) for name in profile.STAYS)
    kinds = {dictionary_VR(tag_for_keyword(name)) for name in profile.STAYS}
    assert not kinds & {"PN", "AE", "LT", "ST", "UT", "UR", "DA", "DT", "TM", "UN", "OB"}


def test_the_same_pixels_and_places(tmp_path):
    hu = np.random.default_rng(3).integers(-1000, 400, (6, 40, 40)).astype(np.int16)
    write_dicom_series(hu, tmp_path/"src", (2.5, .7, .7), header=dict(PatientName="Rulfo^Susana", PatientID="1", StudyDate="20200417"))
    run(tmp_path/"src", tmp_path/"out", shift_dates=True)
    before, after = (read_dicom(tmp_path/name, progress=False) for name in ("src", "out"))
    assert (before.hu == after.hu).all() and before.spacing_mm == after.spacing_mm and before.axes == after.axes
    for ds in results(tmp_path/"out"):
        assert all(name in ds for name in profile.TYPE_2), "other programs ask for these, if only to find them empty"


def test_codes_of_a_house_lose_their_words(tmp_path):
    ds = make_ct()
    def code(value, scheme, meaning):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return item
    ds.AnatomicRegionSequence = [code("51185008", "SCT", "Chest"), code("SALA7", "99LUNA", "bed of Mrs. R.")]
    found = once(tmp_path, ds)
    assert found.ds.AnatomicRegionSequence[0].CodeMeaning == "Chest" and b"SALA7" not in found.raw and b"bed of" not in found.raw


def test_an_enhanced_image(tmp_path):
    ds = make_ct(SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=1, SoftwareVersions="VA1")
    inner, kernel, measures = Dataset(), Dataset(), Dataset()
    kernel.ConvolutionKernel, kernel.PatientName, measures.SliceThickness = "B60f", "Rulfo^Susana", "2"
    inner.CTReconstructionSequence, inner.PixelMeasuresSequence = [kernel], [measures]
    ds.SharedFunctionalGroupsSequence = [inner]
    shared = once(tmp_path, ds).ds.SharedFunctionalGroupsSequence[0]
    assert shared.CTReconstructionSequence[0].ConvolutionKernel == "B60f" and shared.PixelMeasuresSequence[0].SliceThickness == 2


# ---- names, numbers, dates where nobody expects them
@warnings_off
@pytest.mark.parametrize("values, gone", [
    (dict(PatientBirthDateInAlternativeCalendar="Showa 36-02-03", PatientDeathDateInAlternativeCalendar="Heisei 1"), b"Showa"),
    (dict(ConvolutionKernel="B60f 2020-04-17"), b"2020-04"), (dict(ConvolutionKernel="17.04.2020"), b"17.04"),
    (dict(ConvolutionKernel="04/17/2020"), b"04/17"), (dict(ConvolutionKernel="17042020"), b"17042020"),
    (dict(ConvolutionKernel="17-Apr-2020"), b"17-Apr"), (dict(ManufacturerModelName="17 de abril de 2020"), b"abril"),
    (dict(ConvolutionKernel="20200417101530"), b"20200417"), (dict(ConvolutionKernel="for RULFO"), b"RULFO"),
    (dict(PatientName="Páramo^Pedro", ConvolutionKernel="PARAMO 1"), b"PARAMO"), (dict(PatientName="Li^Bo", FilterType="Li, 2"), b"Li,"),
    (dict(ConvolutionKernel="nss 441822"), b"441822"), (dict(ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "RULFO"]), b"RULFO"),
    (dict(AccessionNumber="8812345", SeriesNumber="8812345"), b"8812345"), (dict(NTPSourceAddress="10.1.2.3"), b"10.1.2.3"),
    (dict(PatientName="Rulfo^Susana=Rulfo^S.", ScanOptions="SUSANA"), b"SUSANA"), (dict(SoftwareVersions="for the mayor"), b"mayor")])
def test_identity_in_odd_places(tmp_path, values, gone):
    ds = make_ct(**values)
    assert gone in save(ds, tmp_path/"probe.dcm").read_bytes()
    found = once(tmp_path, ds)
    assert gone not in found.raw
    assert found.ds.Modality == "CT" and found.ds.ImageType[:2] == ["ORIGINAL", "PRIMARY"] if "ImageType" in values else True


@warnings_off
@pytest.mark.parametrize("values", [
    dict(InstitutionName="REMOVED"), dict(StudyDescription="MODIFIED"), dict(InstitutionName="Anonymized", StationName="ANONYMIZED"),
    dict(PatientName="REMOVED"), dict(PatientName="Anonymous", PatientID="ANONYMIZED"), dict(StudyDescription="Basic Profile"),
    dict(PatientName="1024", RescaleIntercept="-1024"), dict(StudyDate="20050105", SliceLocation="10.05012005"),
    dict(PatientName="CT^Axial"), dict(StudyDescription="CHEST", BodyPartExamined="CHEST"),
    dict(PatientID="1024", RescaleIntercept="-1024"),
    dict(PatientID="1", SeriesNumber="1", ConvolutionKernel="FC 1"), dict(ProtocolName="YES"), dict(AccessionNumber="0000"),
    dict(PatientName="Original^Primary"), dict(StationName="CT", ManufacturerModelName="Scan CT"), dict(StudyTime="0000")])
@pytest.mark.parametrize("shift_dates", [False, True])
def test_our_words_and_chance_are_no_leaks(tmp_path, values, shift_dates):
    found = once(tmp_path, make_ct(**values), shift_dates=shift_dates)
    assert found.ds.PatientID.startswith("P-") and found.ds.get("InstitutionName", "") != "REMOVED"


def test_text_in_bytes(tmp_path):
    ds = make_ct()
    ds.add_new(0x00282000, "OB", b"profile of Rulfo^Susana, Calle Luvina")       # an ICC profile
    ds.add_new(0x00091001, "UN", b"ACME"); ds[0x00091001].is_private
    ds.DataSetTrailingPadding = b"Rulfo^Susana "
    ds.PixelData += b"Rulfo^Susana"*3
    found = once(tmp_path, ds)
    assert b"Rulfo" not in found.raw and found.ds.PixelData == ds.PixelData[:128]


# ---- one person
def study(number, **values):
    return make_ct(f"1.2.840.99999.8.{number}", **(dict(PatientBirthDate="19610203", StudyTime="101530") | values))


@pytest.mark.parametrize("second", [
    dict(IssuerOfPatientID="HOSP"), dict(PatientID=" NSS-4418-22 "), dict(PatientID="nss-4418-22"),
    dict(IssuerOfPatientID="LAB", PatientBirthDate=""), dict(PatientBirthDate="19610204"), dict(PatientName="RULFO PEREZ^SUSANA")])
@pytest.mark.parametrize("turned", [False, True])
def test_one_person_stays_one(tmp_path, second, turned):
    "Another issuer, blanks, capitals, a typing error in one date of birth: one pseudonym, one shift."
    pair = [study(1, IssuerOfPatientID="CLINIC" if second.get("IssuerOfPatientID") == "LAB" else ""), study(2, **second)]
    for n, ds in enumerate(pair[::-1] if turned else pair): save(ds, tmp_path/"src"/f"{n}.dcm")
    run(tmp_path/"src", tmp_path/"out", shift_dates=True)
    a, b = results(tmp_path/"out")
    assert (a.PatientID, a.StudyDate, a.StudyTime, a.StudyInstanceUID) == (b.PatientID, b.StudyDate, b.StudyTime, b.StudyInstanceUID)


@pytest.mark.parametrize("key", [False, True])
def test_two_people_with_one_number(tmp_path, key):
    "Another issuer and another date of birth. Files without a date of birth go with their issuer; a key remembers."
    lab = dict(IssuerOfPatientID="LAB", StudyInstanceUID="1.2.840.99999.2.77")
    save(study(1, IssuerOfPatientID="HOSP"), tmp_path/"src"/"1.dcm")
    save(study(2, PatientBirthDate="19900909", **lab), tmp_path/"src"/"2.dcm")
    options = dict(shift_dates=True, key=tmp_path/"key.json" if key else None)
    if not key: save(study(3, PatientBirthDate="", **lab), tmp_path/"src"/"3.dcm")
    report = run(tmp_path/"src", tmp_path/"out", **options)
    new = {ds.PatientID for ds in results(tmp_path/"out")}
    assert len(new) == 2 and "2 dates of birth under one ID" in str(report)
    if key:
        run(save(study(3, PatientBirthDate="", **lab), tmp_path/"late"/"3.dcm"), tmp_path/"out2", **options)
        late, = results(tmp_path/"out2")
        of_lab, = (ds for ds in results(tmp_path/"out") if ds.InstanceNumber is None and ds.StudyInstanceUID == late.StudyInstanceUID)
        assert late.PatientID == of_lab.PatientID


def test_zeros_count(tmp_path):
    "0042 and 42 may be two people: a person decides, not we."
    for n, number in enumerate(("0042", "42")): save(study(n, PatientID=number), tmp_path/"src"/f"{n}.dcm")
    assert len(run(tmp_path/"src", tmp_path/"out").patients) == 2


def test_intervals_across_midnight(tmp_path):
    "Four moments of one patient, in days, times, date-times and inside a sequence, keep their distances."
    inner = Dataset()
    inner.StudyDate, inner.StudyTime = "20200416", "235959.999999"
    ds = make_ct(StudyDate="20200417", StudyTime="000001", SeriesDate="20200417", SeriesTime="1200",
                 AcquisitionDateTime="20200417233000-0500")
    ds.ReferencedImageSequence = [inner]
    found = once(tmp_path, ds, shift_dates=True).ds
    ref, = found.ReferencedImageSequence
    start = moment(found.StudyDate, found.StudyTime)
    assert start - moment(ref.StudyDate, ref.StudyTime) == timedelta(seconds=1, microseconds=1)
    assert moment(found.SeriesDate, found.SeriesTime) - start == timedelta(hours=11, minutes=59, seconds=59)
    acquired = found.AcquisitionDateTime
    assert acquired.endswith("-0500") and moment(acquired[:8], acquired[8:-5]) - start == timedelta(hours=23, minutes=29, seconds=59)


def test_patient_characteristics(tmp_path):
    who = dict(PatientSex="F", PatientAge="093Y", PatientSize="1.6", PatientWeight="57.5", PatientBirthDate="19270203", PatientComments="x")
    for n, (value, age) in enumerate((("093Y", "090Y"), ("089Y", "089Y"), ("003M", "003M"), ("old", ""))):
        found = once(tmp_path/str(n), make_ct(**who | dict(PatientAge=value)), keep_patient_characteristics=True).ds
        assert (found.PatientSex, found.get("PatientAge", ""), found.PatientSize, found.PatientWeight) == ("F", age, 1.6, 57.5)
        assert not found.PatientBirthDate and "113108" in [c.CodeValue for c in found.DeidentificationMethodCodeSequence]
    plain = once(tmp_path/"plain", make_ct(**who)).ds
    assert not plain.PatientSex and not [k for k in ("PatientAge", "PatientSize", "PatientWeight") if plain.get(k)]
test_patient_characteristics = warnings_off(test_patient_characteristics)


# ---- files and folders
def plain_ct():
    ds = make_ct()
    ds.file_meta, ds.preamble = FileMetaDataset(), None
    return ds


@pytest.mark.parametrize("implicit, little", [(True, True), (False, True), (False, False)])
def test_no_preamble(tmp_path, implicit, little):
    ds = plain_ct()
    if not little: ds.PixelData = np.arange(64, dtype=">i2").tobytes()
    pydicom.dcmwrite(tmp_path/"bare", ds, implicit_vr=implicit, little_endian=little, force_encoding=True)
    found = once(tmp_path, tmp_path/"bare")
    assert b"Rulfo" not in found.raw and found.raw[128:132] == b"DICM" and (found.ds.pixel_array.ravel() == np.arange(64)).all()


def test_no_transfer_syntax(tmp_path):
    ds = make_ct()
    source = save(ds, tmp_path/"a.dcm")
    whole = pydicom.dcmread(source)
    del whole.file_meta.TransferSyntaxUID
    whole.save_as(tmp_path/"none.dcm", implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert "TransferSyntaxUID" not in pydicom.dcmread(tmp_path/"none.dcm").file_meta
    assert (once(tmp_path, tmp_path/"none.dcm").ds.pixel_array.ravel() == np.arange(64)).all()


def test_links_are_followed_or_named(tmp_path, cli):
    save(make_ct(), tmp_path/"t"/"a.dcm"); save(make_ct("1.2.840.99999.1.8"), tmp_path/"src"/"sub"/"b.dcm")
    for name, target in (("CT", "../t"), ("again", "sub"), ("loop", "."), ("nowhere", "gone"), ("self", "self")):
        os.symlink(target, tmp_path/"src"/name)
    report = run(tmp_path/"src", tmp_path/"out")
    assert report.files == 2 and {name for name, _ in report.left_out} == {"again", "loop", "nowhere", "self"}
    (tmp_path/"src2").mkdir(); os.symlink("../t", tmp_path/"src2"/"CT")
    status, out, err = cli("covid_deid", tmp_path/"src2", tmp_path/"out2")
    assert (status or 0, err) == (0, "") and out.startswith("1 files")


def test_status_3_and_every_name(tmp_path, cli):
    save(make_ct(), tmp_path/"src"/"a.dcm")
    for n in range(30): (tmp_path/"src"/f"note{n}.txt").write_text("x")
    with zipfile.ZipFile(tmp_path/"src"/"more.zip", "w") as z: z.writestr("a.dcm", "x")
    status, out, err = cli("covid_deid", tmp_path/"src", tmp_path/"out")
    assert status == 3 and all(f"note{n}.txt: no DICOM" in out for n in range(30)) and "more.zip: an archive: unpack it" in out and not err


def test_the_key_is_checked_first(tmp_path, cli, monkeypatch):
    save(make_ct(), tmp_path/"src"/"a.dcm")
    monkeypatch.setattr("covid_nbdev.deidentify.read_file", lambda path: pytest.fail("work before the check"))
    for key, words in ((tmp_path/"nowhere"/"key.json", "no folder"), (tmp_path, "a folder"), (tmp_path/"src"/"a.dcm", "beside the data")):
        status, _, err = cli("covid_deid", tmp_path/"src", tmp_path/"out", "--key", key)
        assert status == 2 and words in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize("values, why", [
    (dict(SeriesDescription="SCREEN SAVES", ImageType=["DERIVED", "SECONDARY"]), "screen"),
    (dict(SeriesDescription="Dose Report"), "screen"),
    (dict(SecondaryCaptureDeviceManufacturer="Vital Images", DateOfSecondaryCapture="20200417"), "secondary capture"),
    (dict(SeriesDescription="Patient Protocol"), "screen"), (dict(SOPClassUID=SecondaryCaptureImageStorage), "secondary capture"),
    (dict(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7,
          PixelData=bytes(192)), "color"),
    (dict(BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(64)), "8-bit"), (dict(SeriesDescription="informe de dosis"), "screen")])
def test_text_in_the_picture(tmp_path, values, why):
    save(make_ct(**values), tmp_path/"src"/"odd.dcm"); save(make_ct("1.2.840.99999.1.8"), tmp_path/"src"/"ct.dcm")
    report = run(tmp_path/"src", tmp_path/"out")
    assert report.files == 1 and report.left_out[0][0] == "odd.dcm" and why in report.left_out[0][1]


def test_an_overlay_inside_the_pixels(tmp_path):
    ds = make_ct()
    ds.add_new(0x60000102, "US", 15); ds.add_new(0x60000100, "US", 16)
    with pytest.raises(BadInput, match="overlay within the pixels"): run(save(ds, tmp_path/"src"/"a.dcm"), tmp_path/"out")


@pytest.mark.parametrize("values", [dict(ImageType=["DERIVED", "SECONDARY", "MPR"]), dict(SeriesDescription="SCREENING LOW DOSE"),
                                    dict(SeriesDescription="LUNG LOW DOSE 1.0"), dict(ICCProfile=b""),
                                    dict(ProtocolName="Chest dose saving")])
def test_common_series_pass(tmp_path, values): assert run(save(make_ct(**values), tmp_path/"src"/"a.dcm"), tmp_path/"out").files == 1
