"""Build objects from plain configuration nodes, without Hydra: nothing is resolved, and only marked things are called.

A node is a mapping with a ``_target_``, the dotted name of a class or function: one of this framework that is marked
with ``affect.settings.buildable``, or one of a few foreign ones. It is looked up before anything is imported; the other
keys of the node must fit the signature.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import tomllib
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args

from affect.errors import ConfigError
from affect.hints import suggest, value_errors
from affect.settings import Role, role_at

REPOSITORY: Final = Path(__file__).resolve().parents[1]

PACKAGES: Final = frozenset(
    tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["root_packages"]
)
"""The packages of this framework: not its tests, benchmarks and entry points."""

FOREIGN: Final[Mapping[str, Role]] = {
    "pytorch_lightning.Trainer": "trainer",
    "pytorch_lightning.callbacks.EarlyStopping": "callbacks",
    "pytorch_lightning.callbacks.LearningRateMonitor": "callbacks",
    "pytorch_lightning.callbacks.ModelCheckpoint": "callbacks",
    "pytorch_lightning.callbacks.RichProgressBar": "callbacks",
    "pytorch_lightning.callbacks.TQDMProgressBar": "callbacks",
    "pytorch_lightning.loggers.CSVLogger": "logger",
    "pytorch_lightning.loggers.TensorBoardLogger": "logger",
    "pytorch_lightning.loggers.WandbLogger": "logger",
    "pytorch_lightning.strategies.DDPStrategy": "trainer",
    "pytorch_lightning.strategies.FSDPStrategy": "trainer",
}
"""What may be built besides the classes and functions of this framework that are marked as ``buildable``."""

DEPTH: Final = 32
"""How deep nodes may be nested; ours are less than ten deep, and one that holds itself has no end."""


@cache
def _marking() -> frozenset[str]:
    """Return the modules of ours that mark something: a configuration can have no other one imported."""
    files = [file for package in PACKAGES for file in (REPOSITORY / package).rglob("*.py")]
    marking = [file.relative_to(REPOSITORY) for file in files if "@buildable(" in file.read_text(encoding="utf-8")]
    return frozenset(".".join(file.with_suffix("").parts) for file in marking)


def role_of(target: Any) -> Role | None:
    """Return the role in which a target may be built, or None where it may not be built at all."""
    if not isinstance(target, str):
        return None
    module, _, name = target.rpartition(".")
    if module not in _marking():
        return FOREIGN.get(target)
    return role_at(target, getattr(importlib.import_module(module), name, None))


def build(node: Mapping[str, Any], role: Role | None = None, /, **extra: Any) -> Any:
    """Build what a node describes; nested nodes are built first.

    Args:
        node: plain containers with a ``_target_``.
        role: of everything in the node; None for any.
        extra: further arguments, given as they are in place of those of the node.

    Raises:
        ConfigError: the node asks for what may not be built in this role, or for arguments that its target does not
            take.
        Exception: whatever the target itself raises.
    """
    check_targets(dict(node), role)
    return _built({key: value for key, value in node.items() if key not in extra}, extra)


def _built(node: Any, extra: Mapping[str, Any]) -> Any:
    """Build a checked node, or the nodes inside a container."""
    if isinstance(node, list | tuple):
        return [_built(item, {}) for item in node]
    if not isinstance(node, Mapping):
        return node
    made = {key: _built(value, {}) for key, value in node.items() if key != "_target_"}
    return pkgutil.resolve_name(node["_target_"])(**made, **extra) if "_target_" in node else made


def without_weights(config: Any) -> Any:
    """Set the ``weights`` in a model configuration to None: a checkpoint brings them, no file is needed beside it."""
    if isinstance(config, dict):
        return {k: None if str(k).endswith("weights") else without_weights(v) for k, v in config.items()}
    return [without_weights(item) for item in config] if isinstance(config, list) else config


def check_targets(plain: Any, role: Role | None, where: str = "the configuration") -> None:
    """Check every node that names a ``_target_``: its role, and its keys against the target's signature.

    Raises:
        ConfigError: with every error found.
    """
    errors = list(target_errors(plain, role))
    if errors:
        raise ConfigError(errors, where)


def target_errors(node: Any, role: Role | None = None, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Find what ``check_targets`` raises; without a role, a node has that of its key where there is one."""
    if depth > DEPTH:
        yield f"{prefix[:60]}…: nested more than {DEPTH} deep"
    elif isinstance(node, list | tuple):
        for index, item in enumerate(node):
            yield from target_errors(item, role, f"{prefix}{index}.", depth + 1)
    elif isinstance(node, Mapping):
        for key, value in node.items():
            inside = role or (key if key in get_args(Role) else None)
            yield from target_errors(value, inside, f"{prefix}{key}.", depth + 1)
        yield from _own_errors(node, role, prefix)


def _own_errors(node: Mapping[Any, Any], role: Role | None, prefix: str) -> Iterator[str]:
    """The errors of a node itself: its special keys, its target, and the arguments for it."""
    special = [key for key in node if str(key).startswith("_") and str(key).endswith("_") and key != "_target_"]
    yield from (f"{prefix}{key}: there is no such key, only _target_" for key in special)
    if "_target_" not in node or special:
        return
    target = node["_target_"]
    found = role_of(target)
    if found is None or role not in (None, found):
        reason = f"it belongs to {found}" if found else "ours are marked @buildable where they are defined"
        yield f"{prefix}_target_: {target} is not among the things that may be built here: {reason}"
        return
    parameters, hints = signature(target)
    others = next((name for name, p in parameters.items() if p.kind is inspect.Parameter.VAR_KEYWORD), None)
    for key, value in node.items():
        if key == "_target_":
            continue
        if key not in parameters and others is None:
            yield f"unknown key {prefix}{key}: {target} does not take it; {suggest(str(key), list(parameters))}"
        else:
            yield from value_errors(value, hints.get(str(key if key in parameters else others), Any), f"{prefix}{key}")


def signature(target: str) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Return parameters and type hints of a target; ``**options`` of a class stands for those of its base class.

    ``**options: Unpack[Keys]`` stands for the keys of the TypedDict.
    """
    called = pkgutil.resolve_name(target)
    if not inspect.isclass(called):
        return _unpacked(dict(inspect.signature(called).parameters), _hints(called))
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for base in called.__mro__:
        if "__init__" not in base.__dict__:
            continue
        taken = list(inspect.signature(vars(base)["__init__"]).parameters.items())[1:]
        own, own_hints = _unpacked(dict(taken), _hints(vars(base)["__init__"]))
        open_ended = [key for key, p in own.items() if p.kind is inspect.Parameter.VAR_KEYWORD]
        parameters = {**own, **parameters}
        hints = {**own_hints, **hints}
        if not open_ended or base.__module__.partition(".")[0] not in PACKAGES:
            break
        for key in open_ended:
            parameters.pop(key)
    return parameters, hints


def _unpacked(
    parameters: dict[str, inspect.Parameter], hints: dict[str, Any]
) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Put the keys of a TypedDict in the place of ``**options: Unpack[Keys]``."""
    for name in [name for name, hint in hints.items() if typing.get_origin(hint) is typing.Unpack]:
        del parameters[name]
        keys = _hints(get_args(hints.pop(name))[0])
        parameters |= {key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY) for key in keys}
        hints |= keys
    return parameters, hints


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError:  # wandb's hints name things that it imports for type checkers only: its values go unchecked
        return {}
