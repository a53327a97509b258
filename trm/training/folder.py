"""The folder that a training is started in: held, empty, with a run to resume, or with one that has
ended."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from trm.config.compose import load_train_config
from trm.errors import TrmError
from trm.files import RunFile, write_json, writing
from trm.model.run_record import RunRecord, read_record
from trm.progress import say
from trm.runtime import late
from trm.runtime.locks import Lock, holder_of, try_lock_among_hosts
from trm.runtime.signals import Signals
from trm.study.run_folder import (
    ENDED,
    FOLDER,
    LOCK,
    MANIFEST,
    discard_snapshots,
    newest_facts,
    note_saved,
    read_facts,
    saved_last,
)
from trm.training.setup import Datasets, Run
from trm.training.tracking import count_rows

SECONDS_TO_WAIT_FOR_LOCK = 60.0  # the time of a run that a signal ends to save


def hold_folder(run: Run, signals: Signals) -> AbstractContextManager:
    """Hold the run folder on rank 0, so that the same run started twice does not write over itself.

    TrmError where another process holds it for longer than a run takes to end.
    """
    return wait_for_lock(run.folder, signals) if run.ranks.is_main else nullcontext()


def wait_for_lock(folder: Path, signals: Signals) -> Lock:
    with writing(folder / LOCK):
        folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_LOCK
    told = False
    while (lock := try_lock_among_hosts(folder / LOCK)) is None:
        holder = holder_of(folder / LOCK)
        if time.monotonic() >= deadline:
            raise TrmError(
                f"another process{holder} is training into {folder}; wait for it, stop it, or "
                "choose another +run_name=… or checkpoint_path=…"
            )
        if signals.noted:
            raise KeyboardInterrupt
        if not told:
            say(f"another process{holder} is training into {folder}; waiting a minute for its end")
            told = True
        time.sleep(0.2)
    return lock


# --- what another node has saved ------------------------------------------------------------------


def why_unseen(run: Run, signals: Signals) -> str | None:
    """Why this run cannot begin yet: what another node has saved here does not appear.

    None where it can, after a wait for that. For resume=False nothing is waited for.
    """
    folder, saved = run.folder, saved_last(run.folder)
    if saved is None or not saved.is_from_elsewhere or run.config.resume is False:
        return None
    name = "the end of the run" if saved.what == ENDED else f"{FOLDER}/{saved.what}"

    def seen() -> bool:
        if signals.noted:
            raise KeyboardInterrupt
        return _is_seen(folder, saved.what)

    hosts = ", ".join(saved.hosts)
    if late.appears(seen, f"{name} in {folder}, saved by {hosts}"):
        return None
    return (
        f"{hosts} has trained into {folder}, and {name} does not appear on this node: run the "
        f"same command again when the file system shows it, or, if it was deleted, delete "
        f"{folder / LOCK}"
    )


def _is_seen(folder: Path, what: str) -> bool:
    """Whether this node sees the end of the run, or a snapshot and all that a run resumes from."""
    record = read_record(folder)
    if what == ENDED:
        return record is not None and record.has_ended(folder)
    snapshot = folder / FOLDER / what
    if not late.exists(snapshot / MANIFEST):
        return False
    try:
        facts = read_facts(snapshot)
    except TrmError:  # it is damaged, which is reported where it is read
        return True
    known = set() if record is None else {*record.checkpoints}
    return (
        all(late.exists(snapshot / name) for name in facts.get("files", ()))
        and {f"step_{step}" for step in facts["checkpoints"]} <= known
        and count_rows(folder / RunFile.HISTORY) >= facts.get("history_rows", 0)
    )


# --- a run that has ended -------------------------------------------------------------------------


def ended_run(run: Run, datasets: Datasets) -> RunRecord | None:
    """The record of this very run, where it has ended here, so that nothing is left to train."""
    record = read_record(run.folder)
    if record is None or not record.has_ended(run.folder) or run.config.resume is False:
        return None
    same = record.dataset_sha256 == datasets.sha256 and _has_these_settings(run)
    return record if same else None


def _has_these_settings(run: Run) -> bool:
    """Whether the run in this folder has the settings of this one, those that decide no weight
    included, since they too decide what it wrote."""
    try:
        theirs = load_train_config(run.folder / RunFile.CONFIG)
    except TrmError:
        return False
    how_begun = {"resume", "project_name", "run_name", "checkpoint_path"}
    ours, theirs = (c.model_dump(exclude=how_begun) for c in (run.config, theirs))
    return ours == theirs


def leave_ended(run: Run, record: RunRecord) -> None:
    """Leave the run as it was, with its provenance.json, which Snakemake deletes when the job
    fails."""
    write_json(run.folder / RunFile.PROVENANCE, record.provenance)
    say(
        f"{run.folder} holds this run, which has ended: nothing is trained. To train it "
        "again, delete that folder, or give resume=False"
    )


# --- a run to resume, or another ------------------------------------------------------------------


def why_not_here(run: Run, datasets: Datasets) -> str | None:
    """Why this run can neither begin in its folder nor resume there; None where it can."""
    facts = newest_facts(run.folder)
    if facts is None:
        return _files_of_no_run(run.folder)
    differs = _differences(run, datasets, facts)
    if run.config.resume is not True or not differs:
        return None
    return (
        f"{run.folder} holds a run of {facts['step']} steps with other settings "
        f"({'; '.join(differs[:4])}): choose another +run_name=… or checkpoint_path=…, or "
        "discard it with resume=False"
    )


def discard_other_run(run: Run, datasets: Datasets) -> None:
    """Discard the snapshots that this run does not resume from."""
    facts = newest_facts(run.folder)
    if facts is None:
        note_saved(run.folder, "")
        return
    differs = _differences(run, datasets, facts)
    if run.config.resume is False or differs:
        why = "; ".join(differs[:4]) or "resume=False"
        say(f"note: the state at step {facts['step']} in {run.folder} is discarded ({why})")
        discard_snapshots(run.folder)
        note_saved(run.folder, "")


def _differences(run: Run, datasets: Datasets, facts: dict) -> list[str]:
    """What decides the weights and is not the same in the run whose snapshot has these facts."""
    differs = run.config.differences(facts["config"])
    if facts["dataset_sha256"] != datasets.sha256:
        differs.append("the dataset")
    return differs


def _files_of_no_run(folder: Path) -> str | None:
    """Why a run cannot begin here: files with the names of a run's, which no run wrote."""
    if (folder / RunFile.CONFIG).is_file():
        return None
    for name in (RunFile.HISTORY, RunFile.PROVENANCE):
        if (folder / name).exists():
            return (
                f"{folder} holds {name} but no {RunFile.CONFIG}, so it is not the folder "
                "of a run, and a run would replace that file: choose another checkpoint_path=…"
            )
    return None
