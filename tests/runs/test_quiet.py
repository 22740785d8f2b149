from __future__ import annotations

import logging
import re
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator

import pytest

from runs.building import PACKAGES, REPOSITORY
from runs.quiet import WARNINGS, quiet


@pytest.fixture
def usual_levels() -> Iterator[None]:
    """Puts the levels of our loggers back."""
    former = {package: logging.getLogger(package).level for package in PACKAGES}
    yield
    for package, level in former.items():
        logging.getLogger(package).setLevel(level)


def test_the_tests_leave_out_what_a_run_leaves_out_and_nothing_else(pytestconfig: pytest.Config) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert "filterwarnings" not in project["tool"]["pytest"]["ini_options"]
    assert pytestconfig.getini("filterwarnings") == [f"ignore:{message}" for message in WARNINGS]
    assert not any(":" in message for message in WARNINGS)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("weights=random: a DAN starts untrained", False),
        ("Found 177 module(s) in eval mode at the start of training. This may lead …", False),
        ("The 'train_dataloader' does not have many workers which may be a bottleneck.", False),
        ("This DataLoader will create 9 worker processes in total. Our suggested max number of worker …", True),
        ("It is recommended to use `self.log('val/score', ..., sync_dist=True)` when logging …", True),
    ],
)
def test_a_warning_that_needs_an_answer_is_shown(message: str, shown: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        quiet(first=True)
        warnings.warn(message, UserWarning, stacklevel=1)
    assert bool(caught) is shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("TPU available: False, using: 0 TPU cores", False),
        ("-----\ndistributed_backend=gloo\nAll distributed processes registered. Starting with 2 processes", False),
        ("`Trainer.fit` stopped: `max_epochs=2` reached.", False),
        ("`Trainer.fit` stopped: No training batches.", True),
        ("💡 Tip: …", False),
        ("Time limit reached. Elapsed time is 0:00:05. Signaling Trainer to stop.", True),
    ],
)
def test_a_line_of_lightning_that_needs_an_answer_is_shown(message: str, shown: bool) -> None:
    quiet(first=True)
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    assert bool(logger.filter(logger.makeRecord("x", logging.INFO, "x", 1, message, (), None))) is shown


@pytest.mark.usefixtures("usual_levels")
def test_other_processes_only_warn() -> None:
    logging.getLogger("datamodules").setLevel(logging.INFO)
    quiet(first=True)
    assert logging.getLogger("datamodules.base").isEnabledFor(logging.INFO)
    quiet(first=False)
    assert not logging.getLogger("datamodules.base").isEnabledFor(logging.INFO)
    assert logging.getLogger("datamodules.base").isEnabledFor(logging.WARNING)


def test_python_can_be_asked_for_everything() -> None:
    code = "import warnings; from runs.quiet import quiet; quiet(first=True); print(len(warnings.filters))"
    told = [
        subprocess.run([sys.executable, *flags, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        for flags in ([], ["-W", "default"])
    ]
    assert int(told[0].stdout) > len(WARNINGS)
    assert int(told[1].stdout) < len(WARNINGS) + 2
    assert not re.search(r"\S", told[0].stderr)
