"""Check a submission.json before Kaggle does.

    trm check-submission results/arc-prize/att/seed-0/submission.json \\
        --challenges raw/arc/arc-agi_test_challenges.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trm.arguments import Parser
from trm.errors import run_cli
from trm.scoring.submission import check_submission_file, read_challenges


def parser() -> Parser:
    parser = Parser("check-submission", __doc__)
    parser.add_argument("submission", type=Path, help="submission.json")
    parser.add_argument(
        "--challenges", type=Path, required=True, help="arc-agi_test_challenges.json"
    )
    return parser


def main(words: Sequence[str] | None = None) -> None:
    args = parser().parse_args(words)
    challenges = read_challenges([args.challenges])
    check_submission_file(args.submission, challenges)
    n_inputs = sum(challenges.values())
    print(f"{args.submission} is valid: {len(challenges)} tasks, {n_inputs} test inputs")


if __name__ == "__main__":
    run_cli(main)
