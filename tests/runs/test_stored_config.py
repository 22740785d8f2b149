"""Configurations that come from files: what a run stored is taken, and nothing that a stranger puts in it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from affect.errors import CheckpointError, ConfigError, UserError
from runs.assembly import build_trainer
from runs.checkpoints import load_module
from runs.config import CONFIG_DIR, literal_paths, quoted, resolve
from runs.earlier import upgraded
from runs.plain import read_config
from runs.stored_config import data_of_run, stored_config
from tests.conftest import SMALL

Content = dict[str, Any]
IMAGES = {"image_size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}

GADGETS = [
    "${oc.create:{_target_:pathlib.Path.touch,_args_:[CANARY]}}",
    "${oc.create:{_target_:os.system,_args_:['touch CANARY']}}",
    "${oc.create:{_target_:torch.utils.collect_env.run,_args_:['touch CANARY']}}",
    "${oc.create:{_target_:shutil.copy,_args_:[/etc/hostname,CANARY]}}",
    "${oc.create:{_target_:joblib.load,_args_:[CANARY]}}",
    r"\${oc.create:{_target_:pathlib.Path.touch,_args_:[CANARY]}}",
    r"\\\${oc.env:HOME}",
    "${oc.env:HOME}",
    "${features:/etc}",
    {"_target_": "pathlib.Path.touch", "_args_": ["CANARY"]},
    {"_target_": "pathlib.Path", "_partial_": True},
    {"_target_": ["pathlib.Path.touch"], "self": "CANARY"},
    {"_target_": "logs.strange.evil.X"},
    {"_target_": "backbones.vit.build_vit", "_recursive_": False},
    {"_target_": "hydra.utils.instantiate", "config": {"_target_": "pathlib.Path.touch", "_args_": ["CANARY"]}},
]
PLACES = ["model.network.vit.weights", "model.network.drop_path", "data.root", "callbacks.best.monitor", "seed"]


def with_canary(gadget: Any, canary: Path) -> Any:
    text = yaml.safe_dump(gadget, default_flow_style=True, width=10**6).removesuffix("...\n")
    return yaml.safe_load(text.replace("CANARY", str(canary)))


def put(content: Content, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        content = content[part]
    content[last] = value


@pytest.fixture(scope="module")
def written(faces: Path) -> Content:
    """What a run writes as its config.yaml."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return resolve(compose("train", [f"data.root={faces}", *SMALL]))


@pytest.fixture
def stored(written: Content) -> Content:
    """A copy of it to change."""
    return deepcopy(written)


@pytest.fixture
def run(stored: Content, tmp_path: Path) -> Callable[[], Path]:
    """Writes ``stored`` into a run folder with an empty checkpoint."""

    def write() -> Path:
        folder = tmp_path / "old"
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        for name in ("best", "last"):
            (folder / "checkpoints" / f"{name}.ckpt").touch()
        (folder / "config.yaml").write_text(yaml.safe_dump(stored))
        return folder

    return write


def taken(*arguments: str) -> tuple[DictConfig, Path | None]:
    found = stored_config(arguments)
    assert found is not None
    return found


def test_it_takes_single_keys_only(run: Callable[[], Path], tmp_path: Path) -> None:
    folder = run()
    config, checkpoint = taken(f"ckpt_path={folder}/checkpoints/last.ckpt", "seed=3", "trainer.max_epochs=7")
    assert (config.seed, config.paths.run_dir, config.trainer.max_epochs) == (3, str(folder), 7)
    assert checkpoint == folder / "checkpoints" / "last.ckpt"
    config, checkpoint = taken(f"fork_from={folder}")
    assert checkpoint is None
    assert config.paths.run_dir.startswith("logs/emma/")
    assert taken(f"fork_from={folder}", f"paths.output_dir={tmp_path}")[0].paths.run_dir.startswith(f"{tmp_path}/emma/")
    assert stored_config(["seed=3", "ckpt_path=null"]) is None
    with pytest.raises(ConfigError, match="groups are fixed"):
        stored_config([f"fork_from={folder}", "scale=tiny"])
    with pytest.raises(ConfigError, match="unknown key 'sed'"):
        stored_config([f"fork_from={folder}", "sed=1"])
    with pytest.raises(ConfigError, match=r"unknown key 'model.base_lr' in .*; it is model.optimiser.base_lr now"):
        stored_config([f"fork_from={folder}", "model.base_lr=1"])
    with pytest.raises(ConfigError, match="there is no run"):
        stored_config([f"fork_from={tmp_path}/nothing"])


@pytest.mark.parametrize("name", ["a=b", "a,b", "it's", "[a]", "ë 新", '"a"'])
def test_a_run_may_be_called_anything(run: Callable[[], Path], tmp_path: Path, name: str) -> None:
    folder = run().rename(tmp_path / name)
    last = folder / "checkpoints" / "last.ckpt"
    for path in (last, quoted(str(last))):
        config, checkpoint = taken(*literal_paths([f"ckpt_path={path}"]))
        assert (config.paths.run_dir, checkpoint) == (str(folder), last)
    for path in (folder, quoted(str(folder))):
        assert taken(*literal_paths([f"fork_from={path}", f"data.root={folder}"]))[0].data.root == str(folder)


