"""What may be built: what is marked where it is defined, in its role, and nothing that only looks like it."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

import pytest

from affect.errors import CheckpointError, ConfigError
from affect.settings import Role, buildable
from runs import building
from runs.building import PACKAGES, REPOSITORY, build, check_targets, role_of, signature, target_errors


def marked() -> Iterator[str]:
    """Every target of ours that may be built."""
    for name in sorted(building._marking()):
        for attribute in vars(importlib.import_module(name)):
            if role_of(f"{name}.{attribute}"):
                yield f"{name}.{attribute}"


def test_every_number_of_ours_has_a_range() -> None:
    targets = [target for target in marked() if role_of(target) in ("model", "data", "augmentation", "render")]
    bare = [
        f"{target}: {name}"
        for target in targets
        for name, hint in signature(target)[1].items()
        if name not in ("seed", "return") and {int, float} & {hint, *get_args(hint)}
        if get_origin(hint) is not Annotated
    ]
    assert bare == []
    assert len(targets) > 20


def test_no_class_of_ours_takes_any_key() -> None:
    given = {"_target_": "features.datamodule.FeaturesDataModule", "stroe": "x", "follow_outside": True}
    assert any("unknown key stroe" in error for error in target_errors(given))
    assert not any("follow_outside" in error for error in target_errors(given))


def test_the_packages_are_all_that_are_installed() -> None:
    folders = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert folders - {"benchmarks", "examples", "tests"} == PACKAGES
    assert PACKAGES.isdisjoint({"logs", "examples", *(path.stem for path in REPOSITORY.glob("*.py"))})


TOYS = """
import functools
import math
import os
from dataclasses import dataclass

from affect.settings import buildable
from emma.network import EMMA


@buildable("model")
class Marked:
    def __init__(self, width: int = 1) -> None: ...


class Unmarked: ...


class Child(Marked): ...


Alias = Marked
instance = Marked()


class Copied:
    locals().update({key: value for key, value in vars(Marked).items() if key == "__buildable__"})


@dataclass(slots=True)
@buildable("model")
class Remade:
    width: int = 1


class Outer:
    @buildable("model")
    class Inner: ...


@buildable("data")
def reader(): ...


@functools.wraps(reader)
def wrapper(): ...


bound = functools.partial(reader)
"""


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that might be one of ours, and another that imports all of it."""
    for name in ("affect.toys", "affect.reexporting"):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(TOYS if name == "affect.toys" else "from affect.toys import *", vars(module))
    monkeypatch.setattr(building, "_marking", lambda: {"affect.toys", "affect.reexporting", "emma.network"})
    return module


@pytest.mark.parametrize("name", [
    "Unmarked", "Child", "Alias", "instance", "Copied", "Remade", "Outer", "Outer.Inner", "wrapper", "bound", "EMMA",
    "os", "os.system", "buildable", "math.sin", "Marked.__init__", "__builtins__", "__dict__", "", "nothing",
    "Marked ", "Marked.",
])  # fmt: skip
def test_only_what_is_marked_itself_where_it_is_defined_is_built(toys: ModuleType, name: str) -> None:
    assert role_of("affect.toys.Marked") == "model"
    assert role_of("affect.toys.reader") == "data"
    for module in ("affect.toys", "affect.reexporting"):
        with pytest.raises(ConfigError, match="not among the things that may be built"):
            build({"_target_": f"{module}.{name}"})


def test_nothing_is_built_by_way_of_another_module(toys: ModuleType) -> None:
    assert toys.Marked is importlib.import_module("affect.toys").Marked
    for name in ("Marked", "reader"):
        assert role_of(f"affect.reexporting.{name}") is None
    assert role_of("emma.module.EMMA") is None
    assert role_of("emma.network.EMMA") == "model"


def test_a_mark_does_not_go_with_what_functools_copies() -> None:
    @buildable("model")
    def function() -> None: ...

    @functools.wraps(function)
    def wrapped() -> None: ...

    target = f"{__name__}.{function.__qualname__}"
    assert vars(wrapped).keys() >= {"__buildable__", "__wrapped__"}
    assert building.role_at(target, function) == "model"
    assert building.role_at(target, wrapped) is None


@pytest.mark.parametrize(("node", "target", "role"), [
    ("model", "datamodules.faces.FacesDataModule", "data"), ("model", "pytorch_lightning.Trainer", "trainer"),
    ("data", "emma.network.EMMA", "model"), ("render", "datamodules.faces.FacesDataModule", "data"),
    ("callbacks", "rendering.cache.rendered", "render"), ("logger", "mae.grid.ReconstructionGrid", "callbacks"),
    ("trainer", "baseline.module.BaselineModule", "model"),
])  # fmt: skip
def test_everything_stands_in_the_node_of_its_role(node: Any, target: str, role: Role) -> None:
    assert role_of(target) == role
    hidden = {"part": [{"_target_": target}]}
    with pytest.raises(ConfigError, match=f"0._target_: {target} is not among .*: it belongs to {role}"):
        check_targets(hidden, node)
    assert any(f"{node}.part.0._target_" in error and role in error for error in target_errors({node: hidden}))


UNASKED = [
    "affect.labels.os.system", "affect.labels.EXPRESSIONS", "affect.settings.buildable", "affect.errors.ConfigError",
    "affect..labels.X", ".affect.labels.X", "affect.labels.", "affect/labels.X", "affect.labels\n.X", "affect", "",
    "..affect.X", "~.X", "affect.\0.X", "ａffect.labels.X", "affect.\ud800.X", f"affect.{'x' * 5000}.X", "__main__.X",
    "runs.ranks.Ranks", "runs.sweeps.Sweep", "runs.building.build", "heads.automl.fit", "videos.decoding.decode",
    "rendering.contact_sheet.main", "emma.EMMA", "tests.runs.test_building.Tested", "tests.kills.main", "train.train",
    "prepare.main", "benchmarks.studies.priors.main", "benchmarks.machine.machine", "logs.evil.X", "os.system",
    "pytorch_lightning.callbacks.Callback", "pytorch_lightning.loggers.MLFlowLogger", "torch.nn.Linear",
    "antigravity.X",
        "setuptools.setup", "pyproject.toml", "conf.train", "emma.network.torch.nn.Linear", "emma.network.EMMA.forward",
]  # fmt: skip


def test_what_may_not_be_built_is_not_imported() -> None:
    """In a process of its own, which has imported nothing but the builder and what stands in no marking module."""
    code = (
        "import sys\nfrom runs.building import role_of, _marking\nbefore = set(sys.modules)\n"
        f"found = {{target: role_of(target) for target in {UNASKED!r} if not target.startswith('emma.network.')}}\n"
        "assert not any(found.values()), found\nassert set(sys.modules) == before, set(sys.modules) - before\n"
        "assert not _marking() & {'runs.ranks', 'runs.config', 'rendering.contact_sheet', 'heads.automl'}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not any(map(role_of, UNASKED))


@buildable("model")
class Tested:
    """Marked, but a class of a test."""


def test_a_mark_in_a_test_is_none(tmp_path: Path) -> None:
    import torch

    from runs.checkpoints import load_module

    images = {"image_size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    content = {"model_config": {"_target_": f"{__name__}.Tested"}, "state_dict": {}, "preprocessing": images}
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="not among the things that may be built"):
        load_module(tmp_path / "a.ckpt")
