"""De-identification: every attribute of the profile's table, from a source of its own, filled with a marker that must be gone."""
import json, os, re, subprocess, sys, zipfile
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom, pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from conftest import ROOT, note, real_data
from covid_nbdev import privacy, profile
from covid_nbdev.core import BadInput
from covid_nbdev.deidentify import deidentify

warnings_off = pytest.mark.filterwarnings("ignore::UserWarning")
TABLE = [l.split() for l in (ROOT/"tests"/"support"/"dicom_profile.txt").read_text().splitlines() if not l.startswith("#")]


def make_ct(uid="1.2.840.99999.1.7", **values) -> FileDataset:
    "A small CT image with a name, an ID and dates."
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0"*128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CTImageStorage, uid, "CT"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (f"1.2.840.99999.{n}.55" for n in (2, 3, 4))
    ds.PatientName, ds.PatientID, ds.StudyDate = "Rulfo^Susana", "NSS-4418-22", "20200417"
    ds.Rows = ds.Columns = 8
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelData = np.arange(64, dtype="<i2").tobytes()
    for name, value in values.items(): setattr(ds, name, value)
    return ds


def save(ds, path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def results(dest) -> list: return [pydicom.dcmread(p) for p in sorted(Path(dest).rglob("*.dcm"))]
def run(src, dest, **options): return deidentify(src, dest, progress=False, **options)


# ---- markers
def marker(n: int, vr: str):
    "A value of this kind that occurs nowhere else, and the bytes to look for (none where they are too few to tell)."
    text = f"ZQ{n:05}KX"
    if vr == "PN": return f"{text}^{text}V", text
    if vr in ("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"): return text, text
    if vr == "UR": return f"http://{text}.org", text
    if vr == "UI": return f"1.2.840.99999.{n}.4242", f"99999.{n}.4242"
    if vr == "DA": return (d := f"{date(1701, 1, 1) + timedelta(n):%Y%m%d}"), d
    if vr == "DT": return (d := f"{date(1801, 1, 1) + timedelta(n):%Y%m%d}") + "101112", d
    if vr == "TM": return (t := f"0102{n % 60:02}.{n:06}"), t
    if vr == "AS": return f"{n % 1000:03}D", ""
    if vr in ("DS", "IS"): return (d := f"77{n:05}33"), d
    if vr in ("FD", "FL"): return 1234.5 + n, ""
    if vr in ("US", "SS"): return 10_000 + n, ""
    if vr in ("UL", "SL"): return 1_000_000 + n, ""
    if vr == "SQ": return [nested(n)], f"ZQ{n + 5000:05}KX"
    return text.encode() + b"\0", text


def nested(n: int) -> Dataset:
    "What hides inside a sequence."
    item, deeper = Dataset(), Dataset()
    item.PatientName, item.PatientID, deeper.InstitutionName = (f"ZQ{n + 5000:05}KX" for _ in range(3))
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, f"1.2.840.99999.{n + 5000}.4242"
    deeper.private_block(0x0011, "ZQ PRIVATE", create=True).add_new(1, "LO", f"ZQ{n + 5000:05}KX")
    item.add_new(0x00081140, "SQ", [deeper])
    return item


def table_tags() -> list[tuple]:
    "(tag, VR) of each row; some of a repeating group for its row."
    found = []
    for tag, _ in TABLE:
        for group in (("00", "02", "1e") if "xx" in tag else ("",)):
            first, rest = tag.split(",")
            t = Tag(int(first.replace("xx", group), 16), int(rest.replace("xxxx", "3000" if "x" in rest else rest), 16))
            if t.group in (0, 2): continue      # commands are never in files; the file header has its own test
            try: vr = dictionary_VR(t)
            except KeyError: vr = "LO"
            found.append((t, {"OB or OW": "OW", "US or SS": "US", "US or OW": "OW"}.get(vr, vr)))
    return found


def fill(ds, start: int) -> dict:
    "Every attribute of the table, with its own marker; tag -> (value, text to look for)."
    filled = {}
    for n, (tag, vr) in enumerate(table_tags(), start):
        value, text = marker(n, vr)
        ds.add_new(tag, vr, value)
        filled[tag] = value, text
    return filled


@warnings_off
@pytest.mark.parametrize("shift_dates", [False, True])
@pytest.mark.parametrize("enhanced", [False, True])
def test_no_marker_in_any_byte(tmp_path, shift_dates, enhanced):
    "At the top, in sequences that stay, in those that go, in private attributes, in the file header, before and after the data."
    assert len(TABLE) > 400
    ds = make_ct()
    filled = fill(ds, 1)
    item = Dataset()
    inner = fill(item, 1000)
    item.private_block(0x0029, "ZQ PRIVATE", create=True).add_new(0x10, "OB", b"ZQ99990KX\0")
    ds.add_new(0x00189346, "SQ", [item])      # CTDI Phantom Type Code Sequence: in no table, stays
    if enhanced: ds.SharedFunctionalGroupsSequence = [nested(4000)]
    block = ds.private_block(0x0009, "ZQ PRIVATE", create=True)
    block.add_new(1, "PN", "ZQ99991KX"); block.add_new(2, "UN", b"ZQ99992KX\0"); block.add_new(3, "SQ", [nested(4100)])
    ds.add_new(0x50002500, "LO", "ZQ99993KX"); ds.add_new(0x60001500, "LO", "ZQ99994KX")
    ds.add_new(0x00100998, "LO", "ZQ99995KX")      # even group, but in no dictionary
    ds.file_meta.SourceApplicationEntityTitle = "ZQ99996KX"
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = "1.2.840.99999.9", b"ZQ99997KX\0"
    ds.preamble = b"ZQ99998KX".ljust(128, b"\1")
    source = save(ds, tmp_path/"src"/"ZQ99999KX.dcm")
    assert source.read_bytes().count(b"KX") > 800
    run(tmp_path/"src", tmp_path/"out", shift_dates=shift_dates)
    path, = (tmp_path/"out").rglob("*.dcm")
    raw, result = path.read_bytes(), pydicom.dcmread(path)
    assert not re.findall(rb"ZQ\d{5}KX|99999\.\d+\.4242", raw) and "ZQ" not in str(path.relative_to(tmp_path))
    moved = {str(e.value)[:8] for e in result.iterall() if e.VR in ("DA", "DT")}      # one may meet another's old date
    for filled_here, ds_here in ((filled, result), (inner, result[0x00189346].value[0])):
        for tag, (value, text) in filled_here.items():
            time_kept = shift_dates and tag in ds_here and ds_here[tag].VR == "TM"      # the date moves by whole days
            assert time_kept or not text or text.encode() not in raw or text in moved, keyword_for_tag(tag)
            if tag in ds_here and not time_kept and not isinstance(value, list): assert ds_here[tag].value != value, tag
    assert not [e for e in result.iterall() if e.tag.is_private]


def test_the_two_tables_agree():
    "Every row of the other table is in the anonymizer's, and no less strict."
    strength = {"U": 0, "S": 0, "D": 1, "T": 1, "Z": 2, "X": 3}
    for tag, code in TABLE:
        t = Tag(*(int(p.replace("xxxx", "3000").replace("xx", "00"), 16) for p in tag.split(",")))
        try: vr = dictionary_VR(t)
        except KeyError: vr = "LO"
        mine, theirs = profile.action(t, vr), code.split("/")[-1].strip("*")
        assert mine != "K" and (strength[mine] >= strength[theirs] or mine == "T"), (tag, code, mine)


# ---- the real scans, and pydicom's files
@pytest.mark.skipif(real_data() is None, reason="real CT not found: set COVID_REAL_DATA")
@pytest.mark.parametrize("shift_dates", [False, True])
def test_real_scans(tmp_path, shift_dates):
    with zipfile.ZipFile(real_data()/"chest_dicom.zip") as z: z.extractall(tmp_path/"src")
    before = {p: p.read_bytes() for p in (tmp_path/"src").rglob("*.dcm")}
    report = run(tmp_path/"src", tmp_path/"out", shift_dates=shift_dates)
    assert (report.files, len(report.patients), report.left_out) == (27, 2, [])
    assert before == {p: p.read_bytes() for p in (tmp_path/"src").rglob("*.dcm")}
    sources = [pydicom.dcmread(p) for p in before]
    keywords = ("PatientID", "DeviceSerialNumber", "StationName", "StudyDate", "SOPInstanceUID")
    identifying = {str(d.get(k)) for d in sources for k in keywords}
    for path in (tmp_path/"out").rglob("*.dcm"):
        raw, ds = path.read_bytes(), pydicom.dcmread(path)
        uids = {str(uid) for e in (*ds.file_meta, *ds.iterall()) if e.VR == "UI" for uid in (e.value if e.VM > 1 else [e.value])}
        for uid in uids - identifying: raw = raw.replace(uid.encode(), b"")     # drawn at random: any five digits may occur in them
        assert not [v for v in identifying if len(v) > 4 and v != "None" and v.encode() in raw]
    pixels = sorted(d.PixelData for d in sources)
    assert pixels == sorted(d.PixelData for d in results(tmp_path/"out")), "pixels are as they were"
    note(f"de-identification of {report.files} real files: {len(report.removed)} attributes removed or replaced, "
         f"{len(report.texts)} texts and {len(report.others)} others kept")


def pydicom_files() -> list[Path]:
    folder = Path(pydicom.__file__).parent/"data"/"test_files"
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size < 400_000)


