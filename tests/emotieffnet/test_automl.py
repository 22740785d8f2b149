"""LightAutoML: each task is learnt, kept and read back; nothing is unpickled without trust."""

from __future__ import annotations

import importlib.util
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotieffnet import automl
from emotieffnet.automl import AutoML, AutoMLSettings, fit, hold_out
from training.checkpoints import CheckpointError
from training.config import ConfigError

needs_it = pytest.mark.skipif(importlib.util.find_spec("lightautoml") is None, reason="the extra automl is missing")
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
    ("changed", "message"),
    [
        ({"validation": "test"}, "validation=test: there are videos, split, cv"),
        ({"folds": 1}, "folds 2 or more"),
        ({"algorithms": ["lgb"]}, "LightGBM does not learn several targets at once"),
    ],
)
def test_settings_are_checked(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AutoMLSettings(**{**FAST, **changed}).check("action_units")


def test_without_the_extra_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'LightAutoML is not installed: pip install -e "\.\[automl\]"'):
        fit(*data("expression"), "expression", AutoMLSettings(**FAST))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no automl\.json and automl\.joblib"):
        AutoML.load(tmp_path, trust=True)


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
