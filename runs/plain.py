"""Plain values from a file: the ``config.yaml`` of a run folder, or the configuration inside a checkpoint.

They may come from anybody: an interpolation (``${…}``) in them is an error, as is every ``_key_`` but ``_target_``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from omegaconf._utils import get_yaml_loader

from affect.errors import UserError
from runs.building import DEPTH
from runs.earlier import upgraded

LARGEST: Final = 1 << 20
"""Bytes of the largest config.yaml that is read; ours have a few thousand."""


class _Loader(get_yaml_loader()):  # type: ignore[misc]
    """Read plain values, as OmegaConf does: without tags, and without aliases, which can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            kind = "an alias" if isinstance(event, yaml.AliasEvent) else f"the tag {event.tag}"
            raise yaml.constructor.ConstructorError(None, None, f"{kind}, which no run writes", event.start_mark)
        return super().compose_node(parent, index)


def read_config(path: Path) -> dict[str, Any]:
    """Read the ``config.yaml`` of a run folder.

    Args:
        path: the file.

    Returns:
        Plain values without interpolations, nested at most ``DEPTH`` deep.

    Raises:
        UserError: not a regular file, damaged, not a mapping, or with anything but plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of a run")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path}: {path.stat().st_size} bytes, so it is no configuration of a run")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: not the configuration of a run ({reason}); restore the file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a mapping of keys, so not the configuration of a run; restore the file")
    check_plain(content, str(path))
    made: dict[str, Any] = upgraded(content)
    return made


def check_plain(content: Any, source: str) -> None:
    """Check that a configuration from a file holds plain values only, and asks for nothing to be resolved.

    Raises:
        UserError: naming the source and every key that is at fault.
    """
    errors = list(_not_plain(content, "", 0))
    if errors:
        listed = "".join(f"\n  - {error}" for error in errors[:20])
        raise UserError(f"{source}: a configuration of another making than this framework's:{listed}")


def _not_plain(node: Any, key: str, depth: int) -> Iterator[str]:
    if depth > DEPTH:
        yield f"{key[:60]}…: nested more than {DEPTH} deep"
    elif isinstance(node, Mapping):
        for name, value in node.items():
            below = f"{key}.{name}" if key else str(name)
            if not isinstance(name, str) or not name.isprintable():
                yield f"{below!r}: a key that is no word"
            elif str(name).startswith("_") and str(name).endswith("_") and name != "_target_":
                yield f"{below}: there is no such key, only _target_"
            else:
                yield from _not_plain(value, below, depth + 1)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _not_plain(value, f"{key}.{index}", depth + 1)
    elif isinstance(node, str):
        if "${" in node:
            yield f"{key} is {node[:80]!r}: a stored configuration is resolved, and nothing in it is looked up"
        elif "\ufeff" in node:
            yield f"{key} is {node[:80]!r}: a byte order mark belongs to the beginning of a file"
    elif node is not None and type(node) not in (bool, int, float):
        yield f"{key} is a {type(node).__name__}, not a plain value"
