"""Kaggle's real client against a small Kaggle on this machine: what arrives there, and what a user sees when it fails."""
import io, json, os, shutil, stat, subprocess, sys, termios, time, zipfile
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings, strategies as st

import kaggle_server
from conftest import ROOT
from covid_nbdev.competition import FILES
from covid_nbdev.etl import Store
from covid_nbdev.core import BadInput
from covid_nbdev.client import download_competition, kaggle_client, push_dataset, push_kernel, submit, unzip
from covid_nbdev.kaggle import OWNER
from test_bad_input import one_line

RULES_PAGE = "https://www.kaggle.com/competitions/covid-segmentation/rules"


@pytest.fixture(autouse=True)
def student(tmp_path_factory, monkeypatch):
    "A user of the little Kaggle, with a home of their own. Whatever would leave this machine meets a closed door."
    for name in [n for n in os.environ if n.startswith("KAGGLE_")]: monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    door = "http://127.0.0.1:9"
    for name, value in {"HOME": home, "KAGGLE_CONFIG_DIR": home/"config", "KAGGLE_API_ENVIRONMENT": "TEST", "HTTPS_PROXY": door,
                        "HTTP_PROXY": door, "https_proxy": door, "http_proxy": door, "NO_PROXY": "localhost", "no_proxy": "localhost",
                        "KAGGLE_USERNAME": kaggle_server.USER, "KAGGLE_KEY": kaggle_server.KEY}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr("tempfile.tempdir", str(home))     # where the client notes unfinished uploads
    return home


@pytest.fixture
def kaggle(layout):
    with kaggle_server.running() as k:
        k.files_of(layout)
        yield k


@pytest.fixture
def breaking(kaggle, layout):
    "The connection breaks after 70 kB, again and again; there is more to fetch than that."
    kaggle.files_of(layout, [("noise.bin", os.urandom(300_000))])
    kaggle.break_after, kaggle.breaks = 70_000, 99
    return kaggle


@pytest.fixture
def naps(monkeypatch):
    "No waiting; the seconds that would have been waited."
    taken = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


def real_kaggle(*args):
    "The real client's command, with the address exchanged."
    done = subprocess.run([sys.executable, ROOT/"tests"/"support"/"kaggle_server.py", *map(str, args)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def names(folder) -> list: return sorted(p.name for p in Path(folder).iterdir())


def same_files(a, b) -> bool:
    "All files of a are in b, and hardly another."
    return set(names(b)) - set(names(a)) <= {"noise.bin"} and all((a/n).read_bytes() == (b/n).read_bytes() for n in names(a))


@pytest.fixture
def kernel(tmp_path):
    "A kernel's folder as covid_kernel writes it, with a dataset beside the notebook."
    folder = tmp_path/"kernel"
    (folder/"weights").mkdir(parents=True)
    cell = {"cell_type": "code", "source": ["print(1)\n", "print(2)"], "outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}],
            "metadata": {}, "execution_count": 1}
    (folder/"covid.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (folder/"kernel-metadata.json").write_text(json.dumps({
        "id": f"{OWNER}/covid-nbdev", "title": "covid nbdev", "code_file": "covid.ipynb", "language": "python", "kernel_type": "notebook",
        "is_private": True, "enable_gpu": True, "enable_internet": False, "machine_shape": "NvidiaTeslaT4",
        "competition_sources": ["covid-segmentation"], "dataset_sources": [f"{OWNER}/covid-nbdev-weights"], "kernel_sources": []}))
    (folder/"weights"/"dataset-metadata.json").write_text(json.dumps({
        "id": f"{OWNER}/covid-nbdev-weights", "title": "covid nbdev weights", "licenses": [{"name": "apache-2.0"}]}))
    (folder/"weights"/"lite2.safetensors").write_bytes(os.urandom(3000))
    return folder


def edit(path, **changes):
    "Change a folder's metadata; None takes a key out."
    about = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in about.items() if v is not None}))


# ---- the real command

