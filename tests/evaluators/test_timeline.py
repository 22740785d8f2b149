"""Lanes of people against a plain reference; the page that shows them: whole, small, harmless."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import UserError
from affect.labels import ABAW2_EXPRESSIONS, AFFECTNET_EXPRESSIONS, EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.figures import EXPRESSION_COLOURS, expression_colours, person_colour
from evaluators.found import Found
from evaluators.lanes import PEOPLE, choose_faces, reduced, to_lanes
from evaluators.table import Table
from evaluators.timeline import CELLS, LARGEST, is_made, page, picture
from tests.evaluators.page.markup import Elements

COLUMNS = {"valence_arousal": 2, "expression": 8, "action_units": 12}


def made_up(frame: np.ndarray, face_id: np.ndarray, *, rate: float = 25.0, tasks: tuple[str, ...] = tuple(COLUMNS),
            expressions: tuple[str, ...] = EXPRESSIONS) -> Table:  # fmt: skip
    """A table of a video in which the values of a person are sines of the frame."""
    none = (face_id == 0)[:, None]
    wave = np.sin((frame[:, None] / 40 + np.arange(22) + face_id[:, None]).astype(np.float32))
    shares = np.exp(2 * wave[:, : len(expressions)])
    values = {"valence_arousal": wave[:, :2], "expression": shares / shares.sum(1, keepdims=True),
              "action_units": (wave[:, -12:] + 1) / 2}  # fmt: skip
    predictions = {task: np.where(none, np.nan, values[task]).astype(np.float32) for task in tasks}
    box = np.where(none, np.nan, 50).repeat(4, 1).astype(np.float32)
    found = Found((frame - 1) / rate, face_id, np.where(none[:, 0], np.nan, 0.9).astype(np.float32), box)
    names = ["clip"] * len(frame)
    return Table(names, frame, ["clip.mp4"] * len(frame), predictions, expressions, {}, "made up", found)


def crowd(people: int, frames: int) -> Table:
    return made_up(np.arange(1, frames + 1).repeat(people), np.tile(np.arange(1, people + 1), frames))


def data_of(text: str) -> dict[str, object]:
    """The data of a page, as its script reads them."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.floats(-1, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=60
    )
)
def test_cells_are_least_mean_and_greatest(rows: list[tuple[int, float, float]]) -> None:
    rows.sort(key=lambda row: row[0])
    cells, values = reduced(np.array([row[1:] for row in rows], np.float32), np.array([row[0] for row in rows]))
    assert cells.tolist() == sorted({row[0] for row in rows})
    for place, cell in enumerate(cells):
        for column in (0, 1):
            own = [row[1 + column] for row in rows if row[0] == cell]
            least, mean, most = values[:, place, column]
            assert (least, most) == (min(own), max(own))
            assert mean == pytest.approx(sum(own) / len(own), abs=1e-6)
            assert least <= mean <= most


def test_what_is_not_seen_is_a_gap_and_no_zero() -> None:
    frame = np.array([1, 2, 3, 4, 4, 5, 6])
    table = made_up(frame, np.array([1, 1, 0, 1, 2, 2, 2]))
    lanes = to_lanes(table)
    assert [lane.face_id for lane in lanes.lanes] == [1, 2]
    assert [lane.cell.tolist() for lane in lanes.lanes] == [[0, 1, 3], [3, 4, 5]]
    np.testing.assert_allclose(lanes.edges, np.arange(7) / 25)
    for lane in lanes.lanes:
        for task, values in lane.values.items():
            np.testing.assert_array_equal(values[1], table.predictions[task][lane.rows])
    wide = to_lanes(table, 2)
    assert [lane.cell.tolist() for lane in wide.lanes] == [[0, 1], [1, 2]]
    np.testing.assert_allclose(wide.edges, np.array([0, 2, 4, 6]) / 25)


