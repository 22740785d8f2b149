"""Sweeps: the jobs that run when one is given again, what becomes of failures, and the table."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import runs.command
from affect.errors import ConfigError, UserError
from backbones.choices import BACKBONES
from evaluators.report import write_scores
from runs.config import CONFIG_DIR, check_command_line, quoted, resolve
from runs.sweep_jobs import differences, launching
from runs.sweeps import Job, Sweep
from tests.conftest import SMALL, raising, small
from tests.kills import REPOSITORY, kill_midway, killed
from tests.test_train import command

COLUMNS = {"mask ratio": "model.mask_ratio", "batch": "data.batch_size"}
Train = Callable[[DictConfig, Path | None], float]


class Trained:
    """Stands in for ``train``: leaves what a run leaves, and fails, or is interrupted, where it is told to."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str | None]] = []
        self.ends: dict[int, Callable[[], object]] = {}

    def __call__(self, config: DictConfig, resume: Path | None = None) -> float:
        folder = Path(config.paths.run_dir)
        self.started.append((folder.name, resume and resume.name))
        plain = resolve(config)
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(plain))
        (folder / "checkpoints" / "best.ckpt").touch()
        (folder / "checkpoints" / "last.ckpt").touch()
        self.ends.get(plain["seed"], int)()
        write_scores({"P_MTL": 0.5 + plain["seed"], "P_VA": None, "CCC_V": 0.1}, folder / "scores.json")
        (folder / "report.html").touch()
        return 0.0


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trained:
    monkeypatch.chdir(tmp_path)
    return Trained()


@pytest.fixture
def sweep(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str]]:
    """Runs a sweep in this process; gives what it exits with and what it prints."""

    def sweep_(*arguments: str) -> tuple[Any, str]:
        given = ["scale=tiny", "trainer=cpu", "data.root=.", "hydra/job_logging=none", *arguments]
        monkeypatch.setattr(sys, "argv", ["train.py", "-m", *given])
        monkeypatch.setattr("runs.train.train", trained)
        code = None
        try:
            runs.command.command("train")
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().out

    return sweep_


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_fails_is_told_at_the_end_and_given_again_goes_on(trained, sweep, tmp_path) -> None:
    given = ("seed=0,1,2,3", "paths.run_dir=x/${seed}")
    trained.ends = {
        0: raising(UserError("a.jpg is missing:\ngive another root")),
        1: raising(RuntimeError("out of memory")),
        2: lambda: sys.exit(7),
    }
    code, printed = sweep(*given)
    assert trained.started == [("0", None), ("1", None), ("2", None), ("3", None)]
    assert str(code).splitlines() == [
        "error: 3 of 4 jobs of the sweep have no result:",
        f"  - job 0 (seed=0), {tmp_path}/x/0: a.jpg is missing: give another root",
        f"  - job 1 (seed=1), {tmp_path}/x/1: RuntimeError: out of memory",
        f"  - job 2 (seed=2), {tmp_path}/x/2: the job ended itself with exit code 7",
    ]
    assert table(tmp_path / "x" / "table.csv") == [{"run": "3", "seed": "3", "P_MTL": "3.5000", "P_VA": "no labels"}]
    assert "run  seed  P_MTL" in printed

    (tmp_path / "x" / "1" / "checkpoints" / "last.ckpt").unlink()
    shutil.rmtree(tmp_path / "x" / "2" / "checkpoints")
    trained.ends, trained.started = {}, []
    code, printed = sweep(*given, "data.num_workers=2", "paths.cache_dir=elsewhere")
    assert trained.started == [("0", "last.ckpt"), ("1", "best.ckpt"), ("2", None)]
    assert code is None
    assert f"{tmp_path}/x/0: resumed" in printed
    assert f"{tmp_path}/x/3: skipped" in printed
    assert [row["run"] for row in table(tmp_path / "x" / "table.csv")] == ["0", "1", "2", "3"]
    assert not list((tmp_path / "x").glob("*.txt"))


def test_the_sweep_in_the_documents(trained, sweep, tmp_path) -> None:
    text = (CONFIG_DIR.parent / "docs" / "training.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^python train\.py -m (experiment=emma data=synthetic .*)$", text, re.MULTILINE)
    code, _ = sweep(*(argument for argument in shlex.split(line) if argument not in ("scale=tiny", "trainer=cpu")))
    assert code is None
    folders = [f"{seed}-{stop}" for seed in range(3) for stop in (True, False)]
    assert trained.started == [(folder, None) for folder in folders]
    assert [row["run"] for row in table(tmp_path / "logs" / "sweep" / "table.csv")] == folders