def test_real_kernels_push(kaggle, kernel):
    edit(kernel/"kernel-metadata.json", id="student/covid-nbdev", dataset_sources=[])
    status, out, err = real_kaggle("kernels", "push", "-p", kernel)
    assert (status, err) == (0, "") and "Kernel version 1 successfully pushed" in out, (out, err)
    [r] = kaggle.named("SaveKernel")
    assert (r.slug, r.new_title, r.language, r.kernel_type) == ("student/covid-nbdev", "covid nbdev", "python", "notebook")
    assert (r.enable_gpu, r.enable_internet, r.is_private, r.machine_shape) == (True, False, True, "NvidiaTeslaT4")
    assert r.competition_data_sources == ["covid-segmentation"]
    [cell] = json.loads(r.text)["cells"]
    assert cell["source"] == "print(1)\nprint(2)" and cell["outputs"] == []


def test_real_competitions_download(kaggle, layout, tmp_path):
    status, out, _ = real_kaggle("competitions", "download", "-c", "covid-segmentation", "-p", tmp_path, "--unzip")
    assert status == 0 and same_files(layout, tmp_path), out


def test_real_competitions_submit(kaggle, tmp_path):
    (tmp_path/"submission.csv").write_text("Id,Predicted\n0,1\n")
    status, out, _ = real_kaggle("competitions", "submit", "-c", "covid-segmentation", "-f", tmp_path/"submission.csv", "-m", "first")
    assert status == 0 and "Successfully submitted" in out
    assert list(kaggle.blobs.values()) == [b"Id,Predicted\n0,1\n"]
    assert kaggle.named("CreateSubmission")[0].submission_description == "first"


def test_real_client_sees_errors(kaggle, kernel, monkeypatch):
    "The little Kaggle refuses as Kaggle does: wrong keys, unknown routes, fields that a type has not."
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    assert real_kaggle("kernels", "push", "-p", kernel)[0] == 1 and not kaggle.calls
    post = lambda route, body: requests.post(f"{kaggle_server.URL}/api/v1/{route}", json=body, auth=("student", kaggle_server.KEY)).status_code
    assert post("competitions.CompetitionApiService/ListDataFiles", {"competitionName": "covid-segmentation"}) == 200
    assert post("competitions.CompetitionApiService/ListDataFiles", {"competition": "covid-segmentation"}) == 400
    assert post("competitions.CompetitionApiService/GetLeaderboard", {"competitionName": "covid-segmentation"}) == 404


def test_a_taken_port_is_told(kaggle):
    with pytest.raises(RuntimeError, match="port 7777 is taken"):
        with kaggle_server.running(): pass


# ---- signing in

def test_no_credentials(kaggle, tmp_path, monkeypatch):
    "In a process of its own, since the client signs in, and prints, when it is imported."
    monkeypatch.delenv("KAGGLE_USERNAME"); monkeypatch.delenv("KAGGLE_KEY")
    code = "import sys; from covid_nbdev.cli import covid_etl; sys.exit(covid_etl())"
    done = subprocess.run([sys.executable, "-c", code, tmp_path/"src", tmp_path/"store", "--download"], capture_output=True, text=True)
    assert done.stdout == "" and names(tmp_path) == [] and not kaggle.calls
    one_line((done.returncode, done.stdout, done.stderr), "no credentials", "https://www.kaggle.com/settings/api", "~/.kaggle/access_token")


def test_standard_input_survives(kaggle, monkeypatch):
    "The client's exit() closes it, which would end a prompt and break input() in a notebook."
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"): monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "stdin", io.StringIO("still open"))
    with pytest.raises(BadInput, match="no credentials"): kaggle_client()
    assert sys.stdin.read() == "still open"


def test_tokens(kaggle, student, layout, tmp_path, cli, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", kaggle_server.TOKEN); monkeypatch.delenv("KAGGLE_KEY")
    assert cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")[0] == 0 and same_files(layout, tmp_path/"src")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_revoked")
    one_line(cli("covid_etl", tmp_path/"src2", tmp_path/"store2", "--download"), "token in KAGGLE_API_TOKEN", "settings/api")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (student/".kaggle").mkdir(); (student/".kaggle"/"access_token").write_text(kaggle_server.TOKEN + "\n")
    assert kaggle_client().config_values["username"] == "student"
    assert names(tmp_path) == ["src", "store"]


