"""What a command line of tune.py asks for: keys with ranges, keys with values, and settings of the search."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Final

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from affect.errors import ConfigError, UserError
from affect.hints import key_errors, suggest
from affect.settings import Count
from runs.config import literal_paths

HELP: Final = """\
python tune.py [group=option …] [key=value …] KEY=RANGE … [tune.…=…]

  python tune.py experiment=emma data=synthetic scale=tiny trainer=cpu \\
    'model.optimiser.base_lr=tag(log,interval(1e-3,1.6e-2))' \\
    'model.loss.label_smoothing=interval(0,0.2)' data.batch_size=32,64

The command line is that of train.py (python train.py --help). A key with a
range is searched over, in the grammar of train.py -m:
  interval(0,0.2)              any number between the two
  tag(log,interval(1e-4,1e-2)) the same, drawn on a logarithmic scale
  int(interval(1,8))           any whole number from 1 to 8, with tag(log,…) too
  range(16,129,16)             16, 32, … 128
  32,64                        one of these values
Keys
  paths.run_dir=<folder>       the study's; <output_dir>/tune-<experiment>
  tune.trials=20               how many trials the study has in the end
  tune.prune=true              end a trial after an epoch in which it is worse
                               than the median of the others
  tune.monitor=val/score       what is searched for: what best.ckpt is chosen by
The same command goes on with a study; a larger tune.trials continues it.
"""

_REFUSED: Final[Mapping[str, str]] = {
    "ckpt_path": "a study resumes its trials by itself: give the same command again",
    "fork_from": "a trial starts anew: give the weights by their key (model.….weights)",
    "sweep": "a study is searched, not listed: give its keys ranges",
    "system": "a study is searched, not listed: give its keys ranges",
    "overwrite": "a study goes on by itself, and starts over in another folder (paths.run_dir)",
}


class _Settings(typing.TypedDict):
    trials: Count
    prune: bool
    monitor: str


@dataclass(frozen=True)
class Space:
    """The values of a key that are searched.

    Attributes:
        kind: ``choices``, ``float`` or ``int``.
        choices: of the first kind, as the command line has them.
        low: the smallest number of the others.
        high: the largest.
        step: between two of them; None for any number, and on a logarithmic scale.
        log: whether the scale is logarithmic.
    """

    kind: str
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    def ends(self) -> tuple[str, ...]:
        """Return values that stand for all: every choice, or both ends."""
        return self.choices or (repr(self.low), repr(self.high))

    def plain(self) -> dict[str, Any]:
        """Return it as values that JSON keeps."""
        return {**asdict(self), "choices": list(self.choices)}


@dataclass(frozen=True)
class Asked:
    """A command line of tune.py.

    Attributes:
        keys: those that are searched.
        words: the others, as train.py takes them.
        trials: how many the study has in the end.
        prune: whether bad ones end early.
        monitor: what is searched for.
    """

    keys: Mapping[str, Space]
    words: tuple[str, ...]
    trials: int = 20
    prune: bool = True
    monitor: str = "val/score"

    def example(self) -> list[str]:
        """Return a command line of train.py: each key at the first end of its range."""
        return [*self.words, *(f"{key}={space.ends()[0]}" for key, space in self.keys.items())]


def check_installed() -> None:
    """Check that what searches is there.

    Raises:
        UserError: it is not, or cannot be loaded.
    """
    try:
        import_module("optuna")
    except ImportError as error:
        raise UserError(
            f'tune.py searches with the package optuna, which cannot be loaded ({error}): pip install -e ".[tune]"'
        ) from error


def read(arguments: Sequence[str]) -> Asked:
    """Read a command line of tune.py.

    Args:
        arguments: without the program's name.

    Raises:
        ConfigError: with all errors of the ranges and of ``tune.…``; the other words are not looked at.
    """
    settings: dict[str, Any] = {}
    keys: dict[str, Space] = {}
    given: dict[str, str] = {}
    searched: set[str] = set()
    words, errors = [], []
    for word in literal_paths(["-m", *arguments])[1:]:
        if word.startswith("-"):
            errors.append(f"{word}: no such flag; tune.py takes key=value and key=range alone (--help)")
            continue
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            errors.append(f"{word!r} is not of the form key=value ({str(error).splitlines()[0]})")
            continue
        key = str(override.get_key_element()).lstrip("+")
        if key in given and (override.is_sweep_override() or key in searched):
            errors.append(f"{key} is given twice, as {given[key]} and as {word}: leave one out")
        given[key] = word
        searched |= {key} if override.is_sweep_override() else set()
        if key.startswith("tune.") and not override.is_sweep_override():
            settings[key.removeprefix("tune.")] = override.value()
        elif override.is_sweep_override():
            try:
                keys[str(override.get_key_element())] = _space(override)
            except ValueError as error:
                errors.append(f"{word}: {error}")
        elif key in _REFUSED:
            errors.append(f"{word}: {_REFUSED[key]}")
        else:
            words.append(word)
    errors += [
        f"unknown key 'tune.{name}'; {suggest(name, [*_Settings.__annotations__])}"
        for name in settings.keys() - _Settings.__annotations__.keys()
    ]
    errors += key_errors(settings, _Settings, "tune.")
    if not keys and not errors:
        errors.append(
            "no key has a range, so there is nothing to search: give one, as KEY=interval(low,high) or KEY=a,b"
        )
    if errors:
        raise ConfigError(errors, "the command line")
    return Asked(keys, tuple(words), **settings)


def _space(override: Override) -> Space:
    """Take what is searched from an override.

    Raises:
        ValueError: it is no range; the message says why.
    """
    key, value = str(override.get_key_element()), override.value()
    if key in _REFUSED or key.startswith(("tune.", "paths.", "hydra")) or key == "seed":
        raise ValueError("this is one value for the whole study: give it no range")
    if isinstance(value, IntervalSweep):
        unknown = value.tags - {"log"}
        low, high = value.start, value.end
        if unknown:
            raise ValueError(f"the tag {sorted(unknown)[0]} has no meaning here: give tag(log,interval(…)), or none")
        if low is None or high is None or not low < high:
            raise ValueError("the second number must be larger than the first")
        log = "log" in value.tags
        if log and low <= 0:
            raise ValueError("a logarithmic scale begins above 0")
        whole = type(low) is int and type(high) is int
        return Space("int" if whole else "float", (), low, high, 1 if whole and not log else None, log)
    if isinstance(value, RangeSweep):
        values = list(override.sweep_iterator())
        if len(values) < 2:
            raise ValueError("this range has fewer than two values; its second number is not part of it")
        numbers = sorted(typing.cast(list[float], values))
        step = abs(typing.cast(float, value.step))
        return Space("int" if all(type(one) is int for one in numbers) else "float", (), numbers[0], numbers[-1], step)
    if isinstance(value, Glob):
        raise ValueError("write out the values, as KEY=a,b,c")
    choices = tuple(override.sweep_string_iterator())
    if len(set(choices)) < max(len(choices), 2):
        raise ValueError("give two values or more, each once")
    return Space("choices", choices)
