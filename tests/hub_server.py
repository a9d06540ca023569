"""A small Hub on 127.0.0.1, its repositories in memory, for the real `huggingface_hub` client to talk to.

    with HubServer(token="hf_test") as hub:
        hub.add_repository("user/data", {"train.csv": b"..."}, kind="datasets")  # or with no kind a model
        subprocess.run([...], env=environment(hub, tmp_path))  # or, in this process: use_hub(hub, monkeypatch)
        hub.repositories["user/student"].files["config.json"]  # what was pushed; data sets: "datasets/user/data"
        hub.fail_at["commit"] = 500  # or DROP: the connection ends midway; names are those of ROUTES

It speaks what creating, pushing to, listing and downloading from model and data set repositories needs, with large
files over the LFS protocol. It does not speak Xet: its clients run with HF_HUB_DISABLE_XET=1, which `environment` and
`use_hub` set. Large files live under another host name, as on the Hub, and that host refuses any token. The client
retries 5xx and dropped connections for 23 seconds, save in `create`, `validate` and `commit`: fail elsewhere with 4xx.
"""

import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

from hub_api import Answer, Hub, Refusal, Request

DROP = "drop"

API = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
GIT = r"/(?:(?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+)"
ROUTES = [
    ("whoami", "GET", r"/api/whoami-v2"),
    ("create", "POST", r"/api/repos/create"),
    ("validate", "POST", r"/api/validate-yaml"),
    ("branch", "POST", API + r"/branch/(?P<branch>.+)"),
    ("preupload", "POST", API + r"/preupload/(?P<revision>[^/]+)"),
    ("commit", "POST", API + r"/commit/(?P<revision>[^/]+)"),
    ("tree", "GET", API + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?"),
    ("info", "GET", API + r"(?:/revision/(?P<revision>[^/]+))?"),
    ("batch", "POST", GIT + r"\.git/info/lfs/objects/batch"),
    ("verify", "POST", GIT + r"\.git/info/lfs/objects/verify"),
    ("resolve", "GET HEAD", GIT + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
    ("upload", "PUT", r"/objects/(?P<oid>[0-9a-f]{64})"),
    ("download", "GET HEAD", r"/objects/(?P<oid>[0-9a-f]{64})"),
]


class HubServer(Hub):
    """A Hub that listens from `with` on until its end."""

    def __enter__(self) -> "HubServer":
        self.listener = Listener(("127.0.0.1", 0), self)
        threading.Thread(target=self.listener.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.listener.server_port}"
        self.storage_url = f"http://localhost:{self.listener.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown()
        self.listener.server_close()


# ---- HTTP ------------------------------------------------------------------------------------------------------------


class Listener(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], hub: Hub) -> None:
        self.hub = hub
        super().__init__(address, Handler)


class Handler(BaseHTTPRequestHandler):
    """Turns HTTP into `Request` and `Answer` back into HTTP."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the acknowledgement of its own headers
    server: Listener

    def handle_request(self) -> None:
        url = urlsplit(self.path)
        self.server.hub.requests.append((self.command, url.path))
        route, values = find_route(self.command, url.path)
        if self.server.hub.fail_at.get(route) == DROP:
            self.rfile.read(min(int(self.headers["Content-Length"] or 0), 10))
            self.close_connection = True
            return
        token = self.headers["Authorization"]
        request = Request(
            method=self.command,
            route=route,
            values=values,
            query=parse_qs(url.query),
            token=token.removeprefix("Bearer ") if token else None,
            body=self.read_body(),
        )
        self.write(self.server.hub.answer(request) if route else Refusal(404, "Sorry, we can't find that page").answer)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def read_body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def write(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Nothing: `HubServer.requests` is the log."""


def find_route(method: str, path: str) -> tuple[str, dict[str, str | None]]:
    """The name of the route and the unquoted parts of its path; an empty name where there is none."""
    for name, methods, pattern in ROUTES:
        match = re.fullmatch(pattern, path)
        if match and method in methods.split():
            return name, {part: value and unquote(value) for part, value in match.groupdict().items()}
    return "", {}


def format_requests(hub: Hub) -> list[str]:
    """Every request so far, in order, without what changes from one student to the next.

    The client's own look-up, once a day and with no part in a push, is left out.
    """
    asked = [(method, path) for method, path in hub.requests if path != "/api/agent-harnesses"]
    return [f"{method} {re.sub(r'[0-9a-f]{64}', '<sha256>', path)}" for method, path in asked]


# ---- clients ---------------------------------------------------------------------------------------------------------


def environment(hub: HubServer, folder: Path) -> dict[str, str]:
    """The environment of a process whose Hub is `hub`, logged in, with an empty cache under `folder`."""
    cleared = ("HF_", "HUGGING_FACE_", "HUGGINGFACE_", "TRANSFORMERS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(cleared)} | {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub.token,
        "HF_HOME": str(folder / "hf_home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "OMP_NUM_THREADS": "1",
    }


def use_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for this process, whose client has read its environment long ago; give downloads a `cache_dir`."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