def test_an_environment_kaggle_does_not_know(tmp_path, cli, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "MOON")
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "MOON", "KAGGLE_API_ENVIRONMENT")


def test_nothing_is_imported_early():
    code = "import sys, covid_nbdev.kaggle, covid_nbdev.cli; sys.exit(bool({'kaggle', 'kagglesdk', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ---- the competition's files

def test_etl_downloads_once(kaggle, layout, tmp_path, cli):
    status, out, err = cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    assert (status, err) == (0, "") and same_files(layout, tmp_path/"src")
    assert len(Store(tmp_path/"store")) == 8 + 16 + 2 and names(tmp_path) == ["src", "store"]
    before = len(kaggle.calls)
    status, out, _ = cli("covid_etl", tmp_path/"src", tmp_path/"store2", "--download")
    assert status == 0 and "already" in out and len(kaggle.calls) == before


def test_files_in_a_folder_of_the_archive(kaggle, layout, tmp_path, cli):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as z:
        for name in names(layout): z.write(layout/name, f"covid/{name}")
    kaggle.archive = packed.getvalue()
    assert cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")[0] == 0
    assert same_files(layout, tmp_path/"src"/"covid") and Store(tmp_path/"store").report


REFUSALS = {
    "401": ({"ListDataFiles": (401, "Unauthenticated", {})}, ["401", "valid credentials", "settings/api"]),
    "403 phone": ({"DownloadDataFiles": (403, "Phone verification required", {})}, ["403", "Phone verification", RULES_PAGE, "verify your phone"]),
    "404": ({"ListDataFiles": (404, "Not found", {})}, ["404", "covid-segmentation", "check the name"]),
    "429": ({"DownloadDataFiles": (429, "Too many requests", {"Retry-After": "30"})}, ["429", "wait 30 seconds"]),
    "429 bare": ({"ListDataFiles": (429, "Too many requests", {})}, ["429", "wait some minutes"]),
    "503": ({"DownloadDataFiles": (503, "Backend error", {})}, ["503", "Kaggle's side"]),
    "expired": ({"GET": (403, "<Error>expired</Error>", {})}, ["403"]),
    "many lines": ({"ListDataFiles": (400, "first\nsecond\x1b[31m\n" + "x"*5000, {})}, ["400", "first second"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_downloads(case, kaggle, tmp_path, cli, naps):
    kaggle.refuse, words = REFUSALS[case]
    result = cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    one_line(result, *words)
    assert names(tmp_path) == [] and naps == []
    assert len(result[2]) < 700 and "\x1b" not in result[2]
    assert not [s for s in (kaggle_server.KEY, "signature") if s in result[2]], "secrets stay out of errors"


def test_rules_not_accepted(kaggle, tmp_path, cli):
    kaggle.rules_accepted = False
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "403", "must accept", RULES_PAGE)
    assert names(tmp_path) == []


def test_wrong_key(kaggle, tmp_path, cli, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "401", "settings/api")
    assert names(tmp_path) == []


def test_nobody_answers(tmp_path, cli, naps):
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "no answer from localhost:7777", "refused", "connection")
    assert names(tmp_path) == []


def test_a_login_page_in_between(kaggle, tmp_path, cli, monkeypatch):
    monkeypatch.setattr(kaggle_server.Handler, "do_POST", lambda self: self.reply(200, b"<html>log in</html>", Content_Type="text/html"))
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "no JSON", "login page")
    assert names(tmp_path) == []


def test_a_short_break_is_mended(breaking, layout, tmp_path, cli, naps):
    breaking.breaks = 1
    status, _, err = cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    assert (status, err) == (0, "") and same_files(layout, tmp_path/"src")
    assert breaking.ranges == [0, 65536] and len(naps) == 1


