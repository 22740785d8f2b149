"""A SLURM cluster of this one machine, for tests: Debian's packages, in a folder of its own, on loopback only.

``slurm-wlm`` and ``munge``; ``slurmdbd`` with MariaDB keeps what ``sacct`` tells. One node, no cgroups.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = (
    *("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol"),
    *("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb", "mariadb-install-db"),
)
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
AccountingStoragePass={folder}/munge.socket
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=2
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""

_ACCOUNTING = """
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting_port}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=accounts
"""


def missing() -> str | None:
    """Say what there is not of what the cluster needs; None where it can be started."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge, slurmdbd, mariadb-server)"
    return None if os.geteuid() == 0 else "a SLURM cluster can only be started as root"


class Cluster:
    """Sends commands to a running cluster.

    Args:
        folder: holds its configuration, logs and state.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        self.environment = {**outside, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}

    def call(self, *command: str, **environment: str) -> str:
        """Run one of SLURM's commands and return what it prints."""
        done = subprocess.run(
            command, env={**self.environment, **environment}, text=True, capture_output=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{self.logs()}")
        return done.stdout

    def submit(self, script: str, folder: Path, environment: Mapping[str, str] | None = None) -> str:
        """Submit a job script that starts in a folder, and return the job's id."""
        path = folder / "job.sh"
        path.write_text(script)
        return self.call("sbatch", "--parsable", f"--chdir={folder}", str(path), **(environment or {})).strip()

    def job(self, job: str) -> dict[str, str]:
        """Look up the fields of a job: ``JobState``, ``ExitCode``, ``Restarts`` …"""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def jobs(self) -> dict[str, str]:
        """Look up the state of every job in the accounts, in the order of their ids."""
        lines = self.call(
            "sacct", "--allocations", "--noheader", "--parsable2", "--starttime=now-1days", "--format=JobID,State"
        ).split("\n")
        return {job: state.split()[0] for job, _, state in (line.partition("|") for line in lines) if state}

    def end(self, job: str, timeout: float) -> dict[str, str]:
        """Wait until a job has ended for good, and return its fields."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        self.wait(lambda: self.job(job)["JobState"] in ended, timeout)
        return self.job(job)

    def wait(self, true: Callable[[], bool], timeout: float) -> None:
        """Ask twice a second until a condition holds."""
        end = time.monotonic() + timeout
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(self.logs())
            time.sleep(0.5)

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in paths)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Start munged, MariaDB, slurmdbd, slurmctld and slurmd in a folder; end them, and the jobs, with the block.

    Args:
        folder: an empty one, with a short path: a socket is made in it.
    """
    folder.chmod(0o755)
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    values = {
        "folder": folder,
        "host": socket.gethostname().partition(".")[0],
        "control_port": _free_port(),
        "node_port": _free_port(),
        "accounting_port": _free_port(),
        "database_port": _free_port(),
        "password": secrets.token_hex(16),
        "user": subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip(),
    }
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(**values))
    accounting = folder / "slurmdbd.conf"  # slurmdbd looks for it beside slurm.conf
    accounting.touch(mode=0o600)
    accounting.write_text(_ACCOUNTING.format(**values))
    cluster = Cluster(folder)
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munged += [f"--{name}-file={folder}/munge/{name}" for name in ("log", "pid", "seed")]
    with ExitStack() as daemons:
        daemons.enter_context(_daemon(munged, cluster))
        cluster.wait((folder / "munge.socket").exists, 20)
        daemons.enter_context(_database(cluster, values))
        daemons.enter_context(_daemon(["slurmdbd", "-D"], cluster))
        cluster.wait(lambda: _answers(cluster, "sacctmgr", "--noheader", "show", "cluster"), 60)
        cluster.call("sacctmgr", "--immediate", "add", "cluster", "test")
        for command in (["slurmctld", "-D"], ["slurmd", "-D"]):
            daemons.enter_context(_daemon(command, cluster))
        cluster.wait(lambda: _answers(cluster, "sinfo", "--noheader", "--states=idle", expected="idle"), 60)
        try:
            yield cluster
        finally:
            for job in cluster.call("squeue", "--noheader", "--format=%A").split():
                cluster.call("scancel", "--signal=KILL", "--full", job)
                cluster.call("scancel", job)
            cluster.wait(lambda: not cluster.call("squeue", "--noheader"), 60)


@contextmanager
def _database(cluster: Cluster, values: Mapping[str, object]) -> Iterator[None]:
    """Run a MariaDB in the cluster's folder during the block, with an account for slurmdbd."""
    data, connection = cluster.folder / "database", f"{cluster.folder}/mariadb.socket"
    cluster.call("mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={values['user']}")
    server = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--user={values['user']}", f"--socket={connection}"]
    server += [f"--port={values['database_port']}", "--bind-address=127.0.0.1"]
    server += [f"--pid-file={cluster.folder}/mariadb.pid"]
    client = ["mariadb", "--no-defaults", f"--socket={connection}", f"--user={values['user']}"]
    with _daemon(server, cluster):
        cluster.wait(lambda: _answers(cluster, *client, "--execute=SELECT 1"), 60)
        account = f"slurm@'127.0.0.1' IDENTIFIED BY '{values['password']}'"
        cluster.call(*client, f"--execute=GRANT ALL ON accounts.* TO {account}")
        yield


def _answers(cluster: Cluster, *command: str, expected: str = "") -> bool:
    """Tell whether a daemon that was just started answers already."""
    try:
        return expected in cluster.call(*command)
    except RuntimeError:
        return False


@contextmanager
def _daemon(command: list[str], cluster: Cluster) -> Iterator[None]:
    """Run a program in the foreground during the block."""
    with (cluster.folder / f"{command[0]}.out.log").open("w") as log:
        process = subprocess.Popen(command, env=cluster.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
