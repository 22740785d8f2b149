"""What is in Python instead of files in conf/: ``backbone=``, ``head=``, ``system=``, ``draws=``, and doctor's keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from affect.hints import suggest
from backbones.choices import BACKBONES
from heads.temporal.choices import HEADS, settings
from rendering.layouts import LAYOUTS, LayoutName

DOCTOR: Final[dict[str, Any]] = {
    "defaults": [
        "_self_", {"paths": "default"}, {"data": "affwild2_mtl"}, {"draws": "mtl"},
        {"optional drawn": "${data}_${draws}"},
    ],
    "name": "doctor",
    "render": None,
    "official": None,
    "pictures": False,
    "json": None,
}  # fmt: skip
"""The configuration of prepare.py doctor, whose keys ``runs.doctor`` explains; ``draws`` is for data=synthetic."""

_ROOT: Final = {"root": "${paths.cache_dir}/faces"}  # below it, a folder per renderer version and set of parameters


def register() -> None:
    """Give Hydra the networks that ``backbone=`` names, and the layouts that ``data=synthetic draws=`` names.

    A ``head=`` is looked up by ``preset=<head>_<scale>``, which conf/train.yaml chooses.
    A ``system=`` is what a row of Table 1 is: a baseline with its backbone, or a whole experiment.
    """
    store = ConfigStore.instance()
    store.store(name="doctor", node=DOCTOR)
    systems = {"emotionnet": {"experiment": "emotionnet"}}
    for name, backbone in BACKBONES.items():
        store.store(group="backbone", name=name, node=asdict(backbone))
        systems[name] = {"experiment": "baseline", "backbone": name}
    for name, head in HEADS.items():
        store.store(group="head", name=name, node={}, package="_global_")
        for scale in ("paper", "tiny"):
            store.store(group="preset", name=f"{name}_{scale}", node=settings(head, scale), package="_global_")
    for name, choices in systems.items():
        chosen = [{f"override /{group}": choice} for group, choice in choices.items()]
        store.store(group="system", name=name, node={"defaults": chosen}, package="_global_")
    drawn: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        name: (layout.data, {**_ROOT, **layout.reading}, render_node(name)) for name, layout in LAYOUTS.items()
    }
    # evaluate.py: what fits the run, with what the command line gives
    drawn["run"] = "run", _ROOT, dict.fromkeys(key for *_, render in drawn.values() for key in render)
    for name, (data, keys, render) in drawn.items():
        store.store(group="draws", name=name, node={}, package="_global_")  # a choice, which conf/train.yaml looks up
        node = {"defaults": [f"/data/{data}@data", "_self_"], "data": keys, "render": render}
        store.store(group="drawn", name=f"synthetic_{name}", node=node, package="_global_")


def options(group: str) -> list[str]:
    """Return the options of a group (``trainer``, ``data@data.labels``), or none where it is no group.

    Hydra must be initialised.
    """
    loader = GlobalHydra.instance().config_loader()
    return sorted(loader.get_group_options(group.partition("@")[0]))


def composing_error(script: str, error: HydraException, known: Sequence[str]) -> str:
    """Say in a line why a command line cannot be composed, of a group that the entry point lacks in our own words.

    Args:
        script: the entry point.
        error: what Hydra says.
        known: keys of its configuration.
    """
    told = " ".join(str(error).split())
    found = re.match(r"Could not override '([^']+)'.*\+[^ =]+=(\S+)$", told)
    if found is None:
        return told
    group, option = found.groups()
    if (several := f"{group}s") in known:
        return f"{group}={option}: {script}.py takes {several}=[{option}], of {', '.join(options(group))}"
    return f"{group}={option}: {script}.py has no {group} to choose; {suggest(group, known)}"


def render_node(layout: LayoutName) -> dict[str, Any]:
    """Return the node ``render`` that draws a layout in the size that it has unless told otherwise."""
    sizes = LAYOUTS[layout].sizes
    return {"_target_": "rendering.cache.rendered", "layout": layout, "seed": 0, **sizes, "workers": 2}
