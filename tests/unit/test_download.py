"""Downloads from a server that breaks off, stalls, refuses or answers with something else."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
import time
from pathlib import Path

import huggingface_hub.constants
import pytest

from tests.server import (
    COMMIT,
    LOGIN_PAGE,
    Server,
    answers,
    breaks_off,
    hub,
    server,
    serving,
    stalls,
)
from trm.data.download import Address, download, part_of
from trm.data.hub import hub_file
from trm.data.raw_files import RawFolder
from trm.errors import TrmError, WriteError

CONTENT = bytes(range(256)) * 40
CONTEXT = multiprocessing.get_context("forkserver")
REPO, FILE = "owner/name", "folder/step_7"


__all__ = ["hub", "server"]  # fixtures


def fetch(server: Server, folder: Path, content: bytes = CONTENT) -> Path:
    address = Address(server.add("weights", content), "weights")
    return download(address, part_of(folder / "weights"))


def test_a_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    part = fetch(server, tmp_path / "new")
    assert part.read_bytes() == CONTENT
    assert fetch(server, tmp_path / "new") == part
    assert len(server.asked) == 1  # what is whole is not asked for again


@pytest.mark.parametrize("fault", [breaks_off, stalls])
def test_a_transfer_that_ends_early_is_resumed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault
) -> None:
    server.faults = [fault(1000), fault(500), breaks_off(0)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked_from == [None, "bytes=1000-", "bytes=1500-", "bytes=1500-"]
    assert "trying again" in capsys.readouterr().err


def test_what_has_arrived_stays_for_the_next_call(server: Server, tmp_path: Path) -> None:
    server.faults = [breaks_off(1000)] + [breaks_off(0)] * 4
    with pytest.raises(TrmError) as error:
        fetch(server, tmp_path)
    for part in ("the connection ended after", "1,000 bytes are kept in", "Run the same command"):
        assert part in str(error.value)
    server.asked.clear()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked_from == ["bytes=1000-"]


def test_a_server_without_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.faults, server.ranges = [breaks_off(1000)], False
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_names_no_version_is_read_from_the_start(
    server: Server, tmp_path: Path
) -> None:
    server.faults, server.etag = [breaks_off(1000)], ""
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked_from == [None, None]


def test_a_file_that_has_changed_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.faults = [breaks_off(1000)] * 5
    server.ranges = False
    with pytest.raises(TrmError):
        fetch(server, tmp_path)
    server.ranges = True
    assert fetch(server, tmp_path, CONTENT[::-1]).read_bytes() == CONTENT[::-1]


def test_a_part_of_another_file_is_discarded(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    other = Address(server.add("other", b"other"), "weights")
    assert download(other, part_of(tmp_path / "weights")).read_bytes() == b"other"


def test_a_part_that_is_too_long_is_discarded(server: Server, tmp_path: Path) -> None:
    server.faults = [breaks_off(1000)] + [breaks_off(0)] * 4
    with pytest.raises(TrmError):
        fetch(server, tmp_path)
    part_of(tmp_path / "weights").write_bytes(CONTENT * 2)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (answers(404), r"it does not exist \(HTTP 404\). Check the name, the file and the rev"),
        (answers(401), r"needs a login or does not exist \(HTTP 401\).*HF_TOKEN"),
        (answers(403), r"needs a login or does not exist \(HTTP 403\)"),
        (answers(418), "the server answers with HTTP 418"),
        (answers(200, LOGIN_PAGE), "answers with a web page, not the file: a login page"),
        (answers(200, b"<p>", Content_Type="text/html; charset=utf-8"), "with a web page"),
    ],
)
def test_a_refusal_is_one_sentence(server: Server, tmp_path: Path, fault, said: str) -> None:
    server.faults = [fault]
    with pytest.raises(TrmError, match=f"^weights: .*{said}"):
        fetch(server, tmp_path)
    assert len(server.asked) == 1  # none of these is better at a second try
    assert fetch(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    server.faults = [answers(status, Retry_After="0"), answers(status, Retry_After="soon")]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    server.faults = [answers(status)] * 5
    with pytest.raises(TrmError, match=f"HTTP {status}.*Run the same command later"):
        fetch(server, tmp_path / "other")


def test_a_part_that_cannot_be_written_is_no_fault_of_the_server(
    server: Server, tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(WriteError, match=r"cannot write .*\.weights\.part: File too large"):
            fetch(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(server.asked) == 1


def test_a_large_file_shows_progress(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fetch(server, tmp_path / "small")
    assert capsys.readouterr().err == ""
    server.faults = [breaks_off(9_000_000)]
    fetch(server, tmp_path / "large", bytes(12_000_000))
    lines = capsys.readouterr().err.splitlines()
    assert "weights 9/12 (75%)" in lines[0]
    assert "weights 12/12 (100%)" in lines[-1]


def interrupted(url: str, folder: Path) -> None:
    download(Address(url, "weights"), part_of(folder / "weights"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_download_is_resumed(
    server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    server.faults = [stalls(1000)]
    url = server.add("weights", CONTENT)
    process = CONTEXT.Process(target=interrupted, args=(url, tmp_path))
    process.start()
    part = part_of(tmp_path / "weights")
    while not (part.exists() and part.stat().st_size == 1000):
        time.sleep(0.005)
    os.kill(process.pid, number)
    process.join()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked_from[-1] == "bytes=1000-"


# --- the hub --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def file_of_hub(request: pytest.FixtureRequest) -> None:
    if "hub" in request.fixturenames:
        request.getfixturevalue("hub").add_to_hub(REPO, FILE, CONTENT)


def fetch_of_hub(folder: Path, revision: str | None = None) -> Path:
    return hub_file(REPO, FILE, revision, "model", part_of(folder / "weights"))


def test_a_hubs_file_is_resumed_across_calls(hub: Server, tmp_path: Path) -> None:
    hub.faults = [breaks_off(1000)] + [breaks_off(0)] * 4
    with pytest.raises(TrmError, match="folder/step_7: the connection ended"):
        fetch_of_hub(tmp_path)
    hub.asked.clear()
    assert fetch_of_hub(tmp_path).read_bytes() == CONTENT
    assert hub.asked_from == ["bytes=1000-"]


def test_another_version_on_the_hub_is_read_from_the_start(hub: Server, tmp_path: Path) -> None:
    fetch_of_hub(tmp_path)
    hub.add_to_hub(REPO, FILE, b"newer")
    assert fetch_of_hub(tmp_path).read_bytes() == b"newer"


def test_an_address_that_no_longer_holds_is_asked_for_again(hub: Server, tmp_path: Path) -> None:
    hub.add_to_hub(REPO, FILE, CONTENT, revision=COMMIT)
    hub.faults = [breaks_off(1000), answers(403), breaks_off(500), answers(403)]
    assert fetch_of_hub(tmp_path).read_bytes() == CONTENT
    assert hub.asked_from == [None, *["bytes=1000-"] * 2, *["bytes=1500-"] * 2]
    hub.faults = [breaks_off(1000), answers(403), answers(403)]
    with pytest.raises(TrmError, match="needs a login"):
        fetch_of_hub(tmp_path / "other")


def test_what_the_hubs_cache_has_is_taken(hub: Server, tmp_path: Path) -> None:
    """With a commit as the revision without a network, otherwise where the hub names that commit,
    or does not answer."""
    snapshot = tmp_path / "cache/models--owner--name/snapshots" / COMMIT / FILE
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(b"cached")
    assert fetch_of_hub(tmp_path) == snapshot
    assert hub.asked == []
    hub.files.clear()
    assert fetch_of_hub(tmp_path, COMMIT) == snapshot
    refs = tmp_path / "cache/models--owner--name/refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert fetch_of_hub(tmp_path) == snapshot
        with pytest.raises(TrmError, match="HF_HUB_OFFLINE is set and it is not in the cache"):
            hub_file(REPO, "other", None, "model", part_of(tmp_path / "weights"))


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "does not exist"), (401, "needs a login"), (429, "takes no more requests for now")],
)
def test_a_hub_that_refuses_is_one_sentence(
    hub: Server, tmp_path: Path, status: int, said: str
) -> None:
    hub.heads = [status]
    with pytest.raises(TrmError, match=rf"{said}.*\(HTTP {status}\)") as error:
        fetch_of_hub(tmp_path)
    assert "\n" not in str(error.value)


def test_a_login_page_in_place_of_the_hub_is_named(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.server.COMMIT", "")
    with pytest.raises(TrmError, match="does not answer as a hub does: a login page or a proxy"):
        fetch_of_hub(tmp_path)


def test_the_token_goes_to_the_hub_and_to_no_other_host(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving() as elsewhere:
        url = elsewhere.add("blob", CONTENT)
        hub.faults = [answers(302, Location=url.replace("127.0.0.1", "localhost"))]
        assert fetch_of_hub(tmp_path).read_bytes() == CONTENT
        assert hub.asked[0]["authorization"] == "Bearer hf_secret"
        assert "authorization" not in elsewhere.asked[0]


# --- into raw/ ------------------------------------------------------------------------------------


def put(url: str, folder: Path) -> None:
    RawFolder(folder, ("weights",), "the weights'", "Move it away").put(
        url,
        lambda path: download(Address(url, path.name), part_of(path)),
        lambda record: record.of(url),
    )


def test_two_at_once_fetch_it_once(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(handler, content: bytes) -> None:
        begun.set()
        go_on.wait()
        handler.answer_with_range(content)

    server.faults = [slowly]
    url, folder = server.add("weights", CONTENT), tmp_path / "raw"
    processes = [CONTEXT.Process(target=put, args=(url, folder)) for _ in range(2)]
    processes[0].start()
    begun.wait()
    processes[1].start()
    time.sleep(0.1)
    go_on.set()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(server.asked) == 1
    assert (folder / "weights").read_bytes() == CONTENT
    assert sorted(p.name for p in folder.iterdir()) == ["SHA256SUMS", "weights"]
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_a_download_that_is_damaged_is_not_kept(server: Server, tmp_path: Path) -> None:
    url = server.add("weights", CONTENT)
    put(url, tmp_path / "raw")
    (tmp_path / "raw/weights").unlink()
    server.faults = [answers(200, CONTENT[::-1])]
    with pytest.raises(TrmError, match=r"weights has SHA-256 \w+, expected .*the weights' `sha"):
        put(url, tmp_path / "raw")
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["SHA256SUMS"]
    put(url, tmp_path / "raw")
    assert (tmp_path / "raw/weights").read_bytes() == CONTENT