def test_a_terminal_shows_the_progress(breaking, tmp_path, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    breaking.breaks = 1
    code = "import sys, time; time.sleep = lambda s: None; from covid_nbdev.cli import covid_etl; sys.exit(covid_etl())"
    done = subprocess.run([sys.executable, "-c", code, tmp_path/"src", tmp_path/"store", "--download"], stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = os.read(ours, 1_000_000).decode()
    os.close(ours)
    assert done.returncode == 0 and "100%" in shown and "B/s" in shown and "Error" not in shown, shown
    assert done.stdout.startswith("Kaggle's files are in") and "Error" not in done.stdout


def test_a_broken_download_goes_on(breaking, layout, tmp_path, cli, naps):
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "connection that broke", "run the same command again")
    assert names(tmp_path) == [".src.download"], "the part, under a name of its own"
    assert len(naps) == 2 and sum(naps) < 10, "the client tries twice more"
    got = (tmp_path/".src.download"/"covid-segmentation.zip").stat().st_size
    assert got == 3*65536 < len(breaking.archive)
    breaking.breaks = 0
    assert cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")[0] == 0
    assert breaking.ranges == [0, 65536, 2*65536, 0, 3*65536], "answered in full, then asked for the rest"
    assert same_files(layout, tmp_path/"src") and names(tmp_path) == ["src", "store"]


def test_an_archive_that_changed_meanwhile(breaking, layout, tmp_path, cli, naps):
    cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    breaking.files_of(layout, [("news.txt", b"a new version")])
    breaking.breaks = 0
    assert cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")[0] == 0
    assert (tmp_path/"src"/"news.txt").read_bytes() == b"a new version" and breaking.ranges[3:] == [0]


def test_a_part_without_a_name_is_not_kept(breaking, layout, tmp_path, cli, naps, monkeypatch):
    "Without ETag and date, nobody could tell later whether the part belongs to the archive."
    monkeypatch.setattr(kaggle_server.Handler, "validators", lambda self: {})
    result = cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    one_line(result, "connection that broke", "run the same command again")
    assert "goes on" not in result[2] and names(tmp_path) == []


def test_ctrl_c_while_unpacking(kaggle, tmp_path, cli, monkeypatch):
    def interrupt(*_): raise KeyboardInterrupt
    monkeypatch.setattr("covid_nbdev.client.unzip", interrupt)
    status, _, err = cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    assert status == 130 and "Run the same command again" in err and names(tmp_path) == []


def test_a_refusal_keeps_an_earlier_part(breaking, layout, tmp_path, cli, naps):
    cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    breaking.refuse = {"ListDataFiles": (429, "Too many requests", {})}
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "429")
    breaking.refuse, breaking.breaks = {}, 0
    assert download_competition(tmp_path/"src") == tmp_path/"src" and breaking.ranges[-1] == 3*65536


def test_ctrl_c_in_a_download(breaking, tmp_path, cli, monkeypatch):
    def interrupt(_): raise KeyboardInterrupt
    monkeypatch.setattr(time, "sleep", interrupt)      # the client waits after a break
    breaking.breaks = 1
    status, _, err = cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    assert status == 130 and "Run the same command again: it goes on" in err and names(tmp_path) == [".src.download"]


def test_too_small_a_disk(kaggle, layout, tmp_path, cli, monkeypatch):
    needed = len(kaggle.archive) + sum(p.stat().st_size for p in layout.iterdir())
    free = [needed - 1]
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(10**12, 0, free[0]))
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "MB free", "make room")
    assert names(tmp_path) == [] and len(kaggle.named("ListDataFiles")) > 1
    free[0] = needed
    download_competition(tmp_path/"src")
    assert same_files(layout, tmp_path/"src")


def test_a_listing_that_understates(kaggle, tmp_path, cli, monkeypatch):
    "The archive's own table is believed when it is larger."
    kaggle.listed_bytes = 1
    free = len(kaggle.archive) + 1000
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(10**12, 0, free))
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "MB free")
    assert names(tmp_path) == []


def test_places_that_are_taken(kaggle, tmp_path, cli):
    src, store = tmp_path/"src", tmp_path/"store"
    src.mkdir(); (src/"thesis.txt").write_text("years of work")
    one_line(cli("covid_etl", src, store, "--download"), "src", "new folder")
    store.mkdir(); (store/"thesis.txt").write_text("years of work")
    one_line(cli("covid_etl", tmp_path/"new", store, "--download"), "store", "new folder")
    assert names(src) == names(store) == ["thesis.txt"] and names(tmp_path) == ["src", "store"] and kaggle.ranges == []


