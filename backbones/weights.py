"""Load published weights: safely, completely, or not at all.

Every weight argument of the framework is a name in ``backbones.registry``, the path of a local file (a state dict, or
ONNX for a timm model), ``timm:NAME`` for a pretrained timm model, or the word ``random``. Weights that do not fit the
network are an error that lists the keys: no layer silently keeps its initial values.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from affect.errors import WeightsError
from affect.preprocessing import IMAGENET, Preprocessing
from backbones.files import fetch
from backbones.onnx import onnx_classifier, onnx_state
from backbones.registry import REGISTRY, Kind, WeightsEntry
from backbones.state import check_finite, read_state, some

_log = logging.getLogger(__name__)

_KINDS: dict[Kind, str] = {
    "vit": "a ViT encoder (MAE or timm names)",
    "mae": "a masked autoencoder (a ViT's names and decoder_*)",
    "dan": "a DAN (names features.*, cat_head*.*, fc.*, bn.*)",
    "resnet18": "a ResNet-18 trunk (torchvision or timm names)",
    "emotionnet": "an EmotionNet (names backbone_CNN.*, AU_*, MHA.*, emotion_classifiers.*)",
    "inception_v3": "an InceptionV3 trunk (torchvision or timm names)",
    "timm": "a backbone of timm",
    "detector": "a face detector",
}
# What a plain file's images are like, where not as ImageNet's; torchvision's InceptionV3 was trained with these values.
_PLAIN: dict[Kind, Preprocessing] = {"inception_v3": Preprocessing((0.5,) * 3, (0.5,) * 3, 299, "bicubic")}
_CLASSIFIERS = ("classifier.", "classifier.0.", "head.fc.", "fc.")  # its names in timm and in published files
_MAE_DECODER = ("decoder_", "mask_token")
_VGG_CLASSIFIER = {"classifier.0.": "pre_logits.fc1.", "classifier.3.": "pre_logits.fc2.", "classifier.6.": "head.fc."}
_RESNET_STAGES = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
_INCEPTION_LAYERS = (
    "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2",
    *(f"Mixed_{block}" for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e")),
)  # fmt: skip
_BEHIND_TRUNK = ("AuxLogits.", "Mixed_7a.", "Mixed_7b.", "Mixed_7c.", "fc.")
# The first of these prefixes that a file's keys have tells what it holds.
_SIGNS = (
    ("cat_head", "a DAN"),
    ("backbone_CNN.", "an EmotionNet"),
    ("Conv2d_1a_3x3.", "an InceptionV3"),
    ("visual.", "a CLIP model"),
    ("cnn.", "a whole EMMA model of its authors"),
    ("decoder_blocks.", "a masked autoencoder"),
    ("blocks.0.attn.", "a ViT"),
    ("layer1.0.", "a ResNet"),
    ("conv_stem.", "an EfficientNet or a MobileNet"),
    ("features.0.", "a VGG, a MobileNet or the like"),
)


def load_weights(network: nn.Module, weights: str, *, kind: Kind, head: tuple[str, ...] = ()) -> Preprocessing:
    """Load weights into a network, all of them or none.

    Args:
        network: the network, which is changed in place: DAN's trunk ``DAN.features`` for ``resnet18``, EmotionNet's
            ``backbone_CNN`` for ``inception_v3``, any network of ``timm.create_model`` for ``timm``.
        weights: registry name, path, ``timm:NAME``, or ``random`` (which warns and leaves the network as it is).
        kind: kind of the network; it decides how published names are mapped.
        head: prefixes of the head's parameters, which are not read from the file and keep their initial values.

    Returns:
        How the images must be prepared. A plain file does not tell; then it is ImageNet's preprocessing, or that of
        torchvision's weights for ``inception_v3``.

    Raises:
        WeightsError: the weights are not found, unsafe or not finite, or a key is missing, unexpected, of another shape
            or of integers.
    """
    if weights == "random":
        warnings.warn(f"weights=random: {_KINDS[kind]} starts untrained", UserWarning, stacklevel=2)
        return IMAGENET
    state, source, preprocessing = _read(weights, kind, network)
    published, state = list(state), _rename(state, kind, source)
    if kind == "timm":
        _fit_vgg(state, network)
    if kind in ("vit", "mae"):
        _resize_position_embeddings(state, network)
    if kind in ("emotionnet", "inception_v3"):
        _check_channels(state, network, f"weights {source}")
    _drop_computed(state, network, f"weights {source}")
    state = {name: tensor for name, tensor in state.items() if not name.startswith(head)}
    _check(network, state, head, published, f"weights {source}", kind)
    network.load_state_dict(state, strict=False)  # only the head is missing
    return preprocessing


def classifier_state(weights: str) -> dict[str, Tensor] | None:
    """Return the linear layer at the end of the weights of a timm model.

    Args:
        weights: registry name, path, ``timm:NAME`` or ``random``.

    Returns:
        ``weight`` (outputs, features) and ``bias`` (outputs) on the CPU; None for ``random``, and if the weights do not
        end with a single linear layer.

    Raises:
        WeightsError: the weights are not found or unsafe, or by their name belong to another kind of network.
    """
    if weights == "random":
        return None
    if not weights.startswith("timm:") and (path := _find(weights, "timm", None)[0]).suffix == ".onnx":
        return onnx_classifier(path)
    state, _, _ = _read(weights, "timm")
    for prefix in _CLASSIFIERS:
        matrix = state.get(f"{prefix}weight")
        whole = prefix != "classifier.0." or not any(re.match(r"classifier\.[1-9]", name) for name in state)
        if matrix is not None and matrix.ndim == 2 and whole:
            bias = state.get(f"{prefix}bias", matrix.new_zeros(len(matrix)))
            if not matrix.is_floating_point() or not bias.is_floating_point() or bias.shape != matrix.shape[:1]:
                raise WeightsError(
                    f"weights {weights}: {prefix}weight is {matrix.dtype} {tuple(matrix.shape)} and {prefix}bias "
                    f"{bias.dtype} {tuple(bias.shape)}, which are no linear layer: take another file"
                )
            return {"weight": matrix, "bias": bias}
    return None


class _Prepared(Protocol):
    preprocessing: Preprocessing


def same_preprocessing(*networks: _Prepared) -> Preprocessing:
    """Return the preprocessing of networks that see the same images; their mean and std may differ.

    Returns:
        The preprocessing of the first network.

    Raises:
        WeightsError: the networks want images of different sizes or interpolations.
    """
    wanted = {(n.preprocessing.image_size, n.preprocessing.interpolation): type(n).__name__ for n in networks}
    if len(wanted) > 1:
        each = ", ".join(f"{name} {size} px {interpolation}" for (size, interpolation), name in wanted.items())
        raise WeightsError(
            f"these networks see the same images but want different ones: {each}. Give them the same "
            "image_size, and set the interpolation of one of them"
        )
    return networks[0].preprocessing


def _read(weights: str, kind: Kind, network: nn.Module | None = None) -> tuple[dict[str, Tensor], str, Preprocessing]:
    """Return a state dict, its name in messages, and the preprocessing. ONNX files need the network."""
    if weights.startswith("timm:"):
        return _read_timm(weights, kind)
    path, source, entry = _find(weights, kind, network)
    if path.suffix == ".onnx":
        if kind != "timm" or network is None:
            raise WeightsError(f"weights {source}: ONNX files are for networks of timm, not for {_KINDS[kind]}")
        state = onnx_state(path, network)
    else:
        state = read_state(path)
    if entry is not None and entry.by_order_of is not None:
        state = _in_order(state, entry.by_order_of, source)
    return state, source, entry.preprocessing if entry is not None else _PLAIN.get(kind, IMAGENET)


def _find(weights: str, kind: Kind, network: nn.Module | None) -> tuple[Path, str, WeightsEntry | None]:
    """Return the file for a registry name or a path, its name in messages, and its registry entry."""
    if weights in REGISTRY:
        entry = REGISTRY[weights]
        if entry.kind != kind:
            raise WeightsError(f"weights {weights} are those of {_KINDS[entry.kind]}, not of {_KINDS[kind]}")
        cfg: Any = getattr(network, "pretrained_cfg", {})  # checked before 16 MB are fetched
        if network is not None and entry.architecture not in (None, name := cfg.get("architecture")):
            other = name or type(network).__name__
            raise WeightsError(f"weights {weights} are those of timm's {entry.architecture}, not of {other}")
        path = fetch(weights, entry)
        return path, f"{weights} ({path})", entry
    path = Path(weights).expanduser()
    if not path.is_file():
        names = ", ".join(name for name, entry in REGISTRY.items() if entry.kind == kind)
        raise WeightsError(
            f"weights {weights!r}: neither an existing file nor a known name. Give the path of a checkpoint, one of "
            f"{names}, timm:NAME, or the word random"
        )
    return path, str(path), None


def _read_timm(weights: str, kind: Kind) -> tuple[dict[str, Tensor], str, Preprocessing]:
    if kind == "dan":
        raise WeightsError(f"weights {weights}: timm has no DAN; give a DAN checkpoint")
    if kind == "emotionnet":
        raise WeightsError(f"weights {weights}: timm has trunks only: set model.network.weights_for=trunk")
    try:
        model = timm.create_model(weights.removeprefix("timm:"), pretrained=True)
    except Exception as error:  # the errors of the hub and of its HTTP client share no base class
        raise WeightsError(
            f"weights {weights}: timm could not provide them ({type(error).__name__}: {error}). Check the name with "
            "timm.list_pretrained() and the network connection, or download the file and give its path"
        ) from error
    cfg: Mapping[str, Any] = getattr(model, "pretrained_cfg")  # noqa: B009 (typed as a module otherwise)
    try:
        preprocessing = Preprocessing(
            tuple(cfg["mean"]), tuple(cfg["std"]), cfg["input_size"][-1], cfg["interpolation"]
        )
    except ValueError as error:
        raise WeightsError(f"weights {weights}: their images cannot be prepared here: {error}") from error
    state = model.state_dict()
    check_finite(state, f"weights {weights}")
    return state, weights, preprocessing


def _in_order(state: dict[str, Tensor], architecture: str, source: str) -> dict[str, Tensor]:
    """Rename tensors after those of a timm model, which are in the same order.

    Raises:
        WeightsError: there are more or fewer tensors, or one has another shape or role than the model's.
    """
    with torch.device("meta"):
        own = timm.create_model(architecture).state_dict()
    hint = f"timm {timm.__version__} may order them otherwise: install the version of constraints.txt"
    if len(state) != len(own):
        raise WeightsError(f"weights {source}: {len(state)} tensors where {architecture} has {len(own)}; {hint}")
    for (name, tensor), (target, place) in zip(state.items(), own.items(), strict=True):
        # a scale and a shift have the same shape; the last part of the name tells them apart
        if tensor.shape != place.shape or name.rpartition(".")[2] != target.rpartition(".")[2]:
            raise WeightsError(
                f"weights {source}: {name} {tuple(tensor.shape)} stands where {architecture} has {target} "
                f"{tuple(place.shape)}; {hint}"
            )
    return dict(zip(own, state.values(), strict=True))


def _rename(state: dict[str, Tensor], kind: Kind, source: str) -> dict[str, Tensor]:
    """Map published names to the network's, and drop the parameters of other parts."""
    if kind == "vit":
        state = {name: tensor for name, tensor in state.items() if not name.startswith(_MAE_DECODER)}
        if "fc_norm.weight" in state and "norm.weight" not in state:
            _log.warning("%s was fine-tuned with mean pooling: its class token was not trained to be read", source)
            state = {re.sub(r"^fc_norm\.", "norm.", name): tensor for name, tensor in state.items()}
    if kind == "inception_v3":
        numbers = {layer: str(number) for number, layer in enumerate(_INCEPTION_LAYERS)}
        split = {name: name.partition(".") for name in state if not name.startswith(_BEHIND_TRUNK)}
        state = {numbers.get(first, first) + dot + rest: state[name] for name, (first, dot, rest) in split.items()}
    if kind == "resnet18":
        split = {name: name.partition(".") for name in state if not name.startswith("fc.")}
        state = {
            _RESNET_STAGES.get(first, first) + dot + rest: state[name] for name, (first, dot, rest) in split.items()
        }
    return state


