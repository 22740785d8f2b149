"""CSV files of attributes and of groups: what is read, and one message for what cannot be."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affect.errors import DataError
from affect.labels import EXPRESSIONS
from datamodules.readers.attributes import read_attributes, read_groups
from evaluators.table import Table

VIDEO = ["a", "a", "b", "c"]
IMAGE = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "c/1.jpg"]
TABLE = Table(VIDEO, np.array([1, 2, 1, 1]), IMAGE, {}, EXPRESSIONS, {}, "t")


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_columns_follow_the_rows(tmp_path: Path, mark: str, end: str) -> None:
    lines = ["video, light ,skin tone", "c,dim,", 'a, bright ,"light, pale"', "", "b,,dark", "d,dim,dark", ""]
    read = read_attributes(written(tmp_path, mark + end.join(lines)), TABLE)
    assert read == (
        "video",
        {"light": ["bright", "bright", "", "dim"], "skin tone": ["light, pale", "light, pale", "dark", ""]},
        ["d"],
    )


def test_pictures_have_lines_of_their_own(tmp_path: Path) -> None:
    lines = ["image,light", *(f"{name},{number}" for number, name in enumerate(IMAGE))]
    assert read_attributes(written(tmp_path, "\n".join(lines)), TABLE).columns == {"light": ["0", "1", "2", "3"]}


WHOLE = "video,light\na,dim\nb,dim\nc,bright\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a\.csv, line 1: ''; it must name video or image"),
        ("name,light\na,dim\n", r"line 1: 'name,light'; it must name video or image"),
        ("video\na\nb\nc\n", "line 1: 'video'; it must name"),
        ("video;light\na;dim\n", "line 1: 'video;light'; it must .* with commas between them"),
        (WHOLE.replace("light", "light,light"), "line 1: 'video,light,light'; .* each once"),
        (WHOLE.replace("light", "video"), "line 1: 'video,video'; .* each once"),
        ("video,\na,dim\nb,dim\nc,dim\n", "line 1: 'video,'; it must name"),
        (WHOLE + "b,bright\n", "line 5: b has a line already; give 2 cells, once for each video"),
        (WHOLE + "d\n", "line 5: 1 cells; give 2 cells"),
        (WHOLE + "d,dim,old\n", "line 5: 3 cells; give 2 cells"),
        (WHOLE.replace("a,", "A,"), "no line for 1 videos of the table, 'a' first; add them"),
        ("video,light\n", "no line for 3 videos of the table, 'a' first"),
        (WHOLE.replace("video", "image"), "no line for 4 images of the table, 'a/1.jpg' first"),
        (WHOLE.encode() + b"d,h\xe9\n", "line 5: not UTF-8; save the file as CSV in UTF-8"),
        (WHOLE.encode("utf-16"), "line 1: not UTF-8"),
        (WHOLE + '"d,dim\n', "unexpected end of data; give a CSV file"),
        (WHOLE + "d," + "x" * 200_000 + "\n", "field larger than field limit"),
    ],
)
def test_what_is_wrong_is_one_message(content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as found:
        read_attributes(written(tmp_path, content), TABLE)
    assert str(found.value).startswith(f"{tmp_path / 'a.csv'}")
    assert "\n" not in str(found.value)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: No such file or directory; give a CSV file"):
        read_attributes(tmp_path / "none.csv", TABLE)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="it is a pipe, a device or a socket, not a file; give a CSV file"):
        read_attributes(tmp_path / "pipe", TABLE)
    with pytest.raises(DataError, match="a directory; give a CSV file"):
        read_attributes(tmp_path, TABLE)


CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=6)


@given(
    st.lists(CELLS.map(str.strip).filter(bool), min_size=1, max_size=4, unique=True).filter(lambda c: "video" not in c),
    st.data(),
)
def test_whatever_is_written_is_read(names: list[str], data: st.DataObject) -> None:
    values = {video: [data.draw(CELLS) for _ in names] for video in ("c", "a", "b")}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([["video", *names], *([video, *of_video] for video, of_video in values.items())])
    with TemporaryDirectory() as folder:
        read = read_attributes(written(Path(folder), text.getvalue()), TABLE)
    for column, name in enumerate(names):
        assert read.columns[name] == [values[video][column].strip() for video in VIDEO]


def test_groups(tmp_path: Path) -> None:
    assert read_groups(written(tmp_path, "video,group\na,1\nb,1\nc,2\n"), TABLE) == ["1", "1", "1", "2"]
    for content, message in (
        (WHOLE, "line 1: it must be video,group"),
        ("video,group,age\na,1,x\nb,1,x\nc,2,x\n", "line 1: it must be video,group"),
        ("image,group\n" + "".join(f"{name},1\n" for name in IMAGE), "line 1: it must be video,group"),
        ("video,group\na,1\nb, \nc,2\n", "b has no group; give it one"),
        ("video,group\na,1\nb,1\nc,2\nd,2\n", "1 videos that the table does not have, 'd' first; take them out"),
        ("video,group\na,1\nb,1\n", "no line for 1 videos of the table, 'c' first"),
    ):
        with pytest.raises(DataError, match=message):
            read_groups(written(tmp_path, content), TABLE)
