"""The ARC builder against a plain, slow reading of the specification, and its refusals."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import trm.data.arc as arc
from trm.data import legacy_random
from trm.data.arc import build_arc
from trm.data.read import load_identifiers, load_split
from trm.data.specs import ArcSpec
from trm.errors import TrmError
from trm.puzzles.augmentation import (
    apply_augmentation,
    augmented_name,
    dihedral_transform,
    invert_augmentation,
    parse_puzzle_name,
)

grids = arrays(
    np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 9)
)
colour_maps = st.permutations(range(1, 10)).map(lambda p: np.array([0, *p], dtype=np.uint8))
dihedrals = st.integers(0, 7)


# --- augmentations and names ----------------------------------------------------------------------


@given(grids, dihedrals, colour_maps)
def test_invert_undoes_apply(grid, dihedral, colour_map):
    image = apply_augmentation(grid, dihedral, colour_map)
    np.testing.assert_array_equal(invert_augmentation(image, dihedral, colour_map), grid)


def test_the_eight_images_by_hand():
    images = [dihedral_transform(np.array([[1, 2], [3, 4]]), d).ravel().tolist() for d in range(8)]
    assert images == [
        [1, 2, 3, 4],
        [2, 4, 1, 3],
        [4, 3, 2, 1],
        [3, 1, 4, 2],
        [2, 1, 4, 3],
        [3, 4, 1, 2],
        [1, 3, 2, 4],
        [4, 2, 3, 1],
    ]


@given(st.sampled_from(["007bbfb7", "Copy10", "a|b"]), dihedrals, colour_maps)
def test_a_name_tells_its_augmentation(base, dihedral, colour_map):
    found = parse_puzzle_name(augmented_name(base, dihedral, colour_map))
    assert found[:2] == (base, dihedral)
    np.testing.assert_array_equal(found[2], colour_map)


def test_a_plain_name_is_the_identity():
    name, dihedral, colour_map = parse_puzzle_name("007bbfb7")
    assert (name, dihedral, colour_map.tolist()) == ("007bbfb7", 0, list(range(10)))


@pytest.mark.parametrize(
    "name", ["x|||t8|||0123456789", "x|||t1|||012345678", "x|||t1|||0123456788", "x|||t1"]
)
def test_a_malformed_name_is_refused(name):
    with pytest.raises(TrmError, match="puzzle name"):
        parse_puzzle_name(name)


# --- the random stream ----------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 2**31), min_size=1, max_size=50))
def test_the_stream_is_numpys(seed, counts):
    ours, theirs = legacy_random.legacy_stream(seed), np.random.RandomState(seed)
    for count in counts:
        assert legacy_random.below(ours, count) == theirs.randint(0, count)
        assert legacy_random.uniform(ours) == theirs.rand()
        size = count % 700 + 1  # long enough to refill the state
        expected = theirs.permutation(size)
        np.testing.assert_array_equal(legacy_random.permutation(ours, size), expected)


def test_a_range_of_one_draws_nothing():
    state = legacy_random.legacy_stream(3)
    before = state.copy()
    assert legacy_random.below(state, 1) == 0
    np.testing.assert_array_equal(state, before)


def test_a_seed_that_numpy_refuses_is_refused():
    with pytest.raises(TrmError, match="seed -1"):
        legacy_random.legacy_stream(-1)


# --- the builder, against a plain reading of the specification ------------------------------------


def key_of(splits):
    """What two augmentations that are the same share."""
    pairs = [
        tuple((g.shape, g.tobytes()) for g in pair) for pairs in splits.values() for pair in pairs
    ]
    return tuple(sorted(pairs))


def draw_group(name, splits, num_aug, colours):
    def images(dihedral, colour_map):
        return {
            split: [
                tuple(
                    np.ascontiguousarray(apply_augmentation(g, dihedral, colour_map)) for g in pair
                )
                for pair in pairs
            ]
            for split, pairs in splits.items()
        }

    kept = np.arange(10, dtype=np.uint8)
    group = [(name, images(0, kept))]
    if colours == "kept":
        return group + [(augmented_name(name, d, kept), images(d, kept)) for d in range(8)]
    seen = {key_of(group[0][1])}
    for _ in range(5 * num_aug):
        dihedral = np.random.randint(0, 8)
        permuted = np.random.permutation(np.arange(1, 10, dtype=np.uint8))
        colour_map = np.concatenate([np.zeros(1, np.uint8), permuted])
        image = images(dihedral, colour_map)
        if key_of(image) not in seen:
            seen.add(key_of(image))
            group.append((augmented_name(name, dihedral, colour_map), image))
        if len(group) > num_aug:
            break
    return group


def paint(grid, top, left, side):
    canvas = np.zeros((side, side), dtype=np.uint8)
    rows, columns = grid.shape
    canvas[top : top + rows, left : left + columns] = grid + 2
    if top + rows < side:
        canvas[top + rows, left : left + columns] = 1
    if left + columns < side:
        canvas[top : top + rows, left + columns] = 1
    return canvas.ravel()


def write_split(groups, split, ids, side):
    arrays = {"inputs": [], "labels": [], "puzzle_identifiers": []}
    puzzle_indices, group_indices = [0], [0]
    for group in groups:
        for name, splits in group:
            pairs = splits[split]
            untranslated = np.random.randint(0, len(pairs))
            for i, (grid_in, grid_out) in enumerate(pairs):
                top = left = 0
                if split == "train" and i != untranslated:
                    top = np.random.randint(0, side - max(grid_in.shape[0], grid_out.shape[0]) + 1)
                    left = np.random.randint(0, side - max(grid_in.shape[1], grid_out.shape[1]) + 1)
                arrays["inputs"].append(paint(grid_in, top, left, side))
                arrays["labels"].append(paint(grid_out, top, left, side))
            puzzle_indices.append(len(arrays["inputs"]))
            arrays["puzzle_identifiers"].append(ids[name])
        group_indices.append(len(arrays["puzzle_identifiers"]))
    return arrays | {"puzzle_indices": puzzle_indices, "group_indices": group_indices}


def plain_reading(spec, subsets):
    """docs/specification.md#arc-datasets step by step; subsets: {subset: {name: task}}."""
    np.random.seed(spec.seed)
    groups = []
    for subset in spec.subsets:
        tasks = list(subsets[subset].items())
        np.random.shuffle(tasks)
        for name, task in tasks:
            pairs = {
                key: [(np.array(p["input"], np.uint8), np.array(p["output"], np.uint8)) for p in v]
                for key, v in task.items()
            }
            if subset not in (spec.test_set_name, spec.test_set_name2):
                pairs = {"train": [pair for part in pairs.values() for pair in part]}
            groups.append(draw_group(name, pairs, spec.num_aug, spec.colours))
    ids = {}
    for group in groups:
        for name, _ in group:
            ids.setdefault(name, spec.puzzle_identifiers_start + len(ids))
    splits = {
        split: write_split([g for g in groups if split in g[0][1]], split, ids, spec.canvas)
        for split in ("train", "test")
    }
    return splits, ["<blank>"] * spec.puzzle_identifiers_start + list(ids)


