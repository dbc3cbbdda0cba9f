"""A stand-in for the hub's HTTP interface, as far as reading data sets asks for it: a folder of repositories.

    FOLDER/OWNER/NAME/REVISION/files...      REVISION: main, v1, or refs-convert-parquet

What was asked for is in `asked`. A repository called `gated` is refused.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REVISIONS = {"main": "a" * 40, "refs/convert/parquet": "b" * 40, "v1": "c" * 40}
COMMITS = {commit: name for name, commit in REVISIONS.items()}


class Hub(BaseHTTPRequestHandler):
    root: Path
    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def missing(self, code: str, status: int = 404) -> None:
        self.send(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def folder_of(self, repository: str, revision: str) -> Path | None:
        name = COMMITS.get(revision, revision)
        folder = self.root / repository / name.replace("/", "-")
        if repository.endswith("/gated"):
            self.missing("GatedRepo", 403)
        elif not (self.root / repository).is_dir():
            self.missing("RepoNotFound")
        elif not folder.is_dir():
            self.missing("RevisionNotFound")
        else:
            return folder
        return None

    def entry(self, folder: Path, file: Path) -> dict[str, object]:
        oid = hashlib.sha256(file.read_bytes()).hexdigest()
        return {
            "type": "file",
            "path": file.relative_to(folder).as_posix(),
            "size": file.stat().st_size,
            "oid": oid[:40],
        }

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if path.startswith("/api/datasets/"):
            self.api(path.removeprefix("/api/datasets/"))
        elif path.startswith("/datasets/"):
            self.resolve(path.removeprefix("/datasets/"))
        else:
            self.missing("EntryNotFound")

    do_HEAD = do_GET

    def api(self, path: str) -> None:
        owner, name, *rest = path.split("/", 3)
        kind, _, tail = (rest[0], "", rest[1]) if len(rest) > 1 else ("revision", "", "main")
        revision = tail if kind == "revision" or tail in REVISIONS else tail.split("/")[0]
        folder = self.folder_of(f"{owner}/{name}", revision)
        if folder is None:
            return
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if kind == "tree":
            self.send_json([self.entry(folder, file) for file in files])
            return
        commit = REVISIONS[COMMITS.get(revision, revision)]
        siblings = [{"rfilename": file.relative_to(folder).as_posix()} for file in files]
        self.send_json({"id": f"{owner}/{name}", "sha": commit, "siblings": siblings, "tags": [], "private": False})

    def do_POST(self) -> None:
        """/api/datasets/OWNER/NAME/paths-info/REVISION"""
        path = unquote(urlsplit(self.path).path)
        content = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append(f"POST {path}")
        owner, name, _, revision = path.removeprefix("/api/datasets/").split("/", 3)
        folder = self.folder_of(f"{owner}/{name}", revision)
        if folder is None:
            return
        if content.startswith("{"):
            paths = json.loads(content)["paths"]
        else:
            paths = [unquote(part.partition("=")[2]) for part in content.split("&") if part.startswith("paths")]
        self.send_json([self.entry(folder, folder / p) for p in paths if (folder / p).is_file()])

    def resolve(self, path: str) -> None:
        owner, name, _, rest = path.split("/", 3)
        revision, _, file = rest.partition("/")
        folder = self.folder_of(f"{owner}/{name}", revision)
        if folder is None:
            return
        if not (folder / file).is_file():
            self.missing("EntryNotFound")
            return
        content = (folder / file).read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": REVISIONS[COMMITS[revision]], "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        if asked is None:
            self.send(200, content, headers)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) if last else len(content) - 1, len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self.send(206, content[start : end + 1], headers)


@contextmanager
def serving(root: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that has the repositories below a folder, and the list of what it is asked for."""
    asked: list[str] = []
    handler = type("Handler", (Hub,), {"root": root, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
