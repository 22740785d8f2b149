from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score
from torch import nn

from affect.labels import ACTION_UNITS, EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.metrics import ActionUnitScores, AffectScores, ConcordanceCorrelation, ExpressionScores
from tests.evaluators.fake import labels_of, make_frames, make_predictions

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")
quick = settings(max_examples=50, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def golden_batch():
    affect, units = GOLDEN["valence_arousal"].copy(), GOLDEN["action_units"].copy()
    affect[(affect == -5).any(axis=1)] = np.nan
    units[units == -1] = np.nan
    predictions = {
        "valence_arousal": torch.from_numpy(GOLDEN["pred_va"]),
        "expression": torch.from_numpy(GOLDEN["pred_expr_logits"]).softmax(dim=1),
        "action_units": torch.from_numpy(GOLDEN["pred_au_logits"]).sigmoid(),
    }
    labels = {"valence_arousal": affect, "expression": GOLDEN["expression"], "action_units": units}
    return predictions, {key: torch.from_numpy(value) for key, value in labels.items()}


def test_golden_metrics():
    scores = AffectScores()
    predictions, labels = golden_batch()
    for rows in torch.arange(5000).split(37):
        scores.update(
            {key: value[rows] for key, value in predictions.items()},
            {key: value[rows] for key, value in labels.items()},
        )
    result = scores.compute()
    expected = {"P_MTL": GOLDEN["p_mtl"], "SCORE": GOLDEN["p_mtl"], "CCC_V": GOLDEN["ccc_v"], "CCC_A": GOLDEN["ccc_a"]}
    expected["ACC_EXPR"] = GOLDEN["expr_accuracy"]
    names = [f"F1_EXPR_{name}" for name in EXPRESSIONS]
    expected |= dict(zip(names, GOLDEN["expr_f1_per_class"], strict=True))
    units = [f"F1_AU{unit}" for unit in ACTION_UNITS]
    expected |= dict(zip(units, GOLDEN["au_f1_per_unit"], strict=True))
    assert {name: result[name] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, abs=1e-6
    )


def population_ccc(x, y):
    return 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


@quick
@given(seed=seeds, rows=st.integers(2, 200), offset=st.floats(-0.9, 0.9), scale=st.floats(0.001, 1))
def test_ccc_is_the_population_formula_over_valid_rows(seed, rows, offset, scale):
    random = np.random.default_rng(seed)
    x, y = scale * random.uniform(-1, 1, (2, rows, 2)) + offset
    y[random.random(rows) < 0.3, 0] = np.nan  # either one missing: the row is
    metric = ConcordanceCorrelation()
    metric.update(torch.from_numpy(x), torch.from_numpy(y))
    valid = ~np.isnan(y).any(axis=1)
    if valid.sum() < 2:
        assert metric.compute().isnan().all() or (metric.compute() == 0).all()
    else:
        expected = [population_ccc(x[valid, column], y[valid, column]) for column in range(2)]
        np.testing.assert_allclose(metric.compute().numpy(), expected, atol=1e-8)


@pytest.mark.parametrize("value", [0.0, 0.3, -0.7, 1 / 3])
def test_ccc_is_exactly_zero_for_constants(value):
    """The variance of a constant from sums is rounding noise: without care the CCC could be anything."""
    constant, varied = torch.full((1001, 2), value), torch.linspace(-1, 1, 2002).view(1001, 2)
    for x, y in ((constant, constant), (constant, varied), (varied, constant)):
        metric = ConcordanceCorrelation()
        for rows in torch.arange(1001).split(7):
            metric.update(x[rows], y[rows])
        assert metric.compute().tolist() == [0.0, 0.0]


@quick
@given(seed=seeds, rows=st.integers(1, 60), classes=st.sampled_from([6, 8]))
def test_expression_scores_against_scikit_learn(seed, rows, classes):
    random = np.random.default_rng(seed)
    scores, target = random.random((rows, classes)), random.integers(-1, classes, size=rows)
    metric = ExpressionScores(classes)
    metric.update(torch.from_numpy(scores), torch.from_numpy(target))
    result = metric.compute()
    valid = target >= 0
    assert result["count"] == valid.sum()
    if not valid.any():
        return
    true, said, fixed = target[valid], scores[valid].argmax(axis=1), list(range(classes))
    f1 = f1_score(true, said, labels=fixed, average=None, zero_division=0)
    recall = recall_score(true, said, labels=fixed, average="macro", zero_division=0)
    np.testing.assert_allclose(result["f1"].numpy(), f1, atol=1e-12)
    assert result["accuracy"].item() == pytest.approx(accuracy_score(true, said), abs=1e-12)
    assert result["macro_accuracy"].item() == pytest.approx(recall, abs=1e-12)


def test_absent_expressions_count_zero():
    metric = ExpressionScores(8)
    metric.update(torch.eye(8)[[0, 1]], torch.tensor([0, 1]))
    assert metric.compute()["f1"].mean() == 2 / 8
    assert metric.compute()["macro_accuracy"] == 2 / 8


@quick
@given(seed=seeds, rows=st.integers(1, 60), many=st.booleans())
def test_action_unit_scores_against_scikit_learn(seed, rows, many):
    random = np.random.default_rng(seed)
    thresholds = random.integers(1, 8, size=12) / 8 if many else np.full(12, 0.5)
    scores = random.integers(0, 9, size=(rows, 12)) / 8  # often equal to a threshold: `>=`
    target = (random.random((rows, 12)) < 0.4).astype(np.float32)
    target[random.random((rows, 12)) < 0.3] = np.nan
    metric = ActionUnitScores(thresholds.tolist() if many else 0.5)
    metric.update(torch.from_numpy(scores), torch.from_numpy(target))
    result = metric.compute()
    agreed = []
    for unit in range(12):
        valid = ~np.isnan(target[:, unit])
        true, said = target[valid, unit] == 1, scores[valid, unit] >= thresholds[unit]
        agreed += (true == said).tolist()
        f1 = f1_score(true, said, zero_division=0) if valid.any() else 0.0
        assert result["f1"][unit].item() == pytest.approx(f1, abs=1e-12)
        assert result["count"][unit] == valid.sum()
    assert result["accuracy"].item() == pytest.approx(np.mean(agreed) if agreed else 0.0, abs=1e-12)


@quick
@given(seed=seeds, cuts=st.lists(st.integers(0, 150), max_size=6))
def test_batching_changes_nothing(seed, cuts):
    frames = make_frames(150, seed=seed)
    predictions, labels = make_predictions(frames, seed=seed), labels_of(frames)
    whole, pieces = AffectScores(), AffectScores()
    whole.update(predictions, labels)
    edges = [0, *sorted(cuts), 150]
    for start, stop in itertools.pairwise(edges):
        pieces.update(
            {key: value[start:stop] for key, value in predictions.items()},
            {key: value[start:stop] for key, value in labels.items()},
        )
    assert pieces.compute() == pytest.approx(whole.compute(), rel=0, abs=1e-12)


def test_names_and_sums():
    frames = make_frames(300)
    scores = AffectScores()
    scores.update(make_predictions(frames), labels_of(frames))
    result = scores.compute()
    assert list(result) == [
        "P_MTL", "P_VA", "CCC_V", "CCC_A",
        "P_EXPR", *(f"F1_EXPR_{name}" for name in EXPRESSIONS), "ACC_EXPR", "MACRO_ACC_EXPR",
        "P_AU", *(f"F1_AU{unit}" for unit in ACTION_UNITS), "ACC_AU", "SCORE",
    ]  # fmt: skip
    assert result["P_MTL"] == pytest.approx(result["P_VA"] + result["P_EXPR"] + result["P_AU"])
    assert result["P_VA"] == pytest.approx((result["CCC_V"] + result["CCC_A"]) / 2)
    assert result["P_AU"] == pytest.approx(np.mean([result[f"F1_AU{unit}"] for unit in ACTION_UNITS]))
    assert result["P_EXPR"] == pytest.approx(np.mean([result[f"F1_EXPR_{name}"] for name in EXPRESSIONS]))


def test_tasks_without_labels_are_none_and_left_out_of_the_score():
    frames = make_frames(50)
    labels = labels_of(frames)
    labels["valence_arousal"] = torch.full((50, 2), torch.nan)
    labels["action_units"][:, 3] = torch.nan
    scores = AffectScores()
    scores.update(make_predictions(frames), labels)
    result = scores.compute()
    assert [result[name] for name in ("P_MTL", "P_VA", "CCC_V", "CCC_A", "F1_AU6")] == [None] * 5
    assert result["SCORE"] == pytest.approx(result["P_EXPR"] + result["P_AU"])
    others = [result[f"F1_AU{unit}"] for unit in ACTION_UNITS if unit != 6]
    assert result["P_AU"] == pytest.approx(sum(others) / 12)  # the unit without labels counts 0


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_no_label_at_all():
    assert set(AffectScores().compute().values()) == {None}


def test_the_synthetic_challenge_and_models_of_one_task():
    scores = AffectScores(["expression"], expressions=LSD_EXPRESSIONS)
    target = torch.tensor([0, 1, 2, 3, 4, 5, 5, -1])
    labels = labels_of(make_frames(8)) | {"expression": target}
    scores.update({"expression": torch.eye(6)[[0, 1, 2, 3, 4, 5, 0, 0]]}, labels)
    result = scores.compute()
    assert list(result) == [
        "P_LSD", *(f"F1_EXPR_{name}" for name in LSD_EXPRESSIONS), "ACC_EXPR", "MACRO_ACC_EXPR", "SCORE",
    ]  # fmt: skip
    assert result["P_LSD"] == result["SCORE"] == pytest.approx((4 + 2 / 3 + 2 / 3) / 6)
    assert result["ACC_EXPR"] == pytest.approx(6 / 7)


def test_reset_forgets():
    frames, other = make_frames(80), make_frames(80, seed=5)
    fresh, used = AffectScores(), AffectScores()
    used.update(make_predictions(other), labels_of(other))
    used.compute()
    used.reset()
    for scores in (fresh, used):
        scores.update(make_predictions(frames), labels_of(frames))
    assert used.compute() == fresh.compute()


class Holder(nn.Module):
    """As a LightningModule would hold the scores."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.scores = AffectScores(au_thresholds="published")


@pytest.mark.parametrize(
    "convert",
    [
        lambda module: module.half(),
        lambda module: module.bfloat16(),
        lambda module: module.to(torch.bfloat16),  # what Lightning's bf16-true does
        lambda module: module.scores.valence_arousal.set_dtype(torch.float16) and module,
        lambda module: module.to("cpu"),
    ],
)
def test_conversions_of_the_model_leave_the_sums_exact(convert):
    frames = make_frames(200)
    predictions, labels = make_predictions(frames), labels_of(frames)
    plain = AffectScores(au_thresholds="published")
    plain.update(predictions, labels)
    holder = Holder()
    holder.scores.update(predictions, labels)
    convert(holder)
    assert holder.scores.valence_arousal.sums.dtype == torch.float64
    assert holder.scores.compute() == plain.compute()
    holder.scores.reset()
    holder.scores.update(predictions, labels)
    assert holder.scores.compute() == plain.compute()


def test_states_follow_the_model_to_its_device():
    holder = Holder().to("meta")
    assert holder.scores.valence_arousal.sums.device.type == "meta"
    assert holder.scores.action_units.thresholds.device.type == "meta"


def test_states_are_not_in_the_checkpoint():
    assert set(Holder().state_dict()) == {"layer.weight", "layer.bias"}


def test_updates_in_inference_mode_can_go_on_outside():
    frames = make_frames(20)
    scores = AffectScores()
    with torch.inference_mode():
        scores.update(make_predictions(frames), labels_of(frames))
    scores.update(make_predictions(frames), labels_of(frames))
    assert scores.compute()["SCORE"] is not None


@pytest.mark.parametrize("key", ["valence_arousal", "expression", "action_units"])
def test_bad_predictions_are_errors(key):
    frames = make_frames(20)
    predictions = make_predictions(frames)
    predictions[key][3, 1] = torch.nan
    with pytest.raises(ValueError, match=f"{key}: a prediction is NaN"):
        AffectScores().update(predictions, labels_of(frames))
    del predictions[key]
    with pytest.raises(ValueError, match=f"lack '{key}'"):
        AffectScores([key]).update(predictions, labels_of(frames))


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match="choose from valence_arousal"):
        AffectScores(["valence"])
    with pytest.raises(ValueError, match="8 scores a row, but there are 6 classes"):
        ExpressionScores(6).update(torch.eye(8), torch.arange(8))
    with pytest.raises(ValueError, match=r"a label is 7, outside 0\.\.5"):
        ExpressionScores(6).update(torch.eye(6), torch.tensor([0, 1, 7, 2, 3, 4]))