@warnings_off
def test_pydicoms_own_files(tmp_path):
    "All kinds of files: compressed, big-endian, damaged, without images. Each is cleaned or named."
    done, named = 0, {}
    for n, path in enumerate(pydicom_files()):
        try: report = run(path, tmp_path/str(n), keep_secondary=True)
        except BadInput as e:
            named[path.name] = str(e)
            assert not (tmp_path/str(n)).exists() and "\n" not in str(e)
            continue
        done += report.files
        ds, (result,) = pydicom.dcmread(path), results(tmp_path/str(n))
        raw = next((tmp_path/str(n)).rglob("*.dcm")).read_bytes()
        for name in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID", "StudyDate", "InstitutionName"):
            value = str(ds.get(name, "") or "")
            assert len(value) < 5 or value.encode() not in raw, (path.name, name)
        assert result.PixelData == ds.PixelData and result.PatientIdentityRemoved == "YES"
    assert done >= 60, named
    assert "no image" in named["rtplan.dcm"] and "no DICOM" in named["README.txt"] and "cut short" in named["MR_truncated.dcm"]
    note(f"de-identification of pydicom's own files: {done} cleaned, {len(named)} named and left out")


# ---- consistency
def three_scans(folder):
    "One patient three times, 9 and 40 days apart; the second refers to the first. Another patient on the first day."
    for n, day in enumerate(("20200417", "20200426", "20200527")):
        ds = make_ct(f"1.2.840.99999.1.{n + 70}", StudyDate=day, StudyTime="101530.5", AcquisitionDateTime=day + "101530+0100",
                     StudyInstanceUID=f"1.2.840.99999.2.{n + 50}", PatientBirthDate="19610203")
        if n:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, "1.2.840.99999.1.70"
            ds.ReferencedImageSequence = [item]
        save(ds, folder/f"{n}.dcm")
    save(make_ct("1.2.840.99999.1.90", PatientID="NSS-9999-11", PatientName="Otro^Pedro"), folder/"other.dcm")
    return folder


