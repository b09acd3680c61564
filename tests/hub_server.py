"""A small server that speaks the hub's protocol on the loopback, and misbehaves on request.

Repositories have commits, branches and files; large files are redirected to a second port, as the
hub redirects to its content network. Every request is kept in `requests`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test_token_of_a_user"


@dataclass
class Repository:
    """`commits` holds the files of each commit, `branches` the commit of each branch."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    private: bool = False
    gated: bool = False

    def commit(self, files: dict[str, bytes], large: tuple[str, ...] = ()) -> str:
        """Add a commit, move main to it, and return its name."""
        name = hashlib.sha1(repr((len(self.commits), files)).encode()).hexdigest()
        self.commits[name] = files
        self.branches["main"] = name
        self.large |= set(large)
        return name


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    port: int


@dataclass
class HubServer:
    endpoint: str
    content_port: int
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    # By file: answers before the real one, bytes after which a body is cut, files changed on the way.
    answers: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)

    def repository(self, name: str) -> Repository:
        """The repository of that name, new if there is none; a data set is datasets/owner/name."""
        return self.repositories.setdefault(name, Repository())

    def ranges(self, file: str) -> list[str | None]:
        """The Range header of each body that was asked for, in order."""
        return [
            request.headers.get("range")
            for request in self.requests
            if request.method == "GET" and "/content/" in request.path and request.path.endswith(file)
        ]


@contextmanager
def serve() -> Iterator[HubServer]:
    """A running server; stopped at the end of the block."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _Handler) for _ in range(2)]
    hub = HubServer(f"http://127.0.0.1:{servers[0].server_port}", servers[1].server_port)
    for server in servers:
        server.hub = hub  # type: ignore[attr-defined]
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        self.hub: HubServer = self.server.hub  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.command, path, headers, self.server.server_port))
        for file, answers in self.hub.answers.items():
            if path.endswith(file) and answers:
                status, extra = answers.pop(0)
                self._send(status, b"busy", extra)
                return
        if path.startswith("/content/"):
            _, _, digest, file = path.split("/", 3)
            self._body(self._find(digest), file)
        elif path == "/api/whoami-v2":
            known = headers.get("authorization") == f"Bearer {TOKEN}"
            self._send(200 if known else 401, b'{"name": "someone", "type": "user"}' if known else b"")
        elif path.startswith("/api/") and path.endswith("/auth-check"):
            kind, name, _ = self._split(path.removeprefix("/api/"), "/auth-check")
            self._repository(f"{kind}{name}", "main", None)
        elif path.startswith("/api/"):
            kind, name, revision = self._split(path.removeprefix("/api/"), "/revision/")
            self._repository(f"{kind}{name}", revision, None)
        elif "/resolve/" in path:
            kind, name, rest = self._split(path.removeprefix("/"), "/resolve/")
            revision, _, file = rest.partition("/")
            self._repository(f"{kind}{name}", revision, file)
        else:
            self._body(self.hub.repository("plain").commits["-"].get(path.removeprefix("/plain/")), path)

    def _split(self, path: str, by: str) -> tuple[str, str, str]:
        name, _, rest = path.partition(by)
        kind = "datasets/" if name.startswith("datasets/") else ""
        return kind, name.removeprefix(kind).removeprefix("models/"), rest

    def _repository(self, name: str, revision: str, file: str | None) -> None:
        repository = self.hub.repositories.get(name)
        authorization = self.headers.get("authorization")
        if authorization is not None and authorization != f"Bearer {TOKEN}":
            message = {"X-Error-Message": "Invalid credentials in Authorization header"}
            self._send(401, b"", message)
        elif repository is None or (repository.private and authorization is None):
            self._send(404 if authorization else 401, b"", {"X-Error-Code": "RepoNotFound"})
        elif repository.gated:
            self._send(403 if authorization else 401, b"", {"X-Error-Code": "GatedRepo"})
        elif (commit := repository.branches.get(revision, revision)) not in repository.commits:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif file is None:
            self._send(200, json.dumps(self._info(name, repository, commit)).encode())
        elif file not in repository.commits[commit]:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            content = repository.commits[commit][file]
            digest = hashlib.sha256(content).hexdigest()
            port = self.hub.content_port if file in repository.large else self.server.server_port
            extra = {
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"http://127.0.0.1:{port}/content/{digest}/{file}",
            }
            self._send(302, b"", extra)

    def _info(self, name: str, repository: Repository, commit: str) -> dict[str, object]:
        siblings = []
        for file, content in repository.commits[commit].items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            sibling: dict[str, object] = {"rfilename": file, "size": len(content), "blobId": blob}
            if file in repository.large:
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        return {"id": name.removeprefix("datasets/"), "sha": commit, "siblings": siblings, "tags": []}

    def _find(self, digest: str) -> bytes | None:
        for repository in self.hub.repositories.values():
            for files in repository.commits.values():
                for content in files.values():
                    if hashlib.sha256(content).hexdigest() == digest:
                        return content
        return None

    def _body(self, content: bytes | None, file: str) -> None:
        if content is None:
            self._send(404, b"")
            return
        if file in self.hub.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        start, status, extra = 0, 200, {"Accept-Ranges": "bytes"}
        if wanted := self.headers.get("range"):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            status = 206
            extra["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cuts = self.hub.cuts.get(file, [])
        self._send(status, content[start:], extra, cuts.pop(0) if cuts else None)

    def _send(
        self, status: int, body: bytes, extra: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