def test_not_the_files_we_know(kaggle, tmp_path, cli):
    kaggle.archive = packed(("readme.txt", b"moved"))
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "no images_medseg.npy", "competitions/covid-segmentation/data")
    assert names(tmp_path) == []


# ---- archives

def packed(*entries, how=zipfile.ZIP_STORED) -> bytes:
    "An archive of (name or ZipInfo, bytes)."
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as z:
        for name, data in entries: z.writestr(name, data)
    return made.getvalue()


def entry(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def lying() -> bytes:
    "An entry that unpacks to more than it declares."
    data = packed(("a.txt", b"0"*100_000), how=zipfile.ZIP_DEFLATED)
    return data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))


def early() -> bytes:
    "A table that places its entry one byte before the archive."
    data = bytearray(packed(("a.txt", b"0"*100)))
    data[-6:-2] = (int.from_bytes(data[-6:-2], "little") + 1).to_bytes(4, "little")
    return bytes(data)


def locked() -> bytes:
    data = bytearray(packed(("a.txt", b"0"*100)))
    data[6] |= 1; data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


ATTACKS = {
    "up": (packed(("../evil.txt", b"x")), "leads elsewhere"), "up inside": (packed(("a/../../evil.txt", b"x")), "leads elsewhere"),
    "absolute": (packed(("/evil.txt", b"x")), "leads elsewhere"), "drive": (packed(("C:evil.txt", b"x")), "leads elsewhere"),
    "backslash": (packed(("..\\evil.txt", b"x")), "leads elsewhere"), "dot": (packed(("./evil.txt", b"x")), "leads elsewhere"),
    "empty part": (packed(("a//evil.txt", b"x")), "leads elsewhere"), "long": (packed(("ä"*150, b"x")), "too long"),
    "link": (packed((entry("a", stat.S_IFLNK | 0o777), b"../../evil.txt")), "a link"),
    "link then file": (packed((entry("a", stat.S_IFLNK | 0o777), b".."), ("a/evil.txt", b"x")), "a link"),
    "device": (packed((entry("a", stat.S_IFCHR | 0o666), b"")), "a device"), "fifo": (packed((entry("a", stat.S_IFIFO | 0o666), b"")), "a device"),
    "bomb": (packed(("a", b"0"*3_000_000), how=zipfile.ZIP_DEFLATED), "at most"), "many": (packed(*((f"{i}", b"") for i in range(1001))), "entries: 1,001"),
    "liar": (lying(), "damaged"), "twice": (packed(("a", b"1"), ("A", b"2")), "is taken"), "file and folder": (packed(("a", b"1"), ("a/b", b"2")), "is taken"),
    "folder after": (packed(("a/b", b"1"), ("a", b"2")), "is taken"), "locked": (locked(), "encrypted"),
    "early": (early(), "before the archive|damaged"),    # the second from Python itself, once it looks
    "bzip2": (packed(("a", b"1"), how=zipfile.ZIP_BZIP2), "unusual"), "no archive": (b"hello", "damaged"), "empty": (b"", "damaged"),
    "cut": (packed(("a", b"1"*1000))[:-40], "damaged"), "bad sum": (packed(("a", b"good sum")).replace(b"good sum", b"evil sum"), "damaged"),
}


