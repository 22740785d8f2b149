"""predict.py: from videos and pictures to tables, again and again, and whatever people give it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import PIL.Image
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir

from affect.errors import CheckpointError, ConfigError, DataError, OldCommandError, UserError
from evaluators.table import read_table
from examples.score_faces import lines
from rendering.cache import draw as draw_faces
from runs import networks, predictor
from runs.config import CONFIG_DIR, check_command_line
from runs.ending import clear_errors
from runs.predict import MADE, predict
from runs.predictor import Predictor, as_rgb
from runs.train import train
from tests.conftest import small
from videos.decoding import decode
from videos.detector import Boxes

RED = np.array([30, 30, 220])


def red_squares(image: np.ndarray) -> Boxes:
    """Stand for a detector: the bounds of each red area."""
    mask = (np.abs(image.astype(int) - RED).max(axis=2) < 40).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    found = [(*stats[one][:4], 0.9) for one in range(1, count) if stats[one][4] > 100]
    return np.array(found, dtype=np.float64).reshape(-1, 5)


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "make_detector", lambda _: red_squares)


@pytest.fixture(scope="session")
def emma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a small EMMA."""
    folder = tmp_path_factory.mktemp("emma")
    faces = draw_faces(folder / "faces", "mtl", seed=1, train_videos=3, val_videos=2, frames_per_video=6, workers=1)
    return trained("emma", folder, f"data.root={faces}", "data=affwild2_mtl", "trainer.max_epochs=1")


def trained(experiment: str, folder: Path, *overrides: str) -> Path:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(compose("train", [*small(experiment), f"paths.run_dir={folder}/run", *overrides]))
    return folder / "run"


def call(tmp_path: Path, source: Path | Sequence[Path], checkpoint: object, *overrides: str) -> Path:
    """Run the command in this process, and return where it writes."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("predict", [f"out={tmp_path}/out", "device=cpu", *overrides])
    config.source = str(source) if isinstance(source, Path) else [str(one) for one in source]
    config.checkpoint = None if checkpoint is None else checkpoint if isinstance(checkpoint, list) else str(checkpoint)
    predict(config)
    return tmp_path / "out"


def picture(*places: tuple[int, int], size: tuple[int, int] = (120, 200)) -> np.ndarray:
    """BGR, with a red square of 40 px at each place."""
    image = np.full((*size, 3), 90, np.uint8)
    for left, top in places:
        image[top : top + 40, left : left + 40] = RED
    return image


def film(path: Path, frames: Sequence[np.ndarray], *, codec: str = "mpeg4", pixels: str = "yuv420p",
         times: Sequence[int] | None = None, turned: int = 0) -> Path:  # fmt: skip
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if turned:
            stream.set_display_rotation(turned)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = number if times is None else times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    """A second of silence, and no pictures."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for start in range(0, 16000, 1000):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def moving(count: int = 6) -> list[np.ndarray]:
    return [picture((20 + 2 * number, 30)) for number in range(count)]


