"""The JSON schema of config/config.yaml, by which an editor checks the file while it is typed.

python -m trm schema
python -m trm schema --out config/schemas/config.schema.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from trm.files import write_json
from trm.study.table import Study


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m trm schema", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, help="the file to write (default: print it)")
    out = parser.parse_args(words).out
    schema = Study.model_json_schema()
    if out is None:
        print(json.dumps(schema, indent=2))
    else:
        write_json(out, schema)