def random_grid(rng, side):
    """Few colours and small sides, so that many augmentations coincide."""
    grid = rng.integers(0, rng.integers(1, 4), size=rng.integers(1, side + 1, size=2))
    return (grid + grid[::-1]).tolist() if rng.random() < 0.5 else grid.tolist()


def random_tasks(rng, prefix, count, side=4, parts=("train", "test")):
    return {
        f"{prefix}{i}": {
            part: [
                {"input": random_grid(rng, side), "output": random_grid(rng, side)}
                for _ in range(rng.integers(1, 4))
            ]
            for part in parts
        }
        for i in range(count)
    }


def write_raw(folder, subsets, solutions=True):
    for name, tasks in subsets.items():
        challenges, answers = copy.deepcopy(tasks), {}
        for task, content in challenges.items():
            answers[task] = [pair.pop("output") for pair in content["test"]]
        (folder / f"arc_{name}_challenges.json").write_text(json.dumps(challenges))
        if solutions:
            (folder / f"arc_{name}_solutions.json").write_text(json.dumps(answers))
    return str(folder / "arc")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("num_aug", "canvas", "more"),
    [
        (0, 30, {}),
        (7, 30, {}),
        (40, 30, {"puzzle_identifiers_start": 3}),
        (12, 9, {"test_set_name2": "c"}),
        (5, 30, {"colours": "kept"}),
    ],
)
def test_the_builder_is_the_plain_reading(tmp_path, monkeypatch, seed, num_aug, canvas, more):
    monkeypatch.setattr(arc, "BLOCK_ROWS", 16)  # several blocks, the last one partial
    rng = np.random.default_rng(seed)
    subsets = {
        "a": random_tasks(rng, "a", 5, parts=("test", "train")),
        "b": random_tasks(rng, "b", 4),
        "c": random_tasks(rng, "a", 3),  # names that a has too
    }
    prefix = write_raw(tmp_path, subsets)
    spec = ArcSpec(
        builder="arc",
        subsets=["a", "b", "c"],
        test_set_name="b",
        num_aug=num_aug,
        seed=seed,
        canvas=canvas,
        **more,
    )
    build_arc(spec, prefix, tmp_path / "out")
    splits, names = plain_reading(spec, subsets)
    assert load_identifiers(tmp_path / "out") == names
    for split, expected in splits.items():
        found = load_split(tmp_path / "out", split)
        assert found.metadata.num_puzzle_identifiers == len(names)
        assert found.metadata.seq_len == canvas**2
        for key, values in expected.items():
            np.testing.assert_array_equal(getattr(found.sets["all"], key), values, err_msg=key)