@pytest.mark.slow
def test_a_sweep_over_two_roots(trained, sweep, tmp_path) -> None:
    roots = [tmp_path / name for name in ("first", "it's the second", "first,it")]
    for root in roots:
        root.mkdir()
    given = f"data.root={roots[0]},{quoted(str(roots[1]))},{quoted(str(roots[2]))}"
    code, _ = sweep("paths.run_dir=x/${hydra:job.num}", given)
    assert code is None
    configs = [yaml.safe_load((tmp_path / "x" / str(job) / "config.yaml").read_text()) for job in range(3)]
    assert [config["data"]["root"] for config in configs] == list(map(str, roots))


@pytest.mark.slow
def test_a_folder_of_another_configuration_is_left_alone(trained, sweep, tmp_path) -> None:
    sweep("seed=1", "paths.run_dir=x/${hydra:job.num}")
    before = (tmp_path / "x" / "0" / "config.yaml").read_bytes()
    code, _ = sweep("seed=5,6", "paths.run_dir=x/${hydra:job.num}")
    assert trained.started == [("0", None), ("1", None)]
    assert "1 of 2 jobs" in code
    assert f"the run folder {tmp_path}/x/0 holds a run of another configuration: seed is 1 there and 5 here. " in code
    assert (tmp_path / "x" / "0" / "config.yaml").read_bytes() == before
    assert [row["run"] for row in table(tmp_path / "x" / "table.csv")] == ["1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_sweep(number: signal.Signals, trained, sweep) -> None:
    trained.ends = {0: lambda: os.kill(os.getpid(), number)}
    assert sweep("seed=0,1", "paths.run_dir=x/${seed}")[0] == 128 + number
    assert trained.started == [("0", None)]


def test_a_sweep_is_one_group_in_dashboards_at_every_start(trained, sweep, tmp_path) -> None:
    trained.ends = {1: raising(RuntimeError("out of memory"))}
    for _ in range(2):
        sweep("seed=0,1", "paths.run_dir=logs/x/${seed}", "logger=wandb")
        stored = [yaml.safe_load(path.read_text())["logger"] for path in tmp_path.glob("logs/x/*/config.yaml")]
        assert [logger["group"] for logger in stored] == ["x", "x"]
        assert len({logger["name"] for logger in stored}) == 2
        trained.ends = {}


def test_two_jobs_with_one_folder_are_refused_before_the_first(trained, sweep, tmp_path) -> None:
    code, _ = sweep("seed=0,1", "paths.run_dir=x/one")
    assert code.startswith(f"error: job 0 (seed=0) and job 1 (seed=1) have the same run folder {tmp_path}/x/one: ")
    assert "'paths.run_dir=logs/sweep/${seed}'" in code
    assert trained.started == []


@pytest.mark.slow
def test_a_sweep_named_after_the_time_says_what_goes_on_with_it(trained, sweep, tmp_path) -> None:
    trained.ends = {1: raising(RuntimeError("out of memory"))}
    code, printed = sweep("seed=0,1")
    assert "1 of 2 jobs" in code
    line = printed.splitlines()[0]
    assert "named after the time" in line
    trained.ends, trained.started = {}, []
    assert sweep("seed=0,1", line.rpartition("add ")[2].strip("'"))[0] is None
    assert trained.started == [("1", "last.ckpt")]
    (left,) = tmp_path.glob("logs/emma/*/table.csv")
    assert len(table(left)) == 2


@pytest.mark.slow
def test_a_sweep_in_a_slurm_job_goes_on_when_the_job_is_queued_again(trained, sweep, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    trained.ends = {1: raising(RuntimeError("out of memory"))}
    assert "named after the SLURM job" in sweep("seed=0,1")[1]
    trained.ends, trained.started = {}, []
    assert sweep("seed=0,1")[0] is None
    assert trained.started == [("1", "last.ckpt")]
    assert len(table(tmp_path / "logs" / "emma" / "slurm-12" / "table.csv")) == 2


def test_a_sweep_of_several_devices_is_refused_before_the_first(trained, sweep) -> None:
    code, _ = sweep("seed=0,1", "trainer.devices=2", "paths.run_dir=x/${seed}")
    assert "give trainer.devices=1" in code
    assert trained.started == []


def test_differences_are_of_what_may_change_a_result() -> None:
    there = {
        "seed": 0, "paths": {"run_dir": "a"}, "logger": {"save_dir": "a"}, "render": {"faces": 3, "workers": 1},
        "data": {"root": "cache", "num_workers": 0, "cache_dir": "a"}, "model": {"dan": None, "rates": [1.0, 1e-05]},
    }  # fmt: skip
    here = yaml.safe_load(yaml.safe_dump(there))
    there["trainer"] = {"num_sanity_val_steps": 0, "enable_model_summary": False}  # of an earlier version
    here |= {"report": {"faces": False}}
    here |= {"paths": {"run_dir": "b"}, "logger": None, "fork_from": None}
    here["data"] = {"root": "another", "num_workers": 4, "cache_dir": None}
    here["render"] |= {"workers": 2, "elsewhere": "cache"}
    assert differences(there, here) == []
    here["model"] = {"dan": {"width": 4}, "rates": [1.0, 1e-04]}
    assert differences(there, here) == [
        "model.rates is [1.0, 1e-05] there and [1.0, 0.0001] here",
        "model.dan.width is null there and 4 here",
    ]
    assert differences(there | {"render": None}, here | {"render": None, "model": there["model"]}) == [
        'data.root is "cache" there and "another" here'
    ]


def write_run(folder: Path, ratio: float, speeds: list[float], scores: dict[str, float | None] | None) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"mask_ratio": ratio}, "data": {"batch_size": 64}}))
    lines = [json.dumps({"step": 1, "train/images_per_s": speed}) for speed in speeds]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if scores is not None:
        write_scores(scores, folder / "scores.json")


