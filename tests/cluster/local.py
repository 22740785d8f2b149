"""A SLURM cluster of this one machine, for tests: Debian's ``slurm-wlm``, in a folder of its own, on loopback only."""

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

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
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


def missing() -> str | None:
    """Say which of SLURM's programs is not installed; None where all are."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)" if absent else None


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
    """Start munged, slurmctld and slurmd in a folder; end them, and the jobs, when the block ends.

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
        "user": subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip(),
    }
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(**values))
    cluster = Cluster(folder)
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munged += [f"--{name}-file={folder}/munge/{name}" for name in ("log", "pid", "seed")]
    with ExitStack() as daemons:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            daemons.enter_context(_daemon(command, cluster))
            if command is munged:
                cluster.wait((folder / "munge.socket").exists, 20)
        cluster.wait(lambda: "idle" in cluster.call("sinfo", "--noheader", "--format=%t"), 60)
        try:
            yield cluster
        finally:
            for job in cluster.call("squeue", "--noheader", "--format=%A").split():
                cluster.call("scancel", "--signal=KILL", "--full", job)
                cluster.call("scancel", job)
            cluster.wait(lambda: not cluster.call("squeue", "--noheader"), 60)


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
