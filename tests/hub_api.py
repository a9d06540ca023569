"""What the Hub of `hub_server.HubServer` holds and answers; no sockets here.

Each route of `hub_server.ROUTES` is answered by `Hub.answer_<route>`, whose arguments are the parts of its path.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import yaml

OWNER = "user"
LARGE_FILE_SUFFIXES = {".safetensors", ".bin", ".pt", ".npz", ".parquet"}
CARD_IDENTIFIER = re.compile(r"[\w.-]+(/[\w.-]+)?")

STORAGE_ROUTES = {"upload", "download"}
OPEN_ROUTES = {"info", "tree", "resolve"}  # without a token, where the repository is public


@dataclass
class Commit:
    """All files of a repository at one moment."""

    sha: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repository:
    """`commits` by their sha, and `branches` naming some of them."""

    name: str
    kind: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        return self.find_commit("main").files

    def find_commit(self, revision: str) -> Commit:
        sha = self.branches.get(revision, revision)
        if sha not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]

    def add_commit(self, branch: str, message: str, files: dict[str, bytes]) -> Commit:
        sha = hashlib.sha1(f"{self.kind} {self.name} {len(self.commits)}".encode()).hexdigest()
        self.commits[sha] = Commit(sha, message, files)
        self.branches[branch] = sha
        return self.commits[sha]


class Request(NamedTuple):
    """What one request asks for; `values` are the parts of its path."""

    method: str
    route: str
    values: dict[str, str | None]
    query: dict[str, list[str]]
    token: str | None
    body: bytes

    def load_json(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes = b""


class Refusal(Exception):
    """An error as the Hub words it: in JSON, and in the two headers by which its client tells errors apart."""

    def __init__(self, status: int, message: str, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer = make_json_answer({"error": message} | details, status, headers)


class Hub:
    """The Hub of one user, `OWNER`, whose one token is `token`; `url` and `storage_url` are where it is reached."""

    def __init__(self, token: str = "hf_test", fail_at: dict[str, int | str] | None = None) -> None:
        self.token = token
        self.fail_at = fail_at or {}
        self.requests: list[tuple[str, str]] = []
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.url = self.storage_url = ""

    def add_repository(
        self, name: str, files: dict[str, bytes] | None = None, kind: str = "models", private: bool = False
    ) -> Repository:
        """A repository as if it had been pushed: one commit with `files` (path in the repository: content)."""
        repository = Repository(name, kind, private)
        repository.add_commit("main", "initial commit", {".gitattributes": b""} | (files or {}))
        self.objects |= {hash_object(content): content for path, content in repository.files.items() if is_large(path)}
        self.repositories[name if kind == "models" else f"{kind}/{name}"] = repository
        return repository

    def answer(self, request: Request) -> Answer:
        """The answer to one request; one at a time."""
        with self.lock:
            try:
                fault = self.fail_at.get(request.route)
                if fault is not None:
                    raise Refusal(int(fault), "the test server was told to fail")
                self.check_token(request)
                return getattr(self, f"answer_{request.route}")(request, **request.values)
            except Refusal as refusal:
                return refusal.answer

    # ---- who may do what -----------------------------------------------------------------------------------------

    def check_token(self, request: Request) -> None:
        if request.route in STORAGE_ROUTES:
            if request.token is not None:
                raise Refusal(400, "Only one auth mechanism allowed: the token belongs to the Hub, not to its storage")
        elif request.token not in (None, self.token):
            raise Refusal(401, "Invalid credentials in Authorization header")
        elif request.token is None and request.route not in OPEN_ROUTES:
            raise Refusal(401, "Invalid username or password.")

    def find_repository(self, request: Request, name: str, kind: str | None) -> Repository:
        repository = self.repositories.get(name if kind in (None, "models") else f"{kind}/{name}")
        if repository is None or (repository.private and request.token is None):
            raise Refusal(401 if request.token is None else 404, "Repository not found", "RepoNotFound")
        return repository

    def answer_whoami(self, request: Request) -> Answer:
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
        return make_json_answer({"type": "user", "name": OWNER, "orgs": [], "auth": access})

    # ---- pushing -------------------------------------------------------------------------------------------------

    def answer_create(self, request: Request) -> Answer:
        wanted = request.load_json()
        owner, kind = wanted.get("organization") or OWNER, f"{wanted.get('type', 'model')}s"
        if owner != OWNER:
            raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        name = f"{owner}/{wanted['name']}"
        path = name if kind == "models" else f"{kind}/{name}"
        if path in self.repositories:
            raise Refusal(409, f"You already created this {kind[:-1]} repo", url=f"{self.url}/{path}")
        self.add_repository(name, kind=kind, private=wanted.get("visibility") == "private")
        return make_json_answer({"url": f"{self.url}/{path}", "name": name})

    def answer_validate(self, request: Request) -> Answer:
        errors = list_card_errors(request.load_json()["content"])
        return make_json_answer(
            {"errors": [{"message": error} for error in errors], "warnings": []}, 400 if errors else 200
        )

    def answer_branch(self, request: Request, kind: str, name: str, branch: str) -> Answer:
        repository = self.find_repository(request, name, kind)
        if branch in repository.branches:
            raise Refusal(409, f"Reference already exists: {branch}")
        repository.branches[branch] = repository.branches["main"]
        return make_json_answer({})

    def answer_preupload(self, request: Request, kind: str, name: str, revision: str) -> Answer:
        here = self.find_repository(request, name, kind).find_commit(revision).files
        return make_json_answer(
            {
                "files": [
                    {
                        "path": path,
                        "uploadMode": "lfs" if is_large(path) else "regular",
                        "shouldIgnore": False,
                        "oid": hash_file(path, here[path]) if path in here else None,
                    }
                    for path in (file["path"] for file in request.load_json()["files"])
                ]
            }
        )

    def answer_batch(self, request: Request, kind: str | None, name: str) -> Answer:
        self.find_repository(request, name, kind)
        prefix = f"{kind}/{name}" if kind else name
        objects = []
        for wanted in request.load_json()["objects"]:
            actions = {
                "upload": {"href": f"{self.storage_url}/objects/{wanted['oid']}"},
                "verify": {"href": f"{self.url}/{prefix}.git/info/lfs/objects/verify"},
            }
            objects.append(wanted | ({} if wanted["oid"] in self.objects else {"actions": actions}))
        return make_json_answer({"transfer": "basic", "objects": objects})

    def answer_upload(self, request: Request, oid: str) -> Answer:
        if hash_object(request.body) != oid:
            raise Refusal(400, "what was uploaded is not what was announced")
        self.objects[oid] = request.body
        return Answer(200, {})

    def answer_verify(self, request: Request, kind: str | None, name: str) -> Answer:
        self.find_repository(request, name, kind)
        wanted = request.load_json()
        if len(self.objects.get(wanted["oid"], b"")) != wanted["size"]:
            raise Refusal(404, "Object not found or of another size")
        return make_json_answer({})

    def answer_commit(self, request: Request, kind: str, name: str, revision: str) -> Answer:
        repository = self.find_repository(request, name, kind)
        files, message = dict(repository.find_commit(revision).files), ""
        for entry in map(json.loads, request.body.splitlines()):
            value = entry["value"]
            match entry["key"]:
                case "header":
                    message = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile" if value["oid"] in self.objects:
                    files[value["path"]] = self.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
                case unknown:
                    raise Refusal(400, f"cannot commit {unknown} {value.get('path')}: unknown, or not uploaded")
        if errors := list_card_errors(files.get("README.md", b"").decode()):
            raise Refusal(400, "; ".join(errors))
        sha = repository.add_commit(revision, message, files).sha
        return make_json_answer({"success": True, "commitOid": sha, "commitUrl": f"{self.url}/{name}/commit/{sha}"})

    # ---- reading -------------------------------------------------------------------------------------------------

    def answer_info(self, request: Request, kind: str, name: str, revision: str | None) -> Answer:
        repository = self.find_repository(request, name, kind)
        commit = repository.find_commit(revision or "main")
        siblings = [{"rfilename": path} for path in commit.files]
        return make_json_answer(
            {"id": name, "sha": commit.sha, "private": repository.private, "siblings": siblings, "tags": []}
        )

    def answer_tree(self, request: Request, kind: str, name: str, revision: str, path: str | None) -> Answer:
        files = self.find_repository(request, name, kind).find_commit(revision).files
        below = {file: content for file, content in files.items() if path is None or file.startswith(f"{path}/")}
        if path is not None and not below:
            raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound")
        depth = len(PurePosixPath(path or "").parts) + 1
        folders = {
            str(folder) for file in below for folder in PurePosixPath(file).parents if len(folder.parts) >= depth
        }
        entries = [describe_file(file, content) for file, content in below.items()]
        entries += [describe_folder(folder) for folder in sorted(folders)]
        if request.query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
            entries = [entry for entry in entries if len(PurePosixPath(entry["path"]).parts) == depth]
        return make_json_answer(entries)

    def answer_resolve(self, request: Request, kind: str | None, name: str, revision: str, path: str) -> Answer:
        commit = self.find_repository(request, name, kind).find_commit(revision)
        headers = {"X-Repo-Commit": commit.sha}
        if path not in commit.files:
            missing = Refusal(404, "Entry not found", "EntryNotFound").answer
            return missing._replace(headers=missing.headers | headers)
        content = commit.files[path]
        if not is_large(path):
            return Answer(200, headers | {"ETag": f'"{hash_file(path, content)}"'}, content)
        oid = hash_object(content)
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))}
        return Answer(302, headers | linked | {"Location": f"{self.storage_url}/objects/{oid}"})

    def answer_download(self, request: Request, oid: str) -> Answer:
        if oid not in self.objects:
            raise Refusal(404, "no such object")
        return Answer(200, {"ETag": f'"{oid}"'}, self.objects[oid])


def make_json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"Content-Type": "application/json"} | (headers or {}), json.dumps(value).encode())


# ---- files and cards -------------------------------------------------------------------------------------------------


def is_large(path: str) -> bool:
    return PurePosixPath(path).suffix in LARGE_FILE_SUFFIXES


def hash_object(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hash_file(path: str, content: bytes) -> str:
    """What the client compares to see whether a file has changed: sha256 of a large file, git's hash of a small one."""
    return hash_object(content) if is_large(path) else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def describe_file(path: str, content: bytes) -> dict[str, Any]:
    oid = hash_file(path, content)
    large = {"lfs": {"oid": oid, "size": len(content), "pointerSize": 134}} if is_large(path) else {}
    return {"type": "file", "path": path, "size": len(content), "oid": oid} | large


def describe_folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


def list_card_errors(card: str) -> list[str]:
    """What the Hub refuses in a card's metadata: above all, folders in place of the names of models and data sets."""
    front = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    metadata = yaml.safe_load(front[1]) if front else {}
    errors = []
    for key, place in (("base_model", "models"), ("datasets", "datasets")):
        values = metadata.get(key) or []
        for value in [values] if isinstance(values, str) else values:
            if not CARD_IDENTIFIER.fullmatch(value):
                errors.append(f'"{key}" with value "{value}" is not valid. Use an id from https://hf.co/{place}.')
    for model in metadata.get("model-index", []):
        for result in model["results"]:
            required = [result["task"].get("type"), result["dataset"].get("type"), result["dataset"].get("name")]
            if not all(isinstance(value, str) for value in required) or not result["metrics"]:
                errors.append('"model-index[0].results[0]" lacks its task, data set or metrics')
    return errors
