"""ARC: its tasks as the files hold them, and the builder of the ARC datasets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from trm.data.arc_kernels import LANES, draw_augmentations, draw_offsets, paint_grids
from trm.data.dataset import BLANK_NAME, SET, DatasetMetadata
from trm.data.legacy_random import legacy_stream, permutation
from trm.data.overlap import Overlap, pair_keys
from trm.data.painted import write_augmentations
from trm.data.specs import TEST_PUZZLES, ArcSpec
from trm.data.write import (
    ArrayWriter,
    new_dataset,
    write_identifiers,
    write_indices,
    write_metadata,
)
from trm.errors import TrmError
from trm.files import read_json
from trm.progress import Progress, say
from trm.puzzles.arc import VOCAB_SIZE
from trm.puzzles.augmentation import (
    COLOURS,
    DIHEDRALS,
    IDENTITY_COLOURS,
    NAME_SEPARATOR,
    NO_SOLUTION,
    augmented_name,
    parse_puzzle_name,
)

MAX_SIDE = 30
TRIALS_PER_AUGMENTATION = 5

# --- the tasks ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Pairs of grids as the kernels read them."""

    cells: np.ndarray  # [all cells] uint8 colours
    table: np.ndarray  # [n, 6] int32: start, rows, columns of the input, then of the output

    def __len__(self) -> int:
        return len(self.table)

    @property
    def side(self) -> int:
        """The longest side of any grid."""
        return int(self.table[:, [1, 2, 4, 5]].max(initial=0))


@dataclass
class Group:
    """A task, its pairs by split, and its A augmentations, the plain one first."""

    name: str
    splits: dict[str, Pairs]
    raw: dict  # as in the file, solutions filled in
    dihedrals: np.ndarray = field(default_factory=lambda: np.zeros(1, np.uint8))  # [A]
    colour_maps: np.ndarray = field(default_factory=lambda: IDENTITY_COLOURS[None])  # [A, 10]
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))  # [A] puzzle ids

    def names(self) -> Iterator[str]:
        """The name of each augmentation."""
        yield self.name
        digits = (self.colour_maps + ord("0")).tobytes().decode()
        for a, dihedral in enumerate(self.dihedrals.tolist()[1:], start=1):
            colours = digits[COLOURS * a : COLOURS * (a + 1)]
            yield f"{self.name}{NAME_SEPARATOR}t{dihedral}{NAME_SEPARATOR}{colours}"


def read_tasks(spec: ArcSpec, prefix: str, subset: str) -> list[Group]:
    """The tasks of one subset, in the file's order, those that do not fit spec.canvas left out.

    Reads `{prefix}_{subset}_challenges.json` and, where there is one, `_solutions.json`; a missing
    solution is [[0]]. Raises TrmError, naming the task, for anything that is not an ARC task.
    """
    path = Path(f"{prefix}_{subset}_challenges.json")
    raw = _read_json(path, missing=f"no such subset: {_existing_subsets(prefix)}")
    if not raw:
        raise TrmError(f"{path} holds no tasks: fetch it again, or leave the subset {subset} out")
    solutions_path = Path(f"{prefix}_{subset}_solutions.json")
    solutions = _read_json(solutions_path) if solutions_path.exists() else {}
    groups = []
    without = 0
    for name, task in raw.items():
        where = f"{path}, task {name}"
        _check_name(name, where)
        _check_task(task, _is_test(spec, subset), where)
        given = _solutions_of(name, solutions, solutions_path)
        without += _fill_solutions(task, given, where)
        groups.append(Group(name, _split_pairs(task, _is_test(spec, subset), where), task))
    if without:
        say(f"{subset}: {without} of {len(raw)} tasks lack a solution; [[0]] replaces it")
    fitting = [g for g in groups if max(p.side for p in g.splits.values()) <= spec.canvas]
    if left_out := len(groups) - len(fitting):
        say(f"{subset}: {left_out} of {len(groups)} tasks do not fit {spec.canvas}x{spec.canvas}")
    return fitting


def _is_test(spec: ArcSpec, subset: str) -> bool:
    """Whether this subset's test pairs go to the test split."""
    return subset in (spec.test_set_name, spec.test_set_name2)


def _read_json(path: Path, missing: str = "") -> dict:
    try:
        content = read_json(path, "fetch it again")
    except FileNotFoundError:
        raise TrmError(f"{path} does not exist: {missing}") from None
    if not isinstance(content, dict):
        raise TrmError(f"{path} is not an object of tasks by name: fetch it again")
    return content


