"""A submission that we write is passed; each fault that is planted in one is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import ConfigError, DataError
from affect.labels import EXPRESSIONS, LIST_FIELD, LSD_EXPRESSIONS, LSD_HEADER, MTL_HEADER, UNI_HEADERS, UNI_TASKS
from evaluators.submission import write_submission, write_uni_submission
from evaluators.submission_check import check_submission
from evaluators.table import Table
from prepare import main

ROWS = [("a", 1), ("a", 2), ("a", 3), ("b_left", 1), ("b_left", 2), ("c", 1), ("c", 2), ("c", 3)]
FORMS = ("mtl", "lsd", "va", "expr", "au", "va folder", "expr folder", "au folder")


def table(form: str, rows: list[tuple[str, int]], seed: int = 0) -> Table:
    """Draw predictions of an official list."""
    random = np.random.default_rng(seed)
    names = LSD_EXPRESSIONS if form == "lsd" else EXPRESSIONS
    predictions = {
        "valence_arousal": random.uniform(-1, 1, (len(rows), 2)).astype(np.float32),
        "expression": random.dirichlet(np.ones(len(names)), len(rows)).astype(np.float32),
        "action_units": random.random((len(rows), 12)).astype(np.float32),
    }
    wanted = {"mtl": list(predictions), "lsd": ["expression"]}.get(form) or [UNI_TASKS[form.split()[0]]]
    image = [f"{n}.jpg" if form == "lsd" else f"{video}/{frame:05d}.jpg" for n, (video, frame) in enumerate(rows)]
    frame = np.array([frame for _, frame in rows])
    of_tasks = {task: predictions[task] for task in wanted}
    return Table([video for video, _ in rows], frame, image, of_tasks, names, {}, "drawn")


def made(folder: Path, form: str, rows: list[tuple[str, int]], seed: int = 0) -> tuple[Path, Path]:
    """Write a submission, and the list that it answers."""
    submission, listed, content = folder / f"{form}.txt", folder / f"{form} list.txt", table(form, rows, seed)
    task, _, per_video = form.partition(" ")
    if form in ("mtl", "lsd"):
        write_submission(content, submission)
        header = MTL_HEADER if form == "mtl" else LSD_HEADER
    else:
        submission = folder / form if per_video else submission
        write_uni_submission(content, submission, task, per_video=bool(per_video))
        header = f"{LIST_FIELD},{UNI_HEADERS[task]}"
    listed.write_text("\n".join([header, *(f"{image}," for image in content.image)]) + "\n")
    return submission, listed


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(FORMS), st.lists(st.sampled_from(ROWS), min_size=1, max_size=12))
def test_what_we_write_is_passed(
    tmp_path_factory: pytest.TempPathFactory, seed: int, form: str, rows: list[tuple[str, int]]
) -> None:
    if form.endswith("folder"):
        rows = ROWS
    submission, listed = made(tmp_path_factory.mktemp("forms"), form, rows, seed)
    assert check_submission(submission, listed)[1:] == (len(rows), [])


def edited(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    return lambda text: "\n".join(change(text.splitlines())) + "\n"


FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "header": (edited(lambda lines: ["image,label", *lines[1:]]), "header"),
    "a row is missing": (edited(lambda lines: [*lines[:2], *lines[3:]]), "missing"),
    "a row too many": (edited(lambda lines: [*lines, lines[-1].replace("c/00003", "c/00009").replace("7.", "9.")]),
                       "extra"),
    "two rows changed places": (edited(lambda lines: [lines[0], lines[2], lines[1], *lines[3:]]), "order"),
    "a row twice": (edited(lambda lines: [*lines[:2], lines[1], *lines[2:]]), "duplicate"),
    "a value that none may have": (lambda text: text[: text.rindex(",") + 1] + "-5\n", "value"),
    "no number": (lambda text: text[: text.rindex(",") + 1] + "nan\n", "value"),
    "a value too few": (lambda text: text[: text.rindex(",")] + "\n", "fields"),
    "trailing commas": (edited(lambda lines: [lines[0], *(f"{line}," for line in lines[1:])]), "trailing comma"),
    "line ends": (lambda text: text.replace("\n", "\r\n"), "line ends"),
    "cut off": (lambda text: text.removesuffix("\n"), "line ends"),
    "a blank line": (edited(lambda lines: [*lines[:3], "", *lines[3:]]), "blank line"),
    "a space": (edited(lambda lines: [*lines[:3], lines[3].replace(",", ", "), *lines[4:]]), "space"),
    "a byte order mark": (lambda text: "\ufeff" + text, "byte order mark"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        (form, fault)
        for form in FORMS
        for fault in FAULTS
        if not (form.endswith("folder") and fault == "two rows changed places")  # rows without names: nobody can see it
    ],
)
def test_each_fault_is_found(tmp_path: Path, form: str, fault: str) -> None:
    submission, listed = made(tmp_path, form, ROWS)
    change, kind = FAULTS[fault]
    file = submission
    if form.endswith("folder"):
        file = submission / "c.txt"
        kind = "extra" if fault == "a row twice" else kind
        if form.startswith("expr") and fault in ("a value that none may have", "no number", "a value too few"):
            change = {"a value that none may have": lambda text: text[:-2] + "-5\n",
                      "no number": lambda text: text[:-2] + "nan\n",
                      "a value too few": lambda text: text[:-2] + "1,2\n"}[fault]  # fmt: skip
        if form.startswith("expr") and fault == "a space":
            change = edited(lambda lines: [*lines[:3], f" {lines[3]}", *lines[4:]])
    file.write_bytes(change(file.read_text()).encode())
    _, _, faults = check_submission(submission, listed)
    assert kind in {one.kind for one in faults}
    assert len(faults) <= 9
    for one in faults:
        assert one.file.is_relative_to(tmp_path)


def test_a_folder_lacks_a_video_and_has_one_too_many(tmp_path: Path) -> None:
    submission, listed = made(tmp_path, "va folder", ROWS)
    (submission / "a.txt").rename(submission / "d.txt")
    expected = {("missing", "no file a.txt"), ("extra", "the list has no such video")}
    assert {(one.kind, one.what) for one in check_submission(submission, listed)[2]} == expected
    for content, rows in (("a,3\nb_left,2\nc,3\n", 8), ("a\nb_left\nc\n", 0)):
        listed.write_text(content)
        _, count, faults = check_submission(submission, listed)
        assert ({(one.kind, one.what) for one in faults}, count) == (expected, rows)


def test_an_image_that_the_list_has_twice_may_be_there_twice(tmp_path: Path) -> None:
    submission, listed = made(tmp_path, "mtl", [*ROWS, ROWS[0]])
    assert check_submission(submission, listed)[2] == []
    submission.write_text("\n".join(submission.read_text().splitlines()[:-1]) + "\n")
    (fault,) = check_submission(submission, listed)[2]
    assert fault.kind == "missing"


@pytest.mark.parametrize(
    ("form", "of"), [("va", "mtl"), ("mtl", "expr"), ("lsd", "mtl"), ("au", "lsd"), ("expr", "va")]
)
def test_a_list_of_another_challenge_is_one_fault(tmp_path: Path, form: str, of: str) -> None:
    submission, listed = made(tmp_path, form, ROWS)[0], made(tmp_path, of, ROWS)[1]
    (fault,) = check_submission(submission, listed)[2]
    assert (fault.file, fault.line, fault.kind) == (submission, 1, "another challenge")
    assert "give the list that it answers" in fault.what


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submission, listed = made(tmp_path, "expr", ROWS)
    given = ["check", f"submission={submission}", f"list={listed}"]
    main(given)
    assert capsys.readouterr().out.endswith("no faults, as a submission to the expr challenge for 8 rows\n")
    submission.write_text(submission.read_text().replace("\nc/00002", "\nz/00002"))
    with pytest.raises(SystemExit, match="1"):
        main([*given, f"json={tmp_path / 'faults.json'}"])
    printed = capsys.readouterr().out
    assert f"extra: 1\n  {submission}:8: extra: z/00002.jpg is not in the list\n" in printed
    assert [one["kind"] for one in json.loads((tmp_path / "faults.json").read_text())] == ["extra", "missing"]


def test_what_cannot_be_compared_is_one_message(tmp_path: Path) -> None:
    submission, _ = made(tmp_path, "mtl", ROWS)
    with pytest.raises(ConfigError, match="give submission=FILE list=FILE"):
        main(["check", f"submission={submission}"])
    other = tmp_path / "other.txt"
    other.write_text("name,score\na/00001.jpg,3\n")
    with pytest.raises(DataError, match="no challenge's list has it"):
        check_submission(submission, other)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="is empty"):
        check_submission(tmp_path / "folder", submission)
