"""A small Kaggle on this machine, for tests of the real client.

It listens on 127.0.0.1:7777, where KAGGLE_API_ENVIRONMENT=TEST sends Kaggle's SDK, reads each request with the
client's own types, answers the calls that we use (all others get 404), and keeps what arrived.

The client above the SDK (2.2.5) asks it for kaggle.com whatever that variable says: `call_this_machine` changes that,
and nothing else. As a program, this file is the `kaggle` command with the same change:

    KAGGLE_API_ENVIRONMENT=TEST python tests/support/kaggle_server.py kernels push -p FOLDER
"""
import base64, io, json, re, sys, threading, zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from kagglesdk.blobs.types import blob_api_service as blobs
from kagglesdk.competitions.types import competition_api_service as competitions
from kagglesdk.datasets.types import dataset_api_service as datasets
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus
from kagglesdk.kernels.types import kernels_api_service as kernels
from kagglesdk.security.types import oauth_service as security

PORT = 7777
URL = f"http://localhost:{PORT}"
USER, KEY, TOKEN = "student", "0123456789abcdef", "KGAT_student"
LAST_MODIFIED = "Mon, 02 Mar 2026 10:00:00 GMT"
RULES = "You must accept this competition's rules before you'll be able to download files."

ROUTES = {   # "service/method" in the address: the type of the request
    "competitions.CompetitionApiService/DownloadDataFiles": competitions.ApiDownloadDataFilesRequest,
    "competitions.CompetitionApiService/StartSubmissionUpload": competitions.ApiStartSubmissionUploadRequest,
    "competitions.CompetitionApiService/CreateSubmission": competitions.ApiCreateSubmissionRequest,
    "kernels.KernelsApiService/SaveKernel": kernels.ApiSaveKernelRequest,
    "datasets.DatasetApiService/GetDatasetStatus": datasets.ApiGetDatasetStatusRequest,
    "datasets.DatasetApiService/CreateDataset": datasets.ApiCreateDatasetRequest,
    "datasets.DatasetApiService/CreateDatasetVersion": datasets.ApiCreateDatasetVersionRequest,
    "blobs.BlobApiService/StartBlobUpload": blobs.ApiStartBlobUploadRequest,
    "security.OAuthService/IntrospectToken": security.IntrospectTokenRequest,
}


class Refused(Exception):
    "An error answer: status, message, headers."


def made(kind, **fields):
    "One of the client's types, filled."
    it = kind()
    for name, value in fields.items(): setattr(it, name, value)
    return it


