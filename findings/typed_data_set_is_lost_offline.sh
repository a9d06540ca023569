#!/usr/bin/env bash
# load_dataset(NAME, features=...) of a data set of CSV files works, is cached, and is not found in that cache offline.
#
# The folder in the cache is named after a hash. Online the features are hashed as a setting of the CSV reader; offline
# a reader of the cache takes its place, which has no such setting and hashes them in another way. Without
# `features` the same data set loads offline. A stand-in for the Hub on loopback serves two small files here.
# We take the typed form from the files themselves, which the first load left in the Hub's own cache.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q datasets==5.2.0 huggingface-hub==2.4.0
cat >hub.py <<'END'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

FILES = {"train.csv": b"text,code\ngood,01\nbad,02\n", "test.csv": b"text,code\nfine,01\n"}
COMMIT = "a" * 40


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        name = path.rsplit("/", 1)[-1]
        if "/resolve/" in path and name in FILES:
            self.answer(200, FILES[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        elif "/tree/" in path:
            rows = [{"type": "file", "path": key, "size": len(text), "oid": key} for key, text in FILES.items()]
            self.answer(200, json.dumps(rows).encode())
        elif path.startswith("/api/datasets/user/data"):
            siblings = [{"rfilename": key} for key in FILES]
            self.answer(200, json.dumps({"id": "user/data", "sha": COMMIT, "siblings": siblings}).encode())
        else:
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def answer(self, status, body, headers={}):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *words):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
END
cat >load.py <<'END'
import sys

import datasets

datasets.logging.set_verbosity_error()
datasets.disable_progress_bars()
features = datasets.Features({"text": datasets.Value("string"), "code": datasets.Value("string")})
try:
    found = datasets.load_dataset("user/data", features=features if sys.argv[1] == "typed" else None, split="train")
    print("loads,", found[0])
except Exception as error:
    print(f"{type(error).__name__}: {str(error).splitlines()[0]}")
END
export HF_HOME="$folder/home" HF_HUB_DISABLE_XET=1 HF_HUB_DISABLE_TELEMETRY=1
venv/bin/python hub.py >port &
hub=$!
trap 'kill $hub 2>/dev/null || true; rm -rf "$folder"' EXIT
until [ -s port ]; do sleep 0.1; done
HF_ENDPOINT="http://127.0.0.1:$(cat port)"
export HF_ENDPOINT
for kind in plain typed; do venv/bin/python load.py $kind >online_$kind 2>errors; done
for kind in plain typed; do HF_HUB_OFFLINE=1 venv/bin/python load.py $kind >offline_$kind 2>errors; done
venv/bin/python -c 'import datasets, huggingface_hub as hub; print(f"datasets {datasets.__version__}, huggingface_hub {hub.__version__}")'
echo "expected: what loaded online loads offline"
for when in online offline; do for kind in plain typed; do echo "seen:     $when, $kind: $(cat ${when}_$kind)"; done; done
grep -q '^loads' online_plain && grep -q "^loads.*'01'" online_typed && grep -q '^loads' offline_plain &&
    grep -q '^ValueError: Couldn.t find cache' offline_typed