def test_missing_solutions_are_filled(tmp_path):
    tasks = random_tasks(np.random.default_rng(0), "t", 2)
    prefix = write_raw(tmp_path, {"a": tasks}, solutions=False)
    build_arc(spec_of("a"), prefix, tmp_path / "out")
    puzzles = json.loads((tmp_path / "out" / "test_puzzles.json").read_text())
    assert all(pair["output"] == [[0]] for task in puzzles.values() for pair in task["test"])
    assert load_split(tmp_path / "out", "test").sets["all"].labels[:, 0].tolist()[0] == 2


def test_a_small_canvas_leaves_large_tasks_out(tmp_path, capsys):
    tasks = random_tasks(np.random.default_rng(0), "t", 6, side=4)
    tasks["large"] = {part: [{"input": [[1] * 11], "output": [[1]]}] for part in ("train", "test")}
    prefix = write_raw(tmp_path, {"a": tasks})
    build_arc(spec_of("a", canvas=10), prefix, tmp_path / "out")
    assert "large" not in load_identifiers(tmp_path / "out")
    assert load_split(tmp_path / "out", "train").metadata.total_groups == 6
    assert "1 of 7 tasks do not fit 10x10" in capsys.readouterr().err


# --- what is refused ------------------------------------------------------------------------------


def spec_of(*subsets, **more):
    settings = {"num_aug": 2, "test_set_name": subsets[0]} | more
    return ArcSpec(builder="arc", subsets=list(subsets), **settings)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([[1, 2], [3]], "rows differ"),
        ([], "not a grid"),
        ([[]], "not a grid"),
        ([1, 2], "not a grid"),
        ([[1] * 31], "1x31 is larger than 30x30"),
        ([[10]], "not a colour"),
        ([[-1]], "not a colour"),
        ([[1.0]], "not a colour"),
        ([["1"]], "not a colour"),
        ([[None]], "not a colour"),
        ([[1, 2], [3, True]], "row 2, column 2 is true, not a colour"),
    ],
)
def test_a_bad_grid_is_refused_by_its_task(tmp_path, grid, message):
    tasks = random_tasks(np.random.default_rng(0), "t", 3)
    tasks["t1"]["train"][0]["output"] = grid
    prefix = write_raw(tmp_path, {"a": tasks})
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TrmError, match=f"task t1.*{message}"):
        build_arc(spec_of("a"), prefix, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"train": []}, "its keys are 'train'; expected train and test, and no other"),
        ({}, "its keys are missing"),
        ({"train": [], "test": [], "id": 1}, "its keys are 'train', 'test', 'id'; expected"),
        ([], "keys train and test"),
        ({"train": [], "test": [{"input": [[1]]}]}, "no pairs"),
        ({"train": [{"input": [[1]]}], "test": [{"input": [[1]]}]}, "without an output"),
        ({"train": [{"output": [[1]]}], "test": [{"input": [[1]]}]}, "without an input"),
        ({"train": 3, "test": []}, "not a list"),
    ],
)
def test_a_bad_task_is_refused_by_name(tmp_path, task, message):
    (tmp_path / "arc_a_challenges.json").write_text(json.dumps({"odd": task}))
    with pytest.raises(TrmError, match=f"task odd.*{message}"):
        build_arc(spec_of("a"), str(tmp_path / "arc"), tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["", "a|||b", "a|||t1|||0123456789", "two\nlines", "<blank>", "|||"]
)
def test_a_name_that_augmentations_could_not_be_told_by_is_refused(tmp_path, name):
    tasks = random_tasks(np.random.default_rng(0), "t", 1)
    tasks[name] = copy.deepcopy(tasks["t0"])
    prefix = write_raw(tmp_path, {"a": tasks})
    with pytest.raises(TrmError) as error:
        build_arc(spec_of("a"), prefix, tmp_path / "out")
    assert f"task {name}: {name!r} cannot be a task's name" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_names_with_bars_of_their_own_are_built(tmp_path):
    tasks = random_tasks(np.random.default_rng(0), "a|b", 2)
    build_arc(spec_of("a"), write_raw(tmp_path, {"a": tasks}), tmp_path / "out")
    names = load_identifiers(tmp_path / "out")[1:]
    assert {parse_puzzle_name(name)[0] for name in names} == {"a|b0", "a|b1"}


