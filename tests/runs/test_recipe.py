"""recipe.py: the stages of one YAML, in their order, each once; stopped and gone on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from affect.errors import ConfigError, UserError
from affect.labels import MTL_HEADER
from evaluators.postprocess.settings import STORED
from runs import stages as running
from runs.config import composed
from runs.recipe import recipe, stages

OWN = ["labels.root=/data/mtl", "store=/data/features"]


def listed(*given: str) -> dict[str, list[str]]:
    return {
        stage.name: [stage.script, *stage.words]
        for stage in stages(composed("recipe", given), Path("/runs"), Path("/data/mtl"))
    }


def test_drawn_videos_begin_with_a_network_and_end_with_a_file() -> None:
    found = listed("heads=[gru,bigru]", "folds=2", "+overrides={trainer.max_epochs:3}", "paths.cache_dir=/cache")
    assert list(found) == ["network", "features", "gru/fold0", "gru/fold1", "bigru/fold0", "bigru/fold1", "gru-pool",
                           "bigru-pool", "decisions", "gru-test", "bigru-test", "test"]  # fmt: skip
    assert all(words[-1] == "paths.cache_dir=/cache" for words in found.values())
    assert found["network"][:4] == ["train", "experiment=dan", "data=synthetic", "scale=tiny"]
    assert {"checkpoint=/runs/network", "store=/runs/store", "data.root=/data/mtl"} <= set(found["features"])
    assert {"head=gru", "data.store=/runs/store", "data.labels.root=/data/mtl", "data.folds=2", "data.fold=1",
            "+data.fold_splits=[train]", "trainer.max_epochs=3", "seed=0"} <= set(found["gru/fold1"])  # fmt: skip
    assert "split=val" in found["gru-test"]  # the validation list is in no fold
    assert "postprocess.k=search" in found["decisions"]
    assert "postprocess.cross_fit=5" in found["decisions"]
    stored = f"/runs/decisions/{STORED}"
    assert {f"postprocess.{key}={stored}" for key in ("k", "expression_biases", "au_thresholds")} < set(found["test"])
    assert "postprocess.missing=linear" in found["test"]
    assert not any("cross_fit" in word for word in found["test"])
    assert "submission=/runs/submission.txt" in found["test"]


def test_data_of_your_own_have_a_store_and_all_lists_are_dealt_beside_a_test_list() -> None:
    found = listed(*OWN, "labels.test_list=/data/test.txt", "scale=paper", "hardware=gpu", "folds=3", "heads=[gru]")
    assert list(found) == ["gru/fold0", "gru/fold1", "gru/fold2", "gru-pool", "decisions", "gru-test", "test"]
    assert {"scale=paper", "trainer=gpu", "data.store=/data/features", "+data.fold_splits=[train,val]",
            "data.labels.test_list=/data/test.txt"} <= set(found["gru/fold0"])  # fmt: skip
    assert "split=test" in found["test"]
    assert "predictions=['/runs/gru-pool/predictions/oof.parquet']" in found["decisions"]
    uni = listed(*OWN, "reader=affwild2_uni", "grid=frames", "labels.task=va", "postprocess.expression_biases=null",
                 "postprocess.au_thresholds=0.5", "postprocess.k={valence_arousal: 7}")  # fmt: skip
    words = {"data@data.labels=affwild2_uni", "data.labels.task=va", "data.grid=frames"}
    assert words <= set(uni["bigru/fold0"])
    assert "postprocess.k={valence_arousal:7}" in uni["test"]


def test_all_errors_are_told_before_anything_is_made(tmp_path: Path) -> None:
    given = ["heads=[gru,gru,none_such]", "folds=1", "store=/x", "postprocess.k=-1", f"paths.output_dir={tmp_path}"]
    with pytest.raises(ConfigError) as told:
        recipe(composed("recipe", given))
    text = str(told.value)
    for part in ("there is no none_such; there are transformer", "each once: heads=[transformer,gru]",
                 "folds=1: give 2 or more", "give labels.root, too", "postprocess.k is -1"):  # fmt: skip
        assert part in text, part
    with pytest.raises(ConfigError, match=r"labels\.root: give store, too(.|\n)*labels\.root=/x: no such folder"):
        recipe(composed("recipe", ["labels.root=/x", f"paths.output_dir={tmp_path}"]))
    own = [f"labels.root={tmp_path}", "store=/x/y", "reader=affwild2_uni", "labels.task=va"]
    with pytest.raises(ConfigError) as told:
        recipe(composed("recipe", [*own, f"paths.output_dir={tmp_path}"]))
    for part in ("store=/x/y: /x/y/store.json: no such file", "labels to search on: give postprocess.au_thresholds=0.5",
                 "postprocess.expression_biases=search: labels.task=va has none of its labels"):  # fmt: skip
        assert part in str(told.value), part
    with pytest.raises(ConfigError, match=r"head=gru: recipe\.py takes heads=\[gru\], of bigru, gru, tcn, "):
        composed("recipe", ["head=gru"])
    with pytest.raises(ConfigError, match=r"head=gru: evaluate\.py has no head to choose; there are: checkpoint, "):
        composed("evaluate", ["head=gru"])
    with pytest.raises(ConfigError, match=r"unknown key 'trainer\.max_epoch'; did you mean"):
        recipe(composed("recipe", ["+overrides={trainer.max_epoch:1}", f"paths.output_dir={tmp_path}"]))
    with pytest.raises(ConfigError, match=r"stages: .*: a stage has name, run and words"):
        recipe(composed("recipe", ["stages=[{name: x}]", f"paths.output_dir={tmp_path}"]))
    with pytest.raises(ConfigError, match=r"stages: x: Interpolation key 'none' not found"):
        recipe(composed("recipe", ["stages=[{name: x, run: train, words: ['${none}']}]"]))
    with pytest.raises(ConfigError, match="unknown key 'fold'"):
        composed("recipe", ["fold=3"])
    assert not list(tmp_path.iterdir())


def given(folder: Path) -> Sequence[str]:
    """A recipe of seconds."""
    return [
        f"paths.output_dir={folder}/logs", f"paths.cache_dir={folder}/cache", "heads=[gru]", "folds=2",
        "+network={debug:fast,render.train_faces:16,render.val_faces:16,render.workers:1,data.batch_size:8}",
        "render.train_videos=8", "render.val_videos=3", "render.frames_per_video=12", "render.workers=1",
        "+overrides={trainer.max_epochs:1,data.window:8,data.hop:4}", "postprocess.cross_fit=2",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_recipe_that_is_stopped_goes_on_and_ends_with_a_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(script: str, stop: str | None) -> Any:
        work = running_entries[script]

        def enter(config: Any) -> None:
            made.append(Path(config.paths.run_dir).name)
            if made[-1] == stop:
                raise UserError("the power is gone")
            work(config)

        return enter

    running_entries = dict(running.ENTRIES)
    for stop in ("decisions", None):
        for script in running_entries:
            monkeypatch.setitem(running.ENTRIES, script, counted(script, stop))
        if stop is None:
            recipe(composed("recipe", given(tmp_path)))
        else:
            with pytest.raises(UserError, match="the power is gone"):
                recipe(composed("recipe", given(tmp_path)))
    assert made == ["network", "features", "fold0", "fold1", "gru-pool", "decisions", "decisions", "gru-test", "test"]
    recipe(composed("recipe", given(tmp_path)))
    assert len(made) == 9  # nothing is made twice
    folder = tmp_path / "logs" / "recipe"
    (root,) = (tmp_path / "cache" / "faces").glob("mtl-*")
    lines = (folder / "submission.txt").read_text().splitlines()
    rows = (root / "validation_set_annotations.txt").read_text().splitlines()
    assert lines[0] == rows[0] == MTL_HEADER
    assert [line.partition(",")[0] for line in lines[1:]] == [row.partition(",")[0] for row in rows[1:]]
    pool, test = (json.loads((folder / name / "scores.json").read_text()) for name in ("decisions", "test"))
    assert {"P_MTL", "self_fitted/P_MTL"} <= pool.keys()
    assert "P_MTL" in test
    assert "tuned_on_these_labels" not in test  # no label of the test list has decided anything
    stored = json.loads((folder / "decisions" / STORED).read_text())
    assert {"k", "expression_biases", "au_thresholds"} <= stored.keys()
