"""The chain of priors: what is run with what, that finished runs are kept, and the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.studies import chain as module
from benchmarks.studies.chain import ARMS, arm_overrides, chain, table
from benchmarks.studies.running import trained
from tests.conftest import small


def test_each_arm_has_its_priors(tmp_path: Path) -> None:
    given = {arm: " ".join(arm_overrides(arm, tmp_path)) for arm in ARMS}
    assert {arm for arm in ARMS if "encoder.pth" in given[arm]} == {"mae", "both"}
    assert {arm for arm in ARMS if "dan.pth" in given[arm]} == {"dan", "both"}
    assert {arm for arm in ARMS if "dan=null" in given[arm]} == {"scratch", "mae"}


@pytest.mark.slow
def test_a_small_chain_runs_and_is_not_run_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = ["debug=fast", "render.workers=1", f"paths.cache_dir={tmp_path}/cache"]
    faces = ["render.train_faces=20", "render.val_faces=8"]
    sizes = {"mae": [*faces, "model.network.decoder_width=16", "model.network.decoder_heads=2"], "dan": faces,
             "emma": ["render.train_videos=3", "render.val_videos=2", "render.frames_per_video=8"]}  # fmt: skip
    calls: list[str] = []

    def smaller(folder: Path, arguments: list[str]):
        calls.append(folder.name)
        experiment = arguments[0].removeprefix("experiment=")
        without = ("model.network.dan.",) if "model.network.dan=null" in arguments else ()
        fitting = [key for key in small(experiment) if not key.startswith(without)]
        return trained(folder, [*arguments, *fitting, *common, *sizes[experiment]])

    monkeypatch.setattr(module, "trained", smaller)
    first = chain(tmp_path / "seed1", 1, ["model.network.head_hidden=null"])
    assert {"LOSS", "FLAT_LOSS"} == set(first["mae"])
    assert calls == ["mae", "dan", *(f"emma-{arm}" for arm in ARMS)]
    config = (tmp_path / "seed1" / "emma-both" / "config.yaml").read_text()
    assert f"{tmp_path}/seed1/mae/weights/encoder.pth" in config
    assert "head_hidden: null" in config
    stamps = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("seed1/*/scores.json"))]
    again = chain(tmp_path / "seed1", 1, ["model.network.head_hidden=null"])
    assert again == first
    assert stamps == [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("seed1/*/scores.json"))]


def test_the_table_has_means_and_gains_seed_by_seed() -> None:
    def one(scratch: float, mae: float) -> dict[str, dict[str, float | None]]:
        names = ("P_MTL", "P_VA", "P_EXPR", "P_AU")
        return {f"emma-{arm}": dict.fromkeys(names, mae if arm == "mae" else scratch) for arm in ARMS}

    rows = table({0: one(1.0, 1.5), 1: one(2.0, 2.5)})
    assert rows[1] == ["scratch", *["1.500 ± 0.707"] * 4, "0.000 ± 0.000"]
    assert rows[2][-1] == "0.500 ± 0.000"
