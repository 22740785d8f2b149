"""From the command line to objects: every configuration error at once, and nothing built before the check.

Hydra's ``_target_`` runs whatever it names, so a target is only followed when it stands in an allow-list: one
for checkpoints, which may come from anybody, and a wider one for the configuration files of this repository.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Union

import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

from affect.errors import UserError
from datamodules.store import StoreInfo

CONFIG_DIR: Final = Path(__file__).resolve().parents[1] / "conf"

MODEL_TARGETS: Final = frozenset(
    {
        "backbones.vit.build_vit",
        "baseline.module.BaselineModule",
        "baseline.network.Baseline",
        "cotex.module.CoTEXModule",
        "cotex.network.build_cotex",
        "dan.module.DANModule",
        "dan.network.DAN",
        "emma.module.EMMAModule",
        "emma.network.EMMA",
        "emotieffnet.finetune.FineTuneModule",
        "emotieffnet.head_module.HeadModule",
        "emotieffnet.heads.Heads",
        "emotieffnet.module.EmotiEffNetModule",
        "emotieffnet.network.EmotiEffNet",
        "emotieffnet.network.FineTunedNet",
        "mae.module.MAEModule",
        "mae.network.MAE",
    }
)
"""What a checkpoint may ask to be built. A new method adds its classes here."""

TARGETS: Final = MODEL_TARGETS | {
    "datamodules.affectnet.AffectNetDataModule",
    "datamodules.affwild2.AffWild2ExpressionDataModule",
    "datamodules.affwild2.MTLDataModule",
    "datamodules.affwild2_uni.AffWild2UniDataModule",
    "datamodules.features.FeaturesDataModule",
    "datamodules.lsd.LSDDataModule",
    "datamodules.unlabelled.FacesDataModule",
    "mae.grid.ReconstructionGrid",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.EarlyStopping",
    "pytorch_lightning.callbacks.LearningRateMonitor",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.callbacks.RichProgressBar",
    "pytorch_lightning.callbacks.TQDMProgressBar",
    "pytorch_lightning.loggers.CSVLogger",
    "pytorch_lightning.loggers.TensorBoardLogger",
    "pytorch_lightning.loggers.WandbLogger",
    "pytorch_lightning.strategies.DDPStrategy",
    "pytorch_lightning.strategies.FSDPStrategy",
    "rendering.cache.rendered",
}
"""What a configuration file of this repository may name."""


OURS: Final = (
    "backbones",
    "baseline",
    "cotex",
    "dan",
    "datamodules",
    "emma",
    "emotieffnet",
    "mae",
    "rendering",
    "training",
)


def automatic_precision(accelerator: str) -> str:
    """``bf16-mixed`` where the hardware multiplies bf16 matrices faster than float32 ones, else ``32-true``."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    has_bf16 = accelerator in ("auto", "cpu") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16-mixed" if has_bf16 else "32-true"


def masked_batch(base: int, mask_ratio: float, cap: int) -> int:
    """CoTEX's batch rule: as many more faces as fewer patches of each are seen, ``base * int(1 / (1 - ratio))``.

    Args:
        base: batch without a mask.
        mask_ratio: share of patches removed; one outside [0, 1) is left for the model to refuse.
        cap: largest batch.
    """
    return min(base * int(1 / (1 - mask_ratio)), cap) if 0 <= mask_ratio < 1 else base


def scaled_batch(batch: int, factor: float) -> int:
    """A published batch at another scale, at least 1."""
    return max(int(batch * factor), 1)


def described_features(store: str) -> dict[str, Any]:
    """What heads must know of a feature store: ``emotieffnet.heads.FeatureDescription``."""
    info = StoreInfo.read(Path(store).expanduser())
    return {"sha256": info.sha256, "embedding": info.embedding, "outputs": list(info.outputs)}


OmegaConf.register_new_resolver("features", described_features, replace=True)
OmegaConf.register_new_resolver("scaled_batch", scaled_batch, replace=True)
OmegaConf.register_new_resolver("precision", automatic_precision, replace=True)
OmegaConf.register_new_resolver("masked_batch", masked_batch, replace=True)


class ConfigError(UserError):
    """One message that lists every error found in a configuration."""

    def __init__(self, errors: Sequence[str], where: str = "the configuration") -> None:
        lines = "\n".join(f"  - {error}" for error in errors)
        super().__init__(f"{len(errors)} error{'s' * (len(errors) > 1)} in {where}:\n{lines}")


