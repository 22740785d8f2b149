"""The page in a browser: it says what predict.py says, of pictures, videos and a camera, and asks nobody else."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.csv
import pytest

from affect.download import DownloadError
from backbones.state import WeightsError
from evaluators.table import Table
from evaluators.text import write_csv
from runs.predictor import Predictor
from tests.browser import CHROMIUM, Browser, all_of, chromium, file_of, served
from tests.runs.test_export import call, model_of, saved
from videos.decoding import decode
from videos.settings import CropSettings

VIDEOS = Path(__file__).resolve().parents[2] / "../shared/videos"
CLIP, OTHER = VIDEOS / "pyfeat_single_face.mp4", VIDEOS / "intel_asl_bird.mkv"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.skipif(not CLIP.is_file(), reason="there are no videos in ../shared"),
]
BOX = ["x", "y", "width", "height"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of an EMMA, and its page with the files that are opened in it."""
    made = tmp_path_factory.mktemp("page")
    checkpoint = saved(made, model_of("emma"))
    try:
        call(checkpoint.parent.parent, "to=web", f"out={made}/page")
    except (DownloadError, WeightsError) as error:
        pytest.skip(str(error))
    for video in (CLIP, OTHER):
        shutil.copyfile(video, made / "page" / video.name)
    (made / "page/text.mp4").write_text("no video")
    return made


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor(folder / "run", faces=CropSettings(detector="centerface"), device="cpu")


@pytest.fixture(scope="module")
def camera(folder: Path) -> Path:
    """What stands for a camera: the clip as frames of bare planes."""
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    path = folder / "camera.y4m"
    with path.open("wb") as file, av.open(str(CLIP)) as container:
        file.write(b"YUV4MPEG2 W640 H360 F30:1 Ip A1:1 C420mpeg2\n")
        for frame in container.decode(video=0):
            file.write(b"FRAME\n" + frame.to_ndarray(format="yuv420p").tobytes())
    return path


@pytest.fixture(scope="module")
def shown(folder: Path, camera: Path) -> Iterator[tuple[Browser, str]]:
    """The page, ready, and its address."""
    options = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}")
    with served(folder / "page") as address, chromium(folder / "profile", *options) as browser:
        browser.open(address)
        browser.until("document.documentElement.dataset.ready || !document.getElementById('problem').hidden")
        assert browser.run("document.getElementById('problem').textContent") == ""
        yield browser, address


def analysed(shown: tuple[Browser, str], files: list[tuple[str, str]]) -> Any:
    """What the page's CSV says of files of its folder."""
    browser, address = shown
    given = all_of([file_of(address + name, name, kind) for name, kind in files])
    return read_csv(browser.run(f"(async () => analyse({given}))()").encode())


def read_csv(content: bytes) -> Any:
    return pyarrow.csv.read_csv(io.BytesIO(content)).to_pandas()


def rows_of(table: Table, folder: Path) -> Any:
    write_csv(table, folder / "right.csv")
    return read_csv((folder / "right.csv").read_bytes())


def differences(one: Any, other: Any) -> tuple[np.ndarray, np.ndarray]:
    """How far apart the boxes and the values of two tables are, which must have the same rows."""
    assert list(one.columns) == list(other.columns)
    for name in ("row", "video", "frame", "image", "face_id", "success"):
        assert one[name].tolist() == other[name].tolist(), name
    said = list(one.columns[one.columns.get_loc("height") + 1 :])
    assert len(said) == 22
    assert np.ptp(other[said].to_numpy(), axis=1).min() > 0.05  # the network says something
    return tuple(np.abs(one[names].to_numpy() - other[names].to_numpy()) for names in (BOX, said))  # type: ignore[return-value]


