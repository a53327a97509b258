"""Draw the answers after each supervision step as an animation.

python workflow/scripts/thinking_figure.py --thinking results/B/V/seed-0/thinking.json \
    --out results/B/V/seed-0/figures/thinking.gif
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.errors import TrmError, run_cli
from trm.report.thinking import save_animation
from trm.scoring.gallery import load_gallery


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--thinking", type=Path, required=True, help="thinking.json")
    parser.add_argument("--out", type=Path, required=True, help=".gif")
    args = parser.parse_args()
    thinking = load_gallery(args.thinking)
    if thinking is None:
        raise TrmError(f"{args.thinking} is missing: snakemake {args.thinking} makes it")
    save_animation(thinking, args.out)


if __name__ == "__main__":
    run_cli(main)
