"""Fetch one file over HTTP: resumed where it broke off, with progress, each fault one sentence.

FOLDER/.NAME.part        what has arrived so far; a later call resumes it
FOLDER/.NAME.part.json   of which version of the file that is

The part stays where a download fails or is interrupted. A server that cannot resume, or that has
another version by now, is read from the start.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import Protocol

from trm.errors import TrmError, first_line
from trm.files import write_atomically, writing
from trm.progress import Progress, say

HTTP_FAULTS = (OSError, ValueError, http.client.HTTPException)
"""What urllib raises at a server that is not there, breaks off or does not speak HTTP."""

TIMEOUT = 4  # seconds to wait for a server's answer, where another source may have the file
SECONDS_WITHOUT_A_BYTE = 30.0  # then the connection is taken for broken
TRIES = 5  # in a row that bring no byte more
SECONDS_BETWEEN_TRIES = 1.0  # before the second; twice as many before each further one
SECONDS_A_SERVER_MAY_ASK_FOR = 60.0  # by Retry-After
BYTES_AT_ONCE = 1 << 20
BYTES_WITHOUT_PROGRESS = 10_000_000  # a smaller file shows none
MEGABYTE = 1_000_000
FOR_LATER = (408, 425, 429, 500, 502, 503, 504)  # status codes of which a later try may succeed


class _Readable(Protocol):
    """An HTTP response that is read piece by piece."""

    status: int
    headers: Mapping[str, str]

    def read1(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Address:
    """Where a file is, and which file that is.

    `version` tells two files under one name apart; `secret` are headers that no other host sees
    after a redirect.
    """

    url: str
    name: str  # for messages
    version: str = ""
    secret: Mapping[str, str] = field(default_factory=dict)


def part_of(path: Path) -> Path:
    """Where the file that becomes `path` is downloaded to."""
    return path.with_name(f".{path.name}.part")


def download(address: Address, part: Path, renew: Callable[[], Address] | None = None) -> Path:
    """Bring the whole file to `part`, which is returned.

    `renew` returns the file's address again, where one holds for a limited time. TrmError, in one
    sentence, where the server does not give the file; what has arrived stays.
    """
    with writing(part):
        part.parent.mkdir(parents=True, exist_ok=True)
    most, tries = _size(part), 0
    renewed_at = most
    while True:
        try:
            _transfer(address, part)
            return part
        except RefusedError:
            if renew is None or _size(part) <= renewed_at:
                raise
            renewed_at, address = _size(part), renew()
        except _BrokenOffError as broken:
            tries = 1 if _size(part) > most else tries + 1
            most = max(most, _size(part))
            if tries >= TRIES:
                raise TrmError(
                    f"{address.name}: {broken}{_kept(part)}. Run the same command later"
                ) from None
            say(f"{address.name}: {broken}; trying again")
            time.sleep(broken.seconds_to_wait or SECONDS_BETWEEN_TRIES * 2 ** (tries - 1))


def discard(part: Path) -> None:
    """Delete a part, so that the next download begins at the start."""
    part.unlink(missing_ok=True)
    _State.path(part).unlink(missing_ok=True)


class RefusedError(TrmError):
    """The server does not give the file, and would not at another try."""


def why_refused(status: int) -> str:
    """What an HTTP status code of a refusal means, with the remedy."""
    match status:
        case 401 | 403:
            return (
                f"it needs a login or does not exist (HTTP {status}). Check the name; on the hub, "
                "accept the conditions on its page and log in by `hf auth login`, or set HF_TOKEN"
            )
        case 404 | 410:
            return f"it does not exist (HTTP {status}). Check the name, the file and the revision"
        case 429:
            return "the server takes no more requests for now (HTTP 429)"
    return f"the server answers with HTTP {status}"


class _BrokenOffError(Exception):
    """A transfer that ended early, and may succeed if it is tried again."""

    def __init__(self, why: str, seconds_to_wait: float | None = None) -> None:
        super().__init__(why)
        self.seconds_to_wait = seconds_to_wait


@dataclass(frozen=True)
class _State:
    """.NAME.part.json: what the part is of, and by what the server recognises that version."""

    url: str
    version: str
    validator: str | None  # ETag or Last-Modified
    total: int | None  # bytes of the whole file

    @staticmethod
    def path(part: Path) -> Path:
        return part.with_name(f"{part.name}.json")

    @staticmethod
    def read(part: Path) -> _State | None:
        try:
            return _State(**json.loads(_State.path(part).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, part: Path) -> None:
        write_atomically(_State.path(part), json.dumps(asdict(self)).encode())

    def is_of(self, address: Address) -> bool:
        """Compare versions where one is known: a hub's addresses change with each request."""
        if self.version or address.version:
            return self.version == address.version
        return self.url == address.url


