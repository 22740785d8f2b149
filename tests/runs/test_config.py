"""What the command line may say, and what it is told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import runs.config
from affect.errors import ConfigError, OldCommandError
from runs.automl import automl
from runs.building import build, check_targets
from runs.config import CONFIG_DIR, check_command_line, literal_paths, quoted, resolve
from runs.earlier import check_words
from runs.ending import clear_errors
from runs.train import train


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def test_all_misspelt_keys_are_told_at_once_with_suggestions() -> None:
    with pytest.raises(ConfigError) as caught:
        check_command_line("train", ["data.roots=x", "trainer.max_epoch=3", "seed=1", "model.network.head_hiden=3"])
    message = str(caught.value)
    assert message.startswith("3 errors")
    for expected in ("'data.roots'", "data.root", "trainer.max_epochs", "model.network.head_hidden"):
        assert expected in message


def test_unknown_options_and_malformed_arguments_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        check_command_line("train", ["scale=tinny", "nonsense"])
    assert "did you mean tiny" in str(caught.value)
    assert "'nonsense' is not of the form key=value" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["clip.mp4"], r"'clip\.mp4' is not of the form key=value \(did you mean source=clip\.mp4\?\)"),
        (["export=fex,elan"], r"export=fex,elan: write several values as 'export=\[fex,elan\]'; with -m each is a run"),
        (["--source", "clip.mp4"], r"--source: no such flag; keys are given without dashes, as key=value"),
    ],
)
def test_a_video_without_its_key_is_told_how_to_write_it(arguments: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_command_line("predict", arguments)


def test_keys_of_earlier_versions_are_told_with_their_new_names() -> None:
    with pytest.raises(ConfigError) as caught:
        check_command_line("train", ["data.flip=0", "experiment=cotex", "+data.hue=0.2", "data.input=visible"])
    message = str(caught.value)
    assert message.startswith("3 errors")
    for key in ("flip", "hue", "input"):
        assert f"it is augmentation.{key} now" in message


def test_half_widths_by_task_are_one_value() -> None:
    with pytest.raises(ConfigError, match=r"it is one value now: .postprocess\.k=\{expression: …\}"):
        check_command_line("evaluate", ["postprocess.k.expression=3"])


def test_the_augmentation_is_the_experiments_whatever_the_data() -> None:
    chosen = composed("experiment=cotex", "data=affwild2_mtl", "scale=tiny").augmentation
    assert (chosen["_target_"], chosen.resize_ratio) == ("datamodules.transforms.JitterAndCrop", 1.02)
    chosen = composed("experiment=cotex", "augmentation=dan", "augmentation.erase=0.1", "scale=paper").augmentation
    assert (chosen["_target_"], chosen.affine, chosen.erase) == ("datamodules.transforms.DANTransform", 0.7, 0.1)
    assert composed("augmentation=none").augmentation == {}
    with pytest.raises(ConfigError, match=r"augmentation=foo: no such option; there are: cotex, dan, emma, mae, none"):
        check_command_line("train", ["augmentation=foo"])


@pytest.mark.parametrize("config", ["train", "evaluate"])
def test_a_correct_command_line_passes(config: str) -> None:
    check_command_line(config, ["data=synthetic", "data.root=/x", "paths.run_dir=/y", "-m", "hydra/launcher=basic"])


@pytest.mark.parametrize("flags", ["-sc install=bash", "--cfg job", "-c hydra scale=tiny", "--info config", "--help"])
def test_hydras_flags_and_their_words_are_no_keys(flags: str) -> None:
    check_command_line("train", flags.split())
    with pytest.raises(ConfigError, match=r"data\.rot"):
        check_command_line("train", ["data.rot=x", "--cfg", "job"])


def test_sweeps_pass() -> None:
    check_command_line("train", ["seed=0,1,2", "scale=tiny,paper", "--multirun"])


def test_scale_paper_asks_for_its_weights_and_data_asks_for_its_root() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(composed())
    message = str(caught.value)
    for key in ("data.root", "model.network.vit.weights", "model.network.dan.weights"):
        assert f"{key} is not set" in message


def test_every_wrong_key_and_value_in_a_target_is_told_with_its_key() -> None:
    wrong = ["+model.network.depht=3", "model.optimiser.base_lr=fast", "+data.rooot=1"]
    config = composed("scale=tiny", "data.root=/x", *wrong)
    with pytest.raises(ConfigError) as caught:
        resolve(config)
    message = str(caught.value)
    assert "model.network.depht" in message
    assert "model.optimiser.base_lr is 'fast', but must be float" in message
    assert "data.rooot" in message


@pytest.mark.parametrize(
    ("key", "kind"), [("model.optimiser", "Adam or AdamW or SGD"), ("model.loss", "MultiTaskLoss")]
)
def test_an_object_that_is_needed_cannot_be_null(key: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"^1 error .*\n  - {key} is None, but must be {kind}$"):
        resolve(composed("experiment=emma", "scale=tiny", "data.root=x", f"{key}=null"))


@pytest.mark.parametrize("augmentation", ["cotex", "dan", "emma", "mae", "none"])
def test_a_small_experiment_takes_any_augmentation(augmentation: str) -> None:
    chosen = [f"experiment={name}" for name in ("dan", "emma", "mae")]
    for experiment in chosen:
        resolve(composed(experiment, "scale=tiny", "data.root=x", f"augmentation={augmentation}"))
    weak = composed("experiment=dan", "scale=tiny").augmentation
    assert (weak.affine, weak.erase) == (0.0, 0.0)


def test_a_key_that_takes_its_value_from_another_asks_for_that_one() -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("extract", overrides=["backbone=vgg16_vggface"])
    with pytest.raises(
        ConfigError, match=r"model\.weights is not set: give backbone\.weights=… on the command line \(a"
    ):
        resolve(config)


def test_a_value_inside_a_mapping_is_named() -> None:
    heads = {"expression": {"input": "embedding", "hidden": 0}, "action_units": None}
    node = {"_target_": "heads.network.Heads", "features": {}, "heads": heads}
    with pytest.raises(ConfigError, match=r"heads\.expression\.hidden is 0, but must be int >= 1 or null"):
        check_targets({"network": node}, "model")


@pytest.mark.parametrize(
    ("experiment", "wrong"),
    [
        ("emma", ["model.optimiser.base_lr=-1", "model.loss.label_smoothing=2", "model.optimiser.layer_decay=0",
                  "model.optimiser.weight_decay=-.1", "model.optimiser.min_lr=-1", "model.optimiser.warmup_epochs=-1",
                  "model.va_lr=-1", "data.batch_size=0",
                  "data.num_workers=-1", "augmentation.flip=1.5", "augmentation.resize_ratio=0.5",
                  "data.eval_batch_size=0",
                  "data.max_pixels=0", "model.network.vit.drop_path=1", "model.network.vit.depth=0",
                  "model.network.head_hidden=0", "model.network.dan.width=0", "seed=-1", "timeout_s=0",
                  "trainer.accumulate_grad_batches=0", "trainer.gradient_clip_val=-1", "postprocess.k=-1",
                  "model.optimiser.base_lr=.nan", "model.optimiser.base_lr=.inf"]),
        ("cotex", ["model.mask_ratio=1", "model.mask_ratio=-0.1", "model.repeats=0", "model.js_weight=-1",
                   "model.optimiser.base_lr=0", "model.network.views=0", "+augmentation.hue=0.6"]),
        ("mae", ["model.mask_ratio=1", "model.network.decoder_depth=0", "data.val_share=1", "augmentation.least_area=0",
                 "data.min_size=-1", "callbacks.reconstructions.every_n_epochs=0"]),
        ("dan", ["model.optimiser.lr=0", "model.optimiser.lr_decay=0", "model.affinity_weight=-1",
                 "augmentation.erase=2"]),
        ("baseline", ["model.network.dropout=1", "model.network.dropout=-.1", "render.train_videos=-1",
                      "render.workers=0"]),
        ("emotieffnet_backbone", ["model.head_lr=-1", "model.head_epochs=-1", "model.optimiser.sam_rho=0"]),
        ("emotieffnet_finetune", ["model.network.hidden=0", "model.loss.label_smoothing=-0.1"]),
    ],
)  # fmt: skip
def test_every_value_out_of_its_range_is_told_at_once(experiment: str, wrong: list[str]) -> None:
    data = ["data=synthetic"] if any(text.startswith("render") for text in wrong) else ["data.root=/x"]
    task = ["data.task=va"] if experiment == "emotieffnet_finetune" and data == ["data.root=/x"] else []
    last = {text.partition("=")[0]: text for text in wrong}  # a key that is there twice is tried alone, too
    for given in (list(last.values()), *([text] for text in wrong if text not in last.values())):
        with pytest.raises(ConfigError) as caught:
            train(composed(f"experiment={experiment}", "scale=tiny", *data, *task, *given))
        for text in given:
            key = re.escape(text.partition("=")[0].lstrip("+"))
            assert re.search(rf"{key} is .*(but must be .*[<>]|give)", str(caught.value)), text


def test_targets_outside_the_allow_list_are_not_built(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    node = {"_target_": "pathlib.Path.touch", "self": str(trap)}
    with pytest.raises(ConfigError, match="not among the things that may be built"):
        build(node)
    with pytest.raises(ConfigError, match="not among"):
        check_targets({"a": [{"b": node}]}, "model")
    assert not trap.exists()


@pytest.mark.parametrize("key", ["_args_", "_partial_", "_recursive_", "_mode_", "_convert_"])
def test_target_is_the_only_special_key(key: str) -> None:
    node = {"_target_": "backbones.vit.build_vit", "image_size": 32, "patch_size": 16, "weights": None, key: True}
    with pytest.raises(ConfigError, match=f"{key}: there is no such key, only _target_"):
        build(node)


@pytest.mark.parametrize("target", [["backbones.vit.build_vit"], None, {"_target_": "os.system"}, 1])
def test_a_target_is_a_word(target: object) -> None:
    with pytest.raises(ConfigError, match="not among the things that may be built"):
        build({"_target_": target})


def test_nothing_is_resolved_while_building(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    gadget = f"${{oc.create:{{_target_:pathlib.Path.touch,_args_:[{trap}]}}}}"
    node = {"_target_": "datamodules.faces.FacesDataModule", "root": gadget, "image_size": 32, "batch_size": 1}
    assert build(node).root == gadget
    assert not trap.exists()


def test_a_node_that_holds_itself_is_refused() -> None:
    node: dict[str, object] = {"_target_": "backbones.vit.build_vit"}
    node["weights"] = node
    with pytest.raises(ConfigError, match="nested more than"):
        build(node)


def test_what_is_given_besides_takes_the_place_of_what_the_node_says(tmp_path: Path) -> None:
    node = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "dirpath": "/elsewhere", "filename": "best"}
    assert build(node, dirpath=tmp_path).dirpath == str(tmp_path)


def test_errors_of_what_is_built_come_without_wrapping() -> None:
    with pytest.raises(ValueError, match="not a multiple of patch_size"):
        build({"_target_": "backbones.vit.build_vit", "image_size": 65, "patch_size": 16, "weights": None})


ODD = [
    "a=b",
    "a,b",
    "a b",
    " a",
    "it's",
    '"a"',
    "'a'",
    "[a]",
    "a[b]",
    "(a)",
    "{a: b}",
    "ë",
    "新",
    "a;b#c",
    "a\\",
    "${x}",
]


def understood(*arguments: str, config_name: str = "train") -> list[object]:
    """What Hydra and OmegaConf make of arguments in the end."""
    given = literal_paths(arguments)
    check_command_line(config_name, given)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(config_name, overrides=given)
    return [OmegaConf.select(config, argument.partition("=")[0]) for argument in arguments]


@pytest.mark.parametrize("name", ODD)
def test_a_path_that_exists_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    keys = ("ckpt_path", "fork_from", "data.root", "paths.run_dir")
    for text in (str(folder), quoted(str(folder))):
        assert understood(*(f"{key}={text}" for key in keys)) == [str(folder)] * len(keys)


@pytest.mark.parametrize(
    ("config_name", "keys"),
    [
        ("evaluate", ["checkpoint", "predictions", "submission", "paths.run_dir"]),
        ("extract", ["checkpoint", "store", "data.root"]),
        ("automl", ["trained", "data.store", "data.labels.root"]),
    ],
)
def test_the_paths_of_all_entry_points_are_taken_as_they_are(tmp_path: Path, config_name: str, keys: list[str]) -> None:
    path = tmp_path / "it's, [新] a=b.ckpt"
    path.touch()
    for text in (str(path), quoted(str(path))):
        assert understood(*(f"{key}={text}" for key in keys), config_name=config_name) == [str(path)] * len(keys)


def test_a_list_of_roots_is_a_list(tmp_path: Path) -> None:
    pages = [CONFIG_DIR.parent / "docs" / f"{name}.md" for name in ("data", "evaluation")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    lists = re.findall(r"'((?:data\.root|predictions)=\[[^<\]']+\])'", text)
    assert len(lists) >= 3
    for argument in lists:
        key, _, value = argument.partition("=")
        name = "evaluate" if key == "predictions" else "train"
        assert understood(argument, config_name=name) == [value.strip("[]").split(",")]
    folders = [tmp_path / name for name in ("a=b", "my faces", "ë,c")]
    for folder in folders:
        folder.mkdir()
    listed = ",".join(quoted(str(folder)) for folder in folders)
    assert understood(f"data.root=[{listed}]") == [[str(folder) for folder in folders]]


@pytest.mark.parametrize("name", ["ë", "a;b", "a=b", "it's", "a[b]"])
def test_a_new_path_that_cannot_be_anything_else_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    assert understood(f"paths.run_dir={tmp_path}/{name}") == [f"{tmp_path}/{name}"]


def test_the_users_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "faces").mkdir()
    assert understood("data.root=~/faces") == [f"{tmp_path}/faces"]


def test_what_is_no_path_is_read_by_hydras_grammar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("0", "true", "null", "a"):
        (tmp_path / name).mkdir()
    plain = ["seed=0", "debug=fast", "data.pin_memory=true", "ckpt_path=null", "seed=0,1", "data.root=[/a,/b]",
             "data.root=/a,/b", "-m", "paths.run_dir=logs/${seed}", "name='x y'", "data.root=a", "k=[a"]  # fmt: skip
    assert literal_paths(plain) == plain


def test_a_path_with_a_comma_is_one_path_and_two_paths_are_two_jobs(tmp_path: Path) -> None:
    both = f"{tmp_path}/a,{tmp_path}/b"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert literal_paths([f"data.root={both}"]) == [f"data.root={both}"]
    (tmp_path / "a,b").mkdir()
    assert literal_paths([f"data.root={tmp_path}/a,b"]) == [f"data.root='{tmp_path}/a,b'"]
    sweep = ["-m", f"data.root={tmp_path}/a,b", f"fork_from='{tmp_path}/a,b'"]
    assert literal_paths(sweep) == sweep


def test_a_name_that_is_yet_to_be_filled_in_may_have_any_letters(tmp_path: Path) -> None:
    assert literal_paths([f"paths.run_dir={tmp_path}/ë-${{seed}}"]) == [f"paths.run_dir='{tmp_path}/ë-${{seed}}'"]
    assert understood(f"paths.run_dir={tmp_path}/ë-${{seed}}") == [f"{tmp_path}/ë-0"]


@pytest.mark.parametrize(
    ("script", "old", "new"),
    [
        ("train", "experiment=emotieffnet_va data.store=x", "experiment=heads_va data.store=x"),
        ("train", "experiment=emotieffnet_au,emotieffnet_mtl", "experiment=heads_au,heads_mtl"),
        ("train", "data=synthetic layout=uni data.task=va", "data=synthetic draws=uni data.task=va"),
        ("extract", "network=mt_emotieffnet store=x", "backbone=mt_emotieffnet store=x"),
        ("extract", "network=timm network.backbone=a store=x", "backbone=timm backbone.name=a store=x"),
    ],
)  # fmt: skip
def test_a_command_of_an_earlier_version_prints_the_new_one(script: str, old: str, new: str) -> None:
    with pytest.raises(OldCommandError) as caught:
        check_command_line(script, old.split())
    assert str(caught.value).endswith(f"python {script}.py {new}")
    check_words(f"{script}.py", new.split(), {"backbone", "draws", "experiment"})
    with pytest.raises(SystemExit) as end, clear_errors():
        check_command_line(script, old.split())
    assert end.value.code == 2


def test_a_word_that_an_entry_point_has_no_more_is_an_unknown_key() -> None:
    with pytest.raises(ConfigError, match=r"^1 error .*\n  - unknown key 'layout'; ") as caught:
        check_command_line("automl", ["layout=mtl"])
    assert "draws" not in str(caught.value)


@pytest.mark.parametrize(
    ("experiment", "old", "new"),
    [
        ("emma", "scale.vit.width", "model.network.vit.width"),
        ("emma", "scale.dan.weights", "model.network.dan.weights"),
        ("emma", "scale.emma.clip", "trainer.gradient_clip_val"),
        ("dan", "scale.dan.trunk_weights", "model.network.weights"),
        ("dan", "scale.dan.affine", "augmentation.affine"),
        ("cotex", "scale.cotex.lr", "model.optimiser.base_lr"),
        ("cotex", "scale.cotex.base_batch", "base_batch"),
        ("mae", "scale.mae.grid_every", "callbacks.reconstructions.every_n_epochs"),
    ],
)
def test_keys_below_scale_are_told_where_they_are_now(experiment: str, old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown key '{re.escape(old)}'; it is {re.escape(new)} now"):
        check_command_line("train", [f"experiment={experiment}", f"{old}=1"])


def test_a_scale_without_values_for_an_experiment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CONFIG_DIR, tmp_path / "conf")
    (tmp_path / "conf" / "values" / "tiny" / "mae.yaml").unlink()
    monkeypatch.setattr(runs.config, "CONFIG_DIR", tmp_path / "conf")
    for arguments in (["experiment=mae", "scale=tiny"], ["experiment=dan,mae", "scale=paper,tiny", "-m"]):
        with pytest.raises(
            ConfigError, match=r"^1 error.*\n.*experiment=mae has no values for scale=tiny: .*tiny/mae\.y"
        ):
            check_command_line("train", arguments)
    check_command_line("train", ["experiment=mae"])


def test_a_layout_that_nothing_draws_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"render\.layout is 'foo', but must be mtl or uni or joint or affectnet"):
        resolve(composed("data=synthetic", "scale=tiny", "render.layout=foo"))
    with pytest.raises(ConfigError, match=r"draws=foo: no such option; there are: affectnet, "):
        check_command_line("train", ["draws=foo"])


def test_unknown_settings_of_automl_are_told() -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("automl", overrides=["data.store=x", "data.labels.root=x", "task=va", "+settings.tiemout=1",
                                              "data.labels.task=va"])  # fmt: skip
    with pytest.raises(ConfigError, match=r"unknown key settings\.tiemout; did you mean timeout"):
        automl(config)


def test_what_a_table_of_choices_leaves_open_is_no_error_where_nothing_asks_for_it() -> None:
    given = ["experiment=baseline", "backbone=vgg16_vggface", "data.root=/x"]
    with pytest.raises(ConfigError, match=r"^1 error.*\n.*model\.network\.weights is not set") as caught:
        resolve(composed(*given))
    assert "backbone.weights is not set" not in str(caught.value)
    assert resolve(composed(*given, "model.network.weights=random"))["model"]["network"]["frozen"] is True