@pytest.mark.parametrize("solutions", [None, {"0": [[1]]}, "[[1]]"])
def test_solutions_that_are_no_list_are_refused_by_their_task(tmp_path, solutions):
    prefix = write_raw(tmp_path, {"a": random_tasks(np.random.default_rng(0), "t", 2)})
    path = Path(f"{prefix}_a_solutions.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"t1": solutions}))
    shown = re.escape(json.dumps(solutions))
    with pytest.raises(TrmError, match=f"a_solutions.json, task t1: its solutions are {shown}"):
        build_arc(spec_of("a"), prefix, tmp_path / "out")


def test_a_subset_without_tasks_is_refused(tmp_path):
    tasks = random_tasks(np.random.default_rng(0), "t", 2)
    prefix = write_raw(tmp_path, {"a": tasks, "b": {}})
    with pytest.raises(TrmError, match="arc_b_challenges.json holds no tasks"):
        build_arc(spec_of("a", "b"), prefix, tmp_path / "out")


def test_a_canvas_that_no_test_task_fits_is_refused(tmp_path):
    small = {"small": {part: [{"input": [[1]], "output": [[1]]}] for part in ("train", "test")}}
    large = random_tasks(np.random.default_rng(0), "t", 2, side=6)
    prefix = write_raw(tmp_path, {"a": large, "b": small})
    with pytest.raises(TrmError, match="no task of the test set a fits a canvas of 1x1"):
        build_arc(spec_of("a", "b", canvas=1), prefix, tmp_path / "out")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_tasks(tmp_path, encoding):
    prefix = write_raw(tmp_path, {"a": random_tasks(np.random.default_rng(0), "t", 2)})
    for path in tmp_path.glob("*.json"):
        path.write_bytes(path.read_text().encode(encoding))
    build_arc(spec_of("a"), prefix, tmp_path / "out")


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff{}", b"{'a': 1}"])
def test_what_no_reader_takes_for_json_is_one_sentence(tmp_path, content):
    (tmp_path / "arc_a_challenges.json").write_bytes(content)
    with pytest.raises(TrmError, match=r"a_challenges.json is not JSON \(.*\): fetch it again"):
        build_arc(spec_of("a"), str(tmp_path / "arc"), tmp_path / "out")


def test_a_folder_in_the_place_of_a_file_is_one_sentence(tmp_path):
    (tmp_path / "arc_a_challenges.json").mkdir()
    with pytest.raises(TrmError, match=r"cannot be read \(Is a directory\)"):
        build_arc(spec_of("a"), str(tmp_path / "arc"), tmp_path / "out")


def test_a_missing_subset_is_refused_with_those_there(tmp_path):
    prefix = write_raw(tmp_path, {"a": random_tasks(np.random.default_rng(0), "t", 1)})
    with pytest.raises(TrmError, match=r"arc_z_challenges.json does not exist.* has a"):
        build_arc(spec_of("a", "z"), prefix, tmp_path / "out")


def test_what_is_not_json_is_refused(tmp_path):
    (tmp_path / "arc_a_challenges.json").write_text("<html>sign in</html>")
    with pytest.raises(TrmError, match="is not JSON"):
        build_arc(spec_of("a"), str(tmp_path / "arc"), tmp_path / "out")


def test_a_test_set_outside_the_subsets_is_refused(tmp_path):
    prefix = write_raw(tmp_path, {"a": random_tasks(np.random.default_rng(0), "t", 1)})
    with pytest.raises(TrmError, match="test set z"):
        build_arc(spec_of("a", test_set_name="z"), prefix, tmp_path / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_build_leaves_what_was_there(tmp_path, monkeypatch, error):
    prefix = write_raw(tmp_path, {"a": random_tasks(np.random.default_rng(0), "t", 2)})
    build_arc(spec_of("a"), prefix, tmp_path / "out")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def fail(*_):
        raise error

    monkeypatch.setattr(arc, "paint_grids", fail)
    with pytest.raises((KeyboardInterrupt, TrmError)):
        build_arc(spec_of("a", seed=1), prefix, tmp_path / "out")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_missing_solutions_are_told(tmp_path, capsys):
    prefix = write_raw(tmp_path, {"a": random_tasks(np.random.default_rng(0), "t", 3)})
    build_arc(spec_of("a"), prefix, tmp_path / "whole")
    assert "lack a solution" not in capsys.readouterr().err
    Path(f"{prefix}_a_solutions.json").write_text("{}")
    build_arc(spec_of("a"), prefix, tmp_path / "without")
    assert "a: 3 of 3 tasks lack a solution" in capsys.readouterr().err