def test_times_are_those_of_the_table_and_lost_frames_leave_a_gap() -> None:
    frame = np.array([1, 2, 5, 6])
    table = made_up(frame, np.ones(4, np.int64))
    time = np.array([0.0, 0.1, 0.9, 1.0])
    assert table.found is not None
    lanes = to_lanes(replace(table, found=replace(table.found, timestamp=time)))
    assert lanes.unit == "s"
    assert lanes.lanes[0].cell.tolist() == [0, 1, 4, 5]
    np.testing.assert_allclose(lanes.edges[lanes.lanes[0].cell], time)
    assert (np.diff(lanes.edges) > 0).all()
    for wrong in (np.full(4, np.nan), np.array([0.0, 0.2, 0.1, 0.3])):
        untold = to_lanes(replace(table, found=replace(table.found, timestamp=wrong)))
        assert (untold.unit, untold.edges.tolist()) == ("frame", [1, 2, 3, 4, 5, 6, 7])


def test_small_pictures_are_spread_over_the_people() -> None:
    frame = np.concatenate([np.arange(1, 901), np.arange(1, 101), np.arange(1, 3)])
    order = np.argsort(frame, kind="stable")
    table = made_up(frame[order], np.repeat([1, 2, 3], [900, 100, 2])[order])
    lanes = to_lanes(table)
    rows = choose_faces(lanes, 50)
    assert table.found is not None
    counts = np.bincount(table.found.face_id[rows])[1:]
    assert counts.sum() <= 50
    assert counts[0] > counts[1] > counts[2] >= 1
    assert np.diff(table.frame[rows[table.found.face_id[rows] == 1]]).max() <= 900 / counts[0] + 1
    assert len(choose_faces(lanes, 2)) == 2
    assert len(choose_faces(lanes, 0)) == 0
    assert len(choose_faces(to_lanes(crowd(1, 4)), 300)) == 4


def test_the_page_gives_back_what_the_table_says() -> None:
    table = made_up(np.arange(1, 61), np.where(np.arange(60) % 7 == 3, 0, 1))
    jpeg = b"\xff\xd8 small"
    data = data_of(page(table, "clip", ["net (learnt)"], {4: jpeg}))
    (lane,) = data["lanes"]
    rows = np.flatnonzero(table.found.success)
    assert np.frombuffer(base64.b64decode(lane["cell"]), "<u4").tolist() == rows.tolist()
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(data["edges"]), "<f4"), np.arange(61) / 25, atol=1e-6)
    said = np.frombuffer(base64.b64decode(lane["valence_arousal"]), np.uint8).reshape(2, 3, -1) / 254 * 2 - 1
    for kind in range(3):  # a frame is its own least, mean and greatest
        np.testing.assert_allclose(said[:, kind], table.predictions["valence_arousal"][rows].T, atol=0.005)
    for task, columns in (("expression", 8), ("action_units", 12)):
        said = np.frombuffer(base64.b64decode(lane[task]), np.uint8).reshape(columns, -1) / 254
        np.testing.assert_allclose(said, table.predictions[task][rows].T, atol=0.003)
    assert data["thumbnails"] == [[0, 4, base64.b64encode(jpeg).decode()]]
    assert lane["colour"] == person_colour(1)