def _existing_subsets(prefix: str) -> str:
    start = Path(prefix).name + "_"
    names = sorted(
        path.name.removeprefix(start).removesuffix("_challenges.json")
        for path in Path(prefix).parent.glob(f"{start}*_challenges.json")
    )
    return f"{prefix} has {', '.join(names) or 'none; fetch the raw files first'}"


def _check_name(name: str, where: str) -> None:
    """Refuse a name that could not be read back from the names of its augmentations."""
    try:
        plain = parse_puzzle_name(name)
        image = parse_puzzle_name(augmented_name(name, 1, IDENTITY_COLOURS))
    except TrmError:
        plain = image = ("", 0)
    if plain[:2] != (name, 0) or image[:2] != (name, 1) or name == BLANK_NAME:
        raise TrmError(
            f"{where}: {name!r} cannot be a task's name: a name is one line of at least one "
            f"character, without {NAME_SEPARATOR} (which marks augmentations: give the files from "
            f"before they were augmented), and is not {BLANK_NAME}"
        )


def _check_task(task: object, is_test: bool, where: str) -> None:
    if not isinstance(task, dict):
        raise TrmError(f"{where}: expected an object with the keys train and test")
    if set(task) != {"train", "test"}:
        keys = ", ".join(map(repr, list(task)[:6])) or "missing"
        raise TrmError(f"{where}: its keys are {keys}; expected train and test, and no other")
    for key, pairs in task.items():
        if not isinstance(pairs, list) or not all(isinstance(pair, dict) for pair in pairs):
            raise TrmError(f"{where}: {key} is not a list of pairs")
        if any("input" not in pair for pair in pairs):
            raise TrmError(f"{where}: a {key} pair without an input")
    if any("output" not in pair for pair in task["train"]):
        raise TrmError(f"{where}: a train pair without an output")
    if not all(task.values()) if is_test else not any(task.values()):
        raise TrmError(f"{where}: it has no pairs")


def _solutions_of(name: str, solutions: dict, path: Path) -> list:
    """The solutions of one task; none where the file does not name it."""
    given = solutions.get(name, [])
    if not isinstance(given, list):
        raise TrmError(
            f"{path}, task {name}: its solutions are {json.dumps(given)[:40]}, expected a list of "
            "grids; leave the task out of this file where they are not known"
        )
    return given


def _fill_solutions(task: dict, solutions: list, where: str) -> bool:
    """Put the solutions in place; returns whether [[0]] replaces a missing one."""
    if len(solutions) > len(task["test"]):
        raise TrmError(f"{where}: {len(solutions)} solutions for {len(task['test'])} test pairs")
    for pair, solution in zip(task["test"], solutions, strict=False):
        pair["output"] = solution
    unsolved = [pair for pair in task["test"] if "output" not in pair]
    for pair in unsolved:
        pair["output"] = NO_SOLUTION
    return bool(unsolved)


def _split_pairs(task: dict, is_test: bool, where: str) -> dict[str, Pairs]:
    """In the key order of the file: where all pairs go to train it decides their order."""
    if is_test:
        return {key: _to_pairs(task[key], f"{where}, {key}") for key in ("train", "test")}
    return {"train": _to_pairs([pair for pairs in task.values() for pair in pairs], where)}


def _to_pairs(pairs: list[dict], where: str) -> Pairs:
    grids = [
        _to_grid(pair[key], f"{where}, pair {i}, {key}")
        for i, pair in enumerate(pairs)
        for key in ("input", "output")
    ]
    starts = np.cumsum([0] + [grid.size for grid in grids[:-1]])
    table = [(start, *grid.shape) for start, grid in zip(starts, grids, strict=True)]
    cells = np.concatenate([grid.ravel() for grid in grids])
    return Pairs(cells, np.array(table, dtype=np.int32).reshape(-1, 6))


def _to_grid(rows: object, where: str) -> np.ndarray:
    try:
        grid = np.array(rows)
    except ValueError:
        raise TrmError(f"{where}: its rows differ in length") from None
    if grid.ndim != 2 or grid.size == 0:
        raise TrmError(f"{where}: not a grid (a list of equally long, non-empty rows)")
    # numpy reads true and false among numbers as 1 and 0.
    whole = grid.dtype.kind == "i" and {*map(type, chain.from_iterable(rows))} == {int}
    if not whole or grid.min() < 0 or grid.max() >= COLOURS:
        raise TrmError(f"{where}: {_first_wrong_cell(rows)}, not a colour 0 to {COLOURS - 1}")
    if max(grid.shape) > MAX_SIDE:
        size = "x".join(map(str, grid.shape))
        raise TrmError(f"{where}: {size} is larger than {MAX_SIDE}x{MAX_SIDE}")
    return grid.astype(np.uint8)


