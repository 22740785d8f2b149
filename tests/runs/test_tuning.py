"""Studies: what a command line asks for, which trials run, what survives a kill, and the table."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from affect import files
from affect.errors import ConfigError, DataError, UserError
from evaluators.report import write_scores
from runs.config import CONFIG_DIR, check_command_line, resolve
from runs.ending import Stopped
from runs.search_space import Asked, Space, check_installed, read
from tests.conftest import SMALL, raising
from tests.kills import killed
from tests.test_train import command

optuna = pytest.importorskip("optuna")

RATE = "model.optimiser.base_lr=tag(log,interval(1e-3,1.6e-2))"
SIZE = "data.batch_size=16,32"
FIXED = ("scale=tiny", "trainer=cpu", "data.root=.", "trainer.max_epochs=3")


class Killed(BaseException):
    """Stands for SIGKILL in this process: nothing of ours catches it."""


class Trained:
    """Stands in for ``train``: leaves what a run leaves, tells the study of each epoch, ends where it is told to.

    The value after an epoch is that of the batch size, minus the distance of the rate from 0.004, in thousandths.
    """

    def __init__(self) -> None:
        self.started: list[tuple[str, str | None]] = []
        self.epochs: dict[str, list[int]] = {}
        self.ends: dict[tuple[int, int], Callable[[], object]] = {}

    def __call__(self, config: Any, resume: Path | None = None, *, watched_by: Any = ()) -> float:
        folder = Path(config.paths.run_dir)
        number = int(folder.name.removeprefix("trial-"))
        self.started.append((folder.name, resume and resume.name))
        plain = resolve(config)
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(plain))
        last = folder / "checkpoints" / "last.ckpt"
        value = plain["data"]["batch_size"] / 16 - abs(plain["model"]["optimiser"]["base_lr"] - 0.004) * 1000
        for epoch in range(int(last.read_text()) + 1 if resume else 0, plain["trainer"]["max_epochs"]):
            trainer = SimpleNamespace(current_epoch=epoch, default_root_dir=str(folder))
            for one in watched_by:
                one.on_train_epoch_start(trainer, None)
            self.ends.get((number, epoch), int)()
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": epoch, "epoch": epoch, "val/score": value - (epoch - 1) ** 2}) + "\n")
            last.write_text(str(epoch))
            self.epochs.setdefault(folder.name, []).append(epoch)
        write_scores({"P_MTL": value, "P_VA": None}, folder / "scores.json")
        (folder / "report.html").touch()
        return value


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trained:
    monkeypatch.chdir(tmp_path)
    return Trained()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Composes each command line once, which takes a second."""
    monkeypatch.setattr("runs.tuning._checked", lambda asked: _quick(asked, dict(_first(asked))))
    monkeypatch.setattr("runs.tuning._composed", _quick)


def _first(asked: Asked) -> Iterator[tuple[str, str]]:
    return ((key, space.ends()[0]) for key, space in asked.keys.items())


@cache
def _base(words: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=list(words))


def _quick(asked: Asked, values: Mapping[str, str], folder: Path | None = None) -> DictConfig:
    config = _base(tuple(word for word in asked.words if not word.startswith("paths."))).copy()
    for key, value in [*values.items(), *(word.split("=") for word in asked.words if word.startswith("paths."))]:
        OmegaConf.update(config, key, yaml.safe_load(value))
    if folder:
        config.paths.run_dir = str(folder)
    return config


def tune(trained: Trained, *arguments: str) -> None:
    from runs.tuning import tune as real

    real(read([*FIXED, *arguments]), trained)


