"""LightAutoML: each task is learnt, kept and read back; nothing is unpickled without trust."""

from __future__ import annotations

import importlib.util
import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affect import files
from affect.errors import CheckpointError, ConfigError
from heads import automl
from heads.automl import AutoML, AutoMLSettings, fit, hold_out
from tests.changes import changed

needs_it = pytest.mark.skipif(
    importlib.util.find_spec("lightautoml") is None, reason="the extra automl is missing; Python 3.13 cannot have it"
)
FAST = {"timeout": 20, "algorithms": ["linear_l2"], "cpus": 1, "memory_gib": 4}


def data(task: str, rows: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels that two or more of them decide, and videos; some labels missing."""
    random = np.random.default_rng(0)
    features = random.normal(size=(rows, 6)).astype(np.float32)
    labels = {
        "valence_arousal": np.tanh(features[:, :2]),
        "expression": features[:, :4].argmax(axis=1) * 2,  # classes 0, 2, 4, 6 alone
        "action_units": (np.tile(features, 2) > 0).astype(np.float32),
    }[task]
    labels[:7] = -1 if task == "expression" else np.nan
    return features, labels, np.arange(rows) // 30


@needs_it
@pytest.mark.parametrize(
    ("task", "validation"),
    [*product(("valence_arousal", "expression", "action_units"), ("videos", "split")), ("valence_arousal", "cv")],
)
def test_a_task_is_learnt_and_read_back(tmp_path: Path, task: str, validation: str) -> None:
    features, labels, videos = data(task)
    held = (features[400:], labels[400:]) if validation == "split" else None
    model = fit(features, labels, videos, task, AutoMLSettings(validation=validation, **FAST), held)
    said = model.predict(features)
    assert said.shape == (600, {"valence_arousal": 2, "expression": 8, "action_units": 12}[task])
    known = slice(7, None)
    if task == "valence_arousal":
        assert np.corrcoef(said[known, 0], labels[known, 0])[0, 1] > 0.9
    elif task == "expression":
        assert (said[known].argmax(axis=1) == labels[known]).mean() > 0.8
        assert not said[:, [1, 3, 5, 7]].any()  # never seen
    else:
        assert ((said[known] >= 0.5) == labels[known]).mean() > 0.9
    model.save(tmp_path)
    np.testing.assert_array_equal(AutoML.load(tmp_path, trust=True).predict(features), said)
    with pytest.raises(CheckpointError, match="is a pickle, and reading it runs what it holds"):
        AutoML.load(tmp_path, trust=False)
    path = tmp_path / automl.MODEL
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match=r"is not the file that automl\.json was written for"):
        AutoML.load(tmp_path, trust=True)


@needs_it
def test_labels_that_cannot_be_learnt_are_refused() -> None:
    features, labels, videos = data("valence_arousal")
    with pytest.raises(ConfigError, match="no training row has all labels of valence_arousal"):
        fit(features, np.full_like(labels, np.nan), videos, "valence_arousal", AutoMLSettings(**FAST))
    with pytest.raises(ConfigError, match="too few training videos to hold some out; give validation=cv"):
        fit(features, labels, np.zeros_like(videos), "valence_arousal", AutoMLSettings(**FAST))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": "test"}, "settings.validation is 'test', but must be videos or split or cv"),
        ({"folds": 1}, "settings.folds is 1, but must be int >= 2"),
        ({"timeout": 0}, "settings.timeout is 0, but must be float > 0"),
        ({"algorithms": ["lgb"]}, "settings.algorithms=['lgb']: LightGBM does not learn several targets at once"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    assert list(AutoMLSettings(**{**FAST, **settings}).problems("action_units")) == [message]


@pytest.mark.parametrize(
    ("python", "fix"), [((3, 12), r'pip install -e "\.\[automl\]"'), ((3, 13), r"it cannot be .* use 3\.11 or 3\.12")]
)
def test_without_the_extra_there_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, python: tuple[int, int], fix: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", python)
    with pytest.raises(ConfigError, match=f"LightAutoML is not installed: {fix}"):
        fit(*data("expression"), "expression", AutoMLSettings(**FAST))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no automl\.json and automl\.joblib"):
        AutoML.load(tmp_path, trust=True)


class Model:
    """What can be pickled."""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    pytest.importorskip("joblib")
    AutoML(Model(), "action_units", np.array([0, 2]), {"validation": "videos"}).save(tmp_path)
    return tmp_path


def test_a_model_is_there_with_its_description_or_not(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, or the disk is full, at each point of the writing: the former model, or an error."""
    monkeypatch.setattr(automl, "require", lambda: None)
    for point in ("automl.joblib", "automl.json"):
        for moment in ("file.written", "file.renamed"):

            def full(reached: str, path: Path, point: str = point, moment: str = moment) -> None:
                if (reached, path.name) == (moment, point):
                    raise OSError("no room")

            monkeypatch.setattr(files, "hook", full)
            with pytest.raises(OSError, match="no room"):
                AutoML(Model(), "expression", np.array([1]), {"validation": "cv"}).save(saved)
            described = json.loads((saved / automl.DESCRIPTION).read_text())["task"]
            try:
                assert AutoML.load(saved, trust=True).task == described
            except CheckpointError as error:
                assert "is not the file that" in str(error)  # noqa: PT017
            assert sorted(path.name for path in saved.iterdir()) == ["automl.joblib", "automl.json"]


def test_a_damaged_description_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automl, "require", lambda: None)
    path = saved / automl.DESCRIPTION
    whole = path.read_bytes()
    described, random = AutoML.load(saved, trust=True).description, np.random.default_rng(0)
    assert "checksum" not in described
    for number in range(200):
        path.write_bytes(changed(whole, random, number % 4))
        try:
            # a damaged name of the checksum is one entry more, and a warning
            assert described.items() <= AutoML.load(saved, trust=True).description.items()
        except CheckpointError as error:
            assert str(saved) in str(error)  # noqa: PT017
    old = {key: value for key, value in json.loads(whole).items() if key != "checksum"}
    path.write_text(json.dumps(old))  # as 3aa692f wrote it
    assert AutoML.load(saved, trust=True).description == described
    for key, value in (("task", "x"), ("task", []), ("classes", [12]), ("classes", None), ("sha256", 3)):
        path.write_text(json.dumps({**old, key: value}))
        with pytest.raises(CheckpointError, match=r"automl\.json: not as automl\.py wrote it"):
            AutoML.load(saved, trust=True)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7)), min_size=1, max_size=60))
def test_whole_videos_are_held_out_and_have_every_class_that_two_videos_have(rows: list[tuple[int, int]]) -> None:
    labels, videos = (np.array(column) for column in zip(*rows, strict=True))
    out = hold_out(labels, videos)
    for video in set(videos.tolist()):
        assert len(set(out[videos == video].tolist())) == 1
    for number in set(labels.tolist()):
        if len(set(videos[labels == number].tolist())) > 1:
            assert (labels[out] == number).any()


@needs_it
def test_what_lightautoml_cannot_learn_is_one_message() -> None:
    features = np.zeros((40, 3), dtype=np.float32)
    with pytest.raises(ConfigError, match=r"LightAutoML: .*more rows, more time or other algorithms may do"):
        fit(features, np.zeros(40, dtype=np.int64), np.arange(40), "expression", AutoMLSettings(**FAST))