def test_keys_newer_than_the_file_have_their_defaults_and_can_be_given(
    stored: Content, run: Callable[[], Path]
) -> None:
    del stored["postprocess"]["missing"], stored["trainer"]["log_every_n_steps"], stored["data"]["pin_memory"]
    del stored["seed"], stored["report"]
    folder = run()
    config, _ = taken(f"fork_from={folder}", "data.pin_memory=true", "postprocess.missing=linear")
    assert (config.seed, config.trainer.log_every_n_steps) == (0, 10)
    assert config.report.faces is True
    assert (config.data.pin_memory, config.postprocess.missing) == (True, "linear")
    resolve(config)


def test_the_augmentation_of_an_earlier_version_is_taken_from_its_data(
    stored: Content, run: Callable[[], Path]
) -> None:
    """There, the data module chose it, and its keys stood among those of the data."""
    del stored["augmentation"]
    stored["data"] |= {"_target_": "datamodules.affwild2.MTLDataModule", "resize_ratio": 1.1, "flip": 0.25, "grey": 0.0}
    folder = run()
    config, _ = taken(f"fork_from={folder}", "augmentation.erase=0.5")
    assert config.augmentation == {
        "_target_": "datamodules.transforms.JitterAndCrop",
        "resize_ratio": 1.1, "flip": 0.25, "grey": 0.0, "erase": 0.5,
    }  # fmt: skip
    resolve(config)
    with pytest.raises(ConfigError, match=r"unknown key 'data.flip' .*; it is augmentation.flip now"):
        taken(f"fork_from={folder}", "data.flip=0.5")
    again = read_config(folder / "config.yaml")
    assert upgraded(again) == again
    stored["data"] = {"_target_": "features.datamodule.FeaturesDataModule", "store": "/x", "labels": stored["data"]}
    read = read_config(run() / "config.yaml")
    assert "augmentation" not in read
    assert not {"flip", "resize_ratio", "grey"} & set(read["data"]["labels"])


def resolved_data(folder: Path) -> Content:
    """As evaluate.py takes it of a run."""
    return resolve(OmegaConf.create({"data": data_of_run(folder / "checkpoints" / "best.ckpt", {}, ".cache")[0]}))


@pytest.mark.parametrize("place", PLACES)
def test_a_run_folder_runs_no_code(stored: Content, run: Callable[[], Path], tmp_path: Path, place: str) -> None:
    canary = tmp_path / "canary"
    for number, gadget in enumerate(GADGETS):
        put(stored, place, with_canary(gadget, canary))
        folder = run()
        key = f"fork_from={folder}" if number % 2 else f"ckpt_path={folder}/checkpoints/last.ckpt"
        with pytest.raises((UserError, ConfigError)):
            resolve(taken(key)[0])
        if place == "data.root":
            with pytest.raises((UserError, ConfigError)):
                resolved_data(folder)
        assert not canary.exists(), gadget


@pytest.mark.parametrize(
    "place", ["network.vit.weights", "network.vit", "network.vit.heads", "optimiser.base_lr", "loss"]
)
def test_a_checkpoint_runs_no_code(stored: Content, tmp_path: Path, place: str) -> None:
    canary = tmp_path / "canary"
    model = stored["model"]
    for gadget in GADGETS:
        put(model, place, with_canary(gadget, canary))
        torch.save({"model_config": model, "state_dict": {}, "preprocessing": IMAGES}, tmp_path / "trap.ckpt")
        with pytest.raises((CheckpointError, UserError)):
            load_module(tmp_path / "trap.ckpt")
        assert not canary.exists(), gadget