def test_a_video_becomes_a_table_once(emma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = film(tmp_path / "clip.mp4", [*moving(), picture(), picture((20, 30), (120, 60))])
    out = call(tmp_path, video, emma)
    told = capsys.readouterr().out
    assert "learnt from drawn faces only" in told
    assert "8 frames, 7 with a face, 8 faces with 2 ids" in told
    table = read_table(out / "clip/clip.parquet")
    found = table.found
    assert table.frame.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert found.face_id.tolist()[:7] == [1] * 6 + [0]
    np.testing.assert_allclose(found.timestamp, (table.frame - 1) / 25)
    assert np.abs(found.box[0] - (20, 30, 40, 40)).max() < 4
    assert np.isnan(table.predictions["expression"][6]).all()
    assert not np.isnan(table.predictions["action_units"][[0, 8]]).any()
    before = (out / "clip/clip.parquet").stat().st_mtime_ns
    (out / "clip/clip.csv").unlink()
    call(tmp_path, video, emma, 'separator=";"')
    assert "clip: finished before" in capsys.readouterr().out
    assert (out / "clip/clip.parquet").stat().st_mtime_ns == before
    assert (out / "clip/clip.csv").read_text().startswith("row;video;frame;image;timestamp;face_id;success")


def test_what_differs_is_told_and_overwritten_only_on_request(emma: Path, tmp_path: Path) -> None:
    video = film(tmp_path / "clip.mp4", moving())
    out = call(tmp_path, video, emma)
    with pytest.raises(UserError, match=r"faces\.margin 0\.1, not 0\.3.*overwrite=true"):
        call(tmp_path, video, emma, "faces.margin=0.3")
    call(tmp_path, video, emma, "faces.margin=0.3", "overwrite=true")
    assert read_table(out / "clip/clip.parquet").metadata[MADE]["faces"]["margin"] == 0.3
    film(video, moving(7))
    with pytest.raises(UserError, match="has changed since"):
        call(tmp_path, video, emma, "faces.margin=0.3")
    (out / "clip/clip.parquet").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"clip\.parquet: not a Parquet file, or damaged .*overwrite=true"):
        call(tmp_path, video, emma)
    call(tmp_path, video, emma, "overwrite=true")
    assert len(read_table(out / "clip/clip.parquet")) == 7
    copied = tmp_path / "copy.mp4"
    shutil.copyfile(video, copied)
    call(tmp_path, copied, emma)
    copied.touch()  # another time, but the same content
    call(tmp_path, copied, emma)


def test_finished_sources_stay_when_a_later_one_is_stopped(
    emma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [film(tmp_path / f"{name}.mp4", moving()) for name in "ab"]
    video = Predictor.video

    def stopped(self: Predictor, path: Path, **options: object) -> object:
        if path.stem == "b":
            raise KeyboardInterrupt
        return video(self, path, **options)

    monkeypatch.setattr(Predictor, "video", stopped)
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path, sources, emma)
    assert not list((tmp_path / "out/b").glob("b.*"))
    monkeypatch.setattr(Predictor, "video", video)
    call(tmp_path, sources, emma)
    told = capsys.readouterr().out
    assert "a: finished before" in told
    assert "b: 6 frames" in told


