"""Command lines and stored configurations of earlier versions, in the words of this one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from affect.errors import OldCommandError

WORDS: Final = (
    (r"(experiment=.*)emotieffnet_(va|expr|au|mtl)\b", r"\1heads_\2"),
    (r"model=emotieffnet_heads", "model=heads"),
    (r"layout=", "draws="),
    (r"network\.backbone=", "backbone.name="),
    (r"network(\.\w+)?=", r"backbone\1="),
)
"""Beginnings of arguments as they were, and as they are; each is looked for until there is none."""

MOVED: Final = {
    "datamodules.affwild2.AffWild2ExpressionDataModule": "datamodules.affwild2_mtl.AffWild2ExpressionDataModule",
    "datamodules.affwild2.MTLDataModule": "datamodules.affwild2_mtl.MTLDataModule",
    "datamodules.features.FeaturesDataModule": "features.datamodule.FeaturesDataModule",
    "datamodules.unlabelled.FacesDataModule": "datamodules.faces.FacesDataModule",
    "emotieffnet.finetune.FineTuneModule": "training.multitask.MultiTaskModule",
    "emotieffnet.head_module.HeadModule": "heads.module.HeadModule",
    "emotieffnet.heads.Heads": "heads.network.Heads",
    "training.strategies.OwnBuffers": "runs.strategies.OwnBuffers",
}
"""Where a class was, and where it is."""

AUGMENTED: Final = {
    "datamodules.affectnet.AffectNetDataModule": "datamodules.transforms.DANTransform",
    "datamodules.affwild2_mtl.AffWild2ExpressionDataModule": "datamodules.transforms.DANTransform",
    "datamodules.affwild2_mtl.MTLDataModule": "datamodules.transforms.JitterAndCrop",
    "datamodules.affwild2_uni.AffWild2UniDataModule": "datamodules.transforms.JitterAndCrop",
    "datamodules.faces.FacesDataModule": "datamodules.transforms.MAETransform",
    "datamodules.lsd.LSDDataModule": "datamodules.transforms.JitterAndCrop",
}
"""The augmentation that belonged to a data module, whose node held its keys."""

_AUGMENTATION_KEYS: Final = (
    "input", "resize_ratio", "flip", "jitter_probability", "brightness", "contrast", "saturation", "hue", "grey",
    "affine", "erase", "least_area",
)  # fmt: skip


class Gathered(NamedTuple):
    """How the single options of a model became objects.

    Attributes:
        keys: where each option is now; those of ``data`` and ``trainer`` were told there, too.
        fixed: what the class did without an option for it.
        values: of options that are called otherwise now, by their old key.
    """

    keys: Mapping[str, str]
    fixed: Mapping[str, Any]
    values: Mapping[str, Mapping[str, str]] = {}


_ADAM: Final = {key: f"model.optimiser.{key}" for key in ("lr", "lr_decay", "sam_rho")}
_ADAMW: Final = {
    **{key: f"model.optimiser.{key}" for key in ("base_lr", "weight_decay", "layer_decay", "min_lr", "warmup_epochs")},
    "batch_size": "data.batch_size",
    "epochs": "trainer.max_epochs",
}
_LOSS: Final = {
    **{key: f"model.loss.{key}" for key in ("au_pos_weight", "au_reduction", "expression_weight")},
    **{key: f"model.loss.{key}" for key in ("expression_reduction", "label_smoothing", "reference_ccc")},
}
_ADAM_NODE: Final = {"_target_": "training.optimisation.Adam"}
_ADAMW_NODE: Final = {"_target_": "training.optimisation.AdamW"}
_LOSS_NODE: Final = {"_target_": "losses.multitask.MultiTaskLoss"}

GATHERED: Final = {
    "emma.module.EMMAModule": Gathered(_ADAMW | _LOSS, {"optimiser": _ADAMW_NODE, "loss": _LOSS_NODE}),
    "baseline.module.BaselineModule": Gathered(_ADAMW | _LOSS, {"optimiser": _ADAMW_NODE, "loss": _LOSS_NODE}),
    "cotex.module.CoTEXModule": Gathered(
        {**_ADAMW, "lr": "model.optimiser.base_lr", "scale_lr": "model.optimiser.scale_lr"}, {"optimiser": _ADAMW_NODE}
    ),
    "mae.module.MAEModule": Gathered(_ADAMW, {"optimiser": {**_ADAMW_NODE, "beta2": 0.95}}),
    "dan.module.DANModule": Gathered(_ADAM, {"optimiser": _ADAM_NODE}),
    "emotieffnet.module.EmotiEffNetModule": Gathered(
        _ADAM | _LOSS, {"optimiser": _ADAM_NODE, "loss": {**_LOSS_NODE, "va_weight": 0.5}}
    ),
    "training.multitask.MultiTaskModule": Gathered(
        _ADAM | _LOSS,
        {
            "optimiser": _ADAM_NODE,
            "loss": {**_LOSS_NODE, "expression_reduction": "mean_valid"},
            "keep_logits": True,
        },
    ),
    "heads.module.HeadModule": Gathered(
        {**_ADAM, **_LOSS, "au_weight": "model.loss.au_pos_weight"},
        {"optimiser": {**_ADAM_NODE, "eps": 1e-7}, "loss": {**_LOSS_NODE, "va_weight": 0.5}},
        {"expression_weight": {"train": "relative"}, "au_weight": {"train": "balanced"}},
    ),
}
"""By the target of the node ``model``."""


_SCALE_WORDS: Final = {
    "accumulation": "accumulate_grad_batches",
    "clip": "gradient_clip_val",
    "epochs": "max_epochs",
    "grid_every": "every_n_epochs",
    "lr": "base_lr",
    "table_batch_factor": "batch_factor",
    "trunk_weights": "weights",
}
"""Last words of keys below ``scale``, and what they are called where the values are used."""


def renamed(key: str, known: Collection[str]) -> str | None:
    """Say what a key of an earlier version is called in this one.

    Args:
        key: of a command line, which is not known.
        known: the keys of the configuration.

    Returns:
        The end of a message, or None where the key is of no earlier version.
    """
    node, _, option = key.partition(".")
    if node == "data" and option in _AUGMENTATION_KEYS:
        return f"it is augmentation.{option} now"
    if node == "scale":
        return _of_scale(key, known)
    if key.startswith("postprocess.k."):
        return f"it is one value now: 'postprocess.k={{{option.removeprefix('k.')}: …}}'"
    for gathered in GATHERED.values() if node == "model" else ():
        new = gathered.keys.get(option)
        if new in known:
            values = gathered.values.get(option, {}).items()
            return f"it is {new} now" + "".join(f", and its value {old} is {now}" for old, now in values)
    return None


def _of_scale(key: str, known: Iterable[str]) -> str:
    """Say where a value is told that stood in conf/scale/."""
    *_, part, word = key.split(".")
    names = {word, _SCALE_WORDS.get(word, word)}
    found = [one for one in known if one.rpartition(".")[2] in names and not one.startswith("postprocess.")]
    near = [one for one in found if f"{part}." in one] or found
    return f"it is {' or '.join(near)} now" if near else "conf/experiment/ and conf/values/ have its values now"


def _with_objects(node: dict[str, Any], gathered: Gathered) -> dict[str, Any]:
    """Put the options of a model into the objects that have them now."""
    made = {key: value for key, value in node.items() if key not in gathered.keys}
    made |= {key: dict(value) if isinstance(value, dict) else value for key, value in gathered.fixed.items()}
    for key, new in gathered.keys.items():
        if key in node and new.startswith("model."):
            _, part, name = new.split(".")
            value, called = node[key], gathered.values.get(key, {})
            made[part][name] = called.get(value, value) if isinstance(value, str) else value
    return made


def new_words(arguments: Sequence[str]) -> list[str]:
    """Put a command line of an earlier version into the words of this one; other arguments stay as they are."""
    made = []
    for argument in arguments:
        for old, new in WORDS:
            while (changed := re.sub(rf"^{old}", new, argument)) != argument:
                argument = changed
        made.append(argument)
    return made


def check_words(script: str, arguments: Sequence[str], groups: Collection[str]) -> None:
    """Refuse words of an earlier version.

    Args:
        script: the entry point, for the message.
        arguments: its command line.
        groups: that it has. Words of other groups are told with the keys that it does not know.

    Raises:
        OldCommandError: with the command of this version.
    """
    if script == "predict.py" and any(argument.startswith("store=") for argument in arguments):
        raise OldCommandError(
            f"store=: what makes a feature store is extract.py now; give\n"
            f"  python extract.py {shlex.join(new_words(arguments))}"
        )
    renewed = zip(arguments, new_words(arguments), strict=True)
    made = [new if re.split(r"[.=]", new)[0] in groups else old for old, new in renewed]
    if made != list(arguments):
        old = ", ".join(one for one in arguments if one not in made)
        raise OldCommandError(f"{old}: the words have changed; give\n  python {script} {shlex.join(made)}")


def upgraded(node: Any) -> Any:
    """Rewrite plain values that an earlier version stored; those of this version stay as they are."""
    if isinstance(node, list):
        return [upgraded(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: upgraded(value) for key, value in node.items()}
    target = made.get("_target_")
    if isinstance(target, str):
        made["_target_"] = target = MOVED.get(target, target)
        if target in GATHERED and "optimiser" not in made:
            made = _with_objects(made, GATHERED[target])
        if target in AUGMENTED:
            made = {key: value for key, value in made.items() if key not in _AUGMENTATION_KEYS}
    if isinstance(made.get("data"), dict) and "augmentation" not in made:
        given = {key: value for key, value in node["data"].items() if key in _AUGMENTATION_KEYS}
        target = AUGMENTED.get(str(made["data"].get("_target_")))
        made |= {"augmentation": {"_target_": target, **given}} if given and target else {}
    return made
