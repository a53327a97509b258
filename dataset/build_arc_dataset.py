"""python -m dataset.build_arc_dataset --input-file-prefix kaggle/combined/arc-agi \\
--output-dir data/arc1concept-aug-1000 --subsets training evaluation concept \\
--test-set-name evaluation"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.data.arc import build_arc
from trm.data.arc_versions import other_versions, read_checksums
from trm.data.specs import ARC_PARTS, ArcSpec, parse_spec
from trm.errors import run_cli
from trm.progress import say


def main() -> None:
    parser = argparse.ArgumentParser(prog="build_arc_dataset", description="Build an ARC dataset.")
    parser.add_argument(
        "--input-file-prefix", required=True, help="PREFIX_{subset}_challenges.json"
    )
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--subsets", nargs="+", required=True)
    parser.add_argument(
        "--test-set-name", required=True, help="the subset whose tests are the test"
    )
    parser.add_argument("--test-set-name2", help="a second such subset")
    parser.add_argument("--num-aug", type=int, default=1000, help="augmentations of a task")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--puzzle-identifiers-start", type=int, default=1)
    parser.add_argument(
        "--canvas", type=int, default=30, help="side; tasks with larger grids are left out"
    )
    parser.add_argument(
        "--augment",
        choices=["built", "on_the_fly"],
        default="built",
        help="on_the_fly: the same examples, painted when they are read instead of stored",
    )
    parser.add_argument(
        "--allow-test-in-train",
        action="store_true",
        help="build it also where most test puzzles are training puzzles too",
    )
    options = vars(parser.parse_args())
    prefix, output_dir = options.pop("input_file_prefix"), options.pop("output_dir")
    spec = parse_spec(ArcSpec, {"builder": "arc", **options})
    # Files of one's own choice: what they are is said, not refused.
    names = (f"{prefix}_{subset}_{part}.json" for subset in spec.subsets for part in ARC_PARTS)
    for sentence in other_versions(map(Path, names), read_checksums()):
        say(f"note: {sentence}")
    build_arc(spec, prefix, output_dir)


if __name__ == "__main__":
    run_cli(main)
