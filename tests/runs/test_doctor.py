"""prepare.py doctor: what cannot be used is one message."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from affect.errors import DataError
from prepare import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=affwild"], "data=affwild: no such option; did you mean affwild2_"),
        (["data=affwild2_mtl"], "data.root is not set: give data.root=…"),
        (["data.root=/no/such/folder"], "no such folder: /no/such/folder. Set data.root to the folder"),
        (["data.root=.", "picture=true"], "unknown key 'picture'; did you mean pictures?"),
        (["data.root=.", "pictures=2"], "pictures is 2, but must be true or false"),
        (["data.root=.", "official=abaw12"], "official=abaw12: no counts are known; official=abaw3 or"),
        (["data=lsd", "data.root=.", "official=abaw5"], "official=abaw5: no counts of lsd are known; official=abaw4"),
        (["data.root=.", "json=/"], "is a folder, not a file"),
        (["data=features", "data.store=.", "data.labels.root=.", "data.labels.task=va"], "is no data with pictures"),
        (["data=run"], "data: runs.stored_config.data_of_run is no data with pictures"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(arguments: list[str], message: str) -> None:
    with pytest.raises((ValueError, OSError)) as raised:
        main(["doctor", *arguments])
    assert message in str(raised.value)


def test_lists_of_another_challenge_are_one_message(faces: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "root"
    shutil.copytree(faces, root)
    for name in ("training", "validation"):
        (root / f"{name}_set_annotations.txt").write_text("valence,arousal\n0.1,0.2\n")
    with pytest.raises(DataError) as raised:
        main(["doctor", f"data.root={root}", f"json={tmp_path}/found.json"])
    told = str(raised.value)
    assert "training_set_annotations.txt:1: the header is 'valence,arousal', expected 'image,valence" in told
    assert "validation" not in told
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "found.json").exists()


def test_a_split_that_is_not_there_is_a_fault_beside_the_other(faces: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "root"
    shutil.copytree(faces, root)
    (root / "validation_set_annotations.txt").unlink()
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", f"data.root={root}", f"json={tmp_path}/found.json", "official=abaw4"])
    assert stopped.value.code == 1
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found["counts"]) == ["train"]
    (fault,) = [one for one in found["findings"] if one["fault"]]
    assert fault["what"].startswith("no label file of the val split: looked for")
    told = capsys.readouterr().out
    assert "of 142333 in the official files, so it is a part of them" in told
    assert "\n1 fault that would change a score, " in told