def _first_wrong_cell(rows: list[list[Any]]) -> str:
    """`row 2, column 3 is true`, as in the file."""
    return next(
        f"row {r}, column {c} is {json.dumps(cell)[:20]}"
        for r, row in enumerate(rows, start=1)
        for c, cell in enumerate(row, start=1)
        if type(cell) is not int or not 0 <= cell < COLOURS
    )


# --- the dataset ----------------------------------------------------------------------------------

BLOCK_ROWS = 8192  # examples painted at a time: 7 MB of inputs, as much of labels


def build_arc(spec: ArcSpec, input_file_prefix: str, output_dir: Path) -> None:
    """Build the dataset `output_dir` from `{input_file_prefix}_{subset}_challenges.json` etc.

    Byte-identical to the published builder's; with spec.augment "on_the_fly" its examples are
    those, kept as tasks and augmentations. What is kept of an augmentation is its dihedral and its
    colour map; grids are painted straight into the output. Raises TrmError for bad input.
    """
    if not any(_is_test(spec, subset) for subset in spec.subsets):
        raise TrmError(
            f"test set {spec.test_set_name} is not one of the subsets {', '.join(spec.subsets)}"
        )
    tasks = {subset: read_tasks(spec, input_file_prefix, subset) for subset in spec.subsets}
    if not any(members for subset, members in tasks.items() if _is_test(spec, subset)):
        raise TrmError(
            f"no task of the test set {' or '.join(spec.test_sets)} fits a canvas of "
            f"{spec.canvas}x{spec.canvas}: set a larger one"
        )
    with new_dataset(output_dir, spec.extra_files, spec.settings) as folder:
        _refuse_a_known_test_set(spec, [group for members in tasks.values() for group in members])
        state = legacy_stream(spec.seed)
        groups = _draw_groups(spec, tasks, state)
        end = _assign_ids(groups, spec.puzzle_identifiers_start)
        for split in ("train", "test"):
            members = [group for group in groups if split in group.splits]
            _write_split(spec, members, split, end, state, folder)
        write_identifiers(folder, _all_names(groups, spec.puzzle_identifiers_start))
        test_puzzles = {group.name: group.raw for group in groups if "test" in group.splits}
        (folder / TEST_PUZZLES).write_text(json.dumps(test_puzzles))


def _refuse_a_known_test_set(spec: ArcSpec, groups: list[Group]) -> None:
    """TrmError where most test pairs are training pairs too, unless the spec allows that."""
    tested = [group for group in groups if "test" in group.splits]
    keys = {
        split: _plain_keys([group.splits[split] for group in members], spec.canvas)
        for split, members in (("train", groups), ("test", tested))
    }
    names = [group.name for group in tested for _ in range(len(group.splits["test"]))]
    overlap = Overlap.of(keys["train"], keys["test"])
    overlap.refuse_most(spec.allow_test_in_train, lambda number: f"one of task {names[number]}")


def _plain_keys(parts: list[Pairs], canvas: int) -> np.ndarray:
    """Keys of all these pairs without augmentation."""
    keys = []
    for pairs in parts:
        n = len(pairs)
        if n == 0:
            continue
        painted = np.empty((2, n, canvas, canvas), dtype=np.uint8)
        dihedrals, offsets = np.zeros(n, dtype=np.uint8), np.zeros((n, 2), dtype=np.uint8)
        colours = np.tile(IDENTITY_COLOURS, (n, 1))
        for side, grids in enumerate((pairs.table[:, :3], pairs.table[:, 3:])):
            paint_grids(pairs.cells, grids, dihedrals, colours, offsets, painted[side])
        keys.append(pair_keys(*painted.reshape(2, n, -1)))
    return np.concatenate(keys)


def _draw_groups(spec: ArcSpec, tasks: dict[str, list[Group]], state: np.ndarray) -> list[Group]:
    """Shuffle each subset and draw its augmentations, in the order of the published stream."""
    keys = _hash_keys(spec.num_aug)
    groups = []
    with Progress(sum(map(len, tasks.values())), "augmentations", "tasks") as progress:
        for members in tasks.values():
            for index in permutation(state, len(members)):
                groups.append(members[index])
                if spec.colours == "kept":
                    _take_symmetries(groups[-1])
                else:
                    _draw(groups[-1], spec.num_aug, state, *keys)
                progress.update(1)
    if spec.colours == "kept":
        return groups
    if short := sum(len(group.dihedrals) <= spec.num_aug for group in groups):
        say(f"{short} of {len(groups)} tasks have fewer than {spec.num_aug} distinct augmentations")
    return groups