def check_command_line(config_name: str, arguments: Sequence[str]) -> None:
    """Looks up every ``key=value`` of the command line, so that all misspelt keys are told in one go.

    Hydra stops at the first and suggests nothing. Group choices are composed first, since they decide which
    keys exist.

    Args:
        config_name: primary configuration, for example ``train``.
        arguments: the command line without the program's name; flags are left to Hydra.

    Raises:
        ConfigError: a key that does not exist, an unknown group or option, or a malformed argument.
    """
    overrides: list[Override] = []
    errors: list[str] = []
    for argument in arguments:
        if argument.startswith("-"):
            continue
        try:
            overrides.append(OverridesParser.create().parse_override(argument))
        except HydraException as error:
            errors.append(f"{argument!r} is not of the form key=value ({str(error).splitlines()[0]})")
    choices, values = [], []
    for override in overrides:
        key = str(override.get_key_element()).lstrip("+~")
        group = CONFIG_DIR / key.partition("@")[0]  # group@package
        if override.is_sweep_override() or key.startswith("hydra"):
            continue
        if not group.is_dir():
            values.append((key, override))
            continue
        available = sorted(str(path.relative_to(group).with_suffix("")) for path in group.rglob("*.yaml"))
        option = str(override.value())
        if option != "None" and option not in available:
            errors.append(f"{key}={option}: no such option; {_suggest(option, available)}")
        else:
            choices.append(str(override.input_line))
    if errors:
        raise ConfigError(errors, "the command line")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(config_name, overrides=choices)
    known = list(_keys(config))
    for key, override in values:
        if not override.is_add() and not override.is_force_add() and key not in known:
            errors.append(f"unknown key {key!r}; {_suggest(key, known)}")
    if errors:
        raise ConfigError(errors, "the command line")


def _suggest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(known)[:40])}"


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none():
                yield from _keys(child, f"{prefix}{key}.")


def resolve(config: DictConfig) -> dict[str, Any]:
    """Resolves and checks a whole configuration before anything is built from it.

    Args:
        config: the composed configuration.

    Returns:
        The same as plain containers, every interpolation resolved.

    Raises:
        ConfigError: every value that is not set or cannot be resolved, every target that is not in the
            allow-list, every key that its target does not take, and every value of a wrong type.
    """
    # what a scale or a backbone leaves open matters only where something asks for it, and is reported there
    errors = [error for error in _unresolvable(config, "") if not error.startswith(("scale.", "backbone."))]
    if errors:
        raise ConfigError(errors)
    plain = typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=False))
    check_targets(plain, TARGETS)
    return plain


def _unresolvable(node: Any, prefix: str) -> Iterator[str]:
    keys = range(len(node)) if OmegaConf.is_list(node) else list(node)
    for key in keys:
        name = f"{prefix}{key}"
        try:
            value = node[key]
        except (MissingMandatoryValue, InterpolationToMissingValueError):
            yield f"{name} is not set: give {name}=… on the command line{_hint(name)}"
        except OmegaConfBaseException as error:
            yield f"{name} cannot be resolved: {str(error).splitlines()[0]}"
        else:
            if OmegaConf.is_config(value) and value is not None and not value._is_none():
                yield from _unresolvable(value, f"{name}.")


def _hint(name: str) -> str:
    if name.endswith("weights"):
        return " (a file, a registry name, timm:NAME, or the word random; this scale has no default)"
    return " (the folder that holds the images and the annotation files)" if name.endswith("root") else ""


def check_targets(plain: Any, allowed: frozenset[str], where: str = "the configuration") -> None:
    """Checks every node that names a ``_target_`` against the allow-list and the target's signature.

    Raises:
        ConfigError: with every error found.
    """
    errors = list(_target_errors(plain, allowed, ""))
    if errors:
        raise ConfigError(errors, where)


def _target_errors(node: Any, allowed: frozenset[str], prefix: str) -> Iterator[str]:
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _target_errors(item, allowed, f"{prefix}{index}.")
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        yield from _target_errors(value, allowed, f"{prefix}{key}.")
    target = node.get("_target_")
    if target is None:
        return
    if target not in allowed:
        yield f"{prefix}_target_: {target} is not among the things that may be built here"
        return
    parameters, hints = _signature(get_object(target))
    given = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for key, value in given.items():
        if key not in parameters:
            yield f"unknown key {prefix}{key}: {target} does not take it; {_suggest(key, list(parameters))}"
        elif key in hints and not _fits(value, hints[key]):
            yield f"{prefix}{key} is {value!r}, but must be {_name(hints[key])}"


