"""What ``--help`` says: examples, groups with their options, and keys, in the words of the comments in conf/."""

from __future__ import annotations

import itertools
import re
import textwrap
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from affect.errors import ConfigError
from affect.hints import suggest
from backbones.choices import BACKBONES
from heads.temporal.choices import HEADS
from rendering.layouts import LAYOUTS
from runs.config import CONFIG_DIR, check_command_line
from runs.options import options

_WIDTH: Final = 80
_HIDDEN: Final = ("drawn", "preset", "values", "system", "hydra")
"""Groups that nobody chooses from: what they hold follows from other choices."""

_FIRST: Final = ("experiment", "data", "scale", "trainer", "backbone", "head", "postprocess", "logger", "augmentation")

_LINE: Final = re.compile(r"(?P<indent> *)(?P<key>[\w.]+):(?:\s.*?)?(?:\s*# (?P<comment>.*))?$")


def help_text(name: str, arguments: Sequence[str]) -> str | None:
    """Return what a command line asks to be told; None where it asks for nothing.

    ``--help`` and ``-h`` ask for everything, ``help=<group>`` and ``--help=<group>`` for the options and keys of one
    group, as the rest of the command line chooses them.

    Args:
        name: of the entry point and of its configuration.
        arguments: the command line without the program's name.

    Raises:
        ConfigError: the rest of the command line has errors, or there is no such group.
    """
    asked = [word for word in arguments if re.fullmatch(r"-h|--help|(--)?help=.*", word)]
    if not asked:
        return None
    others = [word for word in arguments if word not in asked and not word.startswith("-")]
    check_command_line(name, others)
    topic = asked[-1].partition("=")[2]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(name, overrides=others, return_hydra_config=True)
        choices = config.hydra.runtime.choices
        groups = {group: options(group) for group in choices if not group.startswith(_HIDDEN)}
    nodes = [str(key) for key in config if isinstance(config._get_node(key), DictConfig) and key not in _HIDDEN]
    if not topic:
        return "\n".join(_everything(name, config, groups, choices, nodes))
    if topic not in (*groups, *nodes):
        raise ConfigError(
            [f"help={topic}: no such group; {suggest(topic, sorted({*groups, *nodes}))}"], "the command line"
        )
    lines: list[str] = []
    if topic in groups:
        lines = [*_options(topic, groups[topic], choices[topic]), "", *_header(_file(topic, str(choices[topic]))), ""]
    files = [_file(group, str(option)) for group, option in choices.items()]
    node = _plain(config)[topic] if topic in nodes else {}
    return "\n".join([*lines, *_keys(node, f"{topic}.", _comments(files))]).rstrip()


def _everything(
    name: str, config: DictConfig, groups: Mapping[str, Sequence[str]], choices: Mapping[str, str], nodes: Sequence[str]
) -> Iterator[str]:
    """Yield the lines of ``--help``."""
    yield f"python {name}.py [group=option …] [key=value …]"
    yield ""
    yield from (f"  {line}" for line in _header(CONFIG_DIR / f"{name}.yaml") if line.startswith("python "))
    yield ""
    yield "Groups; * is what this command line has. help=<group> shows the keys of one."
    for group in sorted(groups, key=lambda group: _FIRST.index(group) if group in _FIRST else len(_FIRST)):
        if len(groups[group]) > 1:
            yield from _options(group, groups[group], choices[group])
    if alone := [str(key) for key in nodes if key not in groups or len(groups[key]) < 2]:
        yield from textwrap.wrap(f"Keys of their own have {', '.join(alone)}: help=<name>", _WIDTH)
    yield "Keys"
    values = _plain(config)
    for key, comment in _comments([CONFIG_DIR / f"{name}.yaml"]).items():
        if key in values and not isinstance(values[key], dict):
            start = f"  {f'{key}={_shown(values[key])}':<19} "
            yield (start + _fitting(comment, _WIDTH - len(start))).rstrip()


def _options(group: str, known: Iterable[str], chosen: str | None) -> Iterator[str]:
    """Yield a line for each option of a group."""
    yield group
    for option in known:
        start = f"  {'*' if option == chosen else ' '} {option:<20} "
        yield (start + _fitting(described(group, option), _WIDTH - len(start))).rstrip()


def _fitting(text: str, width: int) -> str:
    """Return as many clauses of a text as fit into a line, or as many words."""
    found = (text[: end.start()] for end in re.finditer(r"[.;:,](?= |$)|$", text))
    fitting = [part for part in found if len(part) <= width and part.count("(") == part.count(")")]
    return fitting[-1] if fitting else textwrap.shorten(text, width, placeholder=" …")


def described(group: str, option: str) -> str:
    """Return the sentence that says what an option is."""
    name = group.partition("@")[0]
    if name == "draws":
        return LAYOUTS[option].what if option in LAYOUTS else "what the run needs that is evaluated"  # type: ignore[index]
    if name == "backbone":
        network = BACKBONES[option]
        return f"timm's {network.name}, weights {network.weights}".replace("???", "of your choice")
    if name == "head":
        return HEADS[option].what
    told = " ".join(line for line in _header(_file(group, option)) if not line.startswith("python "))
    return told.partition(". ")[0]


def _file(group: str, option: str) -> Path:
    return CONFIG_DIR / group.partition("@")[0] / f"{option}.yaml"


def _header(file: Path) -> list[str]:
    """Return the lines of the comment that a file begins with."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    comment = [line.removeprefix("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]
    return [line for line in comment if not line.startswith("@package")]


def _keys(node: Any, prefix: str, comments: Mapping[str, str]) -> Iterator[str]:
    """Yield each key below a node with its value and its comment."""
    for key, value in (node or {}).items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            if comments.get(name):
                yield from _remark(f"{name}.…", comments[name])
            yield from _keys(value, f"{name}.", comments)
        elif key != "_target_":
            yield from _remark(f"{name}={_shown(value)}", comments.get(name, ""))


def _plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain containers, with nothing resolved."""
    return typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))


def _shown(value: Any) -> str:
    """Return a value as the command line takes it."""
    if value is None:
        return "null"
    if "${" in str(value):
        return "…"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _remark(start: str, comment: str) -> list[str]:
    """Put a comment behind a key, or below it where the line would be too long."""
    if len(f"{start:<36}  {comment}") <= _WIDTH:
        return [f"{start:<36}  {comment}".rstrip()]
    return [start, *textwrap.wrap(comment, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)]


def _comments(files: Iterable[Path]) -> dict[str, str]:
    """Return the comments behind the keys of files, those of the first file first."""
    found: dict[str, str] = {}
    for file in (one for one in files if one.is_file()):
        text = file.read_text(encoding="utf-8")
        if bases := re.search(r"^defaults: \[(\w+)\]$", text, re.MULTILINE):
            found = {**_comments([file.with_name(f"{bases[1]}.yaml")]), **found}
        place = "" if text.startswith("# @package _global_") or file.parent == CONFIG_DIR else f"{file.parent.name}."
        found = {**{f"{place}{key}": comment for key, comment in _commented(text)}, **found}
    return found


def _commented(text: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted path of each key of a YAML file, with the comment behind it."""
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            indent = len(match["indent"])
            above = [(depth, key) for depth, key in above if depth < indent] + [(indent, match["key"])]
            yield ".".join(key for _, key in above), match["comment"] or ""