def _transfer(address: Address, part: Path) -> None:
    """Bring what the part lacks; _BrokenOffError where that ends early."""
    state, size = _State.read(part), _size(part)
    if state is None or not state.is_of(address):
        discard(part)
        state, size = None, 0
    if state is not None and size == state.total:
        return
    resumes = size > 0 and state is not None and state.validator is not None
    request = urllib.request.Request(address.url, headers={"Accept-Encoding": "identity"})
    for name, value in address.secret.items():
        request.add_unredirected_header(name, value)
    if resumes:
        request.add_header("Range", f"bytes={size}-")
        request.add_header("If-Range", state.validator)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS_WITHOUT_A_BYTE) as response:
            _receive(response, address, part, size if resumes else 0)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, address, part) from None
    except HTTP_FAULTS as error:
        raise _BrokenOffError(_in_words(error)) from None


def _refusal(error: urllib.error.HTTPError, address: Address, part: Path) -> Exception:
    if error.code == 416:  # the part is not the beginning of this file
        discard(part)
        return _BrokenOffError("the server cannot resume it")
    if error.code in FOR_LATER:
        return _BrokenOffError(why_refused(error.code), _retry_after(error.headers))
    return RefusedError(f"{address.name}: {why_refused(error.code)}")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    with suppress(TypeError, ValueError):  # it may be a date
        return min(max(float(headers["Retry-After"]), 0.0), SECONDS_A_SERVER_MAY_ASK_FOR)
    return None


def _receive(response: _Readable, address: Address, part: Path, size: int) -> None:
    """Write a response's body behind the `size` bytes that were asked to be left out."""
    headers = response.headers
    if size and (response.status != 206 or _start_of(headers) != size):
        say(f"{address.name}: the server cannot resume it; reading it from the start")
        if response.status == 206:
            discard(part)
            raise _BrokenOffError("the server sends another part than the one that is missing")
        size = 0
    if "html" in (headers["Content-Type"] or "").lower():
        raise _web_page(address)
    length = headers["Content-Length"]
    total = size + int(length) if length is not None else None
    validator = headers["ETag"] if not (headers["ETag"] or "W/").startswith("W/") else None
    state = _State(address.url, address.version, validator or headers["Last-Modified"], total)
    state.write(part)
    with _progress(address, total, size) as progress, _opened(part, size) as file:
        while chunk := response.read1(BYTES_AT_ONCE):
            if size == 0 and chunk.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
                raise _web_page(address)
            with writing(part):
                _write_all(file, chunk)
            progress.update((size + len(chunk)) // MEGABYTE - size // MEGABYTE)
            size += len(chunk)
    if total is not None and size < total:
        raise _BrokenOffError(f"the connection ended after {size:,} of {total:,} bytes")
    _State(state.url, state.version, state.validator, size).write(part)


def _opened(part: Path, size: int) -> FileIO:
    """The part, to be written from byte `size` on; unbuffered, so that closing it cannot fail."""
    with writing(part):
        file = part.open("r+b" if size else "wb", buffering=0)
        file.truncate(size)
        file.seek(size)
        return file


def _write_all(file: FileIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _start_of(headers: Mapping[str, str]) -> int | None:
    """Where a partial answer begins."""
    found = re.match(r"bytes (\d+)-", headers["Content-Range"] or "")
    return int(found[1]) if found else None


def _web_page(address: Address) -> TrmError:
    return TrmError(
        f"{address.name}: the server answers with a web page, not the file: a login page, or that "
        "of a proxy. Open the address in a browser, or download the file by hand"
    )


def _progress(address: Address, total: int | None, size: int) -> Progress:
    shown = total is not None and total >= BYTES_WITHOUT_PROGRESS
    count = -(-(total or 0) // MEGABYTE)
    return Progress(count, address.name, "MB", shown, start=size // MEGABYTE)


def _in_words(error: BaseException) -> str:
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return f"the server sent nothing for {SECONDS_WITHOUT_A_BYTE:g} s"
    return f"the connection failed ({first_line(error)})"


def _kept(part: Path) -> str:
    size = _size(part)
    return f". {size:,} bytes are kept in {part}" if size else ""


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0
