"""Strict readers of the framework's own text files: JSON, YAML and the table of finished videos."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from .strict_lists import UNITS
from .strict_text import RefusedError, lines_of, name, number, whole, word

FINISHED = (
    "name",
    "file",
    "frames",
    "frames_with_face",
    "frames_with_others_only",
    "fps",
    "width",
    "height",
    "announced",
    "seconds",
    "lost",
    "size",
    "sha256",
)
EARLIER = FINISHED[:10]
"""What was written before the others were."""

UNIT_NAMES = [f"au{unit}" for unit in UNITS]
STORE = {
    "network": str,
    "sha256": str,
    "embedding": int,
    "outputs": list,
    "images": str,
    "image_size": int,
    "dtype": str,
    "schema_version": int,
}
_MORE_THAN_DATA = (
    yaml.TagToken,
    yaml.AnchorToken,
    yaml.AliasToken,
    yaml.DirectiveToken,
    yaml.DocumentStartToken,
    yaml.DocumentEndToken,
)
_FLOAT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?[eE][+-]?[0-9]+")  # YAML 1.1 wants a point and a sign as well


def plain_json(path: Path) -> Any:
    """Reads JSON in which no key is there twice and every number is finite."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if any(dict(found)[key] != value for key, value in found):
            raise RefusedError("a key has two values")
        return dict(found)

    def refuse(text: str) -> Any:
        raise RefusedError(f"no number of JSON: {text}")

    try:
        content = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=pairs, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"no JSON: {error}") from error
    _finite(content)
    return content


def _finite(content: Any) -> None:
    children = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    for child in children:
        _finite(child)
    if isinstance(content, float) and not math.isfinite(content):
        raise RefusedError("a number that is not finite")


def postprocess(path: Path) -> dict[str, Any]:
    """Reads postprocess.json: what was searched, by key, and what it was searched on."""
    content = plain_json(path)
    if not isinstance(content, dict):
        raise RefusedError("no object")
    searched = content.get("searched_on")
    files = searched.get("label_files") if isinstance(searched, dict) else None
    if not isinstance(files, dict) or not all(_is_hash(value) for value in files.values()):  # LSD has no label file
        raise RefusedError("no hashes")
    thresholds = content.get("au_thresholds", dict.fromkeys(UNIT_NAMES, 0.5))
    if not isinstance(thresholds, dict) or set(thresholds) != set(UNIT_NAMES):
        raise RefusedError("not twelve thresholds")
    if not _numbers(list(thresholds.values()), 12) or max(thresholds.values()) > 1:
        raise RefusedError("not twelve thresholds")
    for task, weights in _weights(content.get("weights", {})).items():
        if (
            task not in ("valence_arousal", "expression", "action_units")
            or not _numbers(weights, 2)
            or not sum(weights)
        ):
            raise RefusedError(f"no weights of two tables: {task}")
    _calibration(content)
    return content


def _calibration(content: dict[str, Any]) -> None:
    """Refuses temperatures and limits of the coverage that are out of range, or of classes that are not named."""
    temperature = content.get("temperature", {"action_units": 1.0})
    if not isinstance(temperature, dict) or not temperature or not {*temperature} <= {"expression", "action_units"}:
        raise RefusedError("no temperature by task")
    if not _numbers([*temperature.values()], len(temperature)) or not all(
        0.01 <= t <= 100 for t in temperature.values()
    ):
        raise RefusedError("no temperature")
    coverage = content.get("coverage", {"share": 0.5, "seed": 0, "valence": 0})
    if not isinstance(coverage, dict) or {*coverage} - {"share", "seed", "valence", "arousal", "expression"}:
        raise RefusedError("no coverage")
    if not {"share", "seed"} < {*coverage} or not _numbers([*coverage.values()], len(coverage)):
        raise RefusedError("no limits")
    if type(coverage["seed"]) is not int or not 0 < coverage["share"] < 1:
        raise RefusedError("no seed or no share")
    classes = content["searched_on"].get("expressions")
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if ("expression" in temperature or "expression" in coverage) and not named:
        raise RefusedError("no classes")


def _weights(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise RefusedError("weights are by task")
    return given


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in (int, float) and 0 <= value <= sys.float_info.max for value in values)
    )


