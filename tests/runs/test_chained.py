"""predict.py by heads on stored features: what extract.py and the head's own run say of the same crops."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import CheckpointError, ConfigError, UserError
from affect.labels import Task
from datamodules.pictures import read_image
from evaluators.table import Table, read_table
from features.store_files import INFO, StoreInfo
from rendering.cache import draw as draw_faces
from runs import following, predictor
from runs.assembly import build_module
from runs.chained import InTime, Stretches
from runs.checkpoints import save_atomically
from runs.config import CONFIG_DIR, resolve
from runs.extract import extract
from runs.frozen import Frozen, Image
from runs.networks import load_networks
from runs.predictor import Predictor
from runs.train import train
from tests.conftest import small
from tests.features.windows import Video, values
from tests.heads.temporal.test_stitching import module_of, slow_logits
from tests.runs.test_live import call as call_live
from tests.test_predict import call, film, red_squares
from videos.decoding import decode
from videos.settings import CropSettings
from videos.watching import Watched, cut_out, watch

FRAMES = 30
SEEN = {1: [*range(3, 12), *range(16, 28)], 2: [*range(5, 30)]}
"""The frames in which each person has a face: the first is away for a while, and the last frame has nobody."""


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "make_detector", lambda _: red_squares)


def frame_of(number: int) -> np.ndarray[Any, Any]:
    """BGR: a red square for each person, with a pattern that changes, so that features do."""
    random = np.random.default_rng(number)
    image = np.full((120, 260, 3), 90, np.uint8)
    for person, left in ((1, 20 + number), (2, 170)):
        if number in SEEN[person]:
            coarse = random.integers(-30, 31, (5, 5, 3))
            square = np.array([30, 30, 220]) + np.kron(coarse, np.ones((8, 8, 1)))
            image[30:70, left : left + 40] = square.clip(0, 255)
    return image


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [frame_of(number) for number in range(1, FRAMES + 1)]
    return film(tmp_path_factory.mktemp("film") / "clip.mkv", frames, codec="ffv1", pixels="bgr0")


@pytest.fixture(scope="module")
def crops(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn videos to learn from, and to validate on the crops of the film, as PNG: a video for each person."""
    root = tmp_path_factory.mktemp("crops") / "uni"
    draw_faces(root, "uni", seed=1, train_videos=3, val_videos=1, frames_per_video=14, workers=1)
    watched = watch(decode(video), red_squares, 25.0)
    faces = cut_out(decode(video), watched, CropSettings(), video)
    for picture, person, face in zip(watched.picture, watched.face_id, faces, strict=True):
        path = root / "cropped_aligned" / f"person{person}" / f"{watched.frame[picture]:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(cv2.imencode(".png", face[..., ::-1])[1].tobytes())
        np.testing.assert_array_equal(read_image(path), face)
    (lists,) = root.glob("VA*/Validation_Set")
    for file in lists.iterdir():
        file.unlink()
    for person, seen in SEEN.items():
        assert {int(path.stem) for path in (root / "cropped_aligned" / f"person{person}").iterdir()} == set(seen)
        (lists / f"person{person}.txt").write_text("\n".join(["valence,arousal", *["0.1,0.2"] * FRAMES]) + "\n")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet10t.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t", num_classes=0).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that was not trained, but is a run's."""
    path = tmp_path_factory.mktemp("network") / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    config = ["backbone.name=resnet10t", "backbone.weights=random", "data=affwild2_mtl", "data.root=nowhere"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        plain = resolve(compose("train", [*small("baseline"), *config]))
    torch.manual_seed(1)
    module = build_module(plain["model"], initialise=False)
    how = replace(module.preprocessing, mean=(0.4, 0.5, 0.6), interpolation="bicubic")  # as of weights that say so
    module.preprocessing = how
    content = {"model_config": module.model_config, "state_dict": module.state_dict(), "preprocessing": asdict(how)}
    save_atomically(content, path)
    return path


@pytest.fixture(scope="module")
def stores(crops: Path, weights: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of bare weights, in half precision; and of a run, as they are."""
    folder = tmp_path_factory.mktemp("stores")
    bare = ["backbone=timm", "backbone.name=resnet10t", f"backbone.weights={weights}", "backbone.image_size=48"]
    for name, network in (("bare", bare), ("run", [f"checkpoint={checkpoint.parent.parent}", "dtype=float32"])):
        common = [f"data.root={crops}", "data.task=va", "trainer=cpu", "data.eval_batch_size=1", "data.num_workers=0",
                  f"store={folder}/{name}", f"paths.run_dir={folder}/of-{name}",
                  f"paths.cache_dir={folder}/cache"]  # fmt: skip
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            extract(compose("extract", [*network, *common]))
    return [folder / "bare", folder / "run"]


def trained(stores: Sequence[Path], crops: Path, folder: Path, *overrides: str) -> Path:
    given = stores[0] if len(stores) == 1 else f"[{','.join(map(str, stores))}]"
    common = [f"data.store={given}", f"data.labels.root={crops}", "data.labels.task=va", "trainer=cpu",
              "trainer.max_epochs=1", "data.batch_size=4", "data.num_workers=0", "callbacks.progress=null",
              f"paths.run_dir={folder}/run", f"paths.cache_dir={folder}/cache"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(compose("train", [*overrides, *common]))
    return folder / "run"


@pytest.fixture(scope="module")
def causal(stores: list[Path], crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(stores[:1], crops, tmp_path_factory.mktemp("gru"), *temporal("gru", "data.max_frames=7"))


def temporal(head: str, *more: str) -> list[str]:
    return ["experiment=temporal", "scale=tiny", f"head={head}", "data.window=12", "data.hop=8", *more]


def same(table: Table, run: Path) -> None:
    """Compare the faces of a table with what the head's own run said of each person's crops."""
    own = read_table(run / "predictions" / "val.parquet")
    said = dict(zip(zip(own.video, own.frame.tolist(), strict=True), own.predictions["valence_arousal"], strict=True))
    assert table.found is not None
    rows = np.flatnonzero(table.found.success)
    assert len(rows) == sum(map(len, SEEN.values()))
    expected = [said[f"person{table.found.face_id[row]}", int(table.frame[row])] for row in rows]
    np.testing.assert_allclose(table.predictions["valence_arousal"][rows], expected, atol=1e-5, rtol=0)
    assert np.ptp(expected, axis=0).max() > 1e-3  # they differ by more than they may


@pytest.mark.parametrize(
    ("head", "number"),
    [
        (temporal("transformer"), 2),
        pytest.param(temporal("bigru", "data.max_frames=20"), 1, marks=pytest.mark.slow),
        (["heads_va"], 1),
    ],
)
def test_a_chain_says_what_the_head_says_of_the_store(
    stores: list[Path], crops: Path, video: Path, tmp_path: Path, head: list[str], number: int
) -> None:
    if head == ["heads_va"]:
        head, given = ["experiment=heads_va", "model.network.heads.valence_arousal.input=concat"], stores[1:]
    else:
        given = stores[:number]
    run = trained(given, crops, tmp_path, *head)
    # half of a batch's faces move the last digits, and half precision makes steps of them
    out = call(tmp_path, video, run, "batch_size=1" if stores[0] in given else "batch_size=64")
    same(read_table(out / "clip/clip.parquet"), run)


def test_a_causal_head_goes_through_each_person_in_pieces(causal: Path, video: Path, tmp_path: Path) -> None:
    same(read_table(call(tmp_path, video, causal, "batch_size=1") / "clip/clip.parquet"), causal)


def test_a_gap_alone_ends_what_a_temporal_head_remembers(causal: Path, video: Path, tmp_path: Path) -> None:
    tables = [
        read_table(call(tmp_path / str(gap), video, causal, "batch_size=64", f"postprocess.max_gap={gap}")
                   / "clip/clip.parquet") for gap in (4, 5)
    ]  # fmt: skip
    found = tables[0].found
    assert found is not None
    differ = (tables[0].predictions["valence_arousal"] != tables[1].predictions["valence_arousal"]).any(axis=1)
    first = found.face_id == 1  # away from frame 12 to 15: the next face is 5 frames after the last
    late = np.asarray(tables[0].frame) > 11
    assert differ[found.success & first & late].any()
    assert not differ[found.success & first & ~late].any()
    assert not differ[found.success & ~first].any()


def test_the_network_of_the_features_looks_at_batches_whose_size_changes_nothing(
    stores: list[Path], crops: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, looked, own = trained(stores[1:], crops, tmp_path, *temporal("gru")), list[int](), Frozen.__call__

    def counted(self: Frozen, faces: Sequence[Image], device: torch.device) -> Any:
        looked.append(len(faces))
        return own(self, faces, device)

    monkeypatch.setattr(Frozen, "__call__", counted)
    tables = []
    for size in (20, 1):
        out = call(tmp_path / str(size), video, run, f"batch_size={size}")
        tables.append(read_table(out / "clip/clip.parquet").predictions["valence_arousal"])
    assert looked == [20, 20, 6, *[1] * 46]
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_causal_head_says_the_same_live(causal: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same crops: a file's are steadied by later frames, too."""
    monkeypatch.setattr(following, "make_detector", lambda _: red_squares)
    watched = watch(decode(video), red_squares, 25.0)
    squares = {int(frame): watched.square[watched.picture == number] for number, frame in enumerate(watched.frame)}
    monkeypatch.setattr(following.Steady, "add", lambda _, number, *__: squares[number])
    model = Predictor(causal, device="cpu", batch_size=1)
    live = following.Following(model, "clip")
    live.warm()
    tables = [live.look(number, one.time or 0.0, one.image) for number, one in enumerate(decode(video), 1)]
    column: Task = "valence_arousal"
    found = np.concatenate([one.predictions[column] for one in tables])
    np.testing.assert_allclose(found, model.video(video).predictions[column], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_head_that_looks_ahead_is_refused_live(stores: list[Path], crops: Path, tmp_path: Path) -> None:
    run = trained(stores[:1], crops, tmp_path, *temporal("transformer"))
    with pytest.raises(UserError, match=r"the head of .* looks at later frames") as told:
        call_live(tmp_path, "http://127.0.0.1:9/clip.mp4", run)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_pictures_and_crops_are_seen_alone(causal: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in (6, 7)]
    for path in paths:
        cv2.imwrite(str(path), frame_of(int(path.stem)))
    model = Predictor(causal, device="cpu", batch_size=1)
    table = model.pictures(paths)
    assert table.video == ["6", "6", "7", "7"]
    again = model.pictures(paths[1:])
    column: Task = "valence_arousal"
    np.testing.assert_allclose(again.predictions[column], table.predictions[column][2:], atol=1e-6)
    assert model.crops([])[column].shape == (0, 2)
    assert model.crops(paths)[column].shape == (2, 2)


def test_two_heads_on_the_same_features_look_once(causal: Path) -> None:
    first, other = load_networks([causal, causal])
    assert first.frozen[0] is other.frozen[0]


def test_weights_that_moved_are_asked_for_in_one_message(
    causal: Path, weights: Path, video: Path, tmp_path: Path
) -> None:
    hidden = weights.with_name("hidden.pth")
    weights.rename(hidden)
    try:
        with pytest.raises(CheckpointError, match=r"resnet10t\.pth does not give it .*give features\.weights=") as told:
            call(tmp_path, video, causal)
        assert "\n" not in str(told.value)
        assert not (tmp_path / "out").exists()
        out = call(tmp_path, video, causal, f"features.weights={hidden}", "batch_size=1")
        same(read_table(out / "clip/clip.parquet"), causal)
    finally:
        hidden.rename(weights)


def test_other_weights_are_refused(causal: Path, weights: Path, checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in state.items() if tensor.is_floating_point()}
               | {name: tensor for name, tensor in state.items() if not tensor.is_floating_point()},
               tmp_path / "other.pth")  # fmt: skip
    with pytest.raises(CheckpointError, match=r"other\.pth is another one \(.*…, not .*…\): give features\.weights="):
        load_networks([causal], str(tmp_path / "other.pth"))
    with pytest.raises(CheckpointError, match=r"best\.ckpt does not give it .*features\.weights="):
        load_networks([causal], str(checkpoint))
    with pytest.raises(ConfigError, match=r"features\.weights names 2, but .* learnt from 1 stores"):
        load_networks([causal], [str(weights), None])
    with pytest.raises(ConfigError, match=r"tta=true: .* holds heads on features"):
        Predictor(causal, tta=True)


@pytest.mark.parametrize("lacking", ["made_by", "laid"])
def test_checkpoints_of_earlier_versions_say_what_to_do(causal: Path, tmp_path: Path, lacking: str) -> None:
    content = torch.load(causal / "checkpoints" / "best.ckpt", weights_only=True)
    config = content["model_config"]
    del (config if lacking == "laid" else config["network"]["features"][0])[lacking]
    save_atomically(content, tmp_path / "earlier.ckpt")
    with pytest.raises(CheckpointError, match=r"does not say what made these, .*make the store anew"):
        load_networks([tmp_path / "earlier.ckpt"])


@pytest.mark.parametrize(("key", "value"), [("window", 0), ("grid", "dense"), ("hop", None), ("more", 1)])
def test_windows_that_are_none_are_refused(causal: Path, tmp_path: Path, key: str, value: Any) -> None:
    content = torch.load(causal / "checkpoints" / "best.ckpt", weights_only=True)
    content["model_config"]["laid"][key] = value
    save_atomically(content, tmp_path / "changed.ckpt")
    with pytest.raises(CheckpointError, match=r"its laid is .*, which are no windows"):
        load_networks([tmp_path / "changed.ckpt"])


@pytest.mark.parametrize("value", ["text", {"target": None}, {"target": 1, "options": {}, "source": None}])
def test_a_maker_that_is_none_is_refused(causal: Path, tmp_path: Path, value: Any) -> None:
    content = torch.load(causal / "checkpoints" / "best.ckpt", weights_only=True)
    content["model_config"]["network"]["features"][0]["made_by"] = value
    save_atomically(content, tmp_path / "changed.ckpt")
    with pytest.raises(CheckpointError, match="what it says of its stores was changed"):
        load_networks([tmp_path / "changed.ckpt"])


def test_a_checkpoint_cannot_have_anything_else_built(causal: Path, tmp_path: Path) -> None:
    content = torch.load(causal / "checkpoints" / "best.ckpt", weights_only=True)
    content["model_config"]["network"]["features"][0]["made_by"]["target"] = "os.system"
    save_atomically(content, tmp_path / "hostile.ckpt")
    with pytest.raises(CheckpointError, match=r"os\.system is not among the things that may be built here"):
        load_networks([tmp_path / "hostile.ckpt"])


def test_a_store_of_an_earlier_version_is_read(stores: list[Path], tmp_path: Path) -> None:
    shutil.copytree(stores[0], tmp_path / "store")
    info = StoreInfo.read(tmp_path / "store")
    replace(info, made_by=None).write(tmp_path / "store")
    assert StoreInfo.read(tmp_path / "store").made_by is None
    content = json.loads((tmp_path / "store" / INFO).read_text())
    assert content["made_by"] is None


def test_a_stretch_ends_at_a_long_gap_and_with_the_video_where_that_is_near() -> None:
    frames, ids = np.array([4, 5, 9, 4, 20, 21]), np.array([1, 1, 1, 2, 2, 2])
    order = np.lexsort((ids, frames))
    pictures = np.arange(1, 31)
    watched = Watched(pictures, pictures / 25, frames[order] - 1, ids[order], np.zeros((6, 5)), np.zeros((6, 3)), True)
    for gap, grid, expected in (
        (3, "frames", {(1, 4): (3, 5), (1, 5): (4, 5), (1, 9): (0, 1), (2, 4): (3, 4), (2, 20): (0, 2)}),
        (9, "frames", {(1, 4): (3, 30 - 21 + 9), (2, 20): (0, 11)}),
        (16, "frames", {(2, 4): (3, 30), (2, 20): (19, 30)}),
        (16, "rows", {(1, 9): (2, 3), (2, 4): (0, 3), (2, 21): (2, 3)}),
    ):
        if gap == 9:
            expected[1, 4] = (3, 9)
        made = Stretches.of(watched, gap, grid)  # type: ignore[arg-type]
        found = {
            (person, frame): (position, made.length[number])
            for person, frame, number, position in zip(
                ids[order], frames[order], made.number, made.position, strict=True
            )
        }
        for key, value in expected.items():
            assert found[key] == value, (gap, grid, key)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), causal=st.booleans(), grid=st.sampled_from(["frames", "rows"]))
