"""Heads: their sizes as published, their losses against plain Python, and the factors of the training labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.batch import Batch
from affect.errors import ConfigError
from affect.labels import AFFECTNET_ALPHABETICAL
from heads.module import HeadModule
from heads.network import Heads
from losses.multitask import MultiTaskLoss, balanced_weights
from training.optimisation import Adam

MT = {"sha256": "x", "embedding": 1280, "outputs": [*AFFECTNET_ALPHABETICAL, "valence", "arousal"]}
PLAIN = {**MT, "outputs": list(AFFECTNET_ALPHABETICAL)}


@pytest.mark.parametrize(
    ("features", "task", "kind", "hidden", "parameters"),
    [
        (PLAIN, "valence_arousal", "logits", None, 18),
        (MT, "valence_arousal", "logits_va", None, 22),
        (MT, "valence_arousal", "logits", None, 18),
        (MT, "expression", "embedding", 128, 165_000),
        (MT, "action_units", "embedding", 128, 165_516),
        (MT, "expression", "concat", None, 10_328),
        (MT, "action_units", "concat", 128, 166_796),
    ],
)
def test_parameters_are_as_many_as_published(
    features: dict[str, object], task: str, kind: str, hidden: int | None, parameters: int
) -> None:
    heads = Heads(features, {task: {"input": kind, "hidden": hidden}})
    assert sum(p.numel() for p in heads.parameters()) == parameters


def test_inputs_are_the_right_columns() -> None:
    heads = Heads(MT, {"valence_arousal": {"input": "logits", "hidden": None}})
    embedding, outputs = torch.randn(3, 1280), torch.randn(3, 10)
    (layer,) = heads.heads["valence_arousal"]
    expected = torch.tanh(outputs[:, :8] @ layer.weight.T + layer.bias)
    torch.testing.assert_close(heads(embedding, outputs).valence_arousal, expected)


@pytest.mark.parametrize(
    ("features", "kind", "message"),
    [
        ({**MT, "outputs": []}, "logits", "gives no scores of its own: give embedding"),
        (PLAIN, "logits_va", "without valence and arousal: give logits"),
        (MT, "pixels", "there are embedding, logits, logits_va, concat"),
    ],
)
def test_inputs_that_a_store_does_not_have(features: dict[str, object], kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"model.network.heads.expression.input={kind}.*{message}"):
        Heads(features, {"expression": {"input": kind, "hidden": None}})


def small() -> HeadModule:
    torch.manual_seed(0)
    options = {"input": "concat", "hidden": None}
    network = Heads({**MT, "embedding": 3}, dict.fromkeys(("valence_arousal", "expression", "action_units"), options))
    loss = MultiTaskLoss(expression_reduction="mean_valid", va_weight=0.5)
    module = HeadModule(network=network, loss=loss, optimiser=Adam(), l2={"valence_arousal": 0.5})
    loss.expression_weight = torch.arange(1.0, 9.0)
    loss.au_neg_weight, loss.au_pos_weight = torch.linspace(0.5, 1.5, 12), torch.linspace(3.0, 1.0, 12)
    return module


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10_000))
def test_losses_are_those_of_plain_python(rows: int, seed: int) -> None:
    module, random = small(), np.random.default_rng(seed)
    batch = Batch(
        embedding=torch.from_numpy(random.normal(size=(rows, 3)).astype(np.float32)),
        outputs=torch.from_numpy(random.normal(size=(rows, 10)).astype(np.float32)),
        valence_arousal=torch.from_numpy(random.uniform(-1, 1, (rows, 2)).astype(np.float32)),
        expression=torch.from_numpy(random.integers(-1, 8, rows)),
        action_units=torch.from_numpy(random.choice([0, 1, np.nan], (rows, 12)).astype(np.float32)),
        row=torch.arange(rows),
        unreadable=torch.zeros(0, dtype=torch.int64),
    )
    losses = {task: loss.item() for task, loss in module.losses(batch).items()}
    output = module.network(batch["embedding"], batch["outputs"])

    (layer,) = module.network.heads["valence_arousal"]
    expected = 0.5 * sum(weight**2 for weight in layer.weight.flatten().tolist())
    for column in (0, 1):
        x = output.valence_arousal[:, column].tolist()
        y = batch["valence_arousal"][:, column].tolist()
        mx, my = sum(x) / rows, sum(y) / rows
        sxx, syy = sum((a - mx) ** 2 for a in x) / rows, sum((b - my) ** 2 for b in y) / rows
        sxy = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / rows
        expected += (1 - 2 * sxy / (sxx + syy + (mx - my) ** 2)) / 2
    assert losses["valence_arousal"] == pytest.approx(expected, rel=1e-4)

    total, valid = 0.0, 0
    for scores, label in zip(output.expression.tolist(), batch["expression"].tolist(), strict=True):
        if label >= 0:
            total += (label + 1) * (math.log(sum(math.exp(s) for s in scores)) - scores[label])
            valid += 1
    assert losses["expression"] == pytest.approx(total / max(valid, 1), rel=1e-4, abs=1e-6)

    total, valid = 0.0, 0
    for scores, labels in zip(output.action_units.tolist(), batch["action_units"].tolist(), strict=True):
        for unit, (score, label) in enumerate(zip(scores, labels, strict=True)):
            if not math.isnan(label):
                p = 1 / (1 + math.exp(-score))
                w = (module.loss.au_pos_weight if label else module.loss.au_neg_weight)[unit].item()
                total -= w * math.log(p if label else 1 - p)
                valid += 1
    assert losses["action_units"] == pytest.approx(total / max(valid, 1), rel=1e-4, abs=1e-6)


def test_a_batch_without_a_row_is_logged_with_weight_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or under DDP the processes that have rows would wait for this one's sum."""
    module, logged = small(), {}
    monkeypatch.setattr(
        module, "log", lambda name, value, *, batch_size, **_: logged.update({name: (value, batch_size)})
    )
    module.validation_step(
        Batch(
            embedding=torch.zeros(0, 3),
            outputs=torch.zeros(0, 10),
            valence_arousal=torch.zeros(0, 2),
            expression=torch.zeros(0, dtype=torch.int64),
            action_units=torch.zeros(0, 12),
            row=torch.zeros(0, dtype=torch.int64),
            unreadable=torch.arange(2),
        ),
        0,
    )
    value, weight = logged["val/loss"]
    assert torch.isfinite(value)
    assert weight == 0


def test_factors_of_the_published_training_labels() -> None:
    """1,356,861 frames with a share of positives of 1 / (2 w1), see the published matrix: AU1 0.567 and 4.231."""
    labels = np.zeros((100_000, 12), dtype=np.float32)
    labels[: round(100_000 / (2 * 4.231)), 0] = 1
    labels[:, 1:] = np.arange(100_000)[:, None] % 2
    labels[-10:, 3] = np.nan
    negative, positive = balanced_weights(labels)
    assert (round(negative[0], 3), round(positive[0], 3)) == (0.567, 4.231)
    assert (negative[1], positive[1]) == (1, 1)


def test_a_unit_without_a_positive_label_is_named(caplog: pytest.LogCaptureFixture) -> None:
    labels = np.tile([0.0, 1.0], (10, 6)).astype(np.float32)
    labels[::2] = 1 - labels[::2]
    labels[:, 4] = 0
    with caplog.at_level("WARNING"):
        negative, positive = balanced_weights(labels)
    assert "only one kind of label of au7:" in caplog.text
    assert (negative[4], positive[4]) == (1, 1)