def store_index(root: Path) -> dict[str, Any]:
    """Reads what a feature store says of itself; keys of later versions are left alone."""
    content = plain_json(root / "store.json")
    if not isinstance(content, dict) or not all(type(content.get(key)) is kind for key, kind in STORE.items()):
        raise RefusedError("a key is missing, or of another type")
    if content["schema_version"] != 1 or content["dtype"] not in ("float16", "float32"):
        raise RefusedError("an unknown version or type")
    if not all(type(output) is str for output in content["outputs"]) or not _is_hash(content["sha256"]):
        raise RefusedError("no names, or no hash")
    if min(content["embedding"], content["image_size"]) < 1:
        raise RefusedError("no size")
    return {key: content[key] for key in STORE}


def finished_videos(folder: Path) -> list[list[Any]]:
    """Reads videos.csv: a row for each video whose faces are cut out, columns by name."""
    path = folder / "videos.csv"
    try:
        header, *rows = csv.reader(lines_of(path), strict=True)
    except (csv.Error, ValueError) as error:
        raise RefusedError(f"no table: {error}") from error
    while header and not header[-1]:
        header.pop()
    rows = [row if any(row[len(header) :]) else row[: len(header)] for row in rows]
    if sorted(header) not in (sorted(FINISHED), sorted(EARLIER)) or not all(
        len(row) == len(header) for row in rows if row
    ):
        raise RefusedError("unknown columns")
    found = [_finished({key: text.strip(" ") for key, text in zip(header, row, strict=True)}) for row in rows if row]
    if len({row[0] for row in found}) < len(found):
        raise RefusedError("a video is there twice")
    return sorted(found)


def _finished(row: dict[str, str]) -> list[Any]:
    counts = [whole(row[key]) for key in ("frames", "frames_with_face", "frames_with_others_only")]
    lost = whole(row["lost"]) if row.get("lost") else None
    if counts[1] + counts[2] + (lost or 0) > counts[0] or counts[0] < 1:
        raise RefusedError(f"impossible counts: {counts}")
    fps = number(row["fps"]) if row["fps"] else None
    seconds = number(row["seconds"])
    sides = [whole(row["width"], 10**5), whole(row["height"], 10**5)]
    if (fps is not None and not 0 < fps < 1e6) or not 0 <= seconds < 1e9 or min(sides) < 1:
        raise RefusedError("no video has these")
    announced = whole(row["announced"]) if row["announced"] else None
    size = whole(row["size"], 2**63) if row.get("size") else None
    digest = row.get("sha256") or None
    if digest is not None and re.fullmatch("[0-9a-f]{64}", digest) is None:
        raise RefusedError(f"no SHA-256: {digest!r}")
    later = [lost, size, digest]
    if later == [None, None, None]:  # as an earlier version knows them
        later = []
    return [name(row["name"]), word(row["file"]), *counts, fps, *sides, announced, seconds, *later]


def config(path: Path) -> dict[str, Any]:
    """Reads a resolved configuration: a mapping of plain values, no tags, anchors, interpolations or doubtful words."""
    try:
        text = path.read_bytes().decode("utf-8")
        if any(isinstance(token, _MORE_THAN_DATA) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise RefusedError("a tag, an anchor, an alias, a directive or a second document")
        content = _plain(yaml.compose(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RefusedError(f"no plain YAML: {error}") from error
    if not isinstance(content, dict):
        raise RefusedError("no mapping")
    return content


def _plain(node: Any) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        keys = [_key(key) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise RefusedError("a key is there twice")
        return {key: _plain(value) for key, (_, value) in zip(keys, node.value, strict=True)}
    if not isinstance(node, yaml.ScalarNode):
        raise RefusedError("nothing")
    if "${" in node.value:
        raise RefusedError("an interpolation")
    return node.value if node.style in ("'", '"') else _scalar(node.value)


def _key(node: Any) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value or not node.value.isprintable():
        raise RefusedError("a key that is no word")
    if node.tag != "tag:yaml.org,2002:str":
        raise RefusedError(f"a key that is no word: {node.value}")
    return str(node.value)


def _scalar(text: str) -> Any:
    """Reads a plain word as YAML 1.1 has it; a date stays a word."""
    if _FLOAT.fullmatch(text):
        value: Any = float(text)
    else:
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise RefusedError(f"no word: {text!r}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise RefusedError(f"not finite: {text!r}")
    return value if isinstance(value, bool | int | float) or value is None else text