def _fit_vgg(state: dict[str, Tensor], network: nn.Module) -> None:
    """Turn torchvision's names into timm's, if the network is a VGG."""
    own = network.state_dict()
    if "pre_logits.fc1.weight" not in own:
        return
    for name in list(state):
        prefix = next((old for old in _VGG_CLASSIFIER if name.startswith(old)), None)
        if prefix is None:
            continue
        tensor, target = state.pop(name), _VGG_CLASSIFIER[prefix] + name.removeprefix(prefix)
        if target in own and tensor.shape[:1] == own[target].shape[:1] and tensor.numel() == own[target].numel():
            # torchvision multiplies the flattened map by a matrix, timm has a kernel as large as the map
            tensor = tensor.reshape(own[target].shape)
        state[target] = tensor


def _resize_position_embeddings(state: dict[str, Tensor], network: nn.Module) -> None:
    """Resize square grids of position embeddings to the network's (bicubic, antialiased); keep the class token."""
    for name in [name for name in state if name.endswith("pos_embed")]:
        published, own = state[name], network.state_dict().get(name)
        if own is None or published.shape == own.shape or published.shape[::2] != own.shape[::2]:
            continue
        sides = [math.isqrt(max(tokens.shape[1] - 1, 0)) for tokens in (published, own)]
        if any(side**2 + 1 != tokens.shape[1] for side, tokens in zip(sides, (published, own), strict=True)):
            continue  # no class token, or not square: it is reported as mis-shaped
        _log.info("%s resized from %d x %d to %d x %d patches", name, sides[0], sides[0], sides[1], sides[1])
        state[name] = resample_abs_pos_embed(
            published, new_size=[sides[1]] * 2, old_size=[sides[0]] * 2, num_prefix_tokens=1
        )