def by_patient(dest):
    found = {}
    for ds in results(dest): found.setdefault(ds.PatientID, []).append(ds)
    return sorted(found.values(), key=len)


def test_uids_are_consistent(tmp_path):
    run(three_scans(tmp_path/"src"), tmp_path/"out")
    (other,), same = by_patient(tmp_path/"out")
    first, second, third = same
    assert second.ReferencedImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.ReferencedImageSequence[0].ReferencedSOPClassUID == CTImageStorage == first.SOPClassUID
    assert len({d.FrameOfReferenceUID for d in same}) == 1 and len({d.StudyInstanceUID for d in same}) == 3
    assert len({d.SOPInstanceUID for d in (*same, other)}) == 4
    for ds in (*same, other):
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID and ds.SOPInstanceUID.is_valid
        assert ds.SOPInstanceUID.startswith("2.25.") and ds.PatientName == ds.PatientID


def test_dates_are_removed(tmp_path):
    run(three_scans(tmp_path/"src"), tmp_path/"out")
    for ds in results(tmp_path/"out"):
        assert not [e for e in ds.iterall() if e.VR in ("DA", "DT", "TM") and e.value]
        assert ds.LongitudinalTemporalInformationModified == "REMOVED"
        assert [c.CodeValue for c in ds.DeidentificationMethodCodeSequence] == ["113100"]


