"""Hostile checkpoints, run folders, weights and stores: each would run something, or write or read what it must not."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from . import bases, commands

SECRET = "CAMPAIGN_SECRET"
"""An environment variable that no file may look up."""


@dataclass(frozen=True)
class Place:
    """What a hostile file is made of: a copy of a run, and what it must not touch.

    Attributes:
        run: copy of a finished run.
        canary: a file that must not appear.
        elsewhere: a folder that must stay empty.
        made: folder with drawn faces, a store and weights.
        output: run folder of what is started.
    """

    run: Path
    canary: Path
    elsewhere: Path
    made: Path
    output: Path


@dataclass(frozen=True)
class Case:
    """A hostile file.

    Attributes:
        name: what it is.
        attack: makes it, and gives it to the framework.
        harmless: whether it may be read: what it asks for is then left out.
    """

    name: str
    attack: Callable[[Place], object]
    harmless: bool = False


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.canary}",))


def make(folder: Path) -> None:
    """Draws faces, trains a run on them, and writes a store and weights."""
    from rendering.cache import draw as draw_faces

    folder = folder / "made"
    faces = draw_faces(folder / "faces", "mtl", seed=1, train_videos=2, val_videos=1, frames_per_video=8, workers=1)
    arguments = ["experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *commands.SMALL]
    commands.run("train", [*arguments, f"paths.run_dir={folder}/run", f"paths.cache_dir={folder}/cache"])
    bases.store(folder)
    bases.onnx(folder)


# --- gadgets


def _gadgets(place: Place) -> dict[str, tuple[str, list[Any]]]:
    """Things that could be called, with arguments that make the canary appear."""
    canary, pickled, script = str(place.canary), place.output / "evil.pkl", place.output / "evil.py"
    place.output.mkdir(parents=True, exist_ok=True)
    pickled.write_bytes(pickle.dumps(Evil(place.canary)))
    script.write_text(f"open({canary!r}, 'w')\n")
    touch = f"touch {canary}"
    return {
        "touch": ("pathlib.Path.touch", [{"_target_": "pathlib.Path", "_args_": [canary]}]),
        "collect_env": ("torch.utils.collect_env.run", [touch]),
        "system": ("os.system", [touch]),
        "popen": ("os.popen", [touch]),
        "mkdir": ("os.mkdir", [canary]),
        "subprocess": ("subprocess.check_output", [["touch", canary]]),
        "getoutput": ("subprocess.getoutput", [touch]),
        "open": ("builtins.open", [canary, "w"]),
        "eval": ("builtins.eval", [f"open({canary!r}, 'w')"]),
        "numpy.load": ("numpy.load", [str(pickled), None, True]),
        "joblib.load": ("joblib.load", [str(pickled)]),
        "read_pickle": ("pandas.read_pickle", [str(pickled)]),
        "sympify": ("sympy.sympify", [f"open({canary!r}, 'w')"]),
        "copy": ("shutil.copy", [str(script), canary]),
        "symlink": ("os.symlink", [str(script), canary]),
        "urlretrieve": ("urllib.request.urlretrieve", [f"file://{script}", canary]),
        "run_path": ("runpy.run_path", [str(script)]),
        "savetxt": ("numpy.savetxt", [canary, [0]]),
        "FileHandler": ("logging.FileHandler", [canary]),
        "torch.save": ("torch.save", [1, canary]),
    }


GADGETS = (
    *("touch", "collect_env", "system", "popen", "mkdir", "subprocess", "getoutput", "open", "eval", "numpy.load"),
    *("joblib.load", "read_pickle", "sympify", "copy", "symlink", "urlretrieve", "run_path", "savetxt", "FileHandler"),
    "torch.save",
)


def _node(place: Place, gadget: str) -> dict[str, Any]:
    target, arguments = _gadgets(place)[gadget]
    return {"_target_": target, "_args_": arguments}


def _create(place: Place, gadget: str, escaped: str = "") -> str:
    """The gadget as an interpolation, which OmegaConf resolves to a node that Hydra builds."""

    def flow(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ",".join(f"{key}:{flow(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(flow, value)) + "]"
        return json.dumps(value).replace('"', "'") if isinstance(value, str) and " " in value else str(value)

    return f"{escaped}${{oc.create:{flow(_node(place, gadget))}}}"


# --- ways in


def _save_checkpoint(place: Place, change: Callable[[dict[str, Any]], object]) -> Path:
    import torch

    path = place.run / "checkpoints" / "best.ckpt"
    content = torch.load(path, map_location="cpu", weights_only=True)
    change(content)
    torch.save(content, path)
    torch.save(content, path.with_name("last.ckpt"))
    return path


def _change_config(place: Place, change: Callable[[dict[str, Any]], object]) -> None:
    path = place.run / "config.yaml"
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def _evaluate(place: Place, *more: str) -> None:
    path = place.run / "checkpoints" / "best.ckpt"
    commands.run("evaluate", [f"checkpoint={path}", f"paths.run_dir={place.output}/run", "trainer=cpu", *more])


def _fork(place: Place) -> None:
    commands.run("train", [f"fork_from={place.run}", f"paths.run_dir={place.output}/run"])


def _resume(place: Place) -> None:
    commands.run("train", [f"ckpt_path={place.run}/checkpoints/last.ckpt", "trainer.max_epochs=3"])


def _extract(place: Place) -> None:
    path, faces = place.run / "checkpoints" / "best.ckpt", place.made / "faces"
    more = ["data=affwild2_mtl", f"data.root={faces}", "trainer=cpu"]
    commands.run(
        "extract", [f"checkpoint={path}", f"store={place.output}/store", f"paths.run_dir={place.output}/run", *more]
    )


WAYS = {"evaluate": _evaluate, "fork_from": _fork, "ckpt_path": _resume, "extract": _extract}


def _vit(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["network"]["vit"]
    return found


def _in_checkpoint(gadget: str, *, node: bool) -> Callable[[Place], object]:
    def attack(place: Place) -> None:
        value: Any = _node(place, gadget) if node else _create(place, gadget)
        _save_checkpoint(place, lambda content: _vit(content["model_config"]).update(weights=value))
        _evaluate(place)

    return attack


def _in_config(way: str, change: Callable[[Place, dict[str, Any]], object]) -> Callable[[Place], object]:
    def attack(place: Place) -> None:
        _change_config(place, lambda content: change(place, content))
        WAYS[way](place)

    return attack


def _checkpoint(way: str, change: Callable[[Place, dict[str, Any]], object]) -> Callable[[Place], object]:
    def attack(place: Place) -> None:
        _save_checkpoint(place, lambda content: change(place, content))
        WAYS[way](place)

    return attack


def _bytes(way: str, name: str, content: Callable[[Place, bytes], bytes]) -> Callable[[Place], object]:
    """A file of the run that is replaced."""

    def attack(place: Place) -> None:
        path = place.run / name
        path.write_bytes(content(place, path.read_bytes()))
        shutil.copy(path, path.with_name("last.ckpt")) if path.suffix == ".ckpt" else None
        WAYS[way](place)

    return attack


def _escaped(place: Place, content: dict[str, Any]) -> None:
    content["callbacks"]["more"] = {
        "_target_": "pytorch_lightning.callbacks.LearningRateMonitor",
        "_args_": [_create(place, "touch", "\\")],
    }


def _interpolated(place: Place, content: dict[str, Any]) -> None:
    content["data"]["images"] = _create(place, "touch")
    content["name"] = _create(place, "touch", "\\")


# --- cases


def _special_keys() -> list[Case]:
    """Keys of Hydra's own, in the checkpoint and in the configuration."""
    keys: dict[str, Any] = {"_args_": [16], "_partial_": True, "_recursive_": False, "_convert_": "all", "_mode_": "x"}
    cases = []
    for key, value in keys.items():
        cases.append(
            Case(
                f"{key} in a checkpoint",
                _checkpoint("evaluate", lambda _, c, k=key, v=value: _vit(c["model_config"]).update({k: v})),
            )
        )
        cases.append(
            Case(
                f"{key} in config.yaml", _in_config("fork_from", lambda _, c, k=key, v=value: c["data"].update({k: v}))
            )
        )
    for name, target in (("a list", ["os", "getcwd"]), ("a mapping", {"a": 1}), ("a number", 1), ("empty", "")):
        change = lambda _, c, t=target: _vit(c["model_config"]).update(_target_=t)  # noqa: E731
        cases.append(Case(f"_target_ is {name}, in a checkpoint", _checkpoint("evaluate", change)))
    return cases