def test_pictures_say_what_predict_says(
    shown: tuple[Browser, str], folder: Path, predictor: Predictor, tmp_path: Path
) -> None:
    paths = []
    for video in (CLIP, OTHER):
        for picture in decode(video, {0, 20, 45}):
            path = folder / f"page/{video.stem}_{len(paths)}.png"
            cv2.imwrite(str(path), picture.image)
            paths.append(path)
    said = analysed(shown, [(path.name, "image/png") for path in paths])
    boxes, values = differences(said, rows_of(predictor.pictures(paths), tmp_path))
    print(f"pictures: boxes {boxes.max():.2g} px, values {values.max():.2g}")
    assert boxes.max() <= 1
    assert values.max() <= 1e-3


@pytest.mark.parametrize(("video", "kind"), [(CLIP, "video/mp4"), (OTHER, "")])
def test_every_frame_of_a_video_is_seen_once(
    shown: tuple[Browser, str], predictor: Predictor, tmp_path: Path, video: Path, kind: str
) -> None:
    said = analysed(shown, [(video.name, kind)])
    right = rows_of(predictor.video(video), tmp_path)
    assert np.abs(said["timestamp"] - right["timestamp"]).max() < 2e-3
    boxes, values = differences(said, right)
    print(f"{video.name}: boxes {boxes.max():.2g} px, values {np.median(values):.2g}, {np.quantile(values, 0.99):.2g}")
    assert boxes.max() <= 1
    assert np.median(values) <= 0.01
    assert np.quantile(values, 0.99) <= 0.05


def test_a_camera_is_followed_until_it_is_stopped(shown: tuple[Browser, str], tmp_path: Path) -> None:
    browser, address = shown
    origin = address.rstrip("/")
    browser.call("Browser.setPermission", permission={"name": "camera"}, setting="denied", origin=origin)
    browser.run("document.getElementById('camera').click()")
    browser.until("!document.getElementById('problem').hidden")
    assert "The camera was not allowed" in browser.run("document.getElementById('problem').textContent")
    browser.call("Browser.setPermission", permission={"name": "camera"}, setting="granted", origin=origin)
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("document.getElementById('camera').click()")
    browser.until("parseInt(document.getElementById('status').textContent) >= 3", 300)
    assert browser.run("document.getElementById('stage').width") == 640
    browser.run("document.getElementById('stop').click()")
    browser.until("!document.getElementById('save').disabled")
    assert "dropped" in browser.run("document.getElementById('status').textContent")
    browser.run("document.getElementById('save').click()")
    path, end = tmp_path / "camera.csv", time.monotonic() + 30
    while not path.is_file() and time.monotonic() < end:
        browser.run("new Promise(next => setTimeout(next, 100))")
    rows = read_csv(path.read_bytes())
    assert rows["success"].all()
    assert rows["timestamp"].is_monotonic_increasing
    assert rows["face_id"].iloc[:2].tolist() == [1, 1]  # a new one where the clip begins again
    assert len(rows) >= 3


def written(path: Path, milliseconds: list[int]) -> None:
    """Write a WebM file whose frames begin at some times."""
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for at in milliseconds:
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_other_rates_are_found_and_uneven_ones_told(shown: tuple[Browser, str], folder: Path) -> None:
    browser, address = shown
    for rate in (12, 25, 60):
        name = f"even{rate}.webm"
        written(folder / "page" / name, [round(1000 * number / rate) for number in range(15)])
        found = browser.run(
            f"(async () => {{ const {{framesOf}} = await import('{address}frames.js'), times = [];"
            f"for await (const one of framesOf({file_of(address + name, name, '')}, () => times.length > 40))"
            "{ times.push(one.time); one.source.close(); one.bitmap.close(); } return times; })()"
        )
        np.testing.assert_allclose(found, np.arange(15) / rate, atol=1.5e-3)
    written(folder / "page/uneven.webm", [0, 33, 50, 150, 550, 567, 667, 700, 900])
    analysed(shown, [("uneven.webm", "video/webm")])
    assert "come unevenly, and this browser" in browser.run("document.getElementById('status').textContent")


