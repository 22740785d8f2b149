"""What a network's own scores say of Aff-Wild2, against the permutation of the published notebook."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from affect.labels import AFFECTNET_ALPHABETICAL, AFFECTNET_EXPRESSIONS, AU_NAMES, EXPRESSIONS
from emotieffnet.rules import IMPOSSIBLE, pretrained

PUBLISHED = [5, 0, 2, 3, 4, 6, 7, 1]
"""Columns of AffectNet's alphabetical classes in the order of the ABAW ones, contempt last."""


@given(st.lists(st.floats(-20, 20, width=32), min_size=10, max_size=10))
def test_multi_task_scores(values: list[float]) -> None:
    outputs = torch.tensor([values])
    said = pretrained(outputs, (*AFFECTNET_ALPHABETICAL, "valence", "arousal"))
    logits = [values[column] for column in PUBLISHED]
    assert said["logits_expression"].tolist() == [logits]
    shifted = np.exp(np.array(logits) - max(logits))
    np.testing.assert_allclose(said["expression"][0], shifted / shifted.sum(), rtol=1e-5)
    assert said["valence_arousal"].tolist() == [[min(max(value, -1), 1) for value in values[8:]]]
    assert "action_units" not in said


def test_seven_classes_never_say_other() -> None:
    names = tuple(name for name in AFFECTNET_ALPHABETICAL if name != "contempt")
    said = pretrained(torch.zeros(2, 7), names)
    assert said["logits_expression"][:, -1].tolist() == [IMPOSSIBLE] * 2
    np.testing.assert_allclose(said["expression"], [[1 / 7] * 7 + [0]] * 2, atol=1e-7)


def test_numbering_does_not_matter() -> None:
    outputs = torch.randn(5, 8)
    order = [AFFECTNET_EXPRESSIONS.index(name) for name in AFFECTNET_ALPHABETICAL]
    ours, theirs = pretrained(outputs, AFFECTNET_EXPRESSIONS), pretrained(outputs[:, order], AFFECTNET_ALPHABETICAL)
    assert torch.equal(ours["expression"], theirs["expression"])


def test_a_network_of_the_challenge_speaks_for_itself() -> None:
    outputs = torch.randn(3, 22)
    said = pretrained(outputs, (*EXPRESSIONS, *AU_NAMES, "valence", "arousal"))
    assert torch.equal(said["logits_expression"], outputs[:, :8])
    torch.testing.assert_close(said["action_units"], outputs[:, 8:20].sigmoid())
    assert torch.equal(said["valence_arousal"], outputs[:, 20:].clamp(-1, 1))


def test_a_network_without_scores_says_nothing() -> None:
    assert not pretrained(torch.zeros(3, 0), ())
