"""Weights & Biases, and history.csv for those without: neither ever ends a run."""

from __future__ import annotations

import csv
import io
import json
import logging
import netrc
import os
import random
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trm.config.compose import load_train_config
from trm.errors import TrmError
from trm.files import write_atomically, writing
from trm.progress import say

log = logging.getLogger(__name__)

SECONDS_TO_CONNECT = 30.0
SECONDS_TO_START = 90.0  # its local service, on a busy machine
# W&B's own server, as its older and its newer releases name it.
_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")

# W&B's modes, old names among them, as those that are distinguished here.
MODES = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "shared": "shared",
    "run": "online",
    "dryrun": "offline",
}
TRUE = ("true", "1", "yes", "on")

COLUMNS = (
    "step",
    "split",
    "loss",
    "lm_loss",
    "q_halt_loss",
    "accuracy",
    "exact_accuracy",
    "q_halt_accuracy",
    "steps",
    "count",
    "lr",
    "examples_per_s",
    "elapsed_s",
    "train_flop",
)


class History:
    """`history.csv`: one row per record, columns of COLUMNS and whatever the records add."""

    def __init__(self, path: Path, extra: list[str], keep_rows: int = 0) -> None:
        """`keep_rows`: how many records of the file a resumed run keeps; the rest is run
        again. WriteError where the file cannot be written.
        """
        self.path, self.columns, self.rows = path, [*COLUMNS, *extra], 0
        records = _read_records(path)[: keep_rows + 1] if keep_rows else []
        if len(records) > keep_rows:
            self.columns, self.rows = records[0], keep_rows
        self._rewrite(records[1:])

    def add(self, record: dict[str, Any]) -> None:
        """Append a record. Columns that the file lacks are added, empty in the rows before."""
        unknown = [name for name in record if name not in self.columns]
        if unknown:
            self.columns += unknown
            self._rewrite(_read_records(self.path)[1:])
        values = (record.get(name, "") for name in self.columns)
        self._append(_csv_line(f"{v:.9g}" if isinstance(v, float) else v for v in values))
        self.rows += 1

    def _append(self, line: bytes) -> None:
        # Opened again for each row: a killed run loses at most the row being written.
        with writing(self.path), self.path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:  # a full disk takes a part of it
                os.truncate(self.path, before)
                raise

    def _rewrite(self, records: list[list[str]]) -> None:
        width = len(self.columns)
        rows = [self.columns, *(values + [""] * (width - len(values)) for values in records)]
        write_atomically(self.path, b"".join(map(_csv_line, rows)))


def count_rows(path: Path) -> int:
    """Records of a `history.csv`, without its header."""
    return max(0, len(_read_records(path)) - 1)