def test_a_recording_that_does_not_say_how_long_it_is_ends(shown: tuple[Browser, str]) -> None:
    browser, address = shown
    count = browser.run(
        f"""(async () => {{
          const {{framesOf}} = await import('{address}frames.js');
          const canvas = document.createElement('canvas'), parts = [];
          const pen = canvas.getContext('2d'), recorder = new MediaRecorder(canvas.captureStream(10));
          recorder.ondataavailable = one => parts.push(one.data);
          recorder.start();
          for (let k = 0; k < 10; k++) {{
            pen.fillRect(k, k, 20, 20);
            await new Promise(next => setTimeout(next, 100));
          }}
          await new Promise(next => {{ recorder.onstop = next; recorder.stop(); }});
          let count = 0;
          for await (const one of framesOf(new File(parts, 'recorded.webm'), () => count > 100)) {{
            count++;
            one.source.close();
            one.bitmap.close();
          }}
          return count;
        }})()"""
    )
    assert 3 <= count <= 20


def test_a_picture_that_cannot_be_read_is_an_empty_row(shown: tuple[Browser, str], folder: Path) -> None:
    for picture in decode(CLIP, {0}):
        cv2.imwrite(str(folder / "page/one.png"), picture.image)
    said = analysed(shown, [("text.mp4", "image/png"), ("one.png", "image/png")])
    assert said["success"].tolist() == [False, True]
    assert said["image"].tolist() == ["text.mp4", "one.png"]
    assert "text.mp4 is no picture" in shown[0].run("document.getElementById('status').textContent")


def test_what_cannot_be_shown_is_told_in_a_sentence(shown: tuple[Browser, str]) -> None:
    with pytest.raises(RuntimeError, match=r"text\.mp4 is no video that this browser can play\."):
        analysed(shown, [("text.mp4", "video/mp4")])
    with pytest.raises(RuntimeError, match=r"text\.mp4 is no picture that this browser can read\."):
        analysed(shown, [("text.mp4", "image/png")])
    with pytest.raises(RuntimeError, match="Give one video, or any number of pictures"):
        analysed(shown, [("text.mp4", "video/mp4"), ("text.mp4", "image/png")])
    assert shown[0].run("document.getElementById('open').disabled") is False


def test_nobody_else_is_asked(shown: tuple[Browser, str], tmp_path: Path) -> None:
    browser, address = shown
    asked = len(browser.requests)
    assert asked > 15
    assert [one for one in browser.requests if not one.startswith((address, f"blob:{address}", "data:"))] == []
    with served(tmp_path) as other:
        worker = f"fetch('{other}').then(() => postMessage('reached'), () => postMessage('refused'))"
        script = (
            f"new Promise(tell => {{ const place = URL.createObjectURL(new Blob([{json.dumps(worker)}], "
            "{type: 'text/javascript'})); new Worker(place, {type: 'module'}).onmessage = one => tell(one.data); })"
        )
        assert browser.run(script) == "refused"  # in a worker such as that of the page
        assert browser.run(f"fetch('{other}').then(() => 'reached', () => 'refused')") == "refused"
    assert browser.run(f"fetch('{address}').then(() => 'reached', () => 'refused')") == "reached"


def test_a_page_without_a_server_or_simd_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    with served(folder / "page") as address, chromium(tmp_path / "profile") as browser:
        browser.open(f"file://{folder}/page/index.html")
        time.sleep(1.5)
        said = browser.run("document.body.innerText")
        assert "python -m http.server --bind 127.0.0.1" in said
        assert "Camera" not in said
        source = "WebAssembly.validate = () => false"
        script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
        browser.open(address)
        browser.until("!document.getElementById('problem').hidden")
        said = browser.run("document.body.innerText")
        assert "This browser has no WebAssembly with SIMD" in said
        assert "http.server" not in said
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        broken = tmp_path / "page"
        shutil.copytree(folder / "page", broken)
        (broken / "model.onnx").write_bytes(b"no network")
        with served(broken) as other:
            browser.open(other)
            browser.until("!document.getElementById('problem').hidden")
            assert "The networks cannot be loaded" in browser.run("document.body.innerText")
            (broken / "centerface.onnx").unlink()
            browser.open(other)
            browser.until("!document.getElementById('problem').hidden")
            assert "centerface.onnx is missing in the folder of this page" in browser.run("document.body.innerText")
