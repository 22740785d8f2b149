"""A trained network as other programs run it: named tensors in, what tables say out.

Pictures go in as uint8, and what comes out are a table's probabilities and clamped valence and arousal, so that nobody
has to know how a network wants its pixels normalised, or which of its scores are raw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from affect.batch import AffectLogits, Batch
from affect.labels import TASKS, Task
from heads.module import HeadModule
from heads.network import Heads
from heads.temporal.causal import CausalNetwork
from heads.temporal.module import TemporalModule
from training.multitask import MultiTaskModule

Tensors: TypeAlias = tuple[Tensor, ...]


@dataclass(frozen=True)
class Portable:
    """A network with its inputs and outputs.

    Attributes:
        kind: ``pictures``, ``frame features``, ``windows of features`` or ``features as they come``.
        module: takes the inputs and returns the outputs, in order.
        inputs: what each is, in words, by name.
        outputs: likewise.
        axes: names of the axes of any length, by input or output and number of the axis.
        examples: makes inputs for a batch, from a seed.
    """

    kind: str
    module: nn.Module
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    axes: Mapping[str, Mapping[int, str]]
    examples: Callable[[int, int], Tensors]


def portable(module: Any, tasks: Sequence[Task]) -> Portable:
    """Return a module as other programs run it.

    Args:
        module: an ``AffectModule``, or what has its ``predict_float32``.
        tasks: what it predicts.
    """
    ordered = [task for task in TASKS if task in tasks]
    if isinstance(module, TemporalModule):
        network = module.network
        return _as_they_come(module, network) if isinstance(network, CausalNetwork) else _windows(module, ordered)
    if isinstance(module, HeadModule):
        return _frame_features(module, ordered)
    side = module.preprocessing.image_size
    return Portable(
        "pictures",
        Pictures(module, ordered).eval(),
        {"image": f"(batch, 3, {side}, {side}) uint8, RGB, 0 to 255"},
        _outputs(module, ordered, "batch"),
        _axes(["image", *ordered], {0: "batch"}),
        lambda batch, seed: (_pictures(batch, side, seed),),
    )


class Pictures(nn.Module):
    """What a table says of (B, 3, H, W) uint8 faces, task by task."""

    def __init__(self, module: Any, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.module, self.tasks = module, tasks

    def forward(self, image: Tensor) -> Tensors:
        """Return the predictions of the tasks, in their order."""
        said = self.module.predict_float32(cast("Batch", {"image": image}))[""]
        return tuple(said[task] for task in self.tasks)


class FrameFeatures(nn.Module):
    """What heads say of frames, from those stored features that they look at."""

    def __init__(self, module: HeadModule, inputs: Sequence[str]) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs

    def forward(self, *given: Tensor) -> Tensors:
        """Return the predictions of the tasks, in their order."""
        named = dict(zip(self.inputs, given, strict=True))
        network = cast("Callable[..., AffectLogits]", self.module.network)
        return _said(self.module, network(named.get("embedding"), named.get("outputs")))


class Windows(nn.Module):
    """What a head that sees a window as a whole says of each of its frames."""

    def __init__(self, module: TemporalModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, features: Tensor, present: Tensor) -> Tensors:
        """Return (B, T, …) predictions of (B, T, D) features; (B, T) bool ``present`` is false for padding."""
        return _said(self.module, self.module.network(features, present))


class AsTheyCome(nn.Module):
    """What a causal head says of the next frames, and its state after them."""

    def __init__(self, module: TemporalModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, features: Tensor, *state: Tensor) -> Tensors:
        """Return (B, T, …) predictions of (B, T, D) features, then the tensors of the new state."""
        output, after = cast("CausalNetwork", self.module.network).advance(features, state)
        return (*_said(self.module, output), *after)


def _said(module: MultiTaskModule, logits: AffectLogits) -> Tensors:
    """Return predictions of raw scores (…, C), with the axes before the last as they are."""
    flat = AffectLogits(*(None if one is None else one.flatten(0, -2) for one in logits))
    said = module.predictions_of(flat)
    given = logits._asdict()
    return tuple(said[task].view(given[task].shape) for task in TASKS if given[task] is not None)


def _frame_features(module: HeadModule, tasks: Sequence[Task]) -> Portable:
    network: Heads = module.network
    kinds = {str(one.kind) for one in network.inputs.values()}
    sizes = {"embedding": network.features["embedding"], "outputs": len(network.features["outputs"])}
    used = ["embedding"] * bool(kinds & {"embedding", "concat"}) + ["outputs"] * bool(kinds - {"embedding"})
    what = {"embedding": "stored embeddings", "outputs": "the scores beside them"}
    return Portable(
        "frame features",
        FrameFeatures(module, used).eval(),
        {name: f"(batch, {sizes[name]}) float32, {what[name]}" for name in used},
        _outputs(module, tasks, "batch"),
        _axes([*used, *tasks], {0: "batch"}),
        lambda batch, seed: tuple(_noise((batch, sizes[name]), seed) for name in used),
    )


def _windows(module: TemporalModule, tasks: Sequence[Task]) -> Portable:
    length = module.network.length

    def examples(batch: int, seed: int) -> Tensors:
        present = torch.ones(batch, 20 + 3 * batch, dtype=torch.bool)
        present[-1, 12:] = batch == 1  # padding at the end of the last of several
        return _noise((*present.shape, length), seed), present

    axes = {0: "batch", 1: "frames"}
    return Portable(
        "windows of features",
        Windows(module).eval(),
        {
            "features": f"(batch, frames, {length}) float32, stored embeddings, store beside store",
            "present": "(batch, frames) bool, false for padding, which is at the end of a window",
        },
        _outputs(module, tasks, "batch, frames"),
        _axes(["features", "present", *tasks], axes),
        examples,
    )


def _as_they_come(module: TemporalModule, network: CausalNetwork) -> Portable:
    first = network.initial(2)
    axis = [next(number for number, size in enumerate(one.shape) if size != other.shape[number])
            for one, other in zip(first, network.initial(3), strict=True)]  # fmt: skip
    sizes = [", ".join("batch" if at == number else str(size) for number, size in enumerate(one.shape))
             for at, one in zip(axis, first, strict=True)]  # fmt: skip
    states = [f"state{number}" for number in range(len(first))]

    def examples(batch: int, seed: int) -> Tensors:
        state = [_noise(tuple(one.shape), seed + 1 + number) for number, one in enumerate(network.initial(batch))]
        return _noise((batch, 5 + batch, network.length), seed), *state

    axes = _axes(["features", *network.tasks], {0: "batch", 1: "frames"})
    for at, name in zip(axis, states, strict=True):
        axes |= _axes([name, f"next_{name}"], {at: "batch"})
    return Portable(
        "features as they come",
        AsTheyCome(module).eval(),
        {"features": f"(batch, frames, {network.length}) float32, stored embeddings, store beside store; no padding"}
        | {name: f"({size}) float32, zeros before the first frame" for name, size in zip(states, sizes, strict=True)},
        _outputs(module, list(network.tasks), "batch, frames")
        | {f"next_{name}": f"what {name} is for the frames that follow" for name in states},
        axes,
        examples,
    )


def _outputs(module: Any, tasks: Sequence[Task], before: str) -> dict[str, str]:
    """Say what the outputs are of each task."""
    classes = len(module.expressions)
    said = {
        "valence_arousal": f"({before}, 2) float32, valence and arousal, from -1 to 1",
        "expression": f"({before}, {classes}) float32, probabilities that add up to 1",
        "action_units": f"({before}, 12) float32, a probability for each unit",
    }
    return {task: said[task] for task in tasks}


def _axes(names: Sequence[str], axes: Mapping[int, str]) -> dict[str, Mapping[int, str]]:
    return {name: axes for name in names}


def _noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _pictures(batch: int, side: int, seed: int) -> Tensor:
    """Return pictures of noise that is the coarser, the later in the batch: all of it fine would look alike."""
    generator = torch.Generator().manual_seed(seed)
    pictures = []
    for number in range(batch):
        coarse = max(side // 4**number, 2)
        grain = torch.randint(0, 256, (1, 3, coarse, coarse), generator=generator, dtype=torch.uint8)
        pictures.append(nn.functional.interpolate(grain, size=(side, side)))
    return torch.cat(pictures)
