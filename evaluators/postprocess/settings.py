"""Check settings, and keep what was searched on one split as JSON for another: ``postprocess.json`` in a run folder."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from affect.errors import UserError
from affect.files import write_whole
from affect.labels import AFFECT, AU_NAMES, TASKS

STORED: Final = "postprocess.json"
"""Name of the file in the folder of the run that searched."""

SEARCHED: Final = ("weights", "k", "temperature", "coverage", "expression_biases", "au_thresholds")
"""The keys of the post-processing that can be searched or fitted, in the order of the chain."""

TEMPERED: Final = ("expression", "action_units")
"""The tasks that have logits, and so a temperature."""

LEAST, MOST = 0.01, 100.0
"""The range of temperatures."""

_LIMITS: Final = (*AFFECT, "expression")
"""What a fit of the coverage has limits of."""


def one_of(key: str, value: Any, options: Collection[str | None]) -> None:
    """Refuse a value of a key of the post-processing that is none of the options.

    Raises:
        UserError: it is not; the message names them.
    """
    if value not in options:
        names = ", ".join("null" if option is None else option for option in options)
        raise UserError(f"postprocess.{key} is {value!r}; there are {names}")


def write_stored(
    path: Path,
    found: Mapping[str, Any],
    *,
    split: str,
    rows: int,
    files: Mapping[str, str],
    expressions: Sequence[str] | None = None,
    scores: Mapping[str, float | None] | None = None,
) -> None:
    """Write what was searched, and on what; the file appears as a whole or not at all.

    Args:
        path: the file.
        found: JSON values by the key of the post-processing, one of ``SEARCHED``.
        split: name of the split that was searched on.
        rows: how many rows the split has.
        files: names of its label files to sha256.
        expressions: class names of the tables; what concerns expressions is for these only.
        scores: of the cross-fitting, for a reader of the file.
    """
    searched: dict[str, Any] = {"split": split, "rows": rows, "label_files": dict(files)}
    if expressions is not None:
        searched["expressions"] = list(expressions)
    if scores:
        searched["scores"] = dict(scores)
    write_whole(path, json.dumps({**found, "searched_on": searched}, indent=2) + "\n")


def read_stored(path: str | Path, key: str) -> Any:
    """Read one entry of what ``write_stored`` wrote.

    Raises:
        UserError: no such file, nothing of this key in it, or a file that ``write_stored`` does not write.
    """
    content = _read(Path(path), key)
    if key not in content:
        raise UserError(f"{path}: holds no {key}; it has {', '.join(content)}, so another key's search wrote it")
    return content[key]


def check_classes(path: str | Path, expressions: Sequence[str], source: str) -> None:
    """Refuse a stored file of the expressions of another model.

    Args:
        path: of the file.
        expressions: class names of the table that it is to be applied to.
        source: the table's name.

    Raises:
        UserError: the classes, or their order, differ; or as ``read_stored``.
    """
    known = read_stored(path, "searched_on")["expressions"]
    if known != list(expressions):
        raise UserError(
            f"{path}: was searched on the expressions {', '.join(known)}, but {source} has {', '.join(expressions)}; "
            "search again with tables of this model"
        )


def searched_on(path: str | Path, files: Mapping[str, str]) -> bool:
    """Return whether a stored file was searched on these label files (names to sha256), so that scores on them flatter.

    Raises:
        UserError: no such file, or a file that ``write_stored`` does not write.
    """
    known = _read(Path(path), "searched_on")["searched_on"]["label_files"]
    return bool(files) and sorted(known.values()) == sorted(files.values())


def _read(path: Path, key: str) -> dict[str, Any]:
    """Read the whole content, and check it."""
    if not path.is_file():
        raise UserError(f"postprocess.{key}: no such file {path}; give the {STORED} of the run that searched")
    try:
        content = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); give the {STORED} of the run that searched") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a {STORED}, whose content is one JSON object")
    if problem := next(_problems(content), None):
        raise UserError(f"{path}: {problem}: search again")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{twice[0]} is given twice")
    return dict(pairs)


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _problems(content: Mapping[str, Any]) -> Iterator[str]:
    """Find what is wrong with a content; ``resolve_weights`` checks how many tables the weights are for."""
    if unknown := [key for key in content if key not in (*SEARCHED, "searched_on")]:
        yield f"there is no {unknown[0]} in such a file"
    weights, thresholds = content.get("weights", {}), content.get("au_thresholds", dict.fromkeys(AU_NAMES, 0.5))
    if not isinstance(weights, dict):
        yield f"weights are {weights!r:.80}, expected a list for each task"
    elif wrong := [task for task, values in weights.items() if not _numbers(values, sys.float_info.max)]:
        yield f"the weights of {wrong[0]} are {weights[wrong[0]]!r:.80}, expected a list of numbers >= 0"
    if not isinstance(thresholds, dict) or set(thresholds) != set(AU_NAMES):
        given = ", ".join(thresholds) if isinstance(thresholds, dict) else f"{thresholds!r:.80}"
        yield f"au_thresholds are of {given}; needed are {', '.join(AU_NAMES)}"
    elif not _numbers(list(thresholds.values()), 1.0):
        yield f"au_thresholds are {list(thresholds.values())!r:.300}, expected numbers from 0 to 1"
    k = content.get("k", {TASKS[0]: 0})
    if not isinstance(k, dict) or not k or not set(k) <= set(TASKS):
        yield f"k is {k!r:.80}, expected numbers for {', '.join(TASKS)}"
    elif not all(type(value) is int and value >= 0 for value in k.values()):
        yield f"k is {k!r:.80}, expected whole numbers of frames, 0 or more"
    searched = content.get("searched_on")
    files = searched.get("label_files") if isinstance(searched, dict) else None
    if not isinstance(files, dict) or not all(re.fullmatch("[0-9a-f]{64}", str(value)) for value in files.values()):
        yield "searched_on.label_files has no SHA256 for each label file"
    yield from _calibration_problems(content)


def _calibration_problems(content: Mapping[str, Any]) -> Iterator[str]:
    """Find what is wrong with temperature and coverage."""
    temperature, coverage = content.get("temperature", {TEMPERED[1]: 1}), content.get("coverage", {AFFECT[0]: 0})
    if not isinstance(temperature, dict) or not temperature or not set(temperature) <= set(TEMPERED):
        yield f"temperature is {temperature!r:.80}, expected numbers for {' or '.join(TEMPERED)}"
    elif not _numbers(list(temperature.values()), MOST, LEAST):
        yield f"temperature is {temperature!r:.80}, expected numbers from {LEAST:g} to {MOST:g}"
    limits = {key: value for key, value in coverage.items() if key in _LIMITS} if isinstance(coverage, dict) else {}
    if not limits or not _numbers(list(limits.values()), sys.float_info.max):
        yield f"coverage is {coverage!r:.80}, expected limits >= 0 for {', '.join(_LIMITS)}"
    elif "coverage" in content:
        others = {key: value for key, value in coverage.items() if key not in limits}
        if set(others) != {"share", "seed"} or type(others["seed"]) is not int or others["seed"] < 0:
            yield f"coverage has {', '.join(others)} beside its limits, expected share, and seed, a whole number"
        elif not _numbers([others["share"]], 1) or not 0 < others["share"] < 1:
            yield f"coverage.share is {others['share']!r:.80}, expected a number between 0 and 1"
    biases = content.get("expression_biases")
    if "expression_biases" in content and not _finite(biases):
        yield f"expression_biases are {biases!r:.80}, expected a finite number for each expression"
    of_expressions = "expression_biases" in content or (isinstance(temperature, dict) and "expression" in temperature)
    if of_expressions or "expression" in limits:
        searched = content.get("searched_on")
        classes = searched.get("expressions") if isinstance(searched, dict) else None
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            yield "searched_on.expressions are not the class names of what was searched"
        elif isinstance(biases, dict) and list(biases) != classes:
            yield f"expression_biases are of {', '.join(biases)}; needed are {', '.join(classes)}"


def _finite(values: Any) -> bool:
    """Return whether it is an object of finite numbers."""
    return isinstance(values, dict) and all(
        type(value) is int or (type(value) is float and math.isfinite(value)) for value in values.values()
    )


def _numbers(values: Any, most: float, least: float = 0) -> bool:
    return isinstance(values, list) and all(type(value) in (int, float) and least <= value <= most for value in values)