def moment(day, time=""): return datetime.strptime(day + (time + ".0" if "." not in time else time), "%Y%m%d%H%M%S.%f")


def test_dates_move_together(tmp_path):
    "Day and time as one, to the microsecond, also where the move passes midnight; nothing stays as it was."
    run(three_scans(tmp_path/"src"), tmp_path/"out", shift_dates=True)
    (other,), same = by_patient(tmp_path/"out")
    starts = sorted(moment(ds.StudyDate, ds.StudyTime) for ds in same)
    assert [(s - starts[0]).days for s in starts] == [0, 9, 40] and {(s - starts[0]).seconds for s in starts} == {0}
    by = starts[0] - moment("20200417", "101530.5")
    assert timedelta(-3651) < by <= timedelta(-365) and by.seconds + by.microseconds, "not by whole days"
    for ds in same:
        acquired = ds.AcquisitionDateTime.removesuffix("+0100")
        assert moment(acquired[:8], acquired[8:]) + timedelta(seconds=.5) == moment(ds.StudyDate, ds.StudyTime)
        assert not ds.PatientBirthDate, "not part of that option"
        assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
        assert [c.CodeValue for c in ds.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert other.StudyDate not in {d.StudyDate for d in same}


@pytest.mark.parametrize("before, moved", [
    (("20200301", "101112.5"), ("20200229", "091112.500000")), (("2020.03.01", "00:30:00"), ("20200228", "233000")),      # past midnight
    (("20200301", "1011"), ("20200229", "091100")), (("20200301", ""), ("20200229", "")), (("", "0030"), ("", "233000")),
    *[((bad, ""), ("", "")) for bad in ("202003", "no date", "20201399", "00010101", "")]])
def test_shift_time(before, moved): assert privacy.shift_time(*before, -timedelta(1, hours=1)) == moved


def test_two_runs_share_nothing_unless_a_key_joins_them(tmp_path):
    src, key = three_scans(tmp_path/"src"), tmp_path/"keys"/"key.json"
    key.parent.mkdir()
    for name, options in (("a", {}), ("b", {}), ("c", {"key": key}), ("d", {"key": key})): run(src, tmp_path/name, **options)
    a, b, c, d = ({str(v) for ds in results(tmp_path/n) for v in (ds.PatientID, ds.SOPInstanceUID)} for n in "abcd")
    assert not a & b and not a & c and c == d
    content = json.loads(key.read_text())
    assert content["patients"]["NSS-4418-22|"]["new"] in c and content["uids"]["1.2.840.99999.1.70"] in c
    assert os.stat(key).st_mode & 0o077 == 0, "for its owner alone"
    inside = [p.name for n in "abcd" for p in (tmp_path/n).rglob("*") if p.is_file()]
    assert len(inside) == 16 and all(n.endswith(".dcm") for n in inside), "no key, no list of names, in the data"


# ---- what is left out, and the verification
@pytest.mark.parametrize("values, why", [
    (dict(SOPClassUID=SecondaryCaptureImageStorage), "secondary capture"), (dict(BurnedInAnnotation="YES"), "burned-in"),
    (dict(ConversionType="WSD"), "secondary capture"), (dict(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]), "screen"),
    (dict(RecognizableVisualFeatures="YES"), "face"), (dict(Modality="US"), "modality US")])