def test_people_at_once_are_as_a_slow_loop_says_of_each(data: st.DataObject, causal: bool, grid: str) -> None:
    end = data.draw(st.integers(1, 25))
    seen = data.draw(st.lists(st.sets(st.integers(1, end), min_size=1), min_size=1, max_size=3))
    window = data.draw(st.integers(1, 8))
    hop = data.draw(st.integers(1, window))
    pieces = data.draw(st.integers(1, 9)) if causal else None
    fill = "previous" if causal else "nearest"
    laid = {"window": window, "hop": 1, "eval_hop": hop, "max_frames": pieces, "grid": grid, "fill": fill}
    faces = sorted((frame, person) for person, known in enumerate(seen, 1) for frame in known)
    picture = np.array([frame - 1 for frame, _ in faces])
    ids = np.array([person for _, person in faces])
    numbers = np.arange(1, end + 1)
    watched = Watched(numbers, numbers / 25, picture, ids, np.zeros((len(ids), 5)), np.zeros((len(ids), 3)), True)

    def frozen(crops: Any, _: Any) -> Any:
        return torch.from_numpy(np.stack(crops)), None

    module = module_of(causal=causal).eval()
    module.laid = laid
    asked = InTime(module, [frozen], watched, end, torch.device("cpu"))  # type: ignore[list-item]
    stream = [values("x" * person, [frame])[0] for frame, person in faces]
    size = data.draw(st.integers(1, 5))
    with torch.no_grad():
        for start in range(0, len(stream), size):
            asked.add(stream[start : start + size])  # type: ignore[arg-type]
            # no more than a window, which would have been looked at
            assert all(len(person._held) < (pieces or window) for person in asked._going.values())
    assert not asked._going
    said = asked.said()["logits_expression"].numpy()
    for person, known in enumerate(seen, 1):
        listed = sorted(known) if grid == "rows" else [*range(1, end + 1)]
        own = slow_logits({"x" * person: Video(listed, sorted(known))}, window, hop, grid, causal=causal)
        expected = [one for frame, one in zip(listed, own, strict=True) if frame in known]
        np.testing.assert_allclose(said[ids == person], np.stack(expected), rtol=1e-4, atol=1e-4)  # type: ignore[arg-type]