class Kaggle:
    "What the little Kaggle knows, how it behaves, and what has arrived."
    def __init__(self):
        self.archive = b""       # of the competition
        self.rules_accepted = True
        self.refuse = {}         # method: (status, message, headers)
        self.break_after = None  # bytes of the archive, or of an upload, after which the connection breaks
        self.breaks = 0          # how many times
        self.status = {}         # dataset: the statuses still to come, READY after them
        self.calls, self.blobs, self.ranges = [], {}, []   # (method, request); token: bytes; bytes asked for

    def named(self, method: str) -> list:
        "The requests of one method, in order."
        return [r for m, r in self.calls if m == method]

    def breaks_now(self) -> bool:
        self.breaks -= 1
        return self.breaks >= 0

    def files_of(self, folder, extra=()):
        "The competition's archive: a folder's files, and (name, bytes) beside them."
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as z:
            for p in sorted(Path(folder).iterdir()): z.write(p, p.name)
            for name, data in extra: z.writestr(name, data)
        self.archive = packed.getvalue()

    def answer(self, method: str, r):
        "The answer to a request, of the client's types."
        if method in self.refuse: raise Refused(*self.refuse[method])
        return getattr(self, method)(r)

    def _competition(self, name: str):
        if name != "covid-segmentation": raise Refused(404, "Not found", {})

    def DownloadDataFiles(self, r):
        self._competition(r.competition_name)
        if not self.rules_accepted: raise Refused(403, RULES, {})
        return f"{URL}/files/{r.competition_name}.zip?signature=secret"

    def _upload(self, kind):
        token = f"token{len(self.blobs)}"
        self.blobs[token] = None
        return made(kind, token=token, create_url=f"{URL}/upload/{token}")

    def StartSubmissionUpload(self, r):
        self._competition(r.competition_name)
        if not self.rules_accepted: raise Refused(403, RULES, {})
        return self._upload(competitions.ApiStartSubmissionUploadResponse)

    def StartBlobUpload(self, r): return self._upload(blobs.ApiStartBlobUploadResponse)

    def CreateSubmission(self, r):
        if not self.blobs.get(r.blob_file_tokens): raise Refused(400, "Submission file was not uploaded", {})
        return made(competitions.ApiCreateSubmissionResponse, message="Successfully submitted to COVID-19 segmentation", ref=7)

    def SaveKernel(self, r):
        if not r.slug.startswith(USER + "/"): raise Refused(403, "Permission 'kernels.update' was denied", {})
        return made(kernels.ApiSaveKernelResponse, ref=f"/code/{r.slug}", url=f"https://www.kaggle.com/code/{r.slug}",
                    version_number=len(self.named("SaveKernel")),
                    invalid_competition_sources=[c for c in r.competition_data_sources if c != "covid-segmentation"],
                    invalid_dataset_sources=[d for d in r.dataset_data_sources if d not in self.status])

    def GetDatasetStatus(self, r):
        coming = self.status.get(f"{r.owner_slug}/{r.dataset_slug}")
        if coming is None: raise Refused(403, "Permission 'datasets.get' was denied", {})    # so says Kaggle
        status = coming.pop(0) if coming else "READY"
        return made(datasets.ApiGetDatasetStatusResponse, status=DatabundleVersionStatus[status])

    def _dataset(self, ref, files):
        missing = [f.token for f in files if not self.blobs.get(f.token)]
        if missing: return made(datasets.ApiCreateDatasetResponse, status="error", error=f"no blob {missing}")
        self.status.setdefault(ref, ["BLOBS_RECEIVED"])
        return made(datasets.ApiCreateDatasetResponse, status="ok", ref=ref, url=f"https://www.kaggle.com/datasets/{ref}")

    def CreateDataset(self, r): return self._dataset(f"{r.owner_slug}/{r.slug}", r.files)

    def CreateDatasetVersion(self, r): return self._dataset(f"{r.owner_slug}/{r.dataset_slug}", r.body.files)

    def IntrospectToken(self, r):
        if r.token != TOKEN: raise Refused(404, "Token not found", {})
        return made(security.IntrospectTokenResponse, active=True, username=USER)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args): pass

    @property
    def kaggle(self) -> Kaggle: return self.server.kaggle

    def body(self) -> bytes: return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, data: bytes = b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, message: str, headers=()):
        data = json.dumps({"code": status, "message": message}).encode()
        self.reply(status, data, Content_Type="application/json; charset=utf-8", **dict(headers))

    def signed_in(self) -> bool:
        basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        return self.headers.get("Authorization") in (f"Basic {basic}", f"Bearer {TOKEN}")

    def do_POST(self):
        body = self.body()
        route = re.fullmatch(r"/api/v1/([\w.]+/(\w+))", self.path)
        kind = ROUTES.get(route[1]) if route else None
        if kind is None: return self.refuse(404, f"no route {self.path}")
        request = kind.from_dict(json.loads(body))
        if kind.to_dict(request) != json.loads(body): return self.refuse(400, f"fields that {kind.__name__} has not")
        if not self.signed_in() and route[2] != "IntrospectToken": return self.refuse(401, "Unauthenticated")
        self.kaggle.calls.append((route[2], request))
        try: answer = self.kaggle.answer(route[2], request)
        except Refused as e: return self.refuse(*e.args)
        if isinstance(answer, str): return self.reply(302, Location=answer)
        self.reply(200, json.dumps(type(answer).to_dict(answer)).encode(), Content_Type="application/json")

    def validators(self) -> dict: return {"ETag": f'"{hash(self.kaggle.archive)}"', "Last-Modified": LAST_MODIFIED}

    def do_GET(self):
        "The archive, from the byte that is asked for; it breaks where it is told to."
        if not self.path.startswith("/files/covid-segmentation.zip?signature=secret"): return self.refuse(404, "no file")
        if "GET" in self.kaggle.refuse:    # the storage behind Kaggle answers in XML
            status, text, headers = self.kaggle.refuse["GET"]
            return self.reply(status, text.encode(), Content_Type="application/xml", **headers)
        whole, asked = self.kaggle.archive, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        named = self.validators()
        start = int(asked[1]) if asked and self.headers.get("If-Range") == named.get("ETag") else 0
        self.kaggle.ranges.append(start)
        self.send_response(206 if start else 200)
        for name, value in {"Content-Length": len(whole) - start, "Accept-Ranges": "bytes",
                            "Content-Type": "application/zip", **named}.items():
            self.send_header(name, str(value))
        self.end_headers()
        broken = self.kaggle.break_after is not None and self.kaggle.breaks_now()
        self.wfile.write(whole[start:start + self.kaggle.break_after] if broken else whole[start:])
        if broken: self.close_connection = True

    def do_PUT(self):
        data, token = self.body(), self.path.removeprefix("/upload/")
        if token not in self.kaggle.blobs: return self.refuse(404, "no such upload")
        if "PUT" in self.kaggle.refuse: return self.refuse(*self.kaggle.refuse["PUT"])
        self.kaggle.blobs[token] = data
        self.reply(200)


class Server(ThreadingHTTPServer):
    allow_reuse_address = daemon_threads = True

    def handle_error(self, request, client_address):
        "A client may hang up at any time."
        if not isinstance(sys.exc_info()[1], ConnectionError): super().handle_error(request, client_address)


@contextmanager
def running():
    "The little Kaggle, while the block runs."
    try: server = Server(("127.0.0.1", PORT), Handler)
    except OSError as e: raise RuntimeError(f"port {PORT} is taken, and Kaggle's client knows no other for tests: {e}") from None
    server.kaggle = Kaggle()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try: yield server.kaggle
    finally:
        server.shutdown(); server.server_close(); thread.join()


def call_this_machine(monkeypatch) -> None:
    "Let Kaggle's client heed KAGGLE_API_ENVIRONMENT."
    from kaggle.api.kaggle_api_extended import KaggleApi
    from kagglesdk import KaggleClient
    def build_kaggle_client(api):
        user, key, token = map(api.config_values.get, ("username", "key", "token"))
        return KaggleClient(env=None, username=user, password=key, api_token=token, response_processor=api.get_response_processor())
    monkeypatch.setattr(KaggleApi, "build_kaggle_client", build_kaggle_client)


if __name__ == "__main__":
    import pytest
    call_this_machine(pytest.MonkeyPatch())
    sys.argv[0] = "kaggle"
    from kaggle.cli import main
    main()