def test_pictures_with_text_are_left_out(tmp_path, values, why):
    save(make_ct(**values), tmp_path/"src"/"odd.dcm"); save(make_ct("1.2.840.99999.1.8"), tmp_path/"src"/"ct.dcm")
    report = run(tmp_path/"src", tmp_path/"out")
    assert report.files == 1 and report.left_out[0][0] == "odd.dcm" and why in report.left_out[0][1] and why in str(report)
    assert run(tmp_path/"src", tmp_path/"all", keep_secondary=True).files == 2


def test_a_name_in_the_wrong_field_goes(tmp_path):
    ds = make_ct(ConvolutionKernel="B70 rulfo", FilterType="WEDGE", ManufacturerModelName="of NSS-4418-22")
    report = run(save(ds, tmp_path/"src"/"a.dcm"), tmp_path/"out")
    result, = results(tmp_path/"out")
    assert "ConvolutionKernel" not in result and "ManufacturerModelName" not in result and result.FilterType == "WEDGE"
    assert report.removed["ConvolutionKernel"] == 1


@pytest.mark.parametrize("step, idle", [
    ("drop_echoes", lambda *args: Counter()), ("clean", lambda *args: Counter()), ("_new_file_header", lambda ds: None),
    ("_replace", lambda *args: None), ("_moved", lambda elem, together, by: elem.value), ("action", lambda *args: "K")])
