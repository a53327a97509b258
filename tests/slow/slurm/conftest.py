"""Real Slurm clusters on the loopback: munged, slurmctld, and a slurmd for each emulated node; one
keeps accounts, by slurmdbd and MariaDB."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

NODES, CPUS, GPUS, MEMORY = 3, 4, 2, 12000
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
PROGRAMS_OF_ACCOUNTS = (
    "slurmdbd",
    "sacct",
    "sacctmgr",
    "mariadbd",
    "mariadb-install-db",
    "mariadb",
)
SECOND_USER = "games"  # Debian has it; here it is somebody with a limited account
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")


def why_no_cluster(
    programs: tuple[str, ...] = PROGRAMS, packages: str = "slurm-wlm munge"
) -> str | None:
    """Why no cluster can be started here; None where it can."""
    if os.geteuid() != 0:
        return "needs root, to start munged and slurmd"
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install {packages}"
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
        self.start_accounts()
        self._start("slurmctld", "slurmctld", "-c")
        for node in self.nodes:
            self._start(f"slurmd-{node}", "slurmd", "-N", node)
        deadline = time.monotonic() + 60
        while self.run("sinfo", "-h", "-p", "main", "-t", "idle", "-o", "%D").strip() != str(NODES):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the nodes do not come up: {self.run('sinfo', '-N', '-l')}")
            time.sleep(0.2)

    def start_accounts(self) -> None:
        """This cluster keeps none."""

    def stop_controller(self) -> None:
        """As in a restart of its host: it has saved its state, and does not answer."""
        (pid_file,) = (file for file in self.daemons if file.stem == "slurmctld")
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)
        self.daemons.remove(pid_file)
        pid_file.unlink(missing_ok=True)

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld")

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
        self.run("scancel", "--user", f"root,{SECOND_USER}")
        time.sleep(1)
        for pid_file in reversed(self.daemons):
            try:
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                continue
        self._end_processes_of_jobs()
        if SYSTEM_CONF.is_symlink() and SYSTEM_CONF.readlink() == self.conf:
            SYSTEM_CONF.unlink()

    def _end_processes_of_jobs(self) -> None:
        """Without cgroups, processes of a job whose node was lost outlive it; their environment
        names this cluster's configuration."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"SLURM_CONF={self.conf}\0".encode() in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue

    def _start(self, name: str, *command: str) -> None:
        program, *rest = command
        subprocess.run([f"/usr/sbin/{program}", "-f", str(self.conf), *rest], check=True)
        self._wait_for(name)

    def _wait_for(self, name: str) -> None:
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

    def further_settings(self) -> dict[str, object]:
        return {
            "PreemptType": "preempt/partition_prio",
            "MinJobAge": 3600,
            "AccountingStorageType": "accounting_storage/none",
        }

    def partitions(self) -> list[str]:
        return [
            "PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP PriorityTier=10",
            "PartitionName=scavenge Nodes=ALL MaxTime=60 State=UP PriorityTier=1 "
            "PreemptMode=REQUEUE GraceTime=30",
        ]

    def _settings(self) -> dict[str, object]:
        host, here = socket.gethostname().split(".")[0], self.folder
        return {
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
            "KillWait": 5,
            "PreemptMode": "REQUEUE",
            **self.further_settings(),
        }

    def _write_conf(self) -> None:
        host, here = socket.gethostname().split(".")[0], self.folder
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={16900 + i} CPUs={CPUS} "
            f"RealMemory={MEMORY} Gres=gpu:{GPUS} State=UNKNOWN"
            for i, node in enumerate(self.nodes)
        ]
        lines = [f"{key}={value}" for key, value in self._settings().items()]
        self.conf.write_text("\n".join([*lines, *nodes, *self.partitions(), ""]))
        gres = ["AutoDetect=off"]
        for node in self.nodes:
            # A character device, of NVIDIA's number, that nothing opens: without one Slurm sets no
            # CUDA_VISIBLE_DEVICES.
            (here / "dev" / node).mkdir()
            for gpu in range(GPUS):
                os.mknod(here / "dev" / node / f"nvidia{gpu}", 0o020666, os.makedev(195, gpu))
            gres.append(f"NodeName={node} Name=gpu File={here}/dev/{node}/nvidia[0-{GPUS - 1}]")
        (here / "gres.conf").write_text("\n".join([*gres, ""]))