def _check_channels(state: dict[str, Tensor], network: nn.Module, source: str) -> None:
    """Check that the trunk of an EmotionNet is as wide as that of the file."""
    name = next(name for name in network.state_dict() if name.endswith("14.branch1x1.conv.weight"))
    own, theirs = network.state_dict()[name].shape[1], state[name].shape[1:2] if name in state else ()
    if theirs and theirs[0] != own:
        divisor, rest = divmod(768, max(theirs[0], 1))
        option = "model.network.width_divisor" + f"={divisor}" * (not rest)
        raise WeightsError(
            f"{source}: its trunk ends in {theirs[0]} channels, this network's in {own}. Set {option}, which divides "
            "InceptionV3's 768, or start from weights=random"
        )


def _drop_computed(state: dict[str, Tensor], network: nn.Module, source: str) -> None:
    """Leave out what the network computes instead of storing, and check that the file has the same values."""
    stored = network.state_dict()
    for name, own in network.named_buffers():
        if name in stored or name not in state:
            continue
        theirs = state.pop(name)
        # published positions were computed in float32, in which the angle of the last of 5,000 is off by a thousandth
        if theirs.shape != own.shape or not torch.allclose(theirs.to(own), own, rtol=0, atol=5e-3):
            raise WeightsError(
                f"{source}: {name} {tuple(theirs.shape)} is not what this network computes in its place, "
                f"{tuple(own.shape)}: these weights belong to another network"
            )


def _check(
    network: nn.Module, state: dict[str, Tensor], head: tuple[str, ...], published: list[str], source: str, kind: Kind
) -> None:
    """Check all keys, and raise one WeightsError that lists every problem."""
    own = network.state_dict()
    problems = {
        "missing": [name for name in own if name not in state and not name.startswith(head)],
        "unexpected": [name for name in state if name not in own],
        "mis-shaped": [
            f"{name} is {tuple(state[name].shape)}, should be {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
        "not of floating-point numbers": [
            f"{name} is {state[name].dtype}"
            for name in own
            if name in state and own[name].is_floating_point() and not state[name].is_floating_point()
        ],
    }
    if not any(problems.values()):
        return
    guess = next((what for sign, what in _SIGNS if any(n.startswith(sign) for n in published)), "an unknown network")
    raise WeightsError(
        "\n".join(
            [
                f"{source}: does not fit {_KINDS[kind]}; it looks like {guess}. Give weights of that network, or set "
                "its sizes (width, depth, patch, classes) to those of the file",
                *(f"  {what} ({len(names)}): {some(names)}" for what, names in problems.items() if names),
            ]
        )
    )