@pytest.mark.parametrize(
    ("people", "frames"),
    [(3, 30 * 60 * 30), (1, 10 * 3600 * 30), (PEOPLE + 100, 500)],
    ids=["30 min", "10 h", "crowd"],
)
def test_the_page_is_small_and_needs_nothing_else(people: int, frames: int) -> None:
    table = crowd(people, frames)
    rows = choose_faces(to_lanes(table))
    assert min(people, PEOPLE) <= len(rows) <= 300
    text = page(table, "clip", ["net"], dict.fromkeys(rows.tolist(), bytes(4000)))
    assert len(text.encode()) < LARGEST
    data = data_of(text)
    assert sum(len(base64.b64decode(lane["cell"])) // 4 for lane in data["lanes"]) <= CELLS
    assert len(data["lanes"]) == min(people, PEOPLE)
    assert (f"{people - PEOPLE} who were seen for shorter are left out" in text) == (people > PEOPLE)
    parsed = Elements(text)
    for tag, attributes in parsed.found:
        assert tag not in ("link", "img", "iframe", "object")
        assert not {"src", "href"} & set(attributes)
    without_data = re.sub(r'(id="data">).*?</script>', r"\1", text, flags=re.DOTALL)
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|fetch\(|XMLHttp|innerHTML", without_data)


def test_names_from_files_do_no_harm() -> None:
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{data}}"
    table = made_up(np.ones(3, np.int64), np.ones(3, np.int64))
    names = [f"{number}{bad}" for number in range(3)]
    found = replace(table.found, timestamp=np.full(3, np.nan))
    table = replace(table, video=names, image=names, found=found)
    text = page(table, bad, [bad], {}, bad)
    parsed = Elements(text)
    assert [tag for tag, _ in parsed.found].count("script") == 2
    assert "img" not in [tag for tag, _ in parsed.found]
    assert data_of(text)["names"] == names
    assert "<title>&lt;/script&gt;&lt;script&gt;alert(1)" in text
    policy = next(one["content"] for tag, one in parsed.found if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
    assert picture(table, "$x_{1 \\frac").startswith(b"\x89PNG")


@pytest.mark.parametrize("task", list(COLUMNS))
def test_a_task_that_the_model_lacks_leaves_its_lane_out(task: str) -> None:
    table = made_up(np.arange(1, 9), np.ones(8, np.int64), tasks=(task,))
    data = data_of(page(table, "clip", [], {}))
    filled = {"valence_arousal": "affect", "expression": "expressions", "action_units": "units"}
    assert [one for one, name in filled.items() if data[name]] == [task]
    assert set(COLUMNS) & set(data["lanes"][0]) == {task}
    whole = PIL.Image.open(io.BytesIO(picture(made_up(np.arange(1, 9), np.ones(8, np.int64)), "clip")))
    drawn = PIL.Image.open(io.BytesIO(picture(table, "clip")))
    assert drawn.height < whole.height


def test_pictures_are_lanes_of_faces_from_left_to_right() -> None:
    table = made_up(np.ones(5, np.int64), np.array([1, 0, 1, 2, 1]))
    found = replace(table.found, timestamp=np.full(5, np.nan))
    table = replace(table, video=list("abccd"), image=[f"{name}.jpg" for name in "abccd"], found=found)
    lanes = to_lanes(table)
    assert (lanes.unit, lanes.edges.tolist()) == ("picture", [0.5, 1.5, 2.5, 3.5, 4.5])
    assert [lane.cell.tolist() for lane in lanes.lanes] == [[0, 2, 3], [2]]
    text = page(table, "photos", [], {})
    assert data_of(text)["names"] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert "4 pictures · at most 2 faces in one" in text
    assert data_of(text)["lanes"][1]["title"] == "face 2 from the left"


def test_no_face_at_all_is_said(tmp_path) -> None:
    table = made_up(np.arange(1, 5), np.zeros(4, np.int64))
    text = page(table, "wall", [], {}, "abc 300")
    assert data_of(text)["lanes"] == []
    assert picture(table, "wall").startswith(b"\x89PNG")
    (tmp_path / "t.html").write_text(text)
    assert is_made(tmp_path / "t.html", "abc 300")
    assert not is_made(tmp_path / "t.html", "abc 0")
    assert not is_made(tmp_path / "none.html", "abc 300")


def test_tables_without_faces_or_of_several_videos_are_refused() -> None:
    table = made_up(np.arange(1, 5), np.ones(4, np.int64))
    with pytest.raises(UserError, match="predict again"):
        to_lanes(replace(table, found=None))
    with pytest.raises(UserError, match="of several videos"):
        to_lanes(replace(table, video=list("aabb")))


@pytest.mark.parametrize("names", [EXPRESSIONS, ABAW2_EXPRESSIONS, LSD_EXPRESSIONS, AFFECTNET_EXPRESSIONS])
def test_every_expression_has_a_colour_of_its_own(names: tuple[str, ...]) -> None:
    colours = expression_colours(names)
    assert list(colours) == list(names)
    assert len(set(colours.values())) == len(names)
    known = dict(zip(EXPRESSIONS, EXPRESSION_COLOURS, strict=True))
    assert {name: known.get(name, known["other"]) for name in names} == colours
