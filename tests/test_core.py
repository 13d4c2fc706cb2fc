"""What keeps files safe: archives that may be hostile or damaged, writes that are cut off; and imports that stay quick."""
import io, stat, subprocess, sys, zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from covid_nbdev.core import BadInput, atomic_file, atomic_folder, check_zip, disk_full, unzip


def zipped(*entries, how=zipfile.ZIP_STORED) -> bytes:
    "An archive of (name or ZipInfo, bytes)."
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as z:
        for name, data in entries: z.writestr(name, data)
    return made.getvalue()


def special(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def lying() -> bytes:
    "An entry that unpacks to more than it declares."
    data = zipped(("a.txt", b"0"*100_000), how=zipfile.ZIP_DEFLATED)
    return data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))


def locked() -> bytes:
    data = bytearray(zipped(("a.txt", b"0"*100)))
    data[6] |= 1; data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


REFUSED = {
    "up": (zipped(("../evil.txt", b"x")), "leads elsewhere"), "up inside": (zipped(("a/../../evil.txt", b"x")), "leads elsewhere"),
    "absolute": (zipped(("/evil.txt", b"x")), "leads elsewhere"), "drive": (zipped(("C:evil.txt", b"x")), "leads elsewhere"),
    "backslash": (zipped(("..\\evil.txt", b"x")), "leads elsewhere"),
    "link": (zipped((special("a", stat.S_IFLNK | 0o777), b".."), ("a/evil.txt", b"x")), "a link"),
    "device": (zipped((special("a", stat.S_IFCHR | 0o666), b"")), "a device"), "locked": (locked(), "encrypted"),
    "bomb": (zipped(("a", bytes(3_000_000)), how=zipfile.ZIP_DEFLATED), r"3 MB packed in 2\.9 KB"), "twice": (zipped(("a", b"1"), ("A", b"2")), "taken twice"),
    "file and folder": (zipped(("a", b"1"), ("a/b", b"2")), "not to be unpacked"), "long": (zipped(("ä"*150, b"x")), "not to be unpacked"),
    "liar": (lying(), "damaged"), "no archive": (b"hello", "damaged"), "cut": (zipped(("a", b"1"*1000))[:-40], "damaged"),
    "bad sum": (zipped(("a", b"good sum")).replace(b"good sum", b"evil sum"), "damaged"),
}


def names(folder): return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("case", REFUSED)
def test_archives_refused(case, tmp_path):
    "One line, and nothing outside; but for damage, nothing inside either."
    data, word = REFUSED[case]
    (tmp_path/"a.zip").write_bytes(data)
    (tmp_path/"out"/"in").mkdir(parents=True)
    with pytest.raises(BadInput, match=word) as e: unzip(tmp_path/"a.zip", tmp_path/"out"/"in", most_bytes=2_000_000)
    assert "\n" not in str(e.value) and names(tmp_path) == ["a.zip", "out"] and names(tmp_path/"out") == ["in"]
    if word not in ("damaged", "not to be unpacked"): assert names(tmp_path/"out"/"in") == []
    assert sum(p.stat().st_size for p in (tmp_path/"out").rglob("*") if p.is_file()) <= 1000


def test_absurd_tables_are_refused(tmp_path):
    "Sizes as declared, before a byte is read."
    data = bytearray(zipped(("big", bytes(100_000)), how=zipfile.ZIP_DEFLATED))
    at = data.rfind(b"PK\x01\x02") + 24
    data[at:at + 4] = (2_000_000_000).to_bytes(4, "little")
    with zipfile.ZipFile(io.BytesIO(data)) as z, pytest.raises(BadInput, match=r"2 GB packed in \d+ bytes"): check_zip(z)
    many = zipped(*((f"{k}", b"") for k in range(11)))
    with zipfile.ZipFile(io.BytesIO(many)) as z, pytest.raises(BadInput, match="11 files"): check_zip(z, most_files=10)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_good_archive(tmp_path, how):
    "Folders, letters of any language, any way of packing, a clock time in a name, much packed into little."
    files = {"folder/ä b.txt": "grün".encode(), "c.txt": bytes(3_000_000), "scan 12:30.dcm": b"1"}
    (tmp_path/"a.zip").write_bytes(zipped(("folder/", b""), *files.items(), how=how))
    (tmp_path/"out").mkdir()
    unzip(tmp_path/"a.zip", tmp_path/"out")
    assert all((tmp_path/"out"/name).read_bytes() == data for name, data in files.items())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_archives(tmp_path_factory, changes):
    "Any bytes changed: unpacked as far as the sums agree, or one line; never another error, nothing elsewhere."
    data = bytearray(zipped(("folder/a.txt", b"hello"*20), ("b.txt", b"world"), how=zipfile.ZIP_DEFLATED))
    for at, value in changes: data[at % len(data)] = value
    home = tmp_path_factory.mktemp("damaged")
    (home/"a.zip").write_bytes(data); (home/"out").mkdir()
    try: unzip(home/"a.zip", home/"out", most_bytes=10**6)
    except BadInput: pass
    assert names(home) == ["a.zip", "out"]


def test_a_full_disk_is_seen_before(tmp_path, monkeypatch):
    (tmp_path/"a.zip").write_bytes(zipped(("a", bytes(5_000_000))))
    (tmp_path/"out").mkdir()
    for free, said in ((1_000_000, "1 MB"), (65_536, "65.5 KB"), (123, "123 bytes"), (0, "0 bytes")):
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free}))
        with pytest.raises(BadInput, match=f"found {said} free on the disk of out; expected 5 MB"): unzip(tmp_path/"a.zip", tmp_path/"out")
    assert names(tmp_path/"out") == []


def test_sizes_are_true():
    "Of any size: needed is never said to be 0 MB."
    for needed, said in ((999, "999 bytes"), (1000, "1 KB"), (24_576, "24.6 KB"), (733_000_000, "733 MB"), (5_200_000_000, "5.2 GB"), (10**13, "10,000 GB")):
        assert f"expected {said};" in str(disk_full(Path("store"), needed, 0))
    assert "on the disk of .;" in str(disk_full(Path("."), 1, 0))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_there_stays(tmp_path, error):
    "A write that is cut off, by Ctrl-C too, changes nothing and leaves nothing."
    (tmp_path/"note.txt").write_text("first")
    with pytest.raises(error), atomic_file(tmp_path/"note.txt") as temp:
        temp.write_text("half"); raise error
    with pytest.raises(error), atomic_folder(tmp_path/"new") as temp:
        (temp/"half.txt").write_text("half"); raise error
    assert names(tmp_path) == ["note.txt"] and (tmp_path/"note.txt").read_text() == "first"


def test_imports_stay_light():
    "Plots, tables, torch and bars are imported when they are needed."
    heavy = "matplotlib PIL IPython pandas torch cv2 scipy tqdm ipywidgets".split()
    code = f"import sys, covid_nbdev.hu, covid_nbdev.masks, covid_nbdev.metrics; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (out.stdout, out.stderr) == ("[]\n", "")
