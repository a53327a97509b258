"""Where the files of a study are, relative to the working directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESULTS, CHECKPOINTS = "results", "checkpoints"
SEED = "0|[1-9][0-9]*"  # as it is written in paths
SUMMARY = "summary.csv"
WEIGHTS = "weights"
TABLE_ENDINGS = ("csv", "md", "svg")
BOARD_ENDINGS = ("csv", "svg")


def result_name(benchmark: str, variant: str, seed: int | str) -> str:
    """What a result is called, in paths too."""
    return f"{benchmark}/{variant}/seed-{seed}"


@dataclass(frozen=True)
class Paths:
    """The folders of a study and what is in them.

    `subfolder` is empty, or `/SCALE` for a study of another scale, which keeps its files apart.
    RESULT is a `result_name`.
    """

    subfolder: str = ""

    @property
    def results(self) -> str:
        return RESULTS + self.subfolder

    @property
    def checkpoints(self) -> str:
        return CHECKPOINTS + self.subfolder

    @property
    def data(self) -> str:
        return f"data{self.subfolder}"

    @property
    def logs(self) -> str:
        return f"logs{self.subfolder}"

    def weights(self, name: str) -> str:
        """The file that the weights of BENCHMARK/VARIANT are downloaded to."""
        return f"raw/weights{self.subfolder}/{name}/{WEIGHTS}"

    def dataset(self, name: str) -> str:
        return f"{self.data}/{name}"

    def result(self, result: str) -> str:
        """The folder of a result (`trm.study.files.ResultFile`)."""
        return f"{self.results}/{result}"

    def run(self, result: str) -> str:
        """The folder that a result is trained into (`trm.files.RunFile`)."""
        return f"{self.checkpoints}/{result}"

    def shard(self, result: str, number: int | str, count: int | str) -> str:
        """A shard of the result's evaluation, which is removed when the shards are put together."""
        return f"{self.run(result)}/shards/{number}-of-{count}.npz"

    def log(self, rule: str, what: str) -> str:
        """The log of a rule's job, which makes `what`."""
        return f"{self.logs}/{rule}/{what}.log"

    @property
    def report(self) -> str:
        return f"{self.results}/report.html"

    @property
    def study(self) -> str:
        """The table of experiments as it was used."""
        return f"{self.results}/study.json"

    def summary(self, benchmark: str) -> str:
        return f"{self.results}/{benchmark}/{SUMMARY}"

    def table(self, name: str, ending: str = "csv") -> str:
        return f"{self.results}/tables/{name}.{ending}"

    def board(self, ending: str = "csv") -> str:
        return f"{self.results}/board.{ending}"


def run_of_result(folder: Path) -> Path | None:
    """The run folder of a result's folder, or of one that contains results."""
    return _other_root(folder, RESULTS, CHECKPOINTS)


def result_of_run(run: Path) -> Path | None:
    """The result's folder of a run folder."""
    return _other_root(run, CHECKPOINTS, RESULTS)


def _other_root(folder: Path, root: str, other: str) -> Path | None:
    """The folder with its last part `root` replaced; None where it has no such part."""
    parts = folder.resolve().parts
    if root not in parts:
        return None
    i = len(parts) - 1 - parts[::-1].index(root)
    return Path(*parts[:i], other, *parts[i + 1 :])
