"""Reads what W&B writes offline: run-ID.wandb, records in LevelDB's log format."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7  # bytes; of a piece: checksum, length, type; as many begin the file
LAST = (1, 4)  # types of a piece that ends its record: whole, last


@dataclass
class OfflineRun:
    """One folder wandb/offline-run-*."""

    run: Any = None  # the protocol's RunRecord
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def read_offline(folder: Path) -> OfflineRun:
    found = OfflineRun()
    (path,) = folder.glob("run-*.wandb")
    for content in _records(path.read_bytes()):
        record = Record.FromString(content)
        match record.WhichOneof("record_type"):
            case "run":
                found.run = record.run
                found.config |= _values(record.run.config.update)
            case "history":
                found.rows.append(_values(record.history.item))
            case "summary":
                found.summary |= _values(record.summary.update)
    return found


def _values(items: Any) -> dict[str, Any]:
    return {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}


def _records(content: bytes) -> list[bytes]:
    records, at, pieces = [], HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + HEADER])
        pieces += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in LAST:
            records.append(pieces)
            pieces = b""
    return records
