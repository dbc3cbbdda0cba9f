"""The part of the Hugging Face hub's HTTP interface that `huggingface_hub` speaks when a model goes there and back.

Repositories lie in memory: no network, no account. Files whose names end in .safetensors go by LFS, as on the hub.
"""

import base64
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

TOKEN = "hf_stand_in"


class Hub:
    """What the stand-in holds.

    Attributes:
        endpoint: its address, for HF_ENDPOINT.
        repositories: owner/name -> file -> content.
        private: those that are read with the token alone.
        gated: those that nobody may read yet.
        requests: what was asked, ``POST /api/repos/create``.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.commits: dict[str, list[str]] = defaultdict(list)

    def environment(self, home: Path) -> dict[str, str]:
        """Of a process for which this is the hub, and `home` where what it downloads is kept."""
        ours = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",  # the hub's other way of uploading, which no stand-in speaks
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_TOKEN": TOKEN,
            "NO_PROXY": "127.0.0.1",
        }
        return {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))} | ours


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def answer(self, status: int, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def handle_any(self) -> None:
        path, content = self.path.partition("?")[0], self.body()
        self.hub.requests.append(f"{self.command} {path}")
        if self.command in ("GET", "HEAD"):
            return self.read(path)
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.command == "PUT" and (found := re.fullmatch(r"/lfs/(\w{64})", path)):
            assert hashlib.sha256(content).hexdigest() == found[1]
            self.hub.blobs[found[1]] = content
            return self.answer(200)
        if not self.known:
            return self.answer(401, {"error": "Invalid username or password."})
        return self.write(path, content)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def read(self, path: str) -> None:
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+)(?:/resolve/(?:main|\w{40})/(.+))?", path)
        assert found is not None, path
        repository, name = found[1], found[2]
        if repository in self.hub.gated:
            return self.answer(403, X_Error_Code="GatedRepo", X_Error_Message="Access to it is restricted.")
        files = self.hub.repositories.get(repository)
        if files is None or (repository in self.hub.private and not self.known):
            return self.answer(401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        if name is None:
            return self.answer(200, {"id": repository})
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        if name not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        tag = hashlib.sha256(files[name]).hexdigest()
        return self.answer(200, files[name], ETag=f'"{tag}"', X_Repo_Commit=commit)

    def write(self, path: str, content: bytes) -> None:
        hub = self.hub
        if path == "/api/repos/create":
            asked = json.loads(content)
            repository = f"{asked['organization']}/{asked['name']}"
            told = {"url": f"{hub.endpoint}/{repository}"}
            if repository in hub.repositories:
                return self.answer(409, told | {"error": "You already created this model repo"})
            hub.repositories[repository] = {}
            if asked.get("visibility") == "private":
                hub.private.add(repository)
            return self.answer(200, told)
        if found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.endpoint}/lfs/{one['oid']}"}}}
                for one in json.loads(content)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        found = re.fullmatch(r"/api/models/(.+)/(preupload|commit)/main", path)
        assert found is not None, path
        repository = found[1]
        if found[2] == "preupload":
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for one in json.loads(content)["files"]
            ]
            return self.answer(200, {"files": files})
        for line in content.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                hub.commits[repository].append(value["summary"])
            elif entry["key"] == "file":
                hub.repositories[repository][value["path"]] = base64.b64decode(value["content"])
            else:
                assert entry["key"] == "lfsFile"
                hub.repositories[repository][value["path"]] = hub.blobs[value["oid"]]
        return self.answer(200, {"commitUrl": f"{hub.endpoint}/{repository}/commit/{'0' * 40}", "commitOid": "0" * 40})


@contextmanager
def standing_in() -> Iterator[Hub]:
    """A hub that answers at its `endpoint` until the block is left."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
