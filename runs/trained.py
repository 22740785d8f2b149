"""Networks of torch that look at somebody's faces: those of checkpoints, and published ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from affect.batch import Batch, Predictions
from affect.checksums import file_sha256
from affect.errors import ConfigError, UserError
from affect.labels import EXPRESSIONS, Task
from backbones.files import fetch
from backbones.registry import REGISTRY
from datamodules.resizing import Image
from emotieffnet.network import EmotiEffNet
from emotieffnet.rules import pretrained
from heads.temporal.causal import CausalNetwork
from heads.temporal.module import TemporalModule
from runs.asking import Asked, OneByOne, Weights, shaped
from runs.chained import CausalPeople, InTime, ask_heads
from runs.checkpoints import load_module
from runs.exported import Exported
from runs.frozen import Known, frozen_networks
from runs.networks import Network
from training.module import AffectModule
from training.optimisation import AdamW
from training.tta import averaged
from videos.watching import Watched


class Published(nn.Module):
    """One of the published EmotiEffNets, asked by ``emotieffnet.rules``: no action units, and contempt is Other.

    Args:
        name: in the registry.

    Raises:
        WeightsError: the file cannot be had, or does not fit.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        entry = REGISTRY[name]
        assert entry.architecture is not None
        assert entry.classes is not None
        self.network = EmotiEffNet(
            entry.architecture,
            weights=name,
            classes=8 if len(entry.classes) == 8 else 7,
            valence_arousal=entry.valence_arousal,
            image_size=entry.preprocessing.image_size,
        )
        self.preprocessing = self.network.preprocessing
        self.expressions = EXPRESSIONS
        self.learnt_from = {"data": f"AffectNet ({name}, {entry.page}; licence {entry.licence})"}

    def predict_float32(self, batch: Any) -> dict[str, Predictions]:
        """Return the predictions of a batch as the modules do."""
        images: Tensor = batch["image"]
        return {"": pretrained(self.network.embed(images)[1].float(), self.network.output_names)}


class ExportedModule(AffectModule):
    """A file of export.py as a module whose predictions Lightning collects; it cannot be trained.

    Args:
        path: of the file.

    Raises:
        UserError: as ``runs.exported.Exported``.
    """

    def __init__(self, path: Path) -> None:
        exported = Exported(path)
        network: Any = nn.Module()
        network.tasks, network.expressions = exported.tasks, exported.expressions
        network.preprocessing = exported.preprocessing
        super().__init__(network, AdamW())
        self.exported, self.learnt_from = exported, exported.learnt_from

    def predict(self, batch: Batch) -> Predictions:
        """Return what the file says of a batch."""
        said = self.exported(batch["image"].cpu().numpy())
        return cast("Predictions", {task: torch.from_numpy(one).to(self.device) for task, one in said.items()})


def load_scored(path: Path) -> AffectModule:
    """Load what evaluate.py scores: a checkpoint, or a file of export.py."""
    return ExportedModule(path) if path.suffix == ".onnx" else load_module(path)


def load_trained(path: Path, weights: Weights, known: Known) -> Network:
    """Load a checkpoint, and of heads on stored features the networks that made them (``runs.frozen``)."""
    module = load_module(path).eval()
    frozen = frozen_networks(module, path, weights, known)
    return Network(module, module.scores.tasks, str(path), file_sha256(path), frozen)


def load_published(name: str) -> Network:
    """Load published weights, which are in the registry.

    Raises:
        ConfigError: they predict nothing.
    """
    entry = REGISTRY[name]
    if entry.architecture is None or not entry.classes:
        raise ConfigError([f"checkpoint={name}: these weights begin a training and predict nothing by themselves"])
    network = Published(name).eval()
    tasks: tuple[Task, ...] = ("valence_arousal",) if entry.valence_arousal else ()
    return Network(network, (*tasks, "expression"), name, file_sha256(fetch(name, entry)))


def device_of(name: str) -> torch.device:
    """Return the device: ``auto`` is a GPU where there is one.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(["device=cuda: torch finds no GPU here: give device=cpu, or auto"])
    return torch.device(name)


def put_on(network: Network, device: torch.device) -> None:
    """Put a network on a device, and those that make its features."""
    for one in (network.module, *(frozen.network for frozen in network.frozen)):
        one.to(device)


def asked_of(network: Network, watched: Watched | None, max_gap: int, device: torch.device, *, tta: bool) -> Asked:
    """Return what asks a network about a stream of faces.

    Args:
        network: the network.
        watched: whose faces they are, and when; None: each is alone.
        max_gap: frames without a face, after which a temporal head begins anew.
        device: of the network.
        tta: test-time augmentation.
    """
    if isinstance(network.module, TemporalModule):
        return InTime(network.module, network.frozen, watched, max_gap, device)
    return OneByOne(asking(network, device, tta=tta))


def asking(network: Network, device: torch.device, *, tta: bool) -> Callable[[Sequence[Image]], Predictions]:
    """Return what asks a network, which is not a temporal head, about B RGB crops, each alone."""
    if network.frozen:
        return partial(ask_heads, network.module, network.frozen[0], device)
    return partial(_ask, network.module, device, tta)


def people_of(network: Network, max_gap: int, device: torch.device) -> CausalPeople | None:
    """Return what asks a temporal head about a live source's faces; None: it is no temporal head.

    Raises:
        UserError: the head looks at later frames.
    """
    module = network.module
    if not isinstance(module, TemporalModule):
        return None
    if not isinstance(module.network, CausalNetwork):
        raise UserError(
            f"checkpoint: the head of {network.path} looks at later frames, which a live source does not have yet: "
            "give a run with a causal head (gru, tcn), or one on pictures"
        )
    return CausalPeople(module, network.frozen, max_gap, device)


@torch.inference_mode()
def _ask(module: Any, device: torch.device, tta: bool, faces: Sequence[Image]) -> Predictions:
    given = cast("Batch", {"image": torch.from_numpy(shaped(faces, module.preprocessing)).to(device)})
    said: dict[str, Predictions] = averaged(module.predict_float32, given) if tta else module.predict_float32(given)
    return said[""]