def test_code_beside_a_checkpoint_is_never_imported(
    stored: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\nclass X: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for target in ("logs.evil.X", "tests.kills.main", "train.train", "benchmarks.studies.priors.main"):
        stored["model"]["_target_"] = target
        before = set(sys.modules)
        torch.save({"model_config": stored["model"], "state_dict": {}, "preprocessing": IMAGES}, tmp_path / "a.ckpt")
        with pytest.raises(CheckpointError, match="not among the things that may be built"):
            load_module(tmp_path / "a.ckpt")
        assert target.rpartition(".")[0] not in set(sys.modules) - before
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("key", ["trainer", "postprocess", "data", "callbacks"])
def test_a_node_that_a_file_cuts_short_is_not_replaced(tmp_path: Path, key: str) -> None:
    config = {"callbacks": {}, "trainer": {}, "paths": {}, "data": {}, "postprocess": {}, key: "wei"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=f"{key} is no mapping"):
        stored_config([f"fork_from={tmp_path}"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a mapping"),
        ("- 1\n", "not a mapping"),
        ("a: !!python/object/apply:os.system ['x']\n", "the tag"),
        ("a: !!str 1\n", "the tag"),
        ("a: &x [1]\nb: *x\n", "an alias"),
        ("a: 1\na: 2\n", "duplicate key"),
        ("a: [1\n", "not the configuration of a run"),
        ("[" * 3000 + "]" * 3000, "not the configuration of a run"),
        ("a: " + "[" * 40 + "]" * 40, "nested more than"),
        ("a: 2026-01-01\nb: ${x}\n", "a stored configuration is resolved"),
        ("a: 1\n\ufeffb: 2\n", "a key that is no word"),
        ("a: \ufeff\n", "a byte order mark belongs to the beginning"),
        ("a: 1\n2: 2\n", "a key that is no word"),
        ("a: \0\n", "not the configuration of a run"),
        ("x" * (1 << 20) + "y", "bytes"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"(?s)config.yaml: .*{said}"):
        read_config(path)


def test_a_file_of_nested_aliases_is_told_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match="an alias"):
        read_config(tmp_path / "config.yaml")


def test_a_pipe_is_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(UserError, match="no such file"):
        read_config(tmp_path / "config.yaml")


def test_places_to_write_to_are_the_runs_own(stored: Content, run: Callable[[], Path], tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    stored["callbacks"]["best"]["dirpath"] = elsewhere
    stored["trainer"]["default_root_dir"] = elsewhere
    stored["logger"] = {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": elsewhere, "name": "csv"}
    stored["paths"] = dict.fromkeys(("output_dir", "run_dir", "cache_dir"), elsewhere)
    folder = run()
    plain = resolve(taken(f"fork_from={folder}", f"paths.run_dir={tmp_path}/new")[0])
    trainer = build_trainer(plain, tmp_path / "new")
    assert {callback.dirpath for callback in trainer.checkpoint_callbacks} == {str(tmp_path / "new" / "checkpoints")}
    assert {logger.save_dir for logger in trainer.loggers} <= {str(tmp_path / "new"), None}
    assert trainer.default_root_dir == str(tmp_path / "new")
    assert (plain["paths"]["output_dir"], plain["paths"]["cache_dir"]) == ("logs", ".cache")


@pytest.mark.parametrize(("node", "key", "value"), [
    ("callbacks.best", "filename", "../../x"), ("callbacks.best", "filename", "/x/best"),
    ("logger", "version", "../.."), ("logger", "name", "~/x"), ("logger", "settings", {"a": 1}),
])  # fmt: skip
def test_names_that_lead_out_of_the_run_folder_are_refused(
    stored: Content, run: Callable[[], Path], node: str, key: str, value: Any
) -> None:
    stored["logger"] = {"_target_": "pytorch_lightning.loggers.TensorBoardLogger", "save_dir": "x"}
    put(stored, f"{node}.{key}", value)
    with pytest.raises(UserError, match=key):
        stored_config([f"fork_from={run()}"])


def test_drawn_faces_are_read_where_they_are_and_drawn_here(
    stored: Content, run: Callable[[], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    faces = {"layout": "faces", "seed": 0, "train_faces": 2, "val_faces": 1, "workers": 1}
    stored["render"] = {"_target_": "rendering.cache.rendered", **faces}
    stored["data"] = {"_target_": "datamodules.faces.FacesDataModule", "root": str(elsewhere), "cache_dir": "x"}
    checkpoint = run() / "checkpoints" / "best.ckpt"
    data, render = data_of_run(checkpoint, {"root": None}, str(tmp_path / "here"))
    assert f"reads data.root={elsewhere}" in capsys.readouterr().out
    assert (data.root, data.cache_dir) == (f"{tmp_path}/here/faces", f"{tmp_path}/here/listings")
    assert render is not None
    from rendering.cache import rendered

    drawn = rendered(Path(data.root), **{key: value for key, value in render.items() if key != "_target_"})
    assert drawn.parent == tmp_path / "here" / "faces"
    assert not elsewhere.exists()
    drawn.parent.rename(elsewhere)
    again = rendered(Path(data.root), **{key: value for key, value in render.items() if key != "_target_"})
    assert again == elsewhere / drawn.name
    data, render = data_of_run(checkpoint, {"root": "/other"}, str(tmp_path / "here"))
    assert (data.root, render) == ("/other", None)


def test_data_synthetic_draws_files_like_those_that_the_run_has_read(
    stored: Content, run: Callable[[], Path], tmp_path: Path
) -> None:
    def drawn(target: str) -> Any:
        stored["data"] = {"_target_": target, "root": "/licensed", "cache_dir": None}
        checkpoint = run() / "checkpoints" / "best.ckpt"
        given = {"layout": None, "seed": None, "val_faces": 3, "train_videos": None}
        return data_of_run(checkpoint, {"root": "faces"}, str(tmp_path), given)[1]

    render = drawn("datamodules.affectnet.AffectNetDataModule")
    assert (render.layout, render.seed, render.train_faces, render.val_faces) == ("affectnet", 0, 10000, 3)
    assert "train_videos" not in render
    with pytest.raises(
        ConfigError, match=r"nothing is drawn in the files of .*AffWild2Expression.*give draws=mtl\|uni"
    ):
        drawn("datamodules.affwild2_mtl.AffWild2ExpressionDataModule")
