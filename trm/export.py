"""Write a trained model as a folder that needs nothing else, or as a published checkpoint.

    trm export --checkpoint checkpoints/sudoku-6x6/quick/seed-0 --out exported/sudoku-6x6
    trm export --checkpoint exported/sudoku-6x6 --published step_558

The folder holds model.safetensors, config.json, README.md (a model card) and, where puzzles have
embeddings of their own, identifiers.json with their names.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from trm.arguments import Parser
from trm.errors import TrmError, run_cli
from trm.files import RunFile, check_outputs, file_sha256, new_folder, write_atomically
from trm.model.checkpoint import PUZZLE_EMBEDDING, save_weights, write_safetensors
from trm.puzzles.kinds import kind_named, kinds
from trm.solve.trained import (
    CARD,
    DESCRIPTION,
    EXPORTED_FILES,
    NAMES,
    WEIGHTS,
    TrainedModel,
    load,
    read_description,
)
from trm.study.files import ResultFile
from trm.study.paths import result_of_run

_TEMPLATE = Path(__file__).with_name("model_card.md.j2")


def export(trained: TrainedModel, folder: Path, metrics: Path | None = None) -> None:
    """Write `folder`, all of it or nothing. `metrics` is the metrics.json for the model card;
    without it that of the result with these weights is taken, where there is one.

    TrmError where the folder holds anything but an earlier export, or that one's README.md was
    edited.
    """
    _refuse_to_replace_another_model(folder)
    if metrics is not None and not metrics.is_file():
        raise TrmError(f"no metrics {metrics}: give the metrics.json of an evaluation")
    with new_folder(folder, EXPORTED_FILES, "an exported model") as new:
        write_safetensors(new / WEIGHTS, trained.model.state_dict())
        if trained.kind == "arc" and trained.names:
            shutil.copyfile(trained.names_in / NAMES, new / NAMES)
        card = model_card(trained, folder.name, metrics or _metrics_of(trained.weights))
        write_atomically(new / CARD, card.encode())
        (new / WEIGHTS).chmod((new / CARD).stat().st_mode)  # safetensors keeps others from reading
        hashes = file_sha256(new / WEIGHTS), file_sha256(new / CARD)
        content = trained.exported(*hashes).model_dump_json(indent=2)
        write_atomically(new / DESCRIPTION, (content + "\n").encode())


def _refuse_to_replace_another_model(folder: Path) -> None:
    """Files with an export's names may be another program's: model.safetensors, config.json."""
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} & {*EXPORTED_FILES}:
        return
    try:
        described = read_description(folder)
    except TrmError as error:
        raise TrmError(
            f"{folder} holds no exported model ({error}): choose another --out"
        ) from None
    card = folder / CARD
    if card.is_file() and file_sha256(card) != described.card_sha256:
        raise TrmError(
            f"{card} may have been edited since it was exported, and would be lost: move it away, "
            "or choose another --out; nothing was written"
        )


# --- the model card -------------------------------------------------------------------------------


def model_card(trained: TrainedModel, name: str, metrics: Path | None) -> str:
    """README.md of the export that is named `name`."""
    state = trained.model.state_dict()
    embedding = state.get(PUZZLE_EMBEDDING)
    provenance = _provenance_of(trained.weights)
    kind = kind_named(trained.kind)
    training = trained.exported().training
    settings = {k: v for k, v in training.items() if v not in (None, [])}
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(
        _TEMPLATE.read_text()
    )
    return template.render(
        kind=trained.kind,
        title=name,
        puzzles=f"{kind.answers} of {trained.rows}x{trained.side}",
        arch=trained.model.config,
        parameters=sum(p.numel() for p in trained.model.parameters()),
        embedding=[] if embedding is None else list(embedding.shape),
        datasets=training["data_paths"],
        dataset_sha256=_hashes(provenance),
        weights=trained.weights.name,
        weights_sha256=file_sha256(trained.weights),
        given=provenance.get("weights"),
        code=_code(provenance),
        metrics={} if metrics is None else _read_metrics(metrics),
        folder=name,
        option=f"--{kind.option.flag} {kind.option.example}",
        example=f'"{kind.option.example}"',
        names=trained.kind == "arc" and bool(trained.names),
        settings=yaml.safe_dump(settings, sort_keys=False).rstrip(),
    )


def _provenance_of(weights: Path) -> dict[str, Any]:
    try:
        return json.loads((weights.parent / RunFile.PROVENANCE).read_text())
    except (OSError, ValueError):
        return {}


def _hashes(provenance: dict[str, Any]) -> dict[str, str]:
    found = provenance.get("dataset_sha256", {})
    return {Path(path).name: value for path, value in found.items()}


def _code(provenance: dict[str, Any]) -> str:
    """`revision 1a2b3c4, torch 2.13.0, seed 0, 558 steps`; empty where nothing is known."""
    packages = provenance.get("packages", {})
    known = {
        "revision": (provenance.get("git_revision") or "")[:12],
        "torch": packages.get("torch", ""),
        "seed": provenance.get("seed", ""),
        "steps": provenance.get("steps", ""),
    }
    return ", ".join(f"{name} {value}" for name, value in known.items() if value != "")


def _metrics_of(weights: Path) -> Path | None:
    """metrics.json of the result whose weights these are, of its last step only."""
    run = weights.parent.resolve()
    last = _provenance_of(weights).get("checkpoints", [""])[-1]
    result = result_of_run(run)
    if weights.name not in (RunFile.FINAL, last) or result is None:
        return None
    path = result / ResultFile.METRICS
    return path if path.is_file() else None


def _read_metrics(path: Path) -> dict[str, float]:
    try:
        raw = json.loads(path.read_text())
        return {k: v for k, v in raw.items() if isinstance(v, int | float) and math.isfinite(v)}
    except (OSError, ValueError, AttributeError) as error:
        raise TrmError(f"metrics {path} cannot be read: {error}") from None


# --- the command ----------------------------------------------------------------------------------


def parser() -> Parser:
    parser = Parser("export", __doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="a run's folder (its last weights), a file of weights, or an exported folder",
    )
    parser.add_argument("--out", type=Path, help="folder to write")
    parser.add_argument("--published", type=Path, help="file to write as the published code does")
    parser.add_argument("--metrics", type=Path, help="for the model card; default: the result's")
    parser.add_argument("--train-config", help="default: the all_config.yaml beside the weights")
    parser.add_argument("--dataset", help="default: that of the config")
    parser.add_argument("--side", type=int, help="of the board or canvas, if no dataset gives it")
    parser.add_argument("--kind", choices=list(kinds()), help="where 4x4 cells leave it open")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    args = parser().parse_args(words)
    if args.out is None and args.published is None:
        raise TrmError("name what to write: --out FOLDER, --published FILE, or both")
    if args.published is not None:
        given = Path(args.checkpoint)
        check_outputs([args.published], given if given.is_dir() else given.parent)
    trained = load(
        args.checkpoint,
        device="cpu",
        train_config=args.train_config,
        dataset=args.dataset,
        side=args.side,
        kind=args.kind,
    )
    if args.out is not None:
        export(trained, args.out, args.metrics)
        print(f"{trained.weights}, for {trained.describe()}: wrote {args.out}")
    if args.published is not None:
        save_weights(args.published, trained.model, compiled=True)
        print(f"{trained.weights}: wrote {args.published}")


if __name__ == "__main__":
    run_cli(main)
