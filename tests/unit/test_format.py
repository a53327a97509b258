"""The on-disk dataset: what is read back, what is refused, and that nothing half-made stays."""

import json

import numpy as np
import pytest

from trm.data.dataset import DatasetMetadata
from trm.data.read import dataset_fingerprint, load_identifiers, load_split
from trm.data.write import (
    ArrayWriter,
    new_dataset,
    write_identifiers,
    write_indices,
    write_metadata,
)
from trm.errors import TrmError
from trm.files import write_atomically

ROWS = np.arange(12, dtype=np.uint8).reshape(4, 3)


def write_dataset(out, **changes):
    """Two groups of one and two puzzles, four examples of three tokens."""
    with new_dataset(out) as folder:
        split = folder / "train"
        split.mkdir()
        for key in ("inputs", "labels"):
            with ArrayWriter(split / f"all__{key}.npy", ROWS.shape, np.uint8) as writer:
                writer.append(ROWS[:1])
                writer.append(ROWS[1:])
        write_indices(split, [1, 2, 3], [0, 1, 2, 4], [0, 1, 3])
        fields = {
            "pad_id": 0,
            "ignore_label_id": 0,
            "blank_identifier_id": 0,
            "vocab_size": 12,
            "seq_len": 3,
            "num_puzzle_identifiers": 4,
            "total_groups": 2,
            "mean_puzzle_examples": 4 / 3,
            "total_puzzles": 3,
            "sets": ["all"],
        }
        write_metadata(split, DatasetMetadata(**fields | changes))
        write_identifiers(folder, ["<blank>", "a", "b", "ç"])


@pytest.fixture
def dataset(tmp_path):
    write_dataset(tmp_path / "d")
    return tmp_path / "d"


def test_what_is_written_is_read(dataset):
    arrays = load_split(dataset, "train").sets["all"]
    np.testing.assert_array_equal(arrays.inputs, ROWS)
    assert isinstance(arrays.inputs, np.memmap)
    assert arrays.puzzle_indices.tolist() == [0, 1, 2, 4]
    assert load_identifiers(dataset) == ["<blank>", "a", "b", "ç"]


def test_files_are_what_numpy_and_json_write(dataset, tmp_path):
    np.save(tmp_path / "expected.npy", ROWS)
    expected = (tmp_path / "expected.npy").read_bytes()
    assert (dataset / "train/all__inputs.npy").read_bytes() == expected
    assert (dataset / "identifiers.json").read_text() == json.dumps(["<blank>", "a", "b", "ç"])
    metadata = json.loads((dataset / "train/dataset.json").read_text())
    assert list(metadata)[:2] == ["pad_id", "ignore_label_id"]


def test_many_identifiers_are_one_list(tmp_path):
    names = [f"n{i}" for i in range(70_000)]  # more than one piece
    write_identifiers(tmp_path, names)
    assert (tmp_path / "identifiers.json").read_text() == json.dumps(names)


def test_a_missing_dataset_says_how_to_build_it(tmp_path):
    with pytest.raises(TrmError, match=r"no dataset file .*build the dataset first"):
        load_split(tmp_path / "none", "train")
    with pytest.raises(TrmError, match="build the dataset first"):
        load_identifiers(tmp_path / "none")
    with pytest.raises(TrmError, match="build the dataset first"):
        dataset_fingerprint(tmp_path / "none")


@pytest.mark.parametrize("key", ["inputs", "puzzle_indices"])
@pytest.mark.parametrize("left", [0, 20, 130])
def test_a_truncated_array_is_refused(dataset, key, left):
    path = dataset / f"train/all__{key}.npy"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(TrmError, match=f"damaged dataset.*all__{key}.npy"):
        load_split(dataset, "train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq_len": 4}, "all__inputs.npy: its shape"),
        ({"total_groups": 5}, "2 groups"),
        ({"num_puzzle_identifiers": 3}, "an id outside 0..2"),
        ({"sets": ["all", "more"]}, "no dataset file .*more__inputs"),
    ],
)
def test_what_contradicts_dataset_json_is_refused(tmp_path, changes, message):
    write_dataset(tmp_path / "d", **changes)
    with pytest.raises(TrmError, match=message):
        load_split(tmp_path / "d", "train")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("puzzle_indices", [0, 1, 2, 5]),
        ("puzzle_indices", [1, 1, 2, 4]),
        ("puzzle_indices", [0, 3, 2, 4]),
        ("puzzle_indices", [0, 2, 4]),
        ("group_indices", [0, 1, 2]),
        ("group_indices", []),
        ("labels", ROWS[:3]),
        ("inputs", ROWS.astype(np.float32)),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(dataset, key, values):
    np.save(
        dataset / f"train/all__{key}.npy", np.asarray(values, dtype=getattr(values, "dtype", int))
    )
    with pytest.raises(TrmError, match=f"damaged dataset.*{key}"):
        load_split(dataset, "train")


@pytest.mark.parametrize("text", ["{", "{}", '{"pad_id": "x"}'])
def test_a_damaged_dataset_json_is_refused(dataset, text):
    (dataset / "train/dataset.json").write_text(text)
    with pytest.raises(TrmError, match=r"damaged dataset.*dataset\.json"):
        load_split(dataset, "train")


def test_the_fingerprint_sees_contents_and_names(dataset):
    first = dataset_fingerprint(dataset)
    (dataset / ".snakemake_timestamp").touch()
    assert dataset_fingerprint(dataset) == first
    path = dataset / "train/all__labels.npy"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    second = dataset_fingerprint(dataset)
    path.rename(path.with_name("all__labelz.npy"))  # sorts where the old name did
    assert len({first, second, dataset_fingerprint(dataset)}) == 3


def test_a_failed_build_leaves_the_old_one(dataset):
    before = dataset_fingerprint(dataset)
    with pytest.raises(KeyboardInterrupt), new_dataset(dataset) as folder:
        (folder / "identifiers.json").write_text("[]")
        raise KeyboardInterrupt
    assert dataset_fingerprint(dataset) == before
    assert [path.name for path in dataset.parent.iterdir()] == ["d"]


def test_a_build_replaces_all_of_the_old_one(dataset):
    (dataset / "test").mkdir()
    (dataset / "test/all__labels.npy").touch()
    write_dataset(dataset)
    assert not (dataset / "test").exists()
    assert [path.name for path in dataset.parent.iterdir()] == ["d"]


def test_an_array_of_fewer_rows_than_promised_is_an_error(tmp_path):
    with (
        pytest.raises(RuntimeError, match="1 rows written of 4"),
        ArrayWriter(tmp_path / "x.npy", (4, 3), np.uint8) as writer,
    ):
        writer.append(ROWS[:1])


def test_an_atomic_write_leaves_no_part(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"content")
    assert list(tmp_path.iterdir()) == []