def test_rows_of_the_sweep_and_then_of_other_runs_in_their_order(tmp_path: Path) -> None:
    write_run(tmp_path / "b", 0.75, [10.0, 30.0, 20.0], {"P_LSD": 0.5, "P_VA": None})
    write_run(tmp_path / "a", 0.95, [], None)
    os.utime(tmp_path / "a" / "config.yaml", (2e9, 2e9))
    watch = Sweep(COLUMNS, ["P_LSD", "P_VA"], {"images/s": "train/images_per_s"})
    watch.jobs = [Job(0, {}, tmp_path / "c")]
    write_run(tmp_path / "c", 0.5, [], {"P_LSD": 0.25})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.yaml").write_text("[")
    assert watch.rows() == [
        ["run", "mask ratio", "batch", "P_LSD", "P_VA", "images/s"],
        ["c", "0.5", "64", "0.2500", "", ""],
        ["b", "0.75", "64", "0.5000", "no labels", "20"],
        ["a", "0.95", "64", "", "", ""],
    ]


def test_every_preset_names_rows_that_exist() -> None:
    for path in (CONFIG_DIR / "sweep").glob("*.yaml"):
        preset = yaml.safe_load(path.read_text())
        params = preset["hydra"]["sweeper"]["params"]
        if "rows" in preset:
            assert params["row"].split(",") == list(preset["rows"])
        elif params.keys() != {"data.fold"}:  # they are looked up
            (names,) = params.values()
            assert set(names.split(",")) <= {*BACKBONES, "emotionnet"}


@pytest.mark.parametrize("row", yaml.safe_load((CONFIG_DIR / "sweep" / "table5.yaml").read_text())["rows"])
def test_the_rows_of_table_5(row: str) -> None:
    small = [key for key in SMALL if not key.startswith("model.network.dan")]  # rows without one have no such key
    given = [*small, "data=affwild2_mtl", "data.root=.", "sweep=table5", f"row={row}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        network = resolve(compose("train", overrides=given))["model"]["network"]
    assert (network["dan"] is None) == row.startswith("vit")
    encoder = row.split("_")[1]
    assert (
        network["vit"]["weights"]
        == {"imagenet": "mae-vit-b", "emotionet": "aim3-mae-emotionet", "celeba": "emma-celeba-vit-b"}[encoder]
    )
    assert network["expression_scores"] == ("vit+dan" if row.endswith("p1_p2") else "vit")


@pytest.mark.slow
def test_the_rows_of_table_1_are_of_two_experiments_in_one_table(tmp_path: Path) -> None:
    done = command(
        "train.py", "-m", "sweep=table1", "system=resnet50,emotionnet", "data=synthetic", "scale=tiny", "trainer=cpu",
        "data.batch_size=8", "model.network.image_size=40", "debug=fast", "render.train_videos=3",
        "render.val_videos=2", "render.frames_per_video=8", "render.workers=1", f"paths.cache_dir={tmp_path}/cache",
        f"paths.output_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    rows = table(tmp_path / "table1" / "table.csv")
    assert [(row["run"], row["backbone"]) for row in rows] == [("resnet50", "resnet50"), ("emotionnet", "")]
    assert all(float(row["P_MTL"]) > -1 for row in rows)
    names = [yaml.safe_load((tmp_path / "table1" / row["run"] / "config.yaml").read_text())["name"] for row in rows]
    assert names == ["baseline", "emotionnet"]


@pytest.mark.parametrize("given", ["experiment=baseline", "backbone=resnet50"])
def test_what_the_rows_of_table_1_choose_is_not_chosen_again(given: str) -> None:
    for more in ("sweep=table1", "system=emotionnet"):
        with pytest.raises(ConfigError, match=r"=…: every row of sweep=table1 has its own\. Leave it out; system="):
            check_command_line("train", ["data.root=.", "scale=tiny", more, given])


@pytest.mark.parametrize("scale", ["small", "tiny"])
def test_every_system_has_the_values_of_its_experiment(scale: str) -> None:
    for system in ("emotionnet", "inception_v3"):
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            config = compose("train", overrides=[f"system={system}", f"scale={scale}", "data.root=."])
        assert config.name == ("emotionnet" if system == "emotionnet" else "baseline")
        assert config.model.network.weights == "random"


@pytest.mark.slow
def test_the_rows_of_table_2_leave_a_table(tmp_path: Path) -> None:
    done = command(
        "train.py", "-m", "sweep=table2", *small("baseline_lsd"), "data=synthetic", "backbone=resnet50",
        "backbone.name=resnet10t", "debug=fast", "render.train_faces=36", "render.val_faces=12", "render.workers=1",
        f"paths.cache_dir={tmp_path}/cache", f"paths.output_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    rows = table(tmp_path / "table2" / "table.csv")
    assert [(row["run"], row["backbone"], row["weights"]) for row in rows] == [("resnet50", "resnet10t", "random")]


def test_a_launcher_that_is_not_installed_is_one_message() -> None:
    message = r"hydra/launcher=none is not installed, there is basic.*: pip install -e \"\.\[sweeps\]\""
    with pytest.raises(ConfigError, match=message):
        check_command_line("train", ["-m", "experiment=emma", "data.root=.", "scale=tiny", "hydra/launcher=none"])


def test_what_a_launcher_cannot_do_is_one_message(monkeypatch) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    message = r"^hydra/launcher=joblib: a worker died\. The same command goes on with what was begun$"
    with pytest.raises(UserError, match=message), launching(["-m", "seed=0,1", "hydra/launcher=joblib"]):
        raise RuntimeError("a worker died.\nThe exit codes are -9")
    with pytest.raises(RuntimeError, match=r"^another$"), launching(["-m", "seed=0,1"]):
        raise RuntimeError("another")
    assert "HYDRA_FULL_ERROR" not in os.environ


@pytest.mark.slow
def test_a_job_that_is_killed_does_not_end_the_sweep_of_submitit(tmp_path: Path, capsys) -> None:
    submitit = pytest.importorskip("submitit", reason="the extra `sweeps` is not installed")
    executor = submitit.LocalExecutor(tmp_path)
    with launching(["-m", "hydra/launcher=submitit_local"]):
        jobs = [executor.submit(os.abort), executor.submit(int, "7")]
        killed_one, other = [job.results()[0] for job in jobs]
    assert killed_one.return_value is None
    assert other == 7
    assert f"job {jobs[0].job_id} of the launcher ended without a result: {tmp_path}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_leaves_one_table(tmp_path: Path) -> None:
    done = command(
        "train.py", "-m", "sweep=table6", "data=synthetic", "row=vit,r95_b4096",
        *(key for key in small("cotex") if not key.startswith("data.batch_size")),
        "model.network.image_size=64", "batch_factor.tiny=0.01", "debug=fast",
        "render.train_faces=120", "render.val_faces=12", "render.workers=1",
        f"paths.cache_dir={tmp_path}/cache", f"paths.output_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    rows = table(tmp_path / "table6" / "table.csv")
    assert [row["run"] for row in rows] == ["vit", "r95_b4096"]
    assert [(row["views"], row["mask ratio"], row["batch"]) for row in rows] == [("1", "0", "1"), ("2", "0.95", "40")]
    assert all(0 <= float(row["P_LSD"]) <= 1 and float(row["images/s"]) > 0 for row in rows)
    assert "table: " in done.stdout


@pytest.mark.slow
def test_a_sweep_that_is_killed_and_given_again_has_the_table_of_one_that_is_not(faces, tmp_path) -> None:
    given = [
        "experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *SMALL, "seed=0,1,2",
        f"paths.cache_dir={tmp_path}/cache",
    ]  # fmt: skip
    whole = command("train.py", "-m", *given, f"paths.run_dir={tmp_path}/whole/${{seed}}")
    assert whole.returncode == 0, whole.stdout
    again = [*given, f"paths.run_dir={tmp_path}/killed/${{seed}}"]
    # two epochs a job: in the second job, after the first
    done = killed("file.renamed@last.ckpt", "train.py", "-m", *again, count=3)
    assert done.returncode == -signal.SIGKILL, done.stdout
    assert not (tmp_path / "killed" / "2").exists()
    done = command("train.py", "-m", *again)
    assert done.returncode == 0, done.stdout
    assert f"{tmp_path}/killed/0: skipped" in done.stdout
    assert f"{tmp_path}/killed/1: resumed" in done.stdout
    assert table(tmp_path / "killed" / "table.csv") == table(tmp_path / "whole" / "table.csv")


def swept(faces: Path, folder: Path, seeds: str, *launcher: str) -> list[str]:
    """The command line of a sweep over seeds."""
    given = ["-m", "experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *SMALL, "report.faces=false"]
    return [*given, f"seed={seeds}", f"paths.run_dir={folder}/${{seed}}", f"paths.output_dir={folder}", *launcher]


def ended(arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a sweep to its end; both streams in ``stdout``."""
    return subprocess.run(
        [sys.executable, "train.py", *arguments], cwd=REPOSITORY, env={**environment, "OMP_NUM_THREADS": "1"},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1500,
    )  # fmt: skip


@cache
def undisturbed(faces: Path) -> list[dict[str, str]]:
    """The table of a sweep over three seeds, one after the other."""
    folder = faces.parent / "undisturbed"
    done = ended(swept(faces, folder, "0,1,2"), os.environ)
    assert done.returncode == 0, done.stdout
    return table(folder / "table.csv")


def given_twice(
    faces: Path, folder: Path, seeds: str, *launcher: str, environment: Mapping[str, str], cancel: str = ""
) -> tuple[list[dict[str, str]], list[str]]:
    """Kills a sweep in its second job, with the first one done, and goes on with it by the same command.

    Returns:
        The table, and all lines of the second start and of all jobs that begin with a job's number.
    """
    arguments, done, hold = swept(faces, folder, seeds, *launcher), folder / "0", folder / "hold"
    hold.mkdir()
    kill_midway(
        hold, "train.py", *arguments, waits="/1/checkpoints/last.ckpt", until=done / "report.html",
        environment=environment, jobs=cancel,
    )  # fmt: skip
    assert not (folder / "1" / "scores.json").exists()
    assert not (folder / "table.csv").exists()
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*")}
    second = ended(arguments, environment)
    logs = [path.read_text() for path in folder.glob(".submitit/*/*_log.*")]
    assert second.returncode == 0, "\n".join([second.stdout, *logs])
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before
    lines = [line for text in [second.stdout, *logs] for line in text.splitlines() if re.match(r"job \d \| ", line)]
    assert f"job 0 | {folder}/0: skipped, it has the scores of this configuration" in lines
    assert f"job 1 | {folder}/1: resumed from checkpoints/last.ckpt" in lines
    return table(folder / "table.csv"), lines


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [["joblib", "n_jobs=2"], ["submitit_local"]], ids=lambda given: given[0])
def test_jobs_at_the_same_time_that_are_killed_and_given_again(faces, tmp_path, launcher: list[str]) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher[0].partition('_')[0]}_launcher")
    options = [f"hydra.launcher.{option}" for option in launcher[1:]]
    rows, lines = given_twice(faces, tmp_path, "0,1", f"hydra/launcher={launcher[0]}", *options, environment=os.environ)
    assert rows == undisturbed(faces)[:2]
    assert any(line.startswith("job 1 | P_MTL ") for line in lines)


@pytest.mark.slow
def test_jobs_in_other_processes_are_told_of_too(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = command(
        "train.py", "-m", "experiment=emma", "data=synthetic", "data.batch_size=16,99999", "debug=fast",
        *(key for key in SMALL if not key.startswith("data.batch_size")),
        "render.train_videos=6", "render.val_videos=3", "render.workers=1", f"paths.cache_dir={tmp_path}/cache",
        f"paths.output_dir={tmp_path}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "1 of 2 jobs of the sweep have no result" in done.stdout
    assert "job 1 (data.batch_size=99999)" in done.stdout
    (left,) = tmp_path.glob("emma/*/table.csv")
    assert [row["run"] for row in table(left)] == ["0"]