def _take_symmetries(group: Group) -> None:
    """The task in all symmetries, the identity among them once more, as SE-RRM's builder has it."""
    group.dihedrals = np.array([0, *range(DIHEDRALS)], dtype=np.uint8)
    group.colour_maps = np.tile(IDENTITY_COLOURS, (1 + DIHEDRALS, 1))


def augment_task(name: str, task: dict, num_aug: int, seed: int) -> Group:
    """One checked task with up to `num_aug` augmentations, numbered from 1.

    `task` has the keys train and test, each pair an input and an output.
    """
    group = Group(name, _split_pairs(task, True, name), task)
    _draw(group, num_aug, legacy_stream(seed), *_hash_keys(num_aug))
    group.ids = np.arange(1, len(group.dihedrals) + 1, dtype=np.int32)
    return group


def known_task(name: str, task: dict, names: Sequence[str]) -> Group | None:
    """One checked task with the augmentations of that name among `names` (by puzzle id)."""
    ids = [
        i
        for i, known in enumerate(names)
        if known == name or known.startswith(name + NAME_SEPARATOR)
    ]
    if not ids:
        return None
    _, dihedrals, colour_maps = zip(*(parse_puzzle_name(names[i]) for i in ids), strict=True)
    return Group(
        name,
        _split_pairs(task, True, name),
        task,
        np.array(dihedrals, dtype=np.uint8),
        np.stack(colour_maps),
        np.array(ids, dtype=np.int32),
    )


