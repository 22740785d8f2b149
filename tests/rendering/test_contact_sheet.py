from __future__ import annotations

from pathlib import Path

import pytest

from rendering.contact_sheet import main


def test_help_is_given_and_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert "usage: python -m rendering.contact_sheet" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
