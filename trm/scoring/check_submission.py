"""Check a submission.json before Kaggle does.

python -m trm.scoring.check_submission results/arc-prize/att/seed-0/submission.json \\
    --challenges raw/arc/arc-agi_test_challenges.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.errors import run_cli
from trm.scoring.submission import check_submission_file, read_challenges


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m trm.scoring.check_submission", description=__doc__.splitlines()[0]
    )
    parser.add_argument("submission", type=Path, help="submission.json")
    parser.add_argument(
        "--challenges", type=Path, required=True, help="arc-agi_test_challenges.json"
    )
    args = parser.parse_args()
    challenges = read_challenges([args.challenges])
    check_submission_file(args.submission, challenges)
    n_inputs = sum(challenges.values())
    print(f"{args.submission} is valid: {len(challenges)} tasks, {n_inputs} test inputs")


if __name__ == "__main__":
    run_cli(main)