@dataclass
class AccountingCluster(Cluster):
    """Keeps accounts with limits, forgets an ended job at once so that only they have it, and lets
    the QOS decide what preempts what."""

    port = 16830  # of MariaDB

    def further_settings(self) -> dict[str, object]:
        return {
            "PreemptType": "preempt/qos",
            "MinJobAge": 2,
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": 16819,
            "AccountingStoragePass": f"{self.folder}/munge/run/socket",
            "AccountingStorageEnforce": "limits,qos",
            "AccountingStorageTRES": "gres/gpu",
            "AccountingStoreFlags": "job_comment",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": 2,
            "JobAcctGatherParams": "OverMemoryKill",
        }

    def partitions(self) -> list[str]:
        return ["PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP"]

    def sacct(self, *fields: str) -> list[dict[str, str]]:
        """Every job and every time it was started, as the accounts have it."""
        words = ["-X", "-a", "-D", "-P", "-n", "-S", "now-1day", f"--format={','.join(fields)}"]
        lines = self.run("sacct", *words).splitlines()
        return [dict(zip(fields, line.split("|"), strict=True)) for line in lines]

    def manage(self, *words: str) -> None:
        done = subprocess.run(
            ["sacctmgr", "-i", *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start_accounts(self) -> None:
        self._start_database()
        conf = self.folder / "slurmdbd.conf"
        settings = {
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self.folder}/munge/run/socket",
            "DbdHost": socket.gethostname().split(".")[0],
            "DbdAddr": "127.0.0.1",
            "DbdPort": 16819,
            "SlurmUser": "root",
            "PidFile": self.folder / "slurmdbd.pid",
            "LogFile": self.folder / "slurmdbd.log",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1",
            "StoragePort": self.port,
            "StorageUser": "slurm",
            "StoragePass": "slurm",
            "StorageLoc": "slurm",
        }
        conf.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        conf.chmod(0o600)
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        subprocess.run(["/usr/sbin/slurmdbd"], env=environment, check=True)
        self._wait_for("slurmdbd")
        deadline = time.monotonic() + 60
        while not self.run("sacctmgr", "-n", "list", "qos"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"slurmdbd does not answer: see {self.folder}/slurmdbd.log")
            time.sleep(0.1)
        self.manage("add", "cluster", "test")
        self.manage("add", "qos", "low", "preemptmode=requeue", "gracetime=30")
        self.manage("add", "qos", "lowest", "preemptmode=cancel")
        self.manage("add", "qos", "high", "preempt=low,lowest")
        self.manage("add", "account", "lab", "description=lab", "organization=lab")
        self.manage("add", "user", "root", "account=lab", "qos=normal,low,lowest,high")
        self.manage("modify", "user", "root", "set", "defaultaccount=lab")
        limits = ("maxsubmitjobs=2", "grptres=cpu=2")
        self.manage("add", "user", SECOND_USER, "account=lab", *limits)

    def _start_database(self) -> None:
        data, socket_file = self.folder / "database", self.folder / "database.socket"
        install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}"]
        words = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([*install, *words], check=True, capture_output=True)
        server = subprocess.Popen(
            [
                "/usr/sbin/mariadbd",
                "--no-defaults",
                "--user=root",
                f"--datadir={data}",
                f"--socket={socket_file}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                f"--pid-file={self.folder}/database.pid",
                f"--log-error={self.folder}/database.log",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_for("database")
        user = "CREATE USER slurm@'%' IDENTIFIED BY 'slurm'; GRANT ALL ON *.* TO slurm@'%';"
        deadline = time.monotonic() + 60
        client = ["mariadb", "--no-defaults", f"--socket={socket_file}", "-e", user]
        while subprocess.run(client, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError(f"MariaDB does not start: see {self.folder}/database.log")
            time.sleep(0.2)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every user can read; pytest closes its own to others."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def alone() -> Iterator[None]:
    """One cluster at a time on this machine: all have the same ports and the same configuration."""
    with (Path(tempfile.gettempdir()) / "trm-cluster-of-tests").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def running(kind: type[Cluster]) -> Iterator[Cluster]:
    with alone(), open_folder() as folder:
        cluster = kind(folder / "cluster")
        try:
            cluster.up()
            yield cluster
        finally:
            cluster.down()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    reason = why_no_cluster()
    if reason is not None:
        pytest.skip(f"no Slurm here: {reason}")
    yield from running(Cluster)


@pytest.fixture(scope="module")
def accounting_cluster() -> Iterator[AccountingCluster]:
    packages = "slurm-wlm munge slurmdbd mariadb-server"
    reason = why_no_cluster((*PROGRAMS, *PROGRAMS_OF_ACCOUNTS), packages)
    if reason is not None:
        pytest.skip(f"no Slurm with accounts here: {reason}")
    yield from running(AccountingCluster)
