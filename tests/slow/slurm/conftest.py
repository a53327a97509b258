"""A real Slurm cluster on the loopback: munged, slurmctld, and a slurmd for each emulated node."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

NODES, CPUS, GPUS, MEMORY = 3, 4, 2, 12000
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")


def why_no_cluster() -> str | None:
    """Why no cluster can be started here; None where it can."""
    if os.geteuid() != 0:
        return "needs root, to start munged and slurmd"
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    if SYSTEM_CONF.exists() and not SYSTEM_CONF.is_symlink():
        return f"{SYSTEM_CONF} is that of a real cluster"
    return None


@dataclass
class Cluster:
    folder: Path
    daemons: list[Path] = field(default_factory=list)  # pid files

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    def up(self) -> None:
        for name in ("state", "spool", "dev", "munge"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        self._start_munge()
        self._write_conf()
        # Snakemake's job steps drop SLURM_CONF before their srun, which then looks here.
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        SYSTEM_CONF.unlink(missing_ok=True)
        SYSTEM_CONF.symlink_to(self.conf)
        self._start("slurmctld", "slurmctld", "-c")
        for node in self.nodes:
            self._start(f"slurmd-{node}", "slurmd", "-N", node)
        deadline = time.monotonic() + 60
        while self.run("sinfo", "-h", "-p", "main", "-t", "idle", "-o", "%D").strip() != str(NODES):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the nodes do not come up: {self.run('sinfo', '-N', '-l')}")
            time.sleep(0.2)

    @property
    def nodes(self) -> list[str]:
        return [f"n{i}" for i in range(1, NODES + 1)]

    def run(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Every job that slurmctld remembers, as `scontrol show job` tells it."""
        lines = self.run("scontrol", "show", "job", "-o").splitlines()
        words = (line.split(" ") for line in lines if line.startswith("JobId="))
        return [dict(w.split("=", 1) for w in line if "=" in w) for line in words]

    def down(self) -> None:
        self.run("scancel", "--user", "root")
        time.sleep(1)
        for pid_file in reversed(self.daemons):
            try:
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                continue
        if SYSTEM_CONF.is_symlink() and SYSTEM_CONF.readlink() == self.conf:
            SYSTEM_CONF.unlink()

    def _start(self, name: str, *command: str) -> None:
        program, *rest = command
        subprocess.run([f"/usr/sbin/{program}", "-f", str(self.conf), *rest], check=True)
        pid_file = self.folder / f"{name}.pid"
        deadline = time.monotonic() + 20
        while not pid_file.exists() or not pid_file.read_text().strip():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start: see {self.folder}")
            time.sleep(0.05)
        self.daemons.append(pid_file)

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        folder.chmod(0o711)
        run = folder / "run"
        run.mkdir(mode=0o755)
        subprocess.run(
            [
                "/usr/sbin/munged",
                "--force",
                f"--key-file={key}",
                f"--socket={run}/socket",
                f"--pid-file={folder}/munged.pid",
                f"--seed-file={folder}/seed",
                f"--log-file={folder}/log",
            ],
            check=True,
        )
        self.daemons.append(folder / "munged.pid")

    def _write_conf(self) -> None:
        host, here = socket.gethostname().split(".")[0], self.folder
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={16900 + i} CPUs={CPUS} "
            f"RealMemory={MEMORY} Gres=gpu:{GPUS} State=UNKNOWN"
            for i, node in enumerate(self.nodes)
        ]
        partitions = [
            "PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP PriorityTier=10",
            "PartitionName=scavenge Nodes=ALL MaxTime=60 State=UP PriorityTier=1 "
            "PreemptMode=REQUEUE GraceTime=30",
        ]
        settings = {
            "ClusterName": "test",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={here}/munge/run/socket",
            "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
            "SlurmctldPort": 16817,
            "SlurmdPort": 16818,
            "StateSaveLocation": here / "state",
            "SlurmdSpoolDir": f"{here}/spool/%n",
            "SlurmctldPidFile": here / "slurmctld.pid",
            "SlurmdPidFile": f"{here}/slurmd-%n.pid",
            "SlurmctldLogFile": here / "slurmctld.log",
            "SlurmdLogFile": f"{here}/slurmd-%n.log",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "GresTypes": "gpu",
            "ReturnToService": 2,
            "SlurmdParameters": "config_overrides",
            "SchedulerParameters": "sched_interval=2,bf_interval=2,batch_sched_delay=0",
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "MinJobAge": 3600,
            "KillWait": 5,
            "AccountingStorageType": "accounting_storage/none",
        }
        lines = [f"{key}={value}" for key, value in settings.items()]
        self.conf.write_text("\n".join([*lines, *nodes, *partitions, ""]))
        gres = ["AutoDetect=off"]
        for node in self.nodes:
            # A character device, of NVIDIA's number, that nothing opens: without one Slurm sets no
            # CUDA_VISIBLE_DEVICES.
            (here / "dev" / node).mkdir()
            for gpu in range(GPUS):
                os.mknod(here / "dev" / node / f"nvidia{gpu}", 0o020666, os.makedev(195, gpu))
            gres.append(f"NodeName={node} Name=gpu File={here}/dev/{node}/nvidia[0-{GPUS - 1}]")
        (here / "gres.conf").write_text("\n".join([*gres, ""]))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = why_no_cluster()
    if reason is not None:
        pytest.skip(f"no Slurm here: {reason}")
    folder = tmp_path_factory.mktemp("slurm")
    # pytest's own folders are closed to others; slurmd looks through them.
    for parent in (folder, *folder.parents):
        mode = parent.stat().st_mode
        if mode & 0o055 != 0o055:
            parent.chmod(mode | 0o055)
    cluster = Cluster(folder / "cluster")
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
