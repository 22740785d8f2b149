from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from rendering.oracle import oracle_predictions


@pytest.fixture(scope="module")
def labels(rendered):
    lines = (rendered / "validation_set_annotations.txt").read_text().splitlines()[1:]
    return np.array([[float(value) for value in line.split(",")[1:]] for line in lines])


def concordance(x: np.ndarray, y: np.ndarray) -> float:
    return float(2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def test_oracle_beats_its_own_shuffled_predictions(rendered, labels):
    known = oracle_predictions(rendered, "validation")
    order = np.random.default_rng(0).permutation(len(labels))
    seen = labels[:, 2] >= 0

    def scores(rows: np.ndarray) -> list[float]:
        affect = known["valence_arousal"][rows]
        expression = known["expression"][rows].argmax(axis=1)[seen]
        units = known["action_units"][rows] >= 0.5
        return [
            concordance(affect[:, 0], labels[:, 0]),
            concordance(affect[:, 1], labels[:, 1]),
            float((expression == labels[seen, 2]).mean()),
            float(np.mean([f1_score(labels[:, 3 + k], units[:, k], zero_division=0.0) for k in range(12)])),
        ]

    assert all(true > chance + 0.25 for true, chance in zip(scores(np.arange(len(labels))), scores(order), strict=True))


def test_oracle_gives_probabilities(rendered, labels):
    known = oracle_predictions(rendered, "validation")
    assert known["valence_arousal"].shape == (len(labels), 2)
    assert np.abs(known["valence_arousal"]).max() <= 1
    assert known["expression"].sum(axis=1) == pytest.approx(1.0)
    assert known["action_units"].min() >= 0
    assert known["action_units"].max() <= 1


def test_oracle_knows_nothing_of_the_annotators_noise(rendered, labels):
    known = oracle_predictions(rendered, "validation")
    assert np.abs(known["valence_arousal"] - labels[:, :2]).std() > 0.02


def test_unknown_folder_and_split(rendered, tmp_path):
    with pytest.raises(FileNotFoundError, match="layouts mtl and uni"):
        oracle_predictions(tmp_path, "train")
    with pytest.raises(ValueError, match="'train' or 'validation'"):
        oracle_predictions(rendered, "test")
