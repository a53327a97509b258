"""Print the JSON schema of config.yaml, by which editors check the file while it is typed.

    trm schema
    trm schema --out config/schemas/config.schema.json

With --out it is written to a file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from trm.arguments import Parser
from trm.files import write_json
from trm.study.table import Study


def parser() -> Parser:
    parser = Parser("schema", __doc__)
    parser.add_argument("--out", type=Path, help="the file to write (default: print it)")
    return parser


def main(words: Sequence[str]) -> None:
    out = parser().parse_args(words).out
    schema = Study.model_json_schema()
    if out is None:
        print(json.dumps(schema, indent=2))
    else:
        write_json(out, schema)