def test_the_verification_can_fail(tmp_path, monkeypatch, step, idle):
    "With any step left out, it finds out, and nothing is written."
    ds = make_ct(ConvolutionKernel="for Rulfo", InstitutionName="Hospital del Mar")
    ds.preamble = b"Rulfo".ljust(128)
    save(ds, tmp_path/"src"/"a.dcm")
    monkeypatch.setattr(profile, step, idle)
    with pytest.raises(BadInput, match="could not be cleaned"): run(tmp_path/"src", tmp_path/"out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["src"]


def test_a_second_time(tmp_path):
    "What is clean already comes through again, under other names; nobody's name hides in our own words, either."
    save(make_ct(PatientName="Basic^Profile"), tmp_path/"src"/"a.dcm")
    assert run(tmp_path/"src", tmp_path/"out").files == run(tmp_path/"out", tmp_path/"again").files == 1
    assert results(tmp_path/"out")[0].PatientID != results(tmp_path/"again")[0].PatientID


def test_deflated_files_are_searchable(tmp_path):
    ds = make_ct()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    run(save(ds, tmp_path/"src"/"a.dcm"), tmp_path/"out")
    assert results(tmp_path/"out")[0].file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


@pytest.mark.parametrize("charset, name", [("ISO_IR 192", "Núñez^José"), ("ISO_IR 100", "Núñez^José"),
                                           ("ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう")])
def test_other_alphabets(tmp_path, charset, name):
    ds = make_ct(SpecificCharacterSet=charset if "87" not in charset else ["", charset], PatientName=name)
    source = save(ds, tmp_path/"src"/"a.dcm")
    run(source, tmp_path/"out")
    raw = next((tmp_path/"out").rglob("*.dcm")).read_bytes()
    for part in re.split(r"[\^=]", name):
        for code in ("utf-8", "latin-1", "iso2022_jp"):
            try: word = part.encode(code)
            except UnicodeEncodeError: continue
            assert word not in raw


# ---- hostile input, and the command
def command(*args, name="covid_deid"):
    return subprocess.run([Path(sys.executable).parent/name, *map(str, args)], capture_output=True, text=True)


def test_command(tmp_path):
    src = three_scans(tmp_path/"Rulfo Susana")
    (tmp_path/"a-key").mkdir()
    done = command(src, tmp_path/"out", "--shift-dates", f"--key={tmp_path/'a-key'/'my-key.json'}")
    assert done.returncode == 0 and not done.stderr and (tmp_path/"a-key"/"my-key.json").is_file()
    assert done.stdout.startswith("4 files of 2 patients") and "Rulfo" not in done.stdout
    assert len(results(tmp_path/"out")) == 4
    files = [str(p.relative_to(tmp_path)) for p in (tmp_path/"out").rglob("*")]
    assert not [f for f in files if re.search("rulfo|susana|nss-4418|202004", f, re.I)], "names say nothing"


@pytest.mark.parametrize("make, words", [
    (lambda p: p/"nowhere", "no "), (lambda p: (p/"empty").mkdir() or p/"empty", "an empty folder"),
    (lambda p: (p/"notes.txt").write_text("x"*500) and p/"notes.txt", "no DICOM"),
    (lambda p: (p/"x").write_bytes(b"\0"*128 + b"DICM" + os.urandom(900)) and p/"x", "nothing to de-identify"),
    (lambda p: (p/"z").write_bytes(b"") or p/"z", "no DICOM")])
def test_hostile_sources(tmp_path, cli, make, words):
    status, out, err = cli("covid_deid", make(tmp_path), tmp_path/"out")
    assert status == 2 and words in err and len(err.splitlines()) == 1 and not (tmp_path/"out").exists()


def test_archives_are_refused(tmp_path, cli):
    with zipfile.ZipFile(tmp_path/"scans.zip", "w") as z: z.writestr("../../evil.dcm", b"x")
    status, _, err = cli("covid_deid", tmp_path/"scans.zip", tmp_path/"out")
    assert status == 2 and "unpack it" in err and not (tmp_path.parent/"evil.dcm").exists()


def test_damaged_files_are_named_and_the_others_go_on(tmp_path):
    whole = save(make_ct(), tmp_path/"src"/"a.dcm").read_bytes()
    for n, keep in enumerate((100, 140, 300, 500, len(whole) - 10)): (tmp_path/"src"/f"cut{n}.dcm").write_bytes(whole[:keep])
    os.symlink(tmp_path/"nowhere", tmp_path/"src"/"link.dcm"); os.mkfifo(tmp_path/"src"/"pipe.dcm")
    report = run(tmp_path/"src", tmp_path/"out")
    assert report.files == 1 and {n for n, _ in report.left_out} == {f"cut{n}.dcm" for n in range(5)} | {"link.dcm", "pipe.dcm"}


def test_nothing_is_overwritten(tmp_path, cli):
    src = three_scans(tmp_path/"src")
    before = {p.name: p.read_bytes() for p in src.iterdir()}
    (tmp_path/"out").mkdir(); (tmp_path/"out"/"mine.txt").write_text("mine")
    for dest in (src, src/"sub", tmp_path/"out", tmp_path/"out"/"mine.txt"):
        status, _, err = cli("covid_deid", src, dest)
        assert status == 2 and len(err.splitlines()) == 1, dest
    for key in (tmp_path/"new"/"key.json", src/"key.json"):
        status, _, err = cli("covid_deid", src, tmp_path/"new", "--key", key)
        assert status == 2 and "beside the data" in err
    (tmp_path/"old.json").write_text('{"a": 1}')
    status, _, err = cli("covid_deid", src, tmp_path/"new", "--key", tmp_path/"old.json")
    assert status == 2 and "no key of ours" in err and (tmp_path/"old.json").read_text() == '{"a": 1}'
    assert before == {p.name: p.read_bytes() for p in src.iterdir()}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.json", "out", "src"]
