"""A server on the loopback interface that serves files as the hub does, and misbehaves as told."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from trm.data import download

COMMIT = "c0ffee" + "0" * 34
LOGIN_PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"

Fault = Callable[["_Handler", bytes], None]
"""Answers one GET in place of the server; it is given the file."""


@dataclass
class Server:
    """`files` by path. The first of `faults` answers the next GET, and is used up."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)  # status codes of the next HEADs of files
    asked: list[dict[str, str]] = field(default_factory=list)  # headers of each GET, in lower case
    ranges: bool = True
    etag: str | None = None  # default: the content's own
    ended: threading.Event = field(default_factory=threading.Event)

    def add(self, path: str, content: bytes) -> str:
        """The address of a new file."""
        self.files[path] = content
        return f"{self.url}/{path}"

    def add_to_hub(self, repo: str, name: str, content: bytes, revision: str = "main") -> None:
        self.add(f"{repo}/resolve/{revision}/{name}", content)

    @property
    def asked_from(self) -> list[str | None]:
        """The Range of each GET."""
        return [headers.get("range") for headers in self.asked]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    serves: Server

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        content = self.serves.files.get(self.path.lstrip("/"))
        if content is not None and self.serves.heads:
            self.answer(self.serves.heads.pop(0), b"")
        else:
            self.answer(200 if content is not None else 404, content or b"", with_body=False)

    def do_GET(self) -> None:
        content = self.serves.files.get(self.path.lstrip("/"))
        if content is None:  # huggingface_hub asks for more than files
            self.answer(404, b"no such file")
            return
        self.serves.asked.append({k.lower(): v for k, v in self.headers.items()})
        answer = self.serves.faults.pop(0) if self.serves.faults else _Handler.answer_with_range
        answer(self, content)

    def answer_with_range(self, content: bytes, send: int | None = None) -> None:
        """The file or what is asked of it; with `send`, only so many bytes of that arrive."""
        headers = self.serves.asked[-1]
        start = int(headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        same = headers.get("if-range", self.etag_of(content)) == self.etag_of(content)
        if not (self.serves.ranges and same and start):
            self.answer(200, content, send=send)
        elif start >= len(content):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        else:
            where = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], {"Content-Range": where}, of=content, send=send)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        of: bytes | None = None,
        with_body: bool = True,
        send: int | None = None,
    ) -> None:
        self.send_response(status)
        own = {
            "Content-Length": str(len(body)),
            "Content-Type": "application/octet-stream",
            "ETag": self.etag_of(body if of is None else of),
            "X-Repo-Commit": COMMIT,
        }
        for name, value in (own | (headers or {})).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body[:send])
            if send is not None:
                self.close_connection = True

    def etag_of(self, content: bytes) -> str:
        if self.serves.etag is not None:
            return self.serves.etag
        return f'"{hashlib.sha256(content).hexdigest()}"'


def breaks_off(after: int) -> Fault:
    return lambda handler, content: handler.answer_with_range(content, send=after)


def stalls(after: int) -> Fault:
    """Sends some bytes, then nothing more until the test ends."""

    def fault(handler: _Handler, content: bytes) -> None:
        handler.answer_with_range(content, send=after)
        handler.wfile.flush()
        handler.serves.ended.wait()

    return fault


def answers(status: int, body: bytes = b"", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: handler.answer(status, body, named)


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    handler = type("Handler", (_Handler,), {"serves": server})
    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http_server.daemon_threads = True
    thread = threading.Thread(target=http_server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http_server.server_port}"
    try:
        yield server
    finally:
        server.ended.set()
        http_server.shutdown()
        http_server.server_close()
        thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running one, of which downloads wait no longer than a moment."""
    monkeypatch.setattr(download, "SECONDS_BETWEEN_TRIES", 0.0)
    monkeypatch.setattr(download, "SECONDS_WITHOUT_A_BYTE", 0.2)
    with serving() as running:
        yield running


@pytest.fixture
def hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The same, as the hub of this process."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return server
