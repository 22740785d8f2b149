"""Runs of train.py and evaluate.py as a user starts them, on small networks and few faces."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from affect.errors import CheckpointError, ConfigError, DataError, UserError
from evaluators.report import duration, read_scores
from evaluators.table import read_table
from runs.assembly import build_module
from runs.checkpoints import load_module
from runs.config import CONFIG_DIR, resolve
from runs.evaluate import evaluate
from runs.slurm import this_start
from runs.stored_config import stored_config
from runs.train import train
from tests.conftest import SMALL

REPOSITORY = CONFIG_DIR.parent
PROGRESS = "callbacks.progress={_target_: runs.progress.Progress}"
OURS = (
    r"(train|val): \d+ of|training: \d+ of|\d+ of \d+ rows|\d+ more in|run folder: |faces, their |report: |"
    r"next: |  \S+=|"
    r"95 % intervals over 3 videos \(simulated: |  P_\w+ -?\d\.\d{3} to |"
    r" +epoch +loss| +[12]/2 |(chance: )?(P_MTL|P_VA|P_EXPR|P_AU|CCC_[VA]|(MACRO_)?ACC_(EXPR|AU)) +-?\d\.\d{4}$"
)
"""Beginnings of the lines of a run of EMMA on drawn faces."""
PHOTOGRAPHS = REPOSITORY / ".." / "shared" / "real_faces_small"
Compose = Callable[..., DictConfig]


def command(script: str, *arguments: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Runs an entry point in its own process; both streams in ``stdout``."""
    return subprocess.run(
        [sys.executable, str(REPOSITORY / script), *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )


def evaluate_here(*overrides: str) -> None:
    """Runs evaluate.py in this process, which is quicker."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        evaluate(compose("evaluate", overrides=[*overrides, "trainer=cpu"]))


def scores_of(folder: Path) -> dict[str, float]:
    return {name: value for name, value in read_scores(folder / "scores.json").items() if value is not None}


@pytest.fixture(scope="module")
def run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished EMMA run whose DAN came from a file that is gone afterwards."""
    folder = tmp_path_factory.mktemp("emma")
    weights = folder / "dan.pth"
    from dan.network import DAN

    torch.manual_seed(3)
    torch.save({"model_state_dict": DAN(width=8, image_size=32).state_dict()}, weights)
    done = command(
        "train.py", "experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *SMALL,
        f"model.network.dan.weights={weights}", f"paths.run_dir={folder}/run", "logger=csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    weights.rename(folder / "dan_moved.pth")
    return folder / "run"


def test_the_run_folder_holds_what_was_promised(run: Path) -> None:
    expected = (
        "config.yaml environment.json metrics.jsonl scores.json report.html checkpoints/best.ckpt checkpoints/last.ckpt"
    )
    for name in [*expected.split(), "faces.png", "predictions/val.parquet", "csv/metrics.csv"]:
        assert (run / name).is_file(), name
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["network"]["vit"]["width"] == 32
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"].startswith(torch.__version__.split("+")[0])
    assert len(next(iter(environment["weights"].values()))) == 64
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("val/score" in line for line in logged)
    assert any("train/loss" in line for line in logged)
    (speeds, memory) = ([line[f"train/{name}"] for line in logged if f"train/{name}" in line]
                        for name in ("images_per_s", "peak_memory_gib"))  # fmt: skip
    assert len(speeds) == len(memory) == 2
    assert min(speeds) > 0
    assert 0.05 < min(memory) < 24
    page = (run / "report.html").read_text()
    seconds = [line["train/epoch_s"] for line in logged if "train/epoch_s" in line]
    assert f"trained for {duration(sum(seconds))} in 2 epochs, validation included" in page
    assert re.search(r"images/s in training · predicted in 0:\d\d, [\d,]+ images/s", page)
    assert page.count("data:image/jpeg") > 16


def test_scores_of_the_table_are_those_of_the_best_epoch(run: Path) -> None:
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max((line for line in logged if "val/score" in line), key=lambda line: line["val/score"])
    scores = scores_of(run)
    assert scores["P_MTL"] == pytest.approx(best["val/score"], abs=1e-6)
    for name, value in scores.items():
        if name != "SCORE":
            assert value == pytest.approx(best[f"val/{name}"], abs=1e-6), name


def test_the_dan_is_bit_identical_after_training(run: Path) -> None:
    before = torch.load(run.parent / "dan_moved.pth", weights_only=True)["model_state_dict"]
    after = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in before.items():
        assert torch.equal(value, after[f"network.dan.{name}"]), name


def test_a_checkpoint_is_rebuilt_without_any_file_beside_it(run: Path, tmp_path: Path) -> None:
    alone = shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    module = load_module(Path(alone)).eval()
    stored = torch.load(alone, weights_only=True)["state_dict"]
    assert all(torch.equal(value, stored[name]) for name, value in module.state_dict().items())
    assert module.preprocessing.image_size == 32


def test_evaluate_from_another_folder_reproduces_the_scores(run: Path, tmp_path: Path) -> None:
    done = command("evaluate.py", f"checkpoint={run}/checkpoints/best.ckpt", "paths.run_dir=again", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    again, first = scores_of(tmp_path / "again"), scores_of(run)
    assert again.keys() == first.keys()
    for name, value in first.items():
        assert again[name] == pytest.approx(value, abs=1e-6), name
    assert any(line.split() == ["P_MTL", f"{first['P_MTL']:.4f}"] for line in done.stdout.splitlines())


def test_evaluate_averages_versions_of_each_picture(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = evaluated(tmp_path / "tta", f"checkpoint={run}", "tta=true")
    mean, plain = (read_table(place / "predictions" / "val.parquet") for place in (folder, run))
    assert mean.metadata["tta"] is True
    assert np.nanmax(np.abs(mean.predictions["expression"] - plain.predictions["expression"])) > 1e-5
    monkeypatch.setattr("training.tta.versions", lambda image: iter([image, image]))
    same = read_table(evaluated(tmp_path / "same", f"checkpoint={run}", "tta=true") / "predictions" / "val.parquet")
    for task, values in plain.predictions.items():
        np.testing.assert_allclose(same.predictions[task], values, atol=1e-6)
    with pytest.raises(ConfigError, match="tta=true is for a checkpoint"):
        evaluated(tmp_path / "none", f"predictions={run}/predictions/val.parquet", "tta=true")


def test_evaluate_averages_tables_and_writes_a_submission(run: Path, tmp_path: Path) -> None:
    table = run / "predictions" / "val.parquet"
    done = command(
        "evaluate.py", f"predictions=[{table},{table}]", f"paths.run_dir={tmp_path}/mean",
        f"submission={tmp_path}/submission.txt",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    for name, value in scores_of(run).items():
        assert scores_of(tmp_path / "mean")[name] == pytest.approx(value, abs=1e-6), name
    lines = (tmp_path / "submission.txt").read_text().splitlines()
    assert lines[0] == "image,valence,arousal,expression,aus"
    assert len(lines) == 1 + pq.read_metadata(table).num_rows
    assert {len(line.split(",")) for line in lines[1:]} == {16}


def test_evaluate_postprocesses_and_a_submission_has_it(run: Path, tmp_path: Path) -> None:
    table = run / "predictions" / "val.parquet"
    done = command(
        "evaluate.py", f"predictions={table}", f"paths.run_dir={tmp_path}/smooth", "postprocess.smoothing=box",
        "postprocess.k=3", "postprocess.missing=linear", "postprocess.au_thresholds=exact", "curve=[0,3,100]",
        f"submission={tmp_path}/submission.txt",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "tuned on the labels that these scores are of, so they flatter: au_thresholds" in done.stdout
    assert "so they flatter" in (tmp_path / "smooth" / "report.html").read_text()
    notes = json.loads((tmp_path / "smooth" / "scores.json").read_text())
    assert notes["tuned_on_these_labels"] == ["au_thresholds"]
    assert notes["postprocess"]["k"] == 3
    scores, before = scores_of(tmp_path / "smooth"), scores_of(run)
    assert scores["P_AU"] > before["P_AU"]
    predictions = tmp_path / "smooth" / "predictions"
    assert pq.read_table(predictions / "val.parquet").equals(pq.read_table(table))
    smoothed = pq.read_table(predictions / "val-postprocessed.parquet")
    assert all(column.null_count == 0 for column in smoothed.columns)
    lines = (tmp_path / "submission.txt").read_text().splitlines()[1:]
    thresholds = json.loads((tmp_path / "smooth" / "postprocess.json").read_text())["au_thresholds"]
    for line, row in zip(lines, smoothed.to_pylist(), strict=True):
        fields = line.split(",")
        assert float(fields[1]) == pytest.approx(row["valence"], abs=6e-5)
        assert fields[4:] == ["01"[row[name] >= threshold] for name, threshold in thresholds.items()]
    curve = (tmp_path / "smooth" / "curve.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in curve][:4] == ["k", "0", "3", "100"]
    assert "curve: P_VA is highest at k=" in done.stdout
    assert (tmp_path / "smooth" / "curve.svg").is_file()
    assert "<h2>Scores against the smoothing</h2>" in (tmp_path / "smooth" / "report.html").read_text()


def test_licensed_pictures_stay_out_of_the_run_folder(run: Path, tmp_path: Path) -> None:
    folder = evaluated(tmp_path / "own", f"predictions={run}/predictions/val.parquet", "report.faces=false")
    page = (folder / "report.html").read_text()
    assert "<h2>Confusion of expressions</h2>" in page
    assert "data:image/jpeg" not in page
    assert not (folder / "faces.png").exists()


def evaluated(folder: Path, *overrides: str) -> Path:
    """evaluate.py in this process."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        evaluate(compose("evaluate", overrides=[f"paths.run_dir={folder}", *overrides]))
    return folder


def test_all_of_a_folder_without_labels_is_predicted(run: Path, faces: Path, tmp_path: Path) -> None:
    given = [
        f"checkpoint={run}/checkpoints/best.ckpt",
        "data=faces",
        f"data.root={faces}/cropped_aligned",
        "trainer=cpu",
    ]
    folder = evaluated(tmp_path / "all", *given)
    table = pq.read_table(folder / "predictions" / "val.parquet")
    assert len(table) == len([*(faces / "cropped_aligned").glob("*/*.jpg")])
    assert all(column.null_count == 0 for column in table.columns)


def test_evaluate_applies_what_another_run_has_stored(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = run / "predictions" / "val.parquet"
    both = f"predictions=[{table},{table}]"
    search = evaluated(
        tmp_path / "search", both, "postprocess.weights=search", "postprocess.au_thresholds=grid",
        "postprocess.temperature=search", "postprocess.coverage={share: 0.6, seed: 3}",
    )  # fmt: skip
    printed = capsys.readouterr().out
    stored = search / "postprocess.json"
    found = json.loads(stored.read_text())
    assert found["weights"]["expression"] == [0.5, 0.5]
    assert f"calibration: temperature of expression {found['temperature']['expression']:.4f}" in printed
    assert (found["coverage"]["share"], found["coverage"]["seed"]) == (0.6, 3)
    apply = evaluated(
        tmp_path / "apply", both, f"postprocess.weights={stored}", f"postprocess.au_thresholds={stored}",
        f"postprocess.temperature={stored}", f"postprocess.coverage={stored}",
        "postprocess.k={action_units: 0}", "postprocess.smoothing=median",
    )  # fmt: skip
    assert not (apply / "postprocess.json").exists()
    notes = json.loads((apply / "scores.json").read_text())
    assert notes["tuned_on_these_labels"] == ["weights", "temperature", "coverage", "au_thresholds"]  # the same labels
    calibrated = notes["calibration"]
    assert calibrated["COVERAGE_V"] >= 0.3  # smoothed after the fit, whose share was 0.6
    assert 1 <= calibrated["SIZE_EXPR"] <= 8
    assert f"calibration: ECE_EXPR {calibrated['ECE_EXPR']:.4f}\n" in capsys.readouterr().out
    table_of = pq.read_table(apply / "predictions" / "val-postprocessed.parquet")
    assert {"valence_low", "arousal_high", "set_neutral"} <= set(table_of.column_names)
    assert notes["postprocess"]["k"] == {"action_units": 0}
    assert scores_of(apply)["P_AU"] == pytest.approx(scores_of(search)["P_AU"], abs=1e-6)


def test_evaluate_tells_all_wrong_settings_before_it_begins(run: Path, tmp_path: Path) -> None:
    table = f"predictions={run}/predictions/val.parquet"
    with pytest.raises(ConfigError) as caught:
        evaluated(
            tmp_path / "none", table, "postprocess.weights=[1,2]", "postprocess.smoothing=mean", "split=tset",
            "postprocess.au_thresholds=nowhere.json", "curve=[-1]", "timeout_s=0", "submission_task=mtl",
            "report.faces=2", "+data.num_workers=-1", "+trainer.limit_predict_batches=3",
        )  # fmt: skip
    for expected in (
        "weights is for several tables", "there are null, box", "no such file",
        "split=tset: there are train, val, test and", "curve is [-1], but must be int >= 0 or ",
        "timeout_s is 0, but must be float > 0", "submission_task is 'mtl', but must be va or expr or au or null",
        "data.num_workers is -1, but must be int >= 0", "limit_predict_batches=3",
        "report.faces is 2, but must be true or false",
    ):  # fmt: skip
        assert expected in str(caught.value)
    with pytest.raises(ConfigError, match=r"curve=\[\]: give frames to either side"):
        evaluated(tmp_path / "none", table, "curve=[]")
    assert not (tmp_path / "none").exists()


def test_a_run_folder_stands_for_its_checkpoint(run: Path, tmp_path: Path) -> None:
    evaluated(tmp_path / "again", f"checkpoint={run}")
    assert (
        read_table(tmp_path / "again" / "predictions" / "val.parquet").metadata["checkpoint"]
        == f"{run}/checkpoints/best.ckpt"
    )
    resumed = stored_config([f"ckpt_path={run}"])
    assert resumed is not None
    assert resumed[1] == run / "checkpoints" / "last.ckpt"
    assert Path(resumed[0].paths.run_dir) == run


def test_a_file_that_is_not_there_is_named(run: Path, tmp_path: Path) -> None:
    nope = f"{run}/checkpoints/nope.ckpt"
    with pytest.raises(UserError, match=f"^checkpoint={nope}: no such file$"):
        evaluated(tmp_path / "none", f"checkpoint={nope}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"^checkpoint=.*empty: no such file: .*empty/checkpoints/best\.ckpt$"):
        evaluated(tmp_path / "none", f"checkpoint={tmp_path}/empty")
    with pytest.raises(UserError, match=f"^ckpt_path={nope}: no such file$"):
        stored_config([f"ckpt_path={nope}"])
    with pytest.raises(ConfigError, match=r"no such file: nope\.parquet"):
        evaluated(tmp_path / "none", "predictions=nope.parquet")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("count", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4))])
def test_processes_give_the_table_of_one_to_the_bit(run: Path, tmp_path: Path, count: int) -> None:
    done = command(
        "evaluate.py", f"checkpoint={run}/checkpoints/best.ckpt", "trainer=ddp", "trainer.accelerator=cpu",
        "trainer.sync_batchnorm=false", f"trainer.devices={count}", f"paths.run_dir={tmp_path}/run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    alone, together = (pq.read_table(folder / "predictions" / "val.parquet") for folder in (run, tmp_path / "run"))
    assert 2 * 16 < len(alone) < 3 * 16  # three batches: with four processes one has none
    assert together.equals(alone)
    assert scores_of(tmp_path / "run") == scores_of(run)
    assert not (tmp_path / "run" / ".ranks").exists()


@pytest.mark.slow
def test_training_with_two_processes(faces: Path, tmp_path: Path) -> None:
    done = command(
        "train.py", "experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *SMALL, "trainer=ddp",
        "trainer.accelerator=cpu", "trainer.sync_batchnorm=false",
        "trainer.devices=2", "trainer.max_epochs=2", f"paths.output_dir={tmp_path}", PROGRESS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert [line for line in lines if not re.match(OURS, line)] == []
    assert len(lines) <= 30
    assert max(len(line) for line in lines if str(tmp_path) not in line) < 80
    assert sum(line.startswith("training: ") for line in lines) == 1
    (folder,) = (tmp_path / "emma").iterdir()
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = max(line["val/score"] for line in logged if "val/score" in line)
    assert scores_of(folder)["P_MTL"] == pytest.approx(best, abs=1e-6)


def test_the_same_seed_gives_the_same_run_and_a_resumed_run_is_that_run(compose_run: Compose, tmp_path: Path) -> None:
    train(compose_run("trainer.max_epochs=3"))
    whole = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    # the same configuration, cut off after the first epoch as a kill would
    stop = "+callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: train/loss, "
    stop += "stopping_threshold: 1e9, check_on_train_epoch_end: true}"
    train(compose_run("trainer.max_epochs=3", f"paths.run_dir={tmp_path}/cut", stop))
    stopped = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)
    assert stopped["epoch"] == 0
    stored = yaml.safe_load((tmp_path / "cut" / "config.yaml").read_text())
    del stored["callbacks"]["stop"]
    (tmp_path / "cut" / "config.yaml").write_text(yaml.safe_dump(stored))
    resumed = stored_config([f"ckpt_path={tmp_path}/cut/checkpoints/last.ckpt"])
    assert resumed is not None
    train(*resumed)
    again = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name


def test_a_job_that_slurm_queued_again_goes_on_with_the_stored_configuration(
    run: Path, compose_run: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    for name, value in {"JOB_ID": "12", "NTASKS": "1", "RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    made = {**this_start(), "restarts": 0}
    (tmp_path / "run" / "environment.json").write_text(json.dumps({"slurm": made}))
    fitted: list[tuple[int | None, Path]] = []

    def fit(trainer: pl.Trainer, *args: object, ckpt_path: Path, **kwargs: object) -> None:
        fitted.append((trainer.max_epochs, ckpt_path))
        raise KeyError("enough")

    monkeypatch.setattr(pl.Trainer, "fit", fit)
    config = compose_run("experiment=emma", "trainer.max_epochs=7")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"), pytest.raises(KeyError, match="enough"):
        train(config)  # as Hydra runs it
    assert fitted == [(2, tmp_path / "run" / "checkpoints" / "last.ckpt")]


def test_a_fork_starts_from_the_best_weights_in_a_new_folder(run: Path, tmp_path: Path) -> None:
    forked = stored_config([f"fork_from={run}", f"paths.run_dir={tmp_path}/fork", "trainer.max_epochs=2"])
    assert forked is not None
    config, checkpoint = forked
    config.trainer.limit_train_batches = 1
    config.model.optimiser.base_lr = 1e-30
    config.model.optimiser.min_lr = 0.0
    config.model.va_lr = 0.0
    config.logger = None
    assert checkpoint is None
    train(config)
    before = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    after = torch.load(tmp_path / "fork" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    learned = [name for name in before if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert all(torch.equal(before[name], after[name]) for name in learned)


@pytest.mark.parametrize("option", [
    "model.loss.au_pos_weight=published", "model.network.stop_gradient=false",
    "model.network.dan=null", "model.network.expression_scores=vit+dan", "model.loss.reference_ccc=true",
    "model.loss.au_reduction=sum_batch", "model.network.head_hidden=null", "callbacks=per_task", "callbacks=epochs",
    "callbacks=final",
    "model.network.vit.stem=linear", "trainer.precision=bf16-mixed", "postprocess.au_thresholds=published",
    "postprocess.smoothing=gaussian",
])  # fmt: skip
def test_every_option_runs(compose_run: Compose, tmp_path: Path, option: str) -> None:
    score = train(compose_run(option, "trainer.max_epochs=2", "trainer.limit_train_batches=2"))
    assert score == pytest.approx(scores_of(tmp_path / "run")["SCORE"], abs=1e-6) or "postprocess" in option


HEADS = [f"heads_{task}" for task in ("va", "expr", "au", "mtl")]
"""Experiments on a feature store: tests/test_extract.py makes one and runs them."""


def test_a_non_empty_run_folder_is_refused_and_left_alone(compose_run: Compose, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    with pytest.raises(UserError, match=r"not empty: give another paths\.run_dir=…$"):
        train(compose_run())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious"]


def test_errors_end_in_one_message_and_leave_no_run_folder(tmp_path: Path) -> None:
    done = command(
        "train.py", "experiment=emma", "data=affwild2_mtl", f"data.root={tmp_path}/nowhere", "scale=tiny",
        f"paths.run_dir={tmp_path}/run",
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert f"no such folder: {tmp_path}/nowhere" in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_misspelt_key_ends_in_one_message() -> None:
    done = command("train.py", "experiment=emma", "data.rot=x", "scale=tiny", "trainer.max_epoch=3")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "2 errors in the command line" in done.stdout


def test_files_that_are_not_our_checkpoints_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_module(tmp_path / "nothing.ckpt")
    torch.save({"model": {}}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="not a checkpoint of this framework"):
        load_module(tmp_path / "weights.pth")
    whole = (run / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_module(tmp_path / "cut.ckpt")
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["model_config"]["_target_"] = "os.system"
    torch.save(checkpoint, tmp_path / "trap.ckpt")
    with pytest.raises(CheckpointError, match="cannot build"):
        load_module(tmp_path / "trap.ckpt")


def test_a_weights_file_of_another_model_is_refused_before_anything_is_written(
    run: Path, compose_run: Compose, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="DAN"):
        train(compose_run(f"model.network.vit.weights={run.parent}/dan_moved.pth"))
    assert not (tmp_path / "run").exists()


def test_values_that_do_not_go_together_are_told(compose_run: Compose) -> None:
    with pytest.raises(ConfigError, match="model: image_size=36 is not a multiple of patch_size=16"):
        build_module(resolve(compose_run("model.network.vit.image_size=36"))["model"])


def test_module_config_is_plain(compose_run: Compose) -> None:
    module = build_module(resolve(compose_run())["model"])
    assert json.loads(json.dumps(module.model_config)) == module.model_config


def broken_copy(faces: Path, destination: Path, split: str) -> tuple[Path, str]:
    """A copy of the rendered folder in which one listed image of a split is cut off; the folder and the image."""
    shutil.copytree(faces, destination)
    lines = (destination / f"{split}_set_annotations.txt").read_text().splitlines()[1:]
    image = next(i for i in (line.split(",")[0] for line in lines) if (destination / "cropped_aligned" / i).exists())
    path = destination / "cropped_aligned" / image
    path.write_bytes(path.read_bytes()[:500])
    return destination, image


def test_a_truncated_training_image_fails_by_default_and_is_skipped_on_request(
    faces: Path, compose_run: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, image = broken_copy(faces, tmp_path / "broken", "training")
    options = [f"data.root={root}", "trainer.max_epochs=2", "data.drop_last=false"]
    with pytest.raises(DataError, match=rf"{image}.*data\.on_unreadable=skip"):
        train(compose_run(*options, f"paths.run_dir={tmp_path}/first"))
    train(compose_run(*options, "data.on_unreadable=skip"))
    assert "training left out 1 unreadable images" in capsys.readouterr().out


def test_a_truncated_validation_image_is_a_null_row_and_counted(
    faces: Path, compose_run: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, image = broken_copy(faces, tmp_path / "broken", "validation")
    train(compose_run(f"data.root={root}"))
    table = pq.read_table(tmp_path / "run" / "predictions" / "val.parquet")
    nulls = [row for row in table.to_pylist() if row["valence"] is None]
    assert image in {row["image"] for row in nulls}
    assert all(row["au1"] is None and row["expr_neutral"] is None for row in nulls)
    assert f"{len(nulls)} of {len(table)} rows have no readable image" in capsys.readouterr().out


def test_a_model_that_has_seen_drawn_faces_only_says_so_of_photographs(
    run: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learnt = {"data": "MTLDataModule", "renderer": json.loads((faces / "rendering.json").read_text())}
    photographs = shutil.copytree(faces, tmp_path / "photographs")
    (photographs / "rendering.json").unlink()
    for root, told in ((faces, False), (photographs, True)):
        folder = tmp_path / f"run_{root.name}"
        evaluate_here(f"checkpoint={run}", f"data.root={root}", f"paths.run_dir={folder}")
        assert ("learnt from drawn faces only" in capsys.readouterr().out) == told
        assert read_table(folder / "predictions" / "val.parquet").metadata["learnt_from"] == learnt


def test_an_empty_split_is_refused(faces: Path, compose_run: Compose, tmp_path: Path) -> None:
    root = shutil.copytree(faces, tmp_path / "empty")
    (root / "training_set_annotations.txt").write_text("image,valence,arousal,expression,aus\n")
    with pytest.raises(DataError, match=r"training_set_annotations\.txt"):
        train(compose_run(f"data.root={root}"))


def test_real_photographs_have_expressions_only(compose_run: Compose, tmp_path: Path) -> None:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip(f"no real photographs at {PHOTOGRAPHS}")
    options = [f"data.root={PHOTOGRAPHS}", "trainer.limit_train_batches=4", "data.batch_size=64"]
    # as scale=tiny has them: no unit has a label, so no weight can be computed
    train(compose_run(*options, "model.loss.au_pos_weight=train", "model.loss.expression_weight=train"))
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert {scores[name] for name in ("P_MTL", "P_VA", "CCC_V", "P_AU", "F1_AU1")} == {"no labels"}
    assert all(0 <= scores[name] <= 1 for name in ("P_EXPR", "ACC_EXPR", "MACRO_ACC_EXPR"))


@pytest.mark.parametrize("fails", [True, False])
def test_wandb_is_offline_and_finished_even_on_failure(
    compose_run: Compose, tmp_path: Path, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    options = ["logger=wandb", "trainer.max_epochs=2", "trainer.limit_train_batches=1"]
    if fails:
        monkeypatch.setattr("runs.scoring.predict_table", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(compose_run(*options))
    else:
        train(compose_run(*options))
    assert wandb.run is None
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 1
