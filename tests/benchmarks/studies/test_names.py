"""``python -m benchmarks.abaw5``, as earlier pages have it, runs the study where it is now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["abaw5", "controls", "photographs"])
def test_a_study_is_found_by_its_earlier_name(name: str) -> None:
    found = importlib.util.find_spec(f"benchmarks.{name}")
    assert found is not None
    assert found.origin is not None
    assert Path(found.origin).parts[-3:] == ("benchmarks", "studies", f"{name}.py")