def table(path: Path) -> list[dict[str, str]]:
    with (path / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def told(*arguments: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(arguments)
    return str(error.value)


def test_ranges_are_those_of_hydra() -> None:
    asked = read(
        [RATE, SIZE, "a=interval(0,1)", "b=int(tag(log,interval(1,8)))", "c=range(16,129,16)", "seed=3", "d='x,y',null"]
    )
    assert asked.keys == {
        "model.optimiser.base_lr": Space("float", (), 0.001, 0.016, None, True),
        "data.batch_size": Space("choices", ("16", "32")),
        "a": Space("float", (), 0, 1),
        "b": Space("int", (), 1, 8, None, True),
        "c": Space("int", (), 16, 128, 16),
        "d": Space("choices", ("'x,y'", "null")),
    }
    assert (asked.words, asked.trials, asked.prune) == (("seed=3",), 20, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=1"], "no key has a range"),
        (["a=interval(2,1)"], "a=interval(2,1): the second number must be larger"),
        (["a=tag(log,interval(0,1))"], "a logarithmic scale begins above 0"),
        (["a=tag(x,interval(0,1))"], "the tag x has no meaning here"),
        (["a=glob(*)"], "write out the values"),
        (["a=1,1"], "two values or more, each once"),
        (["a=range(1,2)"], "fewer than two values"),
        (["seed=1,2"], "one value for the whole study"),
        (["a=1", "a=1,2"], "a is given twice, as a=1 and as a=1,2"),
        (["a=1,2", "a=1"], "a is given twice, as a=1,2 and as a=1"),
        (["a=1,2", "tune.trails=3"], "unknown key 'tune.trails'; did you mean trials?"),
        (["a=1,2", "tune.trials=0"], "tune.trials is 0, but must be int >= 1"),
        (["a=1,2", "ckpt_path=x"], "ckpt_path=x: a study resumes its trials by itself"),
        (["a=1,2", "-m"], "-m: no such flag"),
        (["a=["], "not of the form key=value"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_told(words: list[str], message: str) -> None:
    assert message in told(*words)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.booleans())
def test_an_interval_is_read_to_the_bit(low: float, high: float, log: bool) -> None:
    text = f"interval({low!r},{high!r})"
    word = f"a=tag(log,{text})" if log else f"a={text}"
    if low < high:
        assert read([word]).keys["a"] == Space("float", (), low, high, None, log)
    else:
        assert "must be larger" in told(word)


def test_a_study_has_a_table_and_the_best_as_a_command(trained, tmp_path, capsys) -> None:
    tune(trained, RATE, SIZE, "tune.trials=4", "tune.prune=false", "paths.output_dir=logs/x")
    folder = tmp_path / "logs" / "x" / "tune-emma"
    rows = table(folder)
    assert [row["run"] for row in rows] == [f"trial-{number}" for number in range(4)]
    assert {row["state"] for row in rows} == {"complete"}
    best = max(rows, key=lambda row: float(row["val/score"]))
    said = capsys.readouterr().out
    shown = said.rpartition("\npython ")[2].replace("\\\n", "").split()
    assert shown[0] == "train.py"
    assert shown[-2:] == [f"{key}={best[key]}" for key in ("model.optimiser.base_lr", "data.batch_size")]
    check_command_line("train", shown[1:])
    for row in rows:  # of the best epoch, not the last one
        config = yaml.safe_load((folder / row["run"] / "config.yaml").read_text())
        rate, size = config["model"]["optimiser"]["base_lr"], config["data"]["batch_size"]
        assert (row["model.optimiser.base_lr"], row["data.batch_size"]) == (str(rate), str(size))
        assert 1e-3 <= rate <= 1.6e-2
        assert float(row["val/score"]) == pytest.approx(size / 16 - abs(rate - 0.004) * 1000, abs=1e-4)


@pytest.mark.slow
def test_the_same_command_runs_nothing_again_and_a_larger_number_goes_on(quick, trained, tmp_path) -> None:
    given = (RATE, SIZE, "tune.prune=false", "paths.run_dir=x")
    tune(trained, *given, "tune.trials=2")
    first = table(tmp_path / "x")
    tune(trained, *given, "tune.trials=2", "data.num_workers=3", "paths.cache_dir=elsewhere")
    assert trained.started == [("trial-0", None), ("trial-1", None)]
    assert table(tmp_path / "x") == first
    tune(trained, *given, "tune.trials=4")
    assert table(tmp_path / "x")[:2] == first
    whole = Trained()
    tune(whole, RATE, SIZE, "tune.prune=false", "paths.run_dir=whole", "tune.trials=4")
    assert table(tmp_path / "whole") == table(tmp_path / "x")
    other = Trained()
    tune(other, RATE, SIZE, "tune.prune=false", "paths.run_dir=other", "tune.trials=4", "seed=1")
    assert [row["model.optimiser.base_lr"] for row in table(tmp_path / "other")] != [
        row["model.optimiser.base_lr"] for row in table(tmp_path / "x")
    ]


POINTS = [("tune.drawn", 1), ("tune.drawn", 3), ("tune.trained", 2), ("tune.told", 4), ("file.written", 1)]


@pytest.mark.slow
def test_a_kill_changes_nothing(quick, trained, monkeypatch, tmp_path) -> None:
    given = (RATE, SIZE, "tune.trials=7")
    tune(Trained(), *given, "paths.run_dir=whole")
    left = [*POINTS]  # one kill after the other, in one study

    def hook(name: str, path: Path) -> None:
        for at, (point, count) in enumerate(left):
            left[at] = (point, count - (name == point))
            if left[at][1] == 0:
                del left[at]
                raise Killed

    monkeypatch.setattr(files, "hook", hook)
    kills = 0
    while True:
        try:
            tune(trained, *given, "paths.run_dir=killed")
            break
        except Killed:
            kills += 1
    assert kills == len(POINTS)
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
    for epochs in trained.epochs.values():
        assert epochs == sorted(set(epochs))  # no epoch twice


def test_a_killed_trial_goes_on_under_its_number_after_its_last_epoch(quick, trained, tmp_path, capsys) -> None:
    given = (RATE, SIZE, "tune.trials=3", "tune.prune=false", "paths.run_dir=x")
    trained.ends = {(1, 2): raising(Killed())}
    with pytest.raises(Killed):
        tune(trained, *given)
    trained.ends = {}
    tune(trained, *given)
    assert trained.started == [("trial-0", None), ("trial-1", None), ("trial-1", "last.ckpt"), ("trial-2", None)]
    assert trained.epochs["trial-1"] == [0, 1, 2]
    assert f"{tmp_path}/x/trial-1: resumed from checkpoints/last.ckpt" in capsys.readouterr().out


def test_a_trial_that_kills_the_process_each_time_is_left_out_in_the_end(quick, trained, tmp_path) -> None:
    given = (RATE, SIZE, "tune.trials=2", "paths.run_dir=x")
    trained.ends = {(0, 1): raising(Stopped(15))}
    for _ in range(4):  # signals do not count
        with pytest.raises(Stopped):
            tune(trained, *given)
    trained.ends = {(0, 1): raising(Killed())}
    for _ in range(3):
        with pytest.raises(Killed):
            tune(trained, *given)
    tune(trained, *given)
    assert [row["state"] for row in table(tmp_path / "x")] == ["failed", "complete"]
    assert "were killed after epoch 1" in (tmp_path / "x" / "trial-0.failed.txt").read_text()


def test_bad_trials_end_early(quick, trained, tmp_path) -> None:
    tune(trained, RATE, SIZE, "tune.trials=12", "paths.run_dir=x")
    rows = table(tmp_path / "x")
    pruned = [row["run"] for row in rows if row["state"] == "pruned"]
    assert pruned
    # an independent reference of Optuna's rule: after five whole trials, worse than their median at the same epoch
    whole: list[float] = []
    for row in rows:
        value = float(row["data.batch_size"]) / 16 - abs(float(row["model.optimiser.base_lr"]) - 0.004) * 1000
        bad = len(whole) >= 5 and value < statistics.median(whole)
        assert (row["run"] in pruned) == bad, row
        assert len(trained.epochs[row["run"]]) == (1 if bad else 3)
        whole += [] if bad else [value]


def test_what_fails_is_told_and_the_study_goes_on(quick, trained, tmp_path, capsys) -> None:
    trained.ends = {
        (0, 0): raising(UserError("a.jpg is missing:\ngive another root")),
        (1, 1): raising(RuntimeError("out of memory")),
        (2, 0): lambda: sys.exit(7),
    }
    given = (RATE, SIZE, "tune.trials=4", "paths.run_dir=x")
    tune(trained, *given)
    assert [row["state"] for row in table(tmp_path / "x")] == ["failed", "failed", "failed", "complete"]
    assert "trial 0: failed: a.jpg is missing: give another root" in capsys.readouterr().out
    trained.ends, trained.started = {}, []
    tune(trained, *given)
    assert trained.started == []


def test_a_study_without_any_result_is_an_error(quick, trained, tmp_path) -> None:
    trained.ends = {(number, 0): raising(RuntimeError("out of memory")) for number in range(2)}
    with pytest.raises(UserError) as error:
        tune(trained, RATE, SIZE, "tune.trials=2", "paths.run_dir=x")
    assert str(error.value).splitlines() == [
        "none of the 2 trials of the study has a result:",
        f"  - {tmp_path}/x/trial-0: failed: RuntimeError: out of memory",
        f"  - {tmp_path}/x/trial-1: failed: RuntimeError: out of memory",
    ]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ((RATE,), "data.batch_size is 16,32 there and not searched here"),
        ((RATE, "data.batch_size=16,64"), "data.batch_size is 16,32 there and 16,64 here"),
        (("model.optimiser.base_lr=interval(1e-3,1e-2)", SIZE), "to 0.016, log there and float 0.001 to 0.01 here"),
        ((RATE, SIZE, "seed=2"), "seed is 0 there and 2 here"),
        ((RATE, SIZE, "model.optimiser.weight_decay=0.5"), "model.optimiser.weight_decay is 0.05 there and 0.5 here"),
    ],
)  # fmt: skip
def test_a_study_of_something_else_is_refused(others: tuple[str, ...], message: str, quick, trained, tmp_path) -> None:
    tune(trained, RATE, SIZE, "tune.trials=1", "paths.run_dir=x")
    before = (tmp_path / "x" / "study.db").read_bytes()
    with pytest.raises(UserError, match="is a study of something else") as error:
        tune(trained, *others, "tune.trials=2", "paths.run_dir=x")
    assert message in str(error.value)
    assert (tmp_path / "x" / "study.db").read_bytes() == before
    assert len(trained.started) == 1


def test_a_folder_without_a_study_and_damaged_ones_are_refused(quick, trained, tmp_path) -> None:
    given = (RATE, SIZE, "tune.trials=1", "paths.run_dir=x")
    tune(trained, *given)
    path = tmp_path / "x" / "study.db"
    whole = path.read_bytes()
    path.write_bytes(b"not a database, but of some length" * 100)
    with pytest.raises(DataError, match=r"study\.db: the study cannot be read or written"):
        tune(trained, *given)
    path.write_bytes(whole)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE studies SET study_name = 'another'")
    with pytest.raises(DataError, match=r"study\.db: no study of this version"):
        tune(trained, *given)
    path.unlink()
    with pytest.raises(UserError, match=r"holds table\.csv but no study"):
        tune(trained, *given)
    shutil.rmtree(tmp_path / "x")
    tune(trained, *given)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=mae", "model.mask_ratio=0.5,0.75"], "chosen by val/loss: give tune.monitor=val/loss"),
        (["callbacks=final", SIZE, "tune.monitor=val/P_VA"], "only val/score compares those"),
        (["data.bach_size=1,2"], "unknown key 'data.bach_size'; did you mean data.batch_size"),
        (["augmentation=none,nothing"], "augmentation=nothing: no such option"),
        (["data.batch_size=int(interval(0,8))"], "data.batch_size is 0, but must be int >= 1"),
        (["model.loss.label_smoothing=interval(0,2)"], "model.loss.label_smoothing is 2.0"),
        ([SIZE, "trainer.devices=2"], "give trainer.devices=1"),
    ],
)  # fmt: skip
def test_what_no_trial_could_take_is_told_before_the_first(words: list[str], message: str, trained, tmp_path) -> None:
    with pytest.raises(UserError) as error:
        tune(trained, *words, "paths.run_dir=x")
    assert message in str(error.value)
    assert trained.started == []
    assert not (tmp_path / "x").exists()


