"""Put given weights in place: from the hub, an address, or a file of this machine.

python workflow/scripts/download_weights.py --source '{"path": "mine/step_558"}' \\
--out raw/weights/sudoku-6x6/mine/weights
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.data.specs import WeightsSource, parse_spec
from trm.data.weights import fetch_weights
from trm.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", required=True, help="`weights:` of a variant, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    args = parser.parse_args()
    fetch_weights(parse_spec(WeightsSource, args.source), args.out)


if __name__ == "__main__":
    run_cli(main)
