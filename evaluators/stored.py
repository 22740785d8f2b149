"""What was searched on one split, kept as JSON for another: ``postprocess.json`` of a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from affect.errors import UserError
from affect.files import write_whole

STORED: Final = "postprocess.json"
"""Name of the file in the folder of the run that searched."""


class SettingsError(UserError):
    """A setting of the post-processing that cannot be used; the message names the key or the file, and the mend."""


def write_stored(path: Path, found: Mapping[str, Any], *, split: str, rows: int, files: Mapping[str, str]) -> None:
    """Write what was searched, and on what; the file appears as a whole or not at all.

    Args:
        path: the file.
        found: by the key of the post-processing, JSON values: ``weights``, ``au_thresholds``.
        split: name of the split that was searched on.
        rows: its length.
        files: its label-file names to sha256.
    """
    content = {**found, "searched_on": {"split": split, "rows": rows, "label_files": dict(files)}}
    write_whole(path, json.dumps(content, indent=2) + "\n")


def read_stored(path: str | Path, key: str) -> Any:
    """One entry of what ``write_stored`` wrote.

    Raises:
        SettingsError: no such file, not JSON, or nothing of this key in it.
    """
    content = _read(Path(path), key)
    if key not in content:
        raise SettingsError(f"{path}: holds no {key}; it has {', '.join(content)}, so another key's search wrote it")
    return content[key]


def searched_on(path: str | Path, files: Mapping[str, str]) -> bool:
    """Whether a stored file was searched on these label files (names to sha256), so that scores on them flatter."""
    known = dict(_read(Path(path), "searched_on").get("searched_on", {})).get("label_files", {})
    return bool(files) and sorted(known.values()) == sorted(files.values())


def _read(path: Path, key: str) -> dict[str, Any]:
    if not path.is_file():
        raise SettingsError(f"postprocess.{key}: no such file {path}; give the {STORED} of the run that searched")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not JSON ({error}); give the {STORED} of the run that searched") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: not a {STORED}, whose content is one JSON object")
    return content