def _unmarked() -> list[Case]:
    """Classes and functions of ours that are not marked as buildable, or not there, or not in that role."""
    targets = {
        "an unmarked class": "backbones.vit.ViT",
        "a function that writes": "affect.files.write_whole",
        "a module inside ours": "affect.files.os.system",
        "a marked function by way of another module": "cotex.network.build_vit",
        "a base of marked classes": "training.module.AffectModule",
        "a data module in a model": "datamodules.faces.FacesDataModule",
        "a trainer in a model": "pytorch_lightning.Trainer",
        "a class of a test": "tests.runs.test_building.Tested",
        "an entry point": "runs.train.train",
        "a study": "benchmarks.studies.priors.main",
        "a folder above": "affect/../evil.X",
    }
    cases = []
    for name, target in targets.items():
        change = lambda _, c, t=target: _vit(c["model_config"]).update(_target_=t)  # noqa: E731
        cases.append(Case(f"{name}, in a checkpoint", _checkpoint("evaluate", change)))
        change = lambda _, c, t=target: c["model"].update(_target_=t)  # noqa: E731
        cases.append(Case(f"{name}, in config.yaml", _in_config("fork_from", change)))
    return cases


def _places() -> list[Case]:
    """Places outside of the run folder, given by its configuration."""

    def logger(place: Place, content: dict[str, Any]) -> None:
        content["logger"] = {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": str(place.elsewhere)}

    def dirpath(place: Place, content: dict[str, Any]) -> None:
        content["callbacks"]["best"]["dirpath"] = str(place.elsewhere)

    def root(place: Place, content: dict[str, Any]) -> None:
        content["trainer"]["default_root_dir"] = str(place.elsewhere)

    def paths(place: Place, content: dict[str, Any]) -> None:
        content["paths"] = {key: str(place.elsewhere / key) for key in content["paths"]}

    def render(place: Place, content: dict[str, Any]) -> None:
        drawn = {"layout": "mtl", "seed": 1, "train_videos": 2, "val_videos": 1, "frames_per_video": 8, "workers": 1}
        content["render"] = {"_target_": "rendering.cache.rendered", "cache": str(place.elsewhere), **drawn}
        content["data"]["root"] = str(place.elsewhere)

    changes = {"save_dir": logger, "dirpath": dirpath, "default_root_dir": root, "paths": paths, "render": render}
    cases = [Case(f"{name} elsewhere, {way}", _in_config(way, change), harmless=True)
             for name, change in changes.items() for way in ("fork_from", "ckpt_path")]  # fmt: skip
    cases.append(Case("render elsewhere, evaluate", _in_config("evaluate", render), harmless=True))
    weights = lambda place, c: _vit(c["model_config"]).update(weights="/etc/passwd")  # noqa: E731
    cases.append(Case("weights elsewhere, in a checkpoint", _checkpoint("evaluate", weights), harmless=True))
    return cases


def _code_beside() -> list[Case]:
    """A module that lies in the run folder, which a search path reaches."""

    def attack(place: Place, content: dict[str, Any]) -> None:
        (place.run / "evil.py").write_text(f"open({str(place.canary)!r}, 'w')\nclass X: ...\n")
        content["model_config"]["network"]["_target_"] = f"{place.run.name}.evil.X"

    unused = ("fork_from", "ckpt_path")  # follow config.yaml
    return [Case(f"evil.py in the run folder, {way}", _checkpoint(way, attack), way in unused) for way in WAYS]


def _broken_checkpoints() -> list[Case]:
    import torch

    def whole(value: Any) -> Callable[[Place, bytes], bytes]:
        import io

        def content(place: Place, _: bytes) -> bytes:
            stream = io.BytesIO()
            torch.save(value(place) if callable(value) else value, stream)
            return stream.getvalue()

        return content

    def tensors(change: Callable[[Any], Any]) -> Callable[[Place, dict[str, Any]], object]:
        return lambda _, c: c.update(state_dict={key: change(value) for key, value in c["state_dict"].items()})

    def selfish(_: Place, content: dict[str, Any]) -> None:
        content["model_config"]["network"]["vit"]["more"] = content["model_config"]

    replaced: dict[str, Callable[[Place, bytes], bytes]] = {
        "empty": lambda *_: b"",
        "text": lambda *_: b"a checkpoint\n",
        "cut": lambda _, old: old[:5000],
        "pickle": lambda place, _: pickle.dumps(Evil(place.canary)),
        "pickle in a zip": whole(lambda place: {"state_dict": {}, "model_config": Evil(place.canary)}),
        "a list": whole([1]),
        "zeros": lambda _, old: bytes(len(old)),
    }
    changed: dict[str, Callable[[Place, dict[str, Any]], object]] = {
        "without preprocessing": lambda _, c: c.pop("preprocessing"),
        "model_config None": lambda _, c: c.update(model_config=None),
        "model_config a list": lambda _, c: c.update(model_config=[]),
        "model_config that holds itself": selfish,
        "state_dict None": lambda _, c: c.update(state_dict=None),
        "preprocessing of words": lambda _, c: c.update(preprocessing={"image_size": "x"}),
        "a huge image": lambda _, c: c["preprocessing"].update(image_size=10**9),
        "NaN": tensors(lambda value: value * float("nan") if value.is_floating_point() else value),
        "int8": tensors(lambda value: (value * 10).to(torch.int8)),
        "infinite": tensors(lambda value: value + float("inf") if value.is_floating_point() else value),
        "a huge network": lambda _, c: _vit(c["model_config"]).update(width=2**20),
    }
    cases = [Case(f"checkpoint: {name}, {way}", _bytes(way, "checkpoints/best.ckpt", content))
             for name, content in replaced.items() for way in ("evaluate", "ckpt_path")]  # fmt: skip
    return cases + [Case(f"checkpoint: {name}", _checkpoint("evaluate", change)) for name, change in changed.items()]


def _broken_configs() -> list[Case]:
    aliases = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    texts: dict[str, Callable[[Place, bytes], bytes]] = {
        "a list": lambda *_: b"- a\n",
        "empty": lambda *_: b"",
        "a word": lambda *_: b"word\n",
        "a tag": lambda place, old: old + f"more: !!python/object/apply:os.mkdir ['{place.canary}']\n".encode(),
        "aliases": lambda _, old: aliases.encode() + old,
        "NUL": lambda _, old: b"\0" + old,
        "depth": lambda _, old: old + b"\nmore: " + b"[" * 3000 + b"]" * 3000 + b"\n",
        "the environment": lambda _, old: old.replace(b"name: emma", f"name: ${{oc.env:{SECRET}}}".encode()),
        "itself": lambda _, old: old + b"\nmore: &more\n  again: *more\n",
    }
    unused = {("the environment", "evaluate")}  # of the run's name, which scores have no use for
    return [Case(f"config.yaml: {name}, {way}", _bytes(way, "config.yaml", content), (name, way) in unused)
            for name, content in texts.items() for way in ("fork_from", "evaluate")]  # fmt: skip


def _weights_files() -> list[Case]:
    import torch

    def load(content: Callable[[Place], Any]) -> Callable[[Place], object]:
        def attack(place: Place) -> None:
            from backbones.weights import load_weights

            place.output.mkdir(parents=True, exist_ok=True)
            path = place.output / "weights.pth"
            made = content(place)
            path.write_bytes(made) if isinstance(made, bytes) else torch.save(made, path)
            load_weights(bases.small_network(), str(path), kind="timm")

        return attack

    def state(change: Callable[[Any], Any]) -> Callable[[Place], Any]:
        return lambda _: {key: change(value) for key, value in bases.small_network().state_dict().items()}

    def holds_itself(_: Place) -> Any:
        content: dict[str, Any] = {}
        content["state_dict"] = content
        return content

    return [
        Case("weights: a pickle", load(lambda place: pickle.dumps(Evil(place.canary)))),
        Case("weights: a pickle in a zip", load(lambda place: {"state_dict": Evil(place.canary)})),
        Case("weights: hold themselves", load(holds_itself)),
        Case("weights: int8", load(state(lambda value: (value * 10).to(torch.int8)))),
        Case("weights: NaN", load(state(lambda value: value * float("nan")))),
        Case("weights: infinite", load(state(lambda value: value.float() + float("inf")))),
        Case("weights: empty", load(lambda _: b"")),
        Case("weights: text", load(lambda _: b"weights\n")),
    ]


def _onnx_files() -> list[Case]:
    def load(change: Callable[[Place, Any], object]) -> Callable[[Place], object]:
        def attack(place: Place) -> None:
            import onnx

            from backbones.onnx import onnx_state

            place.output.mkdir(parents=True, exist_ok=True)
            model = onnx.load(place.made / "network" / "network.onnx")
            change(place, model.graph.initializer[0])
            path = place.output / "network.onnx"
            path.write_bytes(model.SerializeToString())
            onnx_state(path, bases.small_network())

        return attack

    def external(location: Callable[[Place], str]) -> Callable[[Place, Any], object]:
        def change(place: Place, tensor: Any) -> None:
            place.canary.with_name("secret").write_bytes(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = 1
            for key, value in (("location", location(place)), ("offset", "0"), ("length", "432")):
                tensor.external_data.add(key=key, value=value)

        return change

    def sides(*values: int) -> Callable[[Place, Any], object]:
        def change(_: Place, tensor: Any) -> None:
            del tensor.dims[:]
            tensor.dims.extend(values)

        return change

    def values(value: float) -> Callable[[Place, Any], object]:
        def change(_: Place, tensor: Any) -> None:
            tensor.raw_data = np.full(len(tensor.raw_data) // 4, value, np.float32).tobytes()

        return change

    return [
        Case("ONNX: data elsewhere", load(external(lambda place: str(place.canary.with_name("secret"))))),
        Case("ONNX: data above", load(external(lambda place: "../secret"))),
        Case("ONNX: no dims", load(sides())),
        Case("ONNX: huge dims", load(sides(2**40, 3, 3, 3))),
        Case("ONNX: negative dims", load(sides(-4, -3, 3, 3))),
        Case("ONNX: NaN", load(values(float("nan")))),
        Case("ONNX: infinite", load(values(float("inf")))),
    ]


def _stores() -> list[Case]:
    def read(change: Callable[[Place, Path], object]) -> Callable[[Place], object]:
        def attack(place: Place) -> None:
            from features.store import FeatureStore

            root = place.output / "store"
            shutil.copytree(place.made / "store", root)
            change(place, root)
            store = FeatureStore(root)
            for video in ("video1", "video2_left"):
                frames = np.asarray(store.frames_of(video))
                store.read(store.find([video] * len(frames), frames.astype(np.int64)))

        return attack

    def array(name: str, make: Callable[[Place, Any], Any]) -> Callable[[Place, Path], object]:
        def change(place: Place, root: Path) -> None:
            path = root / "video1" / "part-00000" / f"{name}.npy"
            np.save(path, make(place, np.load(path)), allow_pickle=True)

        return change

    def index(**changes: Any) -> Callable[[Place, Path], object]:
        def change(_: Place, root: Path) -> None:
            path = root / "store.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

        return change

    def link(place: Place, root: Path) -> None:
        shutil.move(root / "video1", place.elsewhere.parent / "outside")
        (root / "video1").symlink_to(place.elsewhere.parent / "outside")

    return [
        Case("store: objects", read(array("frame", lambda place, _: np.array([Evil(place.canary)])))),
        Case("store: objects in embeddings", read(array("embedding", lambda place, _: np.array([Evil(place.canary)])))),
        Case("store: NaN", read(array("embedding", lambda _, old: old * np.nan))),
        Case("store: fewer rows", read(array("outputs", lambda _, old: old[:2]))),
        Case("store: another type", read(array("embedding", lambda _, old: old.astype(np.int64)))),
        Case("store: frames twice", read(array("frame", lambda _, old: old * 0 + 1))),
        Case("store: an embedding of words", read(index(embedding="x"))),
        Case("store: a negative embedding", read(index(embedding=-6))),
        Case("store: dtype of objects", read(index(dtype="O"))),
        Case("store: another key", read(index(more=1))),
        Case("store: linked from outside", read(link), harmless=True),
    ]


def cases() -> list[Case]:
    """All hostile files."""
    found = [
        Case(f"{gadget} as an interpolation, in a checkpoint", _in_checkpoint(gadget, node=False)) for gadget in GADGETS
    ]
    found += [Case(f"{gadget} as a node, in a checkpoint", _in_checkpoint(gadget, node=True)) for gadget in GADGETS[:6]]
    for way in ("fork_from", "ckpt_path", "evaluate"):
        unused = way == "evaluate"  # no callback is built
        found.append(
            Case(f"an escaped interpolation in _args_ of a callback, {way}", _in_config(way, _escaped), unused)
        )
        found.append(Case(f"an interpolation in data and name, {way}", _in_config(way, _interpolated)))
    found += _special_keys() + _unmarked() + _places() + _code_beside() + _broken_checkpoints() + _broken_configs()
    return found + _weights_files() + _onnx_files() + _stores()