def test_a_value_that_is_never_logged_ends_the_trial_after_its_first_epoch(quick, trained, tmp_path) -> None:
    trained.ends = {(0, 1): lambda: pytest.fail("it trained on")}
    with pytest.raises(UserError, match=r"no epoch has logged a number as val/loss.* \(logged: val/score\)"):
        tune(
            trained,
            RATE,
            "callbacks.best.monitor=val/loss",
            "tune.monitor=val/loss",
            "tune.trials=1",
            "paths.run_dir=x",
        )


def test_without_optuna_one_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r'the package optuna, which cannot be loaded .*: pip install -e "\.\[tune\]"'):
        check_installed()


@pytest.mark.slow
def test_a_study_that_is_killed_and_given_again_has_the_table_of_one_that_is_not(faces, tmp_path) -> None:
    given = [
        "experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *SMALL, "tune.trials=3", RATE,
        "model.loss.label_smoothing=interval(0,0.2)", f"paths.cache_dir={tmp_path}/cache",
    ]  # fmt: skip
    whole = command("tune.py", *given, f"paths.run_dir={tmp_path}/whole")
    assert whole.returncode == 0, whole.stdout
    again = [*given, f"paths.run_dir={tmp_path}/killed"]
    # two epochs a trial: in the second trial, after the first
    done = killed("file.renamed@last.ckpt", "tune.py", *again, count=3)
    assert done.returncode == -9, done.stdout
    assert not (tmp_path / "killed" / "trial-2").exists()
    done = command("tune.py", *again)
    assert done.returncode == 0, done.stdout
    assert "trial 0 of 3" not in done.stdout
    assert f"{tmp_path}/killed/trial-1: resumed" in done.stdout
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
