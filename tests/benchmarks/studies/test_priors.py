"""The priors: what is run with what; the whole study at toy size, given again, and the studies that go on with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.errors import ConfigError
from benchmarks.studies import ensembles, gap, people, priors, smiles
from benchmarks.studies.priors import CLAIMS, ROWS, commands
from runs.stages import run
from tests.conftest import small

SIZES = {
    "mae": ["warmup_epochs=0.5", "render.train_faces=20", "render.val_faces=8", "model.network.decoder_width=16",
            "model.network.decoder_heads=2"],
    "dan": ["render.train_faces=20", "render.val_faces=8"],
    "emma": ["warmup_epochs=0.5", "render.train_videos=3", "render.val_videos=2", "render.frames_per_video=8"],
}  # fmt: skip


def test_each_row_has_its_priors(tmp_path: Path) -> None:
    made = commands(tmp_path, 3, Path("/faces"), Path("/photographs"))
    assert list(made)[:3] == ["mae-drawn", "mae-real", "dan"]
    for name, row in ROWS.items():
        for labelled in ("few", "many"):
            given = " ".join(made[f"{labelled}/{name}"])
            assert ("mae-real/weights/encoder.pth" in given) == (row.encoder == "real")
            assert ("mae-drawn/weights/encoder.pth" in given) == (row.encoder == "drawn")
            assert ("dan/weights/dan.pth" in given, "dan=null" in given) == (row.dan, not row.dan)
            assert "render.seed=3" in given
        assert (f"photographs/{name}" in made) == (not row.dan)
    for data, ours, other, _ in CLAIMS.values():
        assert {f"{data}/{ours}", f"{data}/{other}"} <= made.keys()
    assert not any(name.startswith("photographs") for name in commands(tmp_path, 3, Path("/faces"), None))


def toy(cache: Path) -> Callable[..., Path]:
    """Return ``run`` with networks and data of seconds."""

    def smaller(folder: Path, script: str, given: Sequence[str]) -> Path:
        if script != "train":
            return run(folder, script, given)
        experiment = next(one.removeprefix("experiment=") for one in given if one.startswith("experiment="))
        sizes = [*small(experiment), *SIZES[experiment], "render.workers=1", f"paths.cache_dir={cache}"]
        if experiment == "emma":
            sizes.append("model.network.vit.stem=linear")
        absent = ("render.",) if any(one.startswith("data.root=") for one in given) else ()
        absent += ("model.network.dan.",) if "model.network.dan=null" in given else ()
        kept = [one for one in given if not one.startswith(("render.train_videos", "trainer.max_epochs"))]
        return run(folder, script, [*kept, *(one for one in sizes if not one.startswith(absent))])

    return smaller


@pytest.mark.slow
def test_the_whole_study_and_those_that_go_on_with_it_at_toy_size(
    tmp_path: Path, faces: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (priors, ensembles, gap, smiles):
        monkeypatch.setattr(module, "run", toy(tmp_path / "cache"))
        monkeypatch.setattr(module, "COMMON", ("trainer=cpu",))
    given = ["priors", str(tmp_path / "study"), "--faces", str(faces / "cropped_aligned"), "--photographs", str(faces)]
    monkeypatch.setattr(sys, "argv", [*given, "--seeds", "4"])
    priors.main()
    first = (tmp_path / "study" / "results.json").read_text()
    results = json.loads(first)
    assert set(results["difference, low, high"]) == set(CLAIMS)
    assert all(low <= mean <= high for mean, low, high in results["difference, low, high"].values())
    assert all(seen[0] > 0 for seen in results["seconds"].values())
    printed = capsys.readouterr().out
    assert "few/emma-real-p1+p2" in printed
    assert "EMMA (CelebA) 126.71" in printed
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "study").rglob("scores.json")}
    priors.main()
    assert (tmp_path / "study" / "results.json").read_text() == first
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "study").rglob("scores.json")}
    monkeypatch.setattr(sys, "argv", [*given[:2], "data.batch_size=8", *given[2:], "--seeds", "4"])
    with pytest.raises(ConfigError, match="has a run of other settings"):
        priors.main()

    given = ["ensembles", str(tmp_path / "ensembles"), "--priors", str(tmp_path / "study"), "--seeds"]
    monkeypatch.setattr(sys, "argv", [*given[:2], "trainer.max_epochs=4", *given[2:], "4"])
    ensembles.main()
    results = json.loads((tmp_path / "ensembles" / "results.json").read_text())
    assert results["hyper-parameters"]["best"] in ensembles.MEMBERS
    assert results["epochs"]["best"].startswith("epoch")
    monkeypatch.setattr(sys, "argv", [*given, "5"])
    with pytest.raises(ConfigError, match="lacks mae-real, dan of seed 5"):
        ensembles.main()

    london = tmp_path / "london"
    names = [f"{one:03}_{look}/00001.jpg" for one in range(4) for look in ("neutral", "smiling")]
    for number, name in enumerate(names):
        (london / "faces" / "cropped" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(london / "faces" / "cropped" / name), np.full((112, 112, 3), 30 * number, np.uint8))
    (london / "faces" / "frames.txt").write_text("\n".join(["image_location", *names]) + "\n")
    monkeypatch.setattr(gap, "CHANGES", {name: gap.CHANGES[name] for name in ("as drawn", "skin", "JPEG")})
    given = ["gap", str(tmp_path / "gap"), "--priors", str(tmp_path / "study"), "--london", str(london), "--seeds", "4"]
    monkeypatch.setattr(sys, "argv", given)
    gap.main()
    results = json.loads((tmp_path / "gap" / "people" / "results.json").read_text())
    assert {name: set(halves) for name, halves in results.items()} == {key: {"2nd, 4th, …"} for key in gap.CHANGES}
    assert set(results["skin"]["2nd, 4th, …"]) == set(people.SHOWN)
    picture = cv2.imread(str(tmp_path / "gap" / "gap.png"))
    assert picture is not None
    assert picture.std() > 20

    given = ["smiles", str(tmp_path / "smiles"), "--priors", str(tmp_path / "study"), "--london", str(london)]
    monkeypatch.setattr(
        sys, "argv", [*given, "--faces", str(faces / "cropped_aligned"), "--seeds", "4", "--all-people"]
    )
    smiles.main()
    (results,) = json.loads((tmp_path / "smiles" / "people" / "results.json").read_text()).values()
    assert {name: set(shares) for name, shares in results.items()} == {key: set(people.SHOWN) for key in people.HALVES}
    config = (tmp_path / "smiles" / "seed4" / "emma" / "config.yaml").read_text()
    assert f"{tmp_path}/study/seed4/mae-real/weights/encoder.pth" in config