def _signature(called: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters and type hints; ``**options`` of a class stands for the parameters of its base class."""
    if not inspect.isclass(called):
        return dict(inspect.signature(called).parameters), _hints(called)
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for base in called.__mro__:
        if "__init__" not in base.__dict__:
            continue
        own = dict(list(inspect.signature(vars(base)["__init__"]).parameters.items())[1:])
        open_ended = [key for key, p in own.items() if p.kind is inspect.Parameter.VAR_KEYWORD]
        parameters = {**own, **parameters}
        hints = {**_hints(vars(base)["__init__"]), **hints}
        if not open_ended or not base.__module__.startswith(OURS):
            break
        for key in open_ended:
            parameters.pop(key)
    return parameters, hints


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError:  # wandb's hints name things that it imports for type checkers only: its values go unchecked
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value can be of the annotated type; says True where it cannot tell."""
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if origin is Literal:
        return value in typing.get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (int, str, bool):
        return type(value) is hint
    if hint is type(None):
        return value is None
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple)
    if origin in (dict, Mapping):
        return isinstance(value, dict)
    if hint is Path:
        return isinstance(value, str | Path)
    # a class of ours is built from its own node; anything but a node there is an error
    return not (inspect.isclass(hint) and isinstance(value, str | int | float | bool)) or isinstance(value, hint)


def _name(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")


def build(node: Mapping[str, Any], allowed: frozenset[str] = TARGETS, **extra: Any) -> Any:
    """Builds what a checked node describes; the one place that calls Hydra's ``instantiate``.

    Args:
        node: plain containers with a ``_target_``; nested nodes are built first.
        allowed: the targets that may be built.
        extra: further arguments, given as they are.

    Raises:
        ConfigError: the node asks for anything outside ``allowed``.
        Exception: whatever the target itself raises, without Hydra's wrapping.
    """
    check_targets(dict(node), allowed)
    try:
        return instantiate({**node, "_convert_": "all"}, **extra)
    except InstantiationException as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None


def stored_config(arguments: Sequence[str]) -> tuple[DictConfig, Path | None] | None:
    """The configuration of an earlier run, where the command line names one, with the other arguments applied.

    ``ckpt_path=<run>/checkpoints/last.ckpt`` goes on in that run's folder; ``fork_from=<run>`` starts a new one.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The configuration and the checkpoint to resume (None for a fork), or None where neither key is given.

    Raises:
        ConfigError: no such run, or arguments that a stored configuration does not take.
    """
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    keys = [key for key in ("ckpt_path", "fork_from") if given.get(key, "null") != "null"]
    if not keys:
        return None
    if len(keys) == 2:
        raise ConfigError(["give ckpt_path (resume) or fork_from (new run), not both"], "the command line")
    path = Path(given[keys[0]])
    folder = path.parent.parent if keys[0] == "ckpt_path" else path
    if not (folder / "config.yaml").is_file() or not path.exists():
        form = "<run folder>/checkpoints/last.ckpt" if keys[0] == "ckpt_path" else "<run folder>"
        raise ConfigError([f"{keys[0]}={path}: there is no run; it must be {form}"], "the command line")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    known, errors = list(_keys(config)), []
    for argument in arguments:
        key = argument.partition("=")[0]
        if key in known:
            OmegaConf.update(config, key, _value(argument))
        elif (CONFIG_DIR / key).is_dir():
            errors.append(f"{argument}: groups are fixed by the stored configuration of {folder}; give single keys")
        else:
            errors.append(f"unknown key {key!r} in {folder}/config.yaml; {_suggest(key, known)}")
    if errors:
        raise ConfigError(errors, "the command line")
    config.paths.run_dir = str(folder)
    config.ckpt_path = config.fork_from = None
    if keys[0] == "fork_from":
        default = f"{config.paths.output_dir}/{config.name}/{datetime.now():%Y-%m-%d_%H-%M-%S}"
        config.paths.run_dir = given.get("paths.run_dir", default)
        config.fork_from = str(folder.absolute())
        if config.logger and "save_dir" in config.logger:
            config.logger.save_dir = config.paths.run_dir
    return config, path if keys[0] == "ckpt_path" else None


def _value(argument: str) -> Any:
    return OverridesParser.create().parse_override(argument).value()