@pytest.mark.parametrize("case", ATTACKS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives(case, tmp_path, kaggle, cli):
    data, word = ATTACKS[case]
    (tmp_path/"a.zip").write_bytes(data)
    (tmp_path/"out"/"in").mkdir(parents=True)
    with pytest.raises(BadInput, match=word) as e: unzip(tmp_path/"a.zip", tmp_path/"out"/"in", most_bytes=2_000_000)
    assert "\n" not in str(e.value) and names(tmp_path) == ["a.zip", "out"] and names(tmp_path/"out") == ["in"]
    if "damaged" not in word: assert names(tmp_path/"out"/"in") == [], "refused before anything is written"
    assert sum(p.stat().st_size for p in (tmp_path/"out").rglob("*") if p.is_file()) <= 1000


def test_a_hostile_archive_from_the_competition(kaggle, layout, tmp_path, cli):
    kaggle.files_of(layout, [("../../evil.txt", b"x")])
    one_line(cli("covid_etl", tmp_path/"deep"/"src", tmp_path/"store", "--download"), "evil.txt", "leads elsewhere", "nothing was unpacked")
    assert list(tmp_path.rglob("*")) == [tmp_path/"deep"]


def test_a_good_archive(tmp_path):
    (tmp_path/"a.zip").write_bytes(packed(("folder/", b""), ("folder/ä b.txt", "grün".encode()), ("c.txt", b"0"*9999), how=zipfile.ZIP_DEFLATED))
    (tmp_path/"out").mkdir()
    unzip(tmp_path/"a.zip", tmp_path/"out")
    assert (tmp_path/"out"/"folder"/"ä b.txt").read_text() == "grün" and (tmp_path/"out"/"c.txt").read_bytes() == b"0"*9999


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_archives(tmp_path_factory, changes):
    "Any bytes changed: unpacked as far as the sums agree, or one line; never another error, nothing elsewhere."
    data = bytearray(packed(("folder/a.txt", b"hello"*20), ("b.txt", b"world"), how=zipfile.ZIP_DEFLATED))
    for at, value in changes: data[at % len(data)] = value
    home = tmp_path_factory.mktemp("damaged")
    (home/"a.zip").write_bytes(data); (home/"out").mkdir()
    try: unzip(home/"a.zip", home/"out", most_bytes=10**6)
    except BadInput: pass
    assert names(home) == ["a.zip", "out"]


# ---- submissions

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A run with an untrained model."
    from covid_nbdev.hu import Standardizer
    from covid_nbdev.model import build_model
    from covid_nbdev.run import save_model
    from covid_nbdev.train import TrainConfig
    folder = tmp_path_factory.mktemp("runs")/"first"
    folder.mkdir()
    config = TrainConfig(size=64, encoder="efficientnet-b0")
    save_model(folder/"best.safetensors", build_model("efficientnet-b0"), config, Standardizer(-500, 400), 1, 1.)
    return folder


def test_submission_arrives(kaggle, run, layout, tmp_path, cli):
    out = tmp_path/"submission.csv"
    status, said, err = cli("covid_submission", run, layout, out, "--submit")
    assert (status, err) == (0, "") and "Successfully submitted" in said
    assert list(kaggle.blobs.values()) == [out.read_bytes()] and out.read_text().startswith("Id,Predicted\n0,")
    [start], [made] = kaggle.named("StartSubmissionUpload"), kaggle.named("CreateSubmission")
    assert (start.file_name, start.content_length, start.competition_name) == ("submission.csv", out.stat().st_size, "covid-segmentation")
    assert made.submission_description == "covid_nbdev first"
    submit(out, "by hand")
    assert kaggle.named("CreateSubmission")[1].submission_description == "by hand"


SUBMISSIONS = {
    "rules": ({"StartSubmissionUpload": (403, "You must accept this competition's rules", {})}, ["403", RULES_PAGE]),
    "limit": ({"CreateSubmission": (400, "You have exceeded your submission limit", {})}, ["400", "submission limit"]),
    "429": ({"CreateSubmission": (429, "Too many requests", {"Retry-After": "60"})}, ["429", "wait 60 seconds"]),
    "upload": ({"PUT": (403, "expired", {})}, ["upload", "submission.csv", "broke off"]),
}


@pytest.mark.parametrize("case", SUBMISSIONS)
def test_refused_submissions(case, kaggle, run, layout, tmp_path, cli, naps):
    kaggle.refuse, words = SUBMISSIONS[case]
    one_line(cli("covid_submission", run, layout, tmp_path/"submission.csv", "--submit", "--message", "x"), *words)
    assert names(tmp_path) == ["submission.csv"], "what was computed is kept"


def test_submissions_that_are_none(kaggle, run, layout, tmp_path, cli, monkeypatch):
    one_line(cli("covid_submission", run, layout, tmp_path/"s.csv", "--message", "x"), "--submit")
    with pytest.raises(BadInput, match="no file s.csv"): submit(tmp_path/"s.csv")
    (tmp_path/"s.csv").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(BadInput, match="Id,Predicted"): submit(tmp_path/"s.csv")
    (tmp_path/"s.csv").unlink()
    monkeypatch.delenv("KAGGLE_KEY")
    one_line(cli("covid_submission", run, layout, tmp_path/"s.csv", "--submit"), "no credentials")
    assert names(tmp_path) == [] and not kaggle.calls, "said before anything is computed"


# ---- kernels and datasets

def test_push_kernel_and_its_dataset(kaggle, kernel, naps):
    said = []
    assert push_kernel(kernel, said.append) == "https://www.kaggle.com/code/student/covid-nbdev"
    [made], [r] = kaggle.named("CreateDataset"), kaggle.named("SaveKernel")
    assert (made.owner_slug, made.slug, made.title, made.license_name, made.is_private) == (
        "student", "covid-nbdev-weights", "covid nbdev weights", "apache-2.0", True)
    assert [kaggle.blobs[f.token] for f in made.files] == [(kernel/"weights"/"lite2.safetensors").read_bytes()]
    assert (r.slug, r.dataset_data_sources) == ("student/covid-nbdev", ["student/covid-nbdev-weights"])
    assert [m for m, _ in kaggle.calls].index("CreateDataset") < [m for m, _ in kaggle.calls].index("SaveKernel")
    assert len(naps) == 1, "waited until the dataset was ready"
    assert OWNER not in (kernel/"kernel-metadata.json").read_text() + (kernel/"weights"/"dataset-metadata.json").read_text()
    assert any("covid-nbdev-weights" in line for line in said)
    push_kernel(kernel, said.append)           # again: a new version of both
    assert len(kaggle.named("CreateDataset")) == 1 and len(kaggle.named("CreateDatasetVersion")) == 1


def test_what_the_client_says_is_passed_on(kaggle, kernel, naps):
    edit(kernel/"kernel-metadata.json", title="quite another title")
    said = []
    push_kernel(kernel, said.append)
    assert any("title does not resolve" in line for line in said)


def a_key_is_missing(key): return lambda f: edit(f/"kernel-metadata.json", **{key: None})


KERNELS = {
    "no folder": (shutil.rmtree, ["no kernel-metadata.json"]), "no id": (a_key_is_missing("id"), ["no id", "covid_kernel"]),
    "no JSON": (lambda f: (f/"kernel-metadata.json").write_text("{"), ["can't be read"]),
    "a list": (lambda f: (f/"kernel-metadata.json").write_text("[]"), ["no id"]),
    "no notebook": (lambda f: (f/"covid.ipynb").unlink(), ["covid.ipynb", "Source file not found"]),
    "broken notebook": (lambda f: (f/"covid.ipynb").write_text("{"), ["covid-nbdev", "JSON"]),
    "short title": (lambda f: edit(f/"kernel-metadata.json", title="ab"), ["five characters"]),
    "language": (lambda f: edit(f/"kernel-metadata.json", language="cobol"), ["valid language"]),
    "other owner": (lambda f: edit(f/"kernel-metadata.json", id="somebody/covid-nbdev"), ["403", "yours"]),
    "unknown source": (lambda f: edit(f/"kernel-metadata.json", dataset_sources=["student/nothing"]), ["pushed without student/nothing"]),
    "unknown competition": (lambda f: edit(f/"kernel-metadata.json", competition_sources=["titanic"]), ["without titanic", RULES_PAGE]),
    "short dataset title": (lambda f: edit(f/"weights"/"dataset-metadata.json", title="ab"), ["6 and 50"]),
    "no license": (lambda f: edit(f/"weights"/"dataset-metadata.json", licenses=None), ["no licenses", "dataset-metadata.json"]),
}


@pytest.mark.parametrize("case", KERNELS)
def test_kernels_that_cannot_be_pushed(case, kaggle, kernel, naps):
    spoil, words = KERNELS[case]
    spoil(kernel)
    with pytest.raises(BadInput) as e: push_kernel(kernel, lambda line: None)
    assert all(w in str(e.value) for w in words) and "\n" not in str(e.value), e.value


PUSHES = {
    "429": ({"SaveKernel": (429, "Too many requests", {"Retry-After": "9"})}, ["429", "wait 9 seconds"]),
    "401": ({"SaveKernel": (401, "Unauthenticated", {})}, ["401", "settings/api"]),
    "phone": ({"SaveKernel": (403, "Phone verification is needed for GPU", {})}, ["403", "phone number"]),
    "429 dataset": ({"CreateDataset": (429, "Too many requests", {"Retry-After": "9"})}, ["429", "wait 9 seconds", "weights"]),
    "500 dataset": ({"GetDatasetStatus": (500, "oh", {})}, ["500", "Kaggle's side"]),
    "upload": ({"PUT": (403, "expired", {})}, ["Upload unsuccessful: lite2.safetensors"]),
}


@pytest.mark.parametrize("case", PUSHES)
def test_refused_pushes(case, kaggle, kernel, naps, capsys):
    kaggle.refuse, words = PUSHES[case]
    with pytest.raises(BadInput) as e: push_kernel(kernel, lambda line: None)
    assert all(w in str(e.value) for w in words) and "\n" not in str(e.value), e.value
    out = capsys.readouterr()
    assert (out.out, out.err) == ("", ""), "the client is quiet"


def test_a_dataset_that_fails(kaggle, kernel, naps):
    kaggle.status["student/covid-nbdev-weights"] = ["READY", "FAILED"]
    with pytest.raises(BadInput, match="failed at Kaggle.*datasets/student/covid-nbdev-weights"): push_dataset(kernel/"weights", lambda line: None)
    kaggle.status["student/covid-nbdev-weights"] = ["BLOBS_RECEIVED"]*1000
    with pytest.raises(BadInput, match="blobs_received"): push_dataset(kernel/"weights", lambda line: None)
    assert sum(naps) == 600, "ten minutes, then it gives up"


def test_a_kernel_that_kaggle_refuses(kaggle, kernel, naps, monkeypatch):
    refused = kaggle_server.made(kaggle_server.kernels.ApiSaveKernelResponse, error="Maximum batch GPU session count of 2 reached.")
    monkeypatch.setattr(kaggle, "SaveKernel", lambda r: refused)
    with pytest.raises(BadInput, match="Maximum batch GPU session count"): push_kernel(kernel, lambda line: None)


def test_covid_kernel_pushes(kaggle, naps, tmp_path, cli, monkeypatch):
    "The command's own folder, weights and all, through the real client; the account's name comes in when it is pushed."
    import torch
    import covid_nbdev.kaggle
    from covid_nbdev.model import build_model
    monkeypatch.setattr(covid_nbdev.kaggle, "configured_user", lambda: None)
    torch.save(build_model("efficientnet-b0").encoder.state_dict(), tmp_path/"mine.pt")
    status, out, err = cli("covid_kernel", tmp_path/"K", "--encoder", "efficientnet-b0", "--weights", tmp_path/"mine.pt", "--go_on", "--push")
    assert status == 0 and "https://www.kaggle.com/code/student/covid-lesions-in-chest-ct" in out, (out, err)
    [made], [r] = kaggle.named("CreateDataset"), kaggle.named("SaveKernel")
    assert [kaggle.blobs[f.token] for f in made.files] == [(tmp_path/"mine.pt").read_bytes()]
    assert (r.slug, r.new_title) == ("student/covid-lesions-in-chest-ct", "COVID lesions in chest CT")
    assert (r.enable_gpu, r.enable_internet, r.machine_shape) == (True, False, "NvidiaTeslaT4")
    assert (r.competition_data_sources, r.dataset_data_sources, r.kernel_data_sources) == (
        ["covid-segmentation"], ["student/covid-lesions-in-chest-ct-weights"], ["student/covid-lesions-in-chest-ct"])
    assert len(r.text) < 1_000_000 and "covid_nbdev-" in r.text and "does not resolve" not in out