def _hash_keys(num_aug: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `draw_augmentations` tells augmentations apart with: weights, keys, scratch table."""
    keys = np.random.default_rng(0)  # fixed, and no part of a dataset
    weights = keys.integers(2**64, size=(LANES, 2, MAX_SIDE, MAX_SIDE), dtype=np.uint64)
    colours = keys.integers(2**64, size=(LANES, COLOURS), dtype=np.uint64)
    table = np.empty((1 << (4 * (num_aug + 1)).bit_length(), 2), dtype=np.uint64)
    return weights, colours, table


def _draw(
    group: Group,
    num_aug: int,
    state: np.ndarray,
    weights: np.ndarray,
    colours: np.ndarray,
    table: np.ndarray,
) -> None:
    pairs = _joined(list(group.splits.values()))
    dihedrals = np.empty(num_aug + 1, dtype=np.uint8)
    colour_maps = np.empty((num_aug + 1, COLOURS), dtype=np.uint8)
    kept = draw_augmentations(
        state,
        pairs.cells,
        pairs.table,
        TRIALS_PER_AUGMENTATION * num_aug,
        weights,
        colours,
        table,
        dihedrals,
        colour_maps,
    )
    group.dihedrals, group.colour_maps = dihedrals[:kept].copy(), colour_maps[:kept].copy()


def _joined(parts: list[Pairs]) -> Pairs:
    tables, offset = [], 0
    for part in parts:
        table = part.table.copy()
        table[:, [0, 3]] += offset
        tables.append(table)
        offset += len(part.cells)
    return Pairs(np.concatenate([part.cells for part in parts]), np.concatenate(tables))


def _assign_ids(groups: list[Group], start: int) -> int:
    """Number the puzzles in order of appearance; equal names share a number. Returns the end.

    Names can only repeat where two subsets hold the same task, so only those are looked up.
    """
    times = Counter(group.name for group in groups)
    known: dict[str, int] = {}
    end = start
    for group in groups:
        if times[group.name] == 1:
            group.ids = np.arange(end, end + len(group.dihedrals), dtype=np.int32)
            end += len(group.dihedrals)
            continue
        ids = []
        for name in group.names():
            if name not in known:
                known[name] = end
                end += 1
            ids.append(known[name])
        group.ids = np.array(ids, dtype=np.int32)
    return end


def _all_names(groups: list[Group], start: int) -> Iterator[str]:
    """Names by id, from 0."""
    yield from [BLANK_NAME] * start
    next_id = start
    for group in groups:
        for name, puzzle_id in zip(group.names(), group.ids.tolist(), strict=True):
            if puzzle_id == next_id:
                yield name
                next_id += 1


def _write_split(
    spec: ArcSpec,
    groups: list[Group],
    split: str,
    num_identifiers: int,
    state: np.ndarray,
    folder: Path,
) -> None:
    split_folder = folder / split
    split_folder.mkdir()
    puzzles = np.array([len(group.dihedrals) for group in groups])
    pairs = np.array([len(group.splits[split]) for group in groups])
    examples = int(puzzles @ pairs)
    if spec.augment == "built":
        _paint_examples(spec.canvas, groups, split, examples, state, split_folder)
    else:
        _write_augmentations(spec.canvas, groups, split, state, split_folder)
    write_indices(
        split_folder,
        puzzle_identifiers=np.concatenate([group.ids for group in groups]),
        puzzle_indices=np.concatenate([[0], np.cumsum(np.repeat(pairs, puzzles))]),
        group_indices=np.concatenate([[0], np.cumsum(puzzles)]),
    )
    metadata = DatasetMetadata(
        pad_id=0,
        ignore_label_id=0,
        blank_identifier_id=0,
        vocab_size=VOCAB_SIZE,
        seq_len=spec.canvas**2,
        num_puzzle_identifiers=num_identifiers,
        total_groups=len(groups),
        mean_puzzle_examples=examples / int(puzzles.sum()),
        total_puzzles=int(puzzles.sum()),
        sets=[SET],
    )
    write_metadata(split_folder, metadata)


def _write_augmentations(
    canvas: int, groups: list[Group], split: str, state: np.ndarray, split_folder: Path
) -> None:
    """The tasks themselves and what was drawn for each example, instead of the examples."""
    tasks = [group.splits[split] for group in groups]
    together = _joined(tasks)
    write_augmentations(
        split_folder,
        "arc",
        cells=together.cells,
        pairs=together.table,
        first_pair=np.cumsum([0, *map(len, tasks)])[:-1],
        dihedrals=np.concatenate([group.dihedrals for group in groups]),
        colour_maps=np.concatenate([group.colour_maps for group in groups]),
        offsets=np.concatenate(
            [
                draw_offsets(state, task.table, group.dihedrals, canvas, split == "train")
                for group, task in zip(groups, tasks, strict=True)
            ]
        ),
    )


def _paint_examples(
    canvas: int,
    groups: list[Group],
    split: str,
    examples: int,
    state: np.ndarray,
    split_folder: Path,
) -> None:
    """Paint block by block; a thread writes one block while the next is painted."""
    rows = max(BLOCK_ROWS, max(len(group.splits[split]) for group in groups))
    buffers = np.empty((2, 2, rows, canvas, canvas), dtype=np.uint8)
    writing: list[Future | None] = [None, None]
    shape = (examples, canvas**2)
    with (
        ArrayWriter(split_folder / f"{SET}__inputs.npy", shape, np.uint8) as inputs,
        ArrayWriter(split_folder / f"{SET}__labels.npy", shape, np.uint8) as labels,
        Progress(examples, split, "examples") as progress,
        ThreadPoolExecutor(max_workers=1) as writer,
    ):

        def write(block: np.ndarray) -> None:
            inputs.append(block[0])
            labels.append(block[1])

        for turn, (group, first, last) in enumerate(_blocks(groups, split, rows)):
            pairs = group.splits[split]
            if (previous := writing[turn % 2]) is not None:
                previous.result()
            block = buffers[turn % 2, :, : (last - first) * len(pairs)]
            dihedrals = group.dihedrals[first:last]
            offsets = draw_offsets(state, pairs.table, dihedrals, canvas, split == "train")
            table = np.tile(pairs.table, (last - first, 1))
            each = np.repeat(dihedrals, len(pairs))
            colours = np.repeat(group.colour_maps[first:last], len(pairs), axis=0)
            for side, grids in enumerate((table[:, :3], table[:, 3:])):
                paint_grids(pairs.cells, grids, each, colours, offsets, block[side])
            writing[turn % 2] = writer.submit(write, block)
            progress.update(block.shape[1])
        for future in filter(None, writing):
            future.result()


def _blocks(groups: list[Group], split: str, rows: int) -> Iterator[tuple[Group, int, int]]:
    """Runs of augmentations of one group whose examples fill at most `rows`."""
    for group in groups:
        step = rows // len(group.splits[split])
        for first in range(0, len(group.dihedrals), step):
            yield group, first, min(first + step, len(group.dihedrals))