def test_pictures_are_one_table_a_folder(emma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos, März"
    folder.mkdir()
    for name, places in (("three", [(140, 10), (10, 10), (70, 60)]), ("none", []), ("one", [(50, 50)])):
        assert cv2.imwrite(str(folder / f"{name}.png"), picture(*places))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    (folder / "notes.txt").write_text("")
    film(folder / "three.mp4", moving())
    out = call(tmp_path, folder, emma)
    told = capsys.readouterr().out
    assert "left out, neither videos nor pictures: notes.txt" in told
    assert "4 pictures, 2 with a face, 4 faces; 1 cannot be read" in told
    table = read_table(out / "photos, März/photos, März.parquet")
    assert list(table.video) == ["broken", "none", "one", "three", "three", "three"]
    assert table.found.face_id.tolist() == [0, 0, 1, 1, 2, 3]
    assert np.diff(table.found.box[3:, 0]).min() > 0  # from left to right
    assert (out / "three/three.parquet").is_file()


def test_two_hundred_pictures_are_one_table_and_its_csv_is_the_same(emma: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(200):
        places = [(10 + number % 7, 20), (70, 30), (140, 10 + number % 5)][: number % 4]
        assert cv2.imwrite(str(folder / f"{number:03}.png"), picture(*places))
    out = call(tmp_path, folder, emma) / "photos"
    want = pq.read_table(out / "photos.parquet").to_pandas()
    assert [path.name for path in out.glob("*.parquet")] == ["photos.parquet"]
    assert want["image"].drop_duplicates().tolist() == [f"{number:03}.png" for number in range(200)]
    assert want.groupby("image")["success"].sum().tolist() == [number % 4 for number in range(200)]
    kinds = {name: want[name].dtype for name in want if want[name].dtype == np.float32} | {"video": str}
    have = pd.read_csv(out / "photos.csv", dtype=kinds)
    pd.testing.assert_frame_equal(have, want, check_exact=True, check_dtype=False)


def test_several_checkpoints_are_averaged_and_a_task_can_be_chosen(emma: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(emma, other)
    video = film(tmp_path / "clip.mp4", moving())
    one = read_table(call(tmp_path / "1", video, emma) / "clip/clip.parquet")
    two = read_table(call(tmp_path / "2", video, [str(emma), str(other)], "tasks=[action_units]") / "clip/clip.parquet")
    assert two.tasks == ("action_units",)
    np.testing.assert_allclose(two.predictions["action_units"], one.predictions["action_units"], atol=1e-6)
    with pytest.raises(ConfigError, match="there is no 'smile'"):
        Predictor(emma, tasks=["smile"])


def test_a_few_lines_of_python(emma: Path, tmp_path: Path) -> None:
    model = Predictor(emma, device="cpu", batch_size=2)
    bgr = picture((20, 30))
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), bgr)
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    forms = [rgb, path, str(path), PIL.Image.fromarray(rgb), tensor, tensor.float() / 255]
    said = model.crops(forms)
    assert {task: one.shape for task, one in said.items()} == {
        "valence_arousal": (6, 2), "expression": (6, 8), "action_units": (6, 12),
    }  # fmt: skip
    for one in said.values():
        np.testing.assert_allclose(one, np.tile(one[:1], (6, 1)), atol=1e-5)  # whatever the form and the batch
    mirrored = Predictor(emma, device="cpu", tta=True).crops([rgb, np.ascontiguousarray(rgb[:, ::-1])])
    for task, one in mirrored.items():  # the mean is of both
        np.testing.assert_allclose(one[0], one[1], atol=1e-5)
        assert np.abs(one[0] - said[task][0]).max() > 1e-5
    table = model.pictures([rgb, path])
    assert list(table.video) == ["picture1", "a"]
    np.testing.assert_allclose(table.predictions["expression"][0], table.predictions["expression"][1], atol=1e-6)
    for wrong in (rgb.astype(float), rgb[..., 0], tensor.float(), 3):
        with pytest.raises(DataError, match=r"is no picture|must be in"):
            as_rgb(wrong)
    assert model.crops([])["expression"].shape == (0, 8)
    assert model.crops(path)["expression"].shape == (1, 8)
    assert list(model.pictures(str(path)).video) == ["a"]  # one is not a list of letters
    assert list(model.pictures(one for one in (path, rgb)).video) == ["a", "picture2"]
    with pytest.raises(DataError, match=r"nofile\.jpg"):
        model.pictures(["nofile.jpg", "nofile.jpg"])


def test_the_example_says_what_is_seen_in_whole_pictures(emma: Path, tmp_path: Path) -> None:
    path = tmp_path / "party.png"
    cv2.imwrite(str(path), picture((120, 30), (20, 40)))
    said = list(lines(emma, path))
    assert [line for line in said if not line.startswith(" ")] == ["face 1", "face 2"]
    values = [line.split() for line in said]
    assert [float(value[1]) < 60 for value in values if value[0] == "x"] == [True, False]
    assert [name for name, *_ in values].count("arousal") == 2
    cv2.imwrite(str(path), picture())
    assert list(lines(emma, path)) == ["no face"]
    with pytest.raises(DataError, match=r"nothere\.png"):
        list(lines(emma, tmp_path / "nothere.png"))


def test_tables_for_other_tools_lie_beside(emma: Path, tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", [picture((20, 40), (120, 40))] * 15)
    out = call(tmp_path, clip, emma, "export=[fex,elan]") / "clip"
    assert {path.name for path in out.iterdir()} - {".lock"} == {
        "clip.parquet", "clip.csv", "timeline.html", "timeline.png", "clip_fex.csv", "clip_elan.txt"
    }  # fmt: skip
    assert (out / "clip_fex.csv").read_text().count("Person_2") == 15
    call(tmp_path, clip, emma, "export=bids")  # nothing is predicted again
    assert (out / "sub-clip_task-video_events.tsv").is_file()
    with pytest.raises(UserError, match=r"^export=eaf: no such form; there are: bids, elan, fex, openface"):
        call(tmp_path, clip, emma, "export=eaf")
    with pytest.raises(UserError, match=r"^export=fexx: no such form; did you mean fex\?"):
        call(tmp_path, clip, emma, "export=fexx")


def test_a_timeline_lies_beside_and_a_video_is_drawn_over(emma: Path, tmp_path: Path) -> None:
    clip = film(tmp_path / "<script>alert(1).mp4", moving(9))
    out = call(tmp_path, clip, emma, "overlay=true") / clip.stem
    text = (out / "timeline.html").read_text()
    assert "<title>&lt;script&gt;alert(1)" in text
    assert "learnt from drawn faces only" in text
    assert text.count("/9j/") == 9  # what a JPEG begins with
    pictures = list(decode(out / "overlay.mp4"))
    assert [round(25 * one.time) for one in pictures] == list(range(9))
    green = np.array([107, 158, 46])  # of the first person, in the timeline, too
    assert "#2e9e6b" in text
    assert np.abs(pictures[4].image[30, 40:55].astype(int) - green).max() < 60
    drawn = {name: (out / name).stat().st_mtime_ns for name in ("timeline.html", "timeline.png", "overlay.mp4")}
    call(tmp_path, clip, emma, "overlay=true")
    assert {name: (out / name).stat().st_mtime_ns for name in drawn} == drawn  # finished before
    call(tmp_path, clip, emma, "thumbnails=0")
    assert "/9j/" not in (out / "timeline.html").read_text()
    (out / "timeline.html").unlink()
    call(tmp_path, clip, emma)
    assert "/9j/" in (out / "timeline.html").read_text()
    call(tmp_path, clip, emma, "overwrite=true", "faces.margin=0.2")
    assert not (out / "overlay.mp4").exists()  # it showed what the former table said
    assert (out / "timeline.html").read_text() != text


def test_pictures_are_drawn_over_one_by_one(emma: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, places in (("two", [(20, 40), (120, 40)]), ("none", [])):
        assert cv2.imwrite(str(folder / f"{name}.png"), picture(*places, size=(300, 400)))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    out = call(tmp_path, folder, emma, "overlay=true", "tasks=[expression]") / "photos"
    assert {path.name for path in (out / "overlay").iterdir()} == {"none.jpg", "two.jpg"}
    drawn = cv2.imread(str(out / "overlay/two.jpg")).astype(int)
    assert np.abs(drawn[60, 40] - RED).max() < 30
    assert (np.abs(drawn - picture((20, 40), (120, 40), size=(300, 400))).max(axis=2) > 60).sum() > 300
    assert "3 pictures · at most 2 faces in one" in (out / "timeline.html").read_text()


def test_no_face_at_all_is_no_error(emma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = call(tmp_path, film(tmp_path / "wall.mp4", [picture()] * 4), emma, "export=[fex,openface,elan,bids]")
    assert "no face at all: its rows are empty" in capsys.readouterr().out
    table = read_table(out / "wall/wall.parquet")
    assert len(table) == 4
    assert table.null.all()
    assert not table.found.success.any()


def test_times_are_those_of_the_file_where_the_rate_varies(
    emma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [0, 1, 2, 5, 6, 13, 14, 22, 23, 40]
    vary = film(tmp_path / "vary.mkv", moving(10), times=times)
    out = call(tmp_path, vary, emma, "export=[fex,openface,elan,bids]")
    table = read_table(out / "vary/vary.parquet")
    assert table.frame.tolist() == list(range(1, 11))
    np.testing.assert_allclose(table.found.timestamp, np.array(times) / 25, atol=2e-3)
    assert "its rate varies or is not told" in capsys.readouterr().out


def test_ten_bits_and_turned_pictures_are_seen_as_shown(emma: Path, tmp_path: Path) -> None:
    deep = film(tmp_path / "deep.mkv", moving(), codec="ffv1", pixels="yuv420p10le")
    table = read_table(call(tmp_path, deep, emma) / "deep/deep.parquet")
    assert np.abs(table.found.box[0] - (20, 30, 40, 40)).max() < 3
    turned = film(tmp_path / "turned.mp4", moving(), turned=90)  # anticlockwise, 120 x 200 px as it is shown
    table = read_table(call(tmp_path, turned, emma) / "turned/turned.parquet")
    assert np.abs(table.found.box[0] - (30, 140, 40, 40)).max() < 4


def test_a_size_that_changes_in_the_midst_begins_new_people(emma: Path, tmp_path: Path) -> None:
    small = film(tmp_path / "a.ts", [picture((20, 30))] * 4)
    large = film(tmp_path / "b.ts", [picture((20, 30), size=(240, 400))] * 3, times=[4, 5, 6])
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert [one.image.shape[:2] for one in decode(both)] == [(120, 200)] * 4 + [(240, 400)] * 3
    table = read_table(call(tmp_path, both, emma) / "both/both.parquet")
    assert table.frame.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert table.found.face_id.tolist() == [1, 1, 1, 1, 2, 2, 2]


def test_every_source_that_cannot_be_used_is_named_before_anything_is_done(emma: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    good = film(tmp_path / "good.mp4", moving())
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:300])
    sound(tmp_path / "sound.mp4")
    sources = [tmp_path / name for name in ("text.mp4", "cut.mp4", "sound.mp4", "missing.mp4", "gone.jpg")]
    with pytest.raises(DataError) as error:
        call(tmp_path, [good, *sources], emma)
    assert all(str(one) in str(error.value) for one in sources)
    assert "sound.mp4: no video stream in it, only audio" in str(error.value)
    assert not (tmp_path / "out").exists()
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="neither a video nor a picture in this folder"):
        call(tmp_path, tmp_path / "void", emma)


def test_a_video_that_is_cut_off_is_read_up_to_there_and_this_is_said(
    emma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    noisy = [one // 2 + random.integers(0, 100, one.shape, dtype=np.uint8) for one in moving(50)]
    whole = film(tmp_path / "whole.avi", noisy).read_bytes()
    (tmp_path / "part.avi").write_bytes(whole[: len(whole) // 2])
    call(tmp_path, tmp_path / "part.avi", emma)
    assert "is the file truncated?" in capsys.readouterr().out


def test_two_sources_of_one_name_are_refused(emma: Path, tmp_path: Path) -> None:
    sources = [film(tmp_path / f"clip{suffix}", moving()) for suffix in (".mp4", ".mkv")]
    with pytest.raises(DataError, match=r"clip\.mp4, .*clip\.mkv: sources of the same name, clip"):
        call(tmp_path, sources, emma)
    folder = tmp_path / "photos"
    folder.mkdir()
    for suffix in (".png", ".jpg"):
        cv2.imwrite(str(folder / f"a{suffix}"), picture())
    with pytest.raises(DataError, match="pictures of the same name"):
        call(tmp_path, folder, emma)


def test_odd_names_are_read_and_impossible_ones_refused(emma: Path, tmp_path: Path) -> None:
    odd = film(tmp_path / "clip=1, [a] {b} 'c' $x.mp4", moving())
    assert (call(tmp_path, odd, emma) / odd.stem / f"{odd.stem}.csv").is_file()
    bad = tmp_path / "a\nb.mp4"
    shutil.copyfile(odd, bad)
    with pytest.raises(DataError, match="cannot name a folder"):
        call(tmp_path, bad, emma)


def test_six_classes_keep_their_names_and_go_with_no_others(emma: Path, tmp_path: Path) -> None:
    faces = draw_faces(tmp_path / "lsd", "lsd", seed=1, train_faces=48, val_faces=12, workers=1)
    cotex = trained("cotex", tmp_path, f"data.root={faces}", "data=lsd", "trainer.max_epochs=1",
                    "model.optimiser.warmup_epochs=0")  # fmt: skip
    video = film(tmp_path / "clip.mp4", moving())
    table = read_table(call(tmp_path, video, cotex) / "clip/clip.parquet")
    assert len(table.expressions) == 6
    assert table.tasks == ("expression",)
    with pytest.raises(ConfigError, match="has no action_units, only expression"):
        call(tmp_path, video, cotex, "tasks=[action_units]")
    with pytest.raises(UserError, match=r"openface needs action units, of which.*; export=fex has seven.*know neutral"):
        call(tmp_path, video, cotex, "export=[openface,fex]")
    with pytest.raises(ConfigError, match="has the expressions") as error:
        Predictor([cotex, emma])
    assert "give tasks=" in str(error.value)


def test_a_pretraining_says_nothing_of_faces(emma: Path, tmp_path: Path) -> None:
    faces = draw_faces(tmp_path / "faces", "mtl", seed=1, train_videos=2, val_videos=1, frames_per_video=10, workers=1)
    mae = trained("mae", tmp_path, f"data.root={faces}/cropped_aligned", "data=faces", "trainer.max_epochs=1",
                  "model.optimiser.warmup_epochs=0")  # fmt: skip
    with pytest.raises(CheckpointError, match="predicts nothing"):
        Predictor(mae)


def test_without_a_checkpoint_the_newest_run_that_knows_faces_is_taken(
    emma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = film(tmp_path / "clip.mp4", moving())
    logs = tmp_path / "logs"
    with pytest.raises(UserError, match=r"make demo.*enet_b0_8_va_mtl.*no action units.*Apache-2\.0"):
        call(tmp_path, video, None, f"paths.output_dir={logs}")
    shutil.copytree(emma, logs / "emma/old")
    broken = logs / "emma/new/checkpoints/best.ckpt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"damaged")
    call(tmp_path, video, None, f"paths.output_dir={logs}")
    assert f"model: {logs}/emma/old/checkpoints/best.ckpt" in capsys.readouterr().out


def test_a_full_disk_leaves_no_half_of_a_file(emma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")
    video = film(tmp_path / "clip.mp4", moving())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # a write beyond fails as on a full disk
    try:
        with pytest.raises(SystemExit) as error, clear_errors():
            call(tmp_path, video, emma)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.fullmatch(r"error: .*clip\.parquet: .+", str(error.value))
    assert {path.name for path in (tmp_path / "out/clip").iterdir()} <= {".lock"}
    call(tmp_path, video, emma)
    assert "clip: 6 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("postprocess.smoothing=wide", "postprocess.smoothing"),
        ("postprocess.alpha=8", "alpha and max_gap smooth nothing by themselves"),
        ("postprocess.au_thresholds=exact", "nothing can be searched without labels"),
        ("postprocess.temperature=search", "nothing can be searched without labels"),
        ("postprocess.coverage=0.9", "nothing can be searched without labels"),
        ("faces.size=0", "size"),
        ("separator=xx", "separator is"),
        ("device=tpu", "device is 'tpu'"),
        ("batch_size=0", "batch_size is 0"),
        ("thumbnails=301", "thumbnails is 301"),
        ("overlay=yes please", "overlay is 'yes please'"),
    ],
)
def test_options_are_checked_first(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(tmp_path, tmp_path / "missing.mp4", "missing", override)


def test_the_old_command_of_this_name_says_what_it_is_now() -> None:
    with pytest.raises(OldCommandError, match=r"python extract\.py store=features backbone=timm"):
        check_command_line("predict", ["store=features", "network=timm"])


def test_weights_that_begin_a_training_are_refused() -> None:
    with pytest.raises(ConfigError, match="predict nothing by themselves"):
        networks.load_networks(["mae-vit-b"])
