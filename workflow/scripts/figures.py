"""Draw the figures that every result has, and gather its gallery: what the report shows of it.

Some of them, and the final metrics, also go to the W&B run of the training, where there is one.

python workflow/scripts/figures.py --result results/sudoku/mlp/seed-0 --dataset data/sudoku \
    --kind sudoku --out-figures results/sudoku/mlp/seed-0/figures/learning_curve.svg \
    results/sudoku/mlp/seed-0/figures/halting.svg \
    --out-gallery results/sudoku/mlp/seed-0/gallery.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from trm.errors import run_cli
from trm.progress import say
from trm.puzzles.kinds import kinds
from trm.report.drawing import Source, draw_figure
from trm.report.figures import save_figure
from trm.scoring.gallery import Gallery, gallery_of_boards, gallery_of_tasks, save_gallery
from trm.training.tracking import add_to_run

IN_WANDB = ("learning_curve", "examples")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--result", type=Path, required=True, help="results/BENCHMARK/VARIANT/seed-N"
    )
    parser.add_argument("--dataset", type=Path, required=True, help="the dataset it was tested on")
    parser.add_argument("--kind", choices=list(kinds()), required=True)
    parser.add_argument(
        "--out-figures",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="FIGURE.svg or FIGURE.png, each",
    )
    parser.add_argument("--out-gallery", type=Path, required=True, help="JSON for the report")
    args = parser.parse_args()

    source = Source(args.result, args.dataset, args.kind)
    drawn = {path: draw_figure(source, path.stem) for path in args.out_figures}
    for path, picture in drawn.items():
        save_figure(picture.figure, path, picture.description)
    save_gallery(args.out_gallery, gallery_of(source))

    with tempfile.TemporaryDirectory() as scratch:  # W&B shows PNG
        pictures: dict[str, Path] = {}
        for path, picture in drawn.items():
            if path.stem in IN_WANDB:
                pictures[path.stem] = Path(scratch) / f"{path.stem}.png"
                save_figure(picture.figure, pictures[path.stem], picture.description)
        if offline := add_to_run(args.result, pictures):
            say(f"W&B was offline; to upload: wandb sync {offline}")


def gallery_of(source: Source) -> Gallery:
    if source.kind == "arc":
        return gallery_of_tasks(source.score)
    return gallery_of_boards(source.dataset, source.kind, source.predictions)


if __name__ == "__main__":
    run_cli(main)
