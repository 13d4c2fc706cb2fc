"""Kaggle's real client against a small Kaggle on this machine: what arrives there, and what a user sees when it fails."""
import io, json, os, shutil, subprocess, sys, time, zipfile
from pathlib import Path

import pytest
import requests

import kaggle_server
from conftest import ROOT
from covid_nbdev.client import download_competition, kaggle_client, push_dataset, push_kernel, submit
from covid_nbdev.core import BadInput
from covid_nbdev.etl import Store
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
    kaggle_server.call_this_machine(monkeypatch)
    return home


@pytest.fixture
def kaggle(layout):
    with kaggle_server.running() as k:
        k.files_of(layout)
        yield k


@pytest.fixture
def breaking(kaggle, layout):
    "The connection breaks after 1.5 MB, again and again; there is more to fetch than that."
    kaggle.files_of(layout, [("noise.bin", os.urandom(9_000_000))])
    kaggle.break_after, kaggle.breaks = 1_500_000, 99
    return kaggle


@pytest.fixture(autouse=True)
def naps(monkeypatch):
    "No waiting; the seconds that would have been waited."
    taken = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


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


# ---- the real command, and the little Kaggle

def test_real_kernels_push(kaggle, kernel):
    "A folder of ours is one that `kaggle kernels push` takes, too."
    edit(kernel/"kernel-metadata.json", id="student/covid-nbdev", dataset_sources=[])
    done = subprocess.run([sys.executable, ROOT/"tests"/"support"/"kaggle_server.py", "kernels", "push", "-p", kernel],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "Kernel version 1 successfully pushed" in done.stdout, done
    [r] = kaggle.named("SaveKernel")
    assert (r.slug, r.new_title, r.language, r.kernel_type) == ("student/covid-nbdev", "covid nbdev", "python", "notebook")
    assert (r.enable_gpu, r.enable_internet, r.is_private, r.machine_shape) == (True, False, True, "NvidiaTeslaT4")
    assert r.competition_data_sources == ["covid-segmentation"]
    [cell] = json.loads(r.text)["cells"]
    assert cell["source"] == "print(1)\nprint(2)" and cell["outputs"] == []


def test_the_little_kaggle_refuses_as_kaggle_does(kaggle):
    "Unknown routes, and fields that a type has not."
    post = lambda route, body: requests.post(f"{kaggle_server.URL}/api/v1/{route}", json=body, auth=("student", kaggle_server.KEY)).status_code
    assert post("competitions.CompetitionApiService/DownloadDataFiles", {"competition": "covid-segmentation"}) == 400
    assert post("competitions.CompetitionApiService/GetLeaderboard", {"competitionName": "covid-segmentation"}) == 404


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


def test_tokens(kaggle, student, layout, tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", kaggle_server.TOKEN); monkeypatch.delenv("KAGGLE_KEY")
    assert same_files(layout, download_competition(tmp_path/"src"))
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_revoked")
    with pytest.raises(BadInput, match="no credentials that Kaggle knows.*settings/api"): download_competition(tmp_path/"src2")
    assert names(tmp_path) == ["src"]


# ---- the competition's files

def test_etl_downloads_once(kaggle, layout, tmp_path, cli):
    status, out, err = cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    assert (status, err) == (0, "") and same_files(layout, tmp_path/"src")
    assert len(Store(tmp_path/"store")) == 8 + 16 + 2 and names(tmp_path) == ["src", "store"]
    before = len(kaggle.calls)
    status, out, _ = cli("covid_etl", tmp_path/"src", tmp_path/"store2", "--download")
    assert status == 0 and "already" in out and len(kaggle.calls) == before


REFUSALS = {
    "401": ({"DownloadDataFiles": (401, "Unauthenticated", {})}, ["401", "settings/api"]),
    "403 phone": ({"DownloadDataFiles": (403, "Phone verification required", {})}, ["403", "Phone verification", RULES_PAGE, "verify your phone"]),
    "429": ({"DownloadDataFiles": (429, "Too many\nrequests\x1b[31m\n" + "x"*5000, {"Retry-After": "30"})}, ["429", "many requests", "wait 30 seconds"]),
    "expired": ({"GET": (403, "<Error>expired</Error>", {})}, ["403"]),
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


def test_nobody_answers(tmp_path, cli):
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "no answer", "refused", "connection")
    assert names(tmp_path) == []


def test_a_login_page_in_between(kaggle, tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle_server.Handler, "do_POST", lambda self: self.reply(200, b"<html>log in</html>", Content_Type="text/html"))
    (tmp_path/"s.csv").write_text("Id,Predicted\n0,1\n")
    with pytest.raises(BadInput, match="no answer.*login page"): submit(tmp_path/"s.csv")


def test_a_broken_download_goes_on(breaking, layout, tmp_path, cli):
    one_line(cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download"), "no answer", "run the same command again")
    assert names(tmp_path) == [".src.download"], "the part, under a name of its own"
    got = (tmp_path/".src.download"/"covid-segmentation.zip").stat().st_size
    assert 0 < got < len(breaking.archive)
    breaking.breaks, before = 0, len(breaking.ranges)
    status, _, err = cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    assert status == 0 and breaking.ranges[before:] == [0, got], "answered in full, then asked for the rest"
    assert same_files(layout, tmp_path/"src") and names(tmp_path) == ["src", "store"]


def test_an_archive_that_changed_meanwhile(breaking, layout, tmp_path):
    with pytest.raises(BadInput): download_competition(tmp_path/"src")
    breaking.files_of(layout, [("noise.bin", os.urandom(10_000_000)), ("news.txt", b"a new version")])
    breaking.breaks, before = 0, len(breaking.ranges)
    download_competition(tmp_path/"src")
    assert breaking.ranges[before:] == [0], "fetched anew: never two halves of different archives"
    assert (tmp_path/"src"/"news.txt").read_bytes() == b"a new version" and names(tmp_path) == ["src"]


def test_ctrl_c_in_a_download(breaking, tmp_path, cli, monkeypatch):
    def interrupt(_): raise KeyboardInterrupt
    monkeypatch.setattr(time, "sleep", interrupt)      # the client waits after a break
    status, _, err = cli("covid_etl", tmp_path/"src", tmp_path/"store", "--download")
    assert status == 130 and "Run the same command again" in err and names(tmp_path) == [".src.download"]


def test_folders_that_are_taken(kaggle, tmp_path, cli):
    "What is there stays, and nothing is downloaded."
    src, store = tmp_path/"src", tmp_path/"store"
    src.mkdir(); (src/"thesis.txt").write_text("years of work")
    one_line(cli("covid_etl", src, store, "--download"), "src", "new folder")
    store.mkdir(); (store/"thesis.txt").write_text("years of work")
    one_line(cli("covid_etl", tmp_path/"new", store, "--download"), "store", "new folder")
    assert names(src) == names(store) == ["thesis.txt"] and names(tmp_path) == ["src", "store"] and kaggle.ranges == []


def packed(*entries) -> bytes:
    "An archive of (name, bytes)."
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as z:
        for name, data in entries: z.writestr(name, data)
    return made.getvalue()


@pytest.mark.parametrize("archive, words", [(packed(("readme.txt", b"moved")), ["no images_medseg.npy", "competitions/covid-segmentation/data"]),
                                            (packed(("../../evil.txt", b"x")), ["evil.txt", "leads elsewhere"])],
                         ids=["other files", "hostile"])
def test_archives_that_are_refused(archive, words, kaggle, tmp_path, cli):
    "Nothing of them is left; the next call fetches anew."
    kaggle.archive = archive
    one_line(cli("covid_etl", tmp_path/"deep"/"src", tmp_path/"store", "--download"), *words)
    assert list(tmp_path.rglob("*")) == [tmp_path/"deep"]


# ---- submissions

def test_submission_arrives(kaggle, tiny_run, layout, tmp_path, cli):
    out = tmp_path/"submission.csv"
    status, printed, err = cli("covid_submission", tiny_run, layout, out, "--submit")
    assert (status, err) == (0, "") and "Successfully submitted" in printed
    assert list(kaggle.blobs.values()) == [out.read_bytes()] and out.read_text().startswith("Id,Predicted\n0,")
    [start], [made] = kaggle.named("StartSubmissionUpload"), kaggle.named("CreateSubmission")
    assert (start.file_name, start.content_length, start.competition_name) == ("submission.csv", out.stat().st_size, "covid-segmentation")
    assert made.submission_description == "covid_nbdev run"


SUBMISSIONS = {
    "limit": ({"CreateSubmission": (400, "You have exceeded your submission limit", {})}, ["400", "submission limit"]),
    "upload": ({"PUT": (403, "expired", {})}, ["Could not submit", "submission.csv"]),
}


@pytest.mark.parametrize("case", SUBMISSIONS)
def test_refused_submissions(case, kaggle, tmp_path, capsys):
    kaggle.refuse, words = SUBMISSIONS[case]
    (tmp_path/"submission.csv").write_text("Id,Predicted\n0,1\n")
    with pytest.raises(BadInput) as e: submit(tmp_path/"submission.csv")
    assert all(w in str(e.value) for w in words) and "\n" not in str(e.value), e.value
    assert capsys.readouterr() == ("", ""), "the client is quiet"


def test_submissions_that_are_none(kaggle, tiny_run, layout, tmp_path, cli, monkeypatch):
    one_line(cli("covid_submission", tiny_run, layout, tmp_path/"s.csv", "--message", "x"), "--submit")
    (tmp_path/"s.csv").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(BadInput, match="Id,Predicted"): submit(tmp_path/"s.csv")
    (tmp_path/"s.csv").unlink()
    monkeypatch.delenv("KAGGLE_KEY")
    one_line(cli("covid_submission", tiny_run, layout, tmp_path/"s.csv", "--submit"), "no credentials")
    assert names(tmp_path) == [] and not kaggle.calls, "noticed before anything is computed"


# ---- kernels and datasets

def test_push_kernel_and_its_dataset(kaggle, kernel, naps, capsys):
    assert push_kernel(kernel) == "https://www.kaggle.com/code/student/covid-nbdev"
    [made], [r] = kaggle.named("CreateDataset"), kaggle.named("SaveKernel")
    assert (made.owner_slug, made.slug, made.title, made.license_name, made.is_private) == (
        "student", "covid-nbdev-weights", "covid nbdev weights", "apache-2.0", True)
    assert [kaggle.blobs[f.token] for f in made.files] == [(kernel/"weights"/"lite2.safetensors").read_bytes()]
    assert (r.slug, r.dataset_data_sources) == ("student/covid-nbdev", ["student/covid-nbdev-weights"])
    assert [m for m, _ in kaggle.calls].index("CreateDataset") < [m for m, _ in kaggle.calls].index("SaveKernel")
    assert len(naps) == 1, "waited until the dataset was ready"
    assert OWNER not in (kernel/"kernel-metadata.json").read_text() + (kernel/"weights"/"dataset-metadata.json").read_text()
    assert "covid-nbdev-weights" in capsys.readouterr().out
    push_kernel(kernel)          # again: a new version of both
    assert len(kaggle.named("CreateDataset")) == 1 and len(kaggle.named("CreateDatasetVersion")) == 1


KERNELS = {
    "no folder": (shutil.rmtree, ["no kernel-metadata.json"]),
    "no JSON": (lambda f: (f/"kernel-metadata.json").write_text("{"), ["can't be read"]),
    "other owner": (lambda f: edit(f/"kernel-metadata.json", id="somebody/covid-nbdev"), ["403", "yours"]),
    "unknown sources": (lambda f: edit(f/"kernel-metadata.json", competition_sources=["titanic"], dataset_sources=["student/nothing"]),
                        ["pushed without titanic, student/nothing", RULES_PAGE]),
}


@pytest.mark.parametrize("case", KERNELS)
def test_kernels_that_cannot_be_pushed(case, kaggle, kernel):
    spoil, words = KERNELS[case]
    spoil(kernel)
    with pytest.raises(BadInput) as e: push_kernel(kernel)
    assert all(w in str(e.value) for w in words) and "\n" not in str(e.value), e.value


PUSHES = {
    "500 dataset": ({"GetDatasetStatus": (500, "oh", {})}, ["500", "run it later"]),
    "upload": ({"PUT": (403, "expired", {})}, ["Upload unsuccessful: lite2.safetensors"]),
}


@pytest.mark.parametrize("case", PUSHES)
def test_refused_pushes(case, kaggle, kernel):
    kaggle.refuse, words = PUSHES[case]
    with pytest.raises(BadInput) as e: push_kernel(kernel)
    assert all(w in str(e.value) for w in words) and "\n" not in str(e.value), e.value


def test_a_dataset_that_fails(kaggle, kernel, naps):
    kaggle.status["student/covid-nbdev-weights"] = ["READY", "FAILED"]
    with pytest.raises(BadInput, match="failed at Kaggle.*datasets/student/covid-nbdev-weights"): push_dataset(kernel/"weights")
    kaggle.status["student/covid-nbdev-weights"] = ["BLOBS_RECEIVED"]*1000
    with pytest.raises(BadInput, match="blobs_received"): push_dataset(kernel/"weights")
    assert sum(naps) == 600, "ten minutes, then it gives up"


def test_a_kernel_that_kaggle_refuses(kaggle, kernel, monkeypatch):
    refused = kaggle_server.made(kaggle_server.kernels.ApiSaveKernelResponse, error="Maximum batch GPU session count of 2 reached.")
    monkeypatch.setattr(kaggle, "SaveKernel", lambda r: refused)
    with pytest.raises(BadInput, match="Maximum batch GPU session count"): push_kernel(kernel)


def test_covid_kernel_pushes(kaggle, tmp_path, cli, monkeypatch):
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
    assert len(r.text) < 1_000_000 and "covid_nbdev-" in r.text
