"""Under which licences a network may be passed on: those of the weights that its training began with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import timm

from affect.errors import ConfigError
from backbones.registry import REGISTRY

FREE: Final = ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0")
"""Licences under which everybody may pass the weights on, changed or not, for any purpose."""

UNSTATED: Final = "unstated"
"""What stands for the licence of weights whose authors state none, which keeps all rights with them."""

UNKNOWN: Final = "not recorded"
"""What stands for the licence of a file that somebody gave: a network of their own, perhaps."""


class Start(NamedTuple):
    """Weights that a training began with."""

    key: str  # of the model's configuration
    weights: str  # a name; of a file without its folder, which is nobody's business
    licence: str


def starts(model: Any, key: str = "model") -> Iterator[Start]:
    """Yield the weights that the stored configuration of a model names, in its keys that end in ``weights``."""
    if isinstance(model, Mapping):
        for name, value in model.items():
            if str(name).endswith("weights"):
                given = value if isinstance(value, list | tuple) else [value]
                yield from (_start(f"{key}.{name}", one) for one in given if isinstance(one, str) and one != "random")
            yield from starts(value, f"{key}.{name}")
    elif isinstance(model, list | tuple):
        for number, value in enumerate(model):
            yield from starts(value, f"{key}.{number}")


def of_published(name: str) -> Start:
    """Return what the registry says of published weights."""
    return Start("checkpoint", name, _stated(REGISTRY[name].licence))


def _start(key: str, weights: str) -> Start:
    of_file = {Path(entry.file).name: name for name, entry in REGISTRY.items()}
    name = of_file.get(Path(weights).name, weights)  # a published file that was given by its path
    if name in REGISTRY:
        return Start(key, name, _stated(REGISTRY[name].licence))
    if name.startswith("timm:"):
        config = timm.get_pretrained_cfg(name.removeprefix("timm:")) if timm.is_model(name[5:].split(".")[0]) else None
        return Start(key, name, _stated(getattr(config, "license", None) or "none"))
    return Start(key, Path(weights).name, UNKNOWN)


def _stated(licence: str) -> str:
    """Return a licence by its SPDX name, as far as it has one."""
    if licence.startswith("none"):
        return UNSTATED
    return next((name for name in FREE if name.casefold() == licence.casefold()), licence.upper())


def check_licences(found: Sequence[Start], accepted: Sequence[str]) -> None:
    """Refuse weights that not everybody may pass on, unless their licence is accepted by its name.

    Raises:
        ConfigError: with all that are refused, and all that are accepted and not met.
    """
    known = {name.casefold() for name in accepted}
    errors = []
    for one in found:
        if one.licence in (*FREE, UNKNOWN) or one.licence.casefold() in known:
            continue
        what = "state no licence" if one.licence == UNSTATED else f"are under {one.licence}"
        errors.append(
            f"{one.key}={one.weights}: the training began with weights that {what}, so not everybody may pass on what "
            f"comes of them. Where you may, say so: accept_licence={one.licence}; the model card will print it"
        )
    met = {one.licence.casefold() for one in found}
    errors += [f"accept_licence={name}: no weights in it are under that licence" for name in accepted
               if name.casefold() not in met]  # fmt: skip
    if errors:
        raise ConfigError(errors, "the licences")
