"""Temporal heads: sizes as told, scores of plain loops, no effect of padding and the future, pieces like the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.batch import AffectLogits
from affect.errors import ConfigError
from affect.labels import TASKS
from heads.network import SIZES
from heads.temporal.bidirectional import BiGru, TcnTransformer, Transformer, positions
from heads.temporal.causal import CausalNetwork, Gru, Tcn
from heads.temporal.network import TemporalNetwork
from tests.heads.temporal import plain

VA = ["valence_arousal"]
SMALL: dict[str, tuple[Any, dict[str, Any]]] = {
    "transformer": (Transformer, {"width": 12, "layers": 2, "heads": 3}),
    "tcn_transformer": (
        TcnTransformer, {"channels": [7, 6, 5], "kernel": 3, "width": 8, "heads": 2, "layers": 2}
    ),
    "bigru": (BiGru, {"width": 6}),
    "gru": (Gru, {"width": 6}),
    "tcn": (Tcn, {"channels": [7, 6, 6], "kernel": 3}),
}  # fmt: skip


def described(*lengths: int) -> list[dict[str, Any]]:
    return [{"sha256": str(number), "embedding": length, "outputs": []} for number, length in enumerate(lengths)]


def small(name: str, *, tasks: tuple[str, ...] = TASKS, seed: int = 0) -> TemporalNetwork:
    """A small head in float64, in evaluation, whose BatchNorm has seen something."""
    torch.manual_seed(seed)
    make, sizes = SMALL[name]
    head: TemporalNetwork = make(described(4, 3), list(tasks), **sizes).double()
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return head.eval()


def frames(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, length, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def whole(features: torch.Tensor) -> torch.Tensor:
    return torch.ones(features.shape[:2], dtype=torch.bool)


def assert_same(one: AffectLogits, other: AffectLogits, tolerance: float) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def cut(scores: AffectLogits, window: int, length: int) -> AffectLogits:
    return AffectLogits(*(None if one is None else one[window : window + 1, :length] for one in scores))


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def encoder_layer(width: int) -> int:
    """Attention, two layers of the feed-forward network, two norms."""
    return linear(width, 3 * width) + linear(width, width) + 2 * linear(width, width) + 2 * 2 * width


def block(inputs: int, outputs: int, kernel: int) -> int:
    """Two convolutions with a size for each output, three slopes, a residual."""
    both = linear(kernel * inputs, outputs) + linear(kernel * outputs, outputs) + 2 * outputs
    return both + 3 + (linear(inputs, outputs) if inputs != outputs else 0)


def gru_layer(inputs: int, width: int) -> int:
    return 3 * (linear(inputs, width) + linear(width, width))


BLOCKS = block(768, 768, 5) + block(768, 256, 5) + block(256, 128, 5)
CTYUN = [BLOCKS + linear(128, 512) + n * encoder_layer(512) + linear(512, 256) + 512 + linear(256, 2) for n in (3, 8)]


@pytest.mark.parametrize(
    ("head", "told", "counted"),
    [
        (
            Transformer(described(256), VA),
            2_112_002,
            linear(256, 256) + 512 + 5 * encoder_layer(256) + linear(256, 256) + 512 + linear(256, 2),
        ),
        (TcnTransformer(described(768), VA), 12_621_451, CTYUN[0]),
        (TcnTransformer(described(768), VA, variant="config"), 20_511_371, CTYUN[1]),
        (
            BiGru(described(768, 768), list(TASKS)),
            3_949_590,
            2 * gru_layer(1536, 256) + 2 * gru_layer(512, 256) + linear(512, 22),
        ),
        (
            Gru(described(768, 768), list(TASKS)),
            1_778_198,
            gru_layer(1536, 256) + gru_layer(256, 256) + linear(256, 22),
        ),
        (Tcn(described(768), VA), 7_697_611, BLOCKS + linear(128, 64) + 128 + linear(64, 2)),
    ],
)
def test_parameters_are_as_many_as_the_docstrings_tell(head: TemporalNetwork, told: int, counted: int) -> None:
    assert sum(p.numel() for p in head.parameters()) == told == counted
    assert f"{told:,}" in (type(head).__doc__ or "")


def test_variants_differ_in_layers_and_dropout_only() -> None:
    paper, config = (TcnTransformer(described(3), VA, variant=v, channels=[4], width=4) for v in ("paper", "config"))
    for head, layers, rate in ((paper, 3, 0.3), (config, 8, 0.0)):
        assert len(head.encoder.layers) == layers
        assert {m.p for m in head.modules() if isinstance(m, torch.nn.Dropout)} == {rate}
    assert len(TcnTransformer(described(3), VA, channels=[4], width=4, layers=1).encoder.layers) == 1


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("length", [1, 9])
def test_scores_are_those_of_plain_loops(name: str, length: int) -> None:
    head, features = small(name), frames(2, length)
    weights = {key: value.numpy() for key, value in head.state_dict().items()}
    with torch.no_grad():
        scores = head(features, whole(features))
    for window in range(2):
        expected = plain.forward(name, weights, features[window].numpy(), heads=SMALL[name][1].get("heads", 0))
        assert set(expected) == set(TASKS)
        for task in TASKS:
            found = getattr(scores, task)
            assert found.shape == (2, length, SIZES[task])
            np.testing.assert_allclose(found[window].numpy(), expected[task], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_one_task_or_some(name: str) -> None:
    features = frames(2, 3)
    scores = small(name, tasks=("action_units",))(features, whole(features))
    assert scores.expression is None
    assert scores.valence_arousal is None
    assert scores.action_units.shape == (2, 3, 12)
    head = small(name, tasks=("action_units", "valence_arousal"))
    assert head.tasks == tuple(task for task in TASKS if task != "expression")
    assert (head.length, [one["embedding"] for one in head.features]) == (7, [4, 3])


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(sorted(SMALL)),
    lengths=st.lists(st.integers(0, 8), min_size=1, max_size=4),
    more=st.integers(0, 3),
    training=st.booleans(),
)
def test_padding_changes_nothing(name: str, lengths: list[int], more: int, training: bool) -> None:
    """A window followed by padding, of whatever values, beside other windows, has the scores that it has alone."""
    head = small(name)
    longest = max(lengths) + more
    if longest == 0:
        return
    present = torch.arange(longest) < torch.tensor(lengths)[:, None]
    features = frames(len(lengths), longest)
    noisy = torch.where(present[:, :, None], features, 1e3 * frames(len(lengths), longest, seed=1))
    if training:  # BatchNorm's statistics are of the frames that are present; nothing else is drawn
        head.train()
        for module in head.modules():
            if isinstance(module, torch.nn.Dropout | torch.nn.MultiheadAttention | torch.nn.GRU):
                module.eval()
        before = {key: value.clone() for key, value in head.state_dict().items()}
        plain_scores = head(torch.where(present[:, :, None], features, 0), present)
        head.load_state_dict(before)
        noisy_scores = head(noisy, present)
        for number, length in enumerate(lengths):
            assert_same(cut(noisy_scores, number, length), cut(plain_scores, number, length), 1e-10)
        return
    with torch.no_grad():
        together = head(noisy, present)
        for number, length in enumerate(lengths):
            if length:
                alone = features[number : number + 1, :length]
                assert_same(cut(together, number, length), head(alone, whole(alone)), 1e-10)
    assert all(one.isfinite().all() for one in together if one is not None)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_finite_beside_a_window_of_padding(name: str) -> None:
    head = small(name).train()
    present = torch.tensor([[True, True, False], [False, False, False]])
    scores = head(frames(2, 3), present)
    sum(one.sum() for one in scores).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


def test_a_batch_of_one_frame_can_be_learnt_from() -> None:
    head = small("tcn").train()
    head(frames(1, 1), torch.ones(1, 1, dtype=torch.bool)).valence_arousal.sum().backward()
    assert head.heads["valence_arousal"].hidden.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["gru", "tcn"])
@pytest.mark.parametrize("piece", [1, 7, 64])
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_pieces_are_as_the_whole(name: str, piece: int, kind: torch.dtype, tolerance: float) -> None:
    head, features = small(name).to(kind), frames(2, 130).to(kind)
    assert isinstance(head, CausalNetwork)
    assert head.causal
    with torch.no_grad():
        expected, state, found = head(features, whole(features)), head.initial(2), []
        shapes = [one.shape for one in state]
        for start in range(0, 130, piece):
            scores, state = head.advance(features[:, start : start + piece], state)
            found.append(scores)
            assert [one.shape for one in state] == shapes
    assert_same(AffectLogits(*(torch.cat(parts, dim=1) for parts in zip(*found, strict=True))), expected, tolerance)


@pytest.mark.parametrize("name", SMALL)
def test_frames_to_come_change_nothing_in_causal_heads_alone(name: str) -> None:
    head, features = small(name), frames(1, 20)
    other = features.clone()
    other[:, 12:] += 1
    with torch.no_grad():
        one, two = head(features, whole(features)), head(other, whole(other))
    same = torch.equal(one.valence_arousal[:, :12], two.valence_arousal[:, :12])
    assert same == head.causal == (name in ("gru", "tcn"))
    assert not torch.equal(one.valence_arousal[:, 12:], two.valence_arousal[:, 12:])


def test_convolutions_reach_as_far_back_as_they_tell() -> None:
    head, features = small("tcn"), frames(1, 40)
    reach = head.convolutions.reach
    assert reach == 2 * 2 * (1 + 2 + 4)
    assert Tcn(described(3), VA, channels=[2, 2, 2]).convolutions.reach == 56
    for back, seen in ((reach, True), (reach + 1, False)):
        other = features.clone()
        other[:, 39 - back] += 10
        with torch.no_grad():
            one, two = (head(x, whole(x)).expression[0, 39] for x in (features, other))
        assert torch.equal(one, two) != seen


def test_valence_and_arousal_are_bounded_where_the_source_bounds_them() -> None:
    features = 100 * frames(4, 50)
    for name in SMALL:
        head = small(name)
        for parameter in head.heads["valence_arousal"].parameters():
            parameter.data *= 30
        largest = head(features, whole(features)).valence_arousal.abs().max()
        assert (largest <= 1) == ("gru" in name), name


def test_positions_begin_as_in_the_paper() -> None:
    found = positions(3, 5, torch.zeros(1, dtype=torch.float64))
    rate = 10_000 ** (-2 / 5)
    expected = [[np.sin(t), np.cos(t), np.sin(t * rate), np.cos(t * rate), np.sin(t * rate**2)] for t in range(3)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_what_a_head_cannot_do_is_one_line(name: str) -> None:
    make, sizes = SMALL[name]
    causal = name in ("gru", "tcn")
    asked = "model.network.causal=false: .*give head=bigru" if causal else "causal=true: .*give head=gru or head=tcn"
    with pytest.raises(ConfigError, match=asked) as caught:
        make(described(3), VA, **sizes, causal=not causal)
    assert len(str(caught.value).splitlines()) == 2  # "1 error in …" and the error
    with pytest.raises(ConfigError, match=r"model\.network\.tasks has smile; give some of valence_arousal, expression"):
        make(described(3), ["smile"], **sizes)
    with pytest.raises(ConfigError, match=r"model\.network\.tasks has none"):
        make(described(3), [], **sizes)
    with pytest.raises(ConfigError, match=r"model\.network\.features is empty: give data\.store"):
        make([], VA, **sizes)


@pytest.mark.parametrize("make", [Transformer, TcnTransformer])
def test_attention_heads_share_the_width(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.network\.width=10 is no multiple of model\.network\.heads=4"):
        make(described(3), VA, width=10, heads=4)