def _csv_line(values: Iterable[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue().encode()


def _read_records(path: Path) -> list[list[str]]:
    """Header and rows of a CSV file; empty where there is none, or it is damaged."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))
    except (OSError, ValueError, csv.Error):
        return []


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    own = urlsplit(os.environ.get("WANDB_BASE_URL", "")).netloc
    try:
        known = netrc.netrc(os.environ.get("NETRC")).hosts
        return any(host in known for host in ([own] if own else _HOSTS))
    except (OSError, netrc.NetrcParseError):
        return False


def wandb_mode(setting: str) -> str:
    """Whether and how a run is tracked: online, offline, disabled, or shared, a mode of W&B's own.

    `auto`: as W&B's environment variables and settings files say, else online when logged in, else
    offline. TrmError where WANDB_MODE is not a mode.
    """
    if setting == "disabled":
        return setting
    asked = os.environ.get("WANDB_MODE")
    if asked not in (None, *MODES):
        raise TrmError(
            f"WANDB_MODE={asked!r} is not a mode of W&B: set {', '.join(MODES)}, or unset it"
        )
    if setting != "auto":
        return setting
    if os.environ.get("WANDB_DISABLED", "").lower() in TRUE:
        return "disabled"
    mode = asked or _mode_in_settings_files()
    if mode is not None:
        return MODES[mode]
    return "online" if _logged_in() else "offline"


def _mode_in_settings_files() -> str | None:
    """What `wandb offline`, `wandb disabled` and the like have written; None without them."""
    if not any(path.is_file() for path in _settings_files()):
        return None  # without importing wandb, which takes a second
    try:
        from wandb.sdk import wandb_setup

        settings = wandb_setup.singleton().settings
    except Exception as error:  # any failure of a third party's, by design
        said = " ".join(str(error).split())
        raise TrmError(
            f"the settings of W&B cannot be read ({said}): correct them, or give wandb=disabled"
        ) from None
    return settings.mode if "mode" in settings.model_fields_set else None


def _settings_files() -> list[Path]:
    """Wherever W&B may look for its settings."""
    own = os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")
    roots = (Path(), Path(os.environ.get("WANDB_DIR", ".")))
    folders = [Path(own), *(root / name for root in roots for name in ("wandb", ".wandb"))]
    return [folder.expanduser() / "settings" for folder in folders]


def require_login(setting: str) -> None:
    """TrmError, before anything is trained, where W&B is asked for online without a login."""
    if wandb_mode(setting) in ("online", "shared") and not _logged_in():
        raise TrmError(
            "W&B is asked for online, but you are not logged in: run `wandb login`, set "
            "WANDB_API_KEY, or give wandb=offline"
        )


def new_run_id() -> str:
    """An id of W&B's alphabet and length, made here so that a snapshot can hold it."""
    return "".join(random.SystemRandom().choices(string.ascii_lowercase + string.digits, k=8))


class Tracker:
    """A W&B run. Whatever W&B raises is reported once and ends the tracking, not the training;
    where its server does not answer at the start, the run is recorded offline instead.

    A resumed run comes with its own `run_id` again and continues the same curves. Runs of one
    `group` (the seeds of a variant) are shown together.
    """

    def __init__(
        self,
        mode: str,
        project: str,
        group: str | None,
        name: str,
        config: dict[str, Any],
        run_id: str,
    ) -> None:
        self.run: Any = None
        if mode == "disabled":
            return
        settings = {"project": project, "group": group, "name": name, "config": config}
        try:
            self.run = _start(mode, id=run_id, **settings)
        except Exception as error:  # any failure of a third party's service, by design
            self._give_up(error)

    def log(self, metrics: dict[str, float], step: int) -> None:
        if self.run is None:
            return
        try:
            self.run.log(metrics, step=step)
        except Exception as error:
            self._give_up(error)

    def summarise(self, figures: dict[str, Any]) -> None:
        """Figures of the whole run, beside the last value of every curve."""
        if self.run is None:
            return
        try:
            self.run.summary.update({k: v for k, v in figures.items() if v is not None})
        except Exception as error:
            self._give_up(error)

    def log_pictures(self, pictures: dict[str, Path], step: int) -> None:
        """PNG files by name."""
        if self.run is None:
            return
        try:
            import wandb

            images = {name: wandb.Image(str(path)) for name, path in pictures.items()}
            self.run.log(images, step=step)
        except Exception as error:
            self._give_up(error)

    def finish(self) -> str | None:
        """Close the run; returns what to `wandb sync` where it was offline: a pattern, since each
        part of a resumed run has a folder of its own, under the same id."""
        if self.run is None:
            return None
        try:
            offline, folder = self.run.offline, Path(self.run.dir).parent
            run_id = self.run.id
            self.run.finish()
            return f"{folder.parent}/offline-run-*-{run_id}" if offline else None
        except Exception as error:
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        log.warning("W&B failed and is off for the rest of this run: %s", error)
        self.run = None


def _start(mode: str, **of_run: Any) -> Any:
    """A W&B run; an offline one where an online one cannot be started."""
    if mode != "online":
        return _init(mode, SECONDS_TO_START, **of_run)
    say(f"W&B: connecting, for at most {SECONDS_TO_CONNECT:.0f} s (not with wandb=offline)")
    try:
        return _init(mode, SECONDS_TO_CONNECT, **of_run)
    except Exception as error:  # no network, a key that is refused, a server that is down
        reason = str(error).strip().splitlines() or [type(error).__name__]
        log.warning("W&B cannot be reached, so this run is recorded offline: %s", reason[0])
    import wandb

    wandb.teardown()  # else the attempt that failed holds the id
    return _start("offline", **of_run)


def _init(mode: str, timeout: float, **of_run: Any) -> Any:
    import wandb

    settings = wandb.Settings(init_timeout=timeout, console="off", silent=True)
    return wandb.init(mode=mode, resume="allow", settings=settings, **of_run)


def add_to_run(result: Path, pictures: dict[str, Path]) -> str | None:
    """Give a finished result's metrics and pictures to the W&B run of its training, if it had one.

    What it was trained with, result/config.yaml and provenance.json, says which run that is, and
    whether and how W&B is used. Returns what to `wandb sync`, as `Tracker.finish`.
    """
    try:
        provenance = json.loads((result / "provenance.json").read_text())
        metrics = json.loads((result / "metrics.json").read_text())
        run_id, steps = provenance["wandb_id"], provenance["steps"]
    except (OSError, ValueError, KeyError):
        return None  # of before runs noted it
    if run_id is None:
        return None
    config = load_train_config(result / "config.yaml")
    tracker = Tracker(
        wandb_mode(config.wandb),
        str(config.project_name),
        config.wandb_group,
        str(config.run_name),
        config.model_dump(mode="json"),
        run_id,
    )
    # After the training's last step: W&B skips what comes out of order.
    tracker.log_pictures(pictures, steps + 1)
    tracker.summarise({f"final/{name}": value for name, value in metrics.items()})
    return tracker.finish()
