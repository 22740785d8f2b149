"""What compare.py does: the scores of systems on the same videos, with intervals, and which of them is ahead."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict

import numpy as np
from omegaconf import DictConfig, OmegaConf

from affect.errors import ConfigError, DataError
from affect.files import write_whole
from affect.frames import Frames
from affect.hints import key_errors, suggest
from affect.preprocessing import IMAGENET
from datamodules.base import Split
from datamodules.folds import split_errors
from datamodules.readers.attributes import first_found, read_attributes, read_groups
from evaluators import comparison
from evaluators.audit import LEGEND, Gap, audit, comparable, gap_lines, gap_sentences, gaps_csv
from evaluators.comparison import READING, Comparison, System, as_csv, as_latex, as_rows, caveat, printed, sentences
from evaluators.names import MAIN
from evaluators.page.comparison import Compared, write_comparison
from evaluators.page.markup import Link
from evaluators.page.run import FILE
from evaluators.postprocess.thresholds import Thresholds
from evaluators.postprocess.timeline import lists_pictures
from evaluators.report import aligned
from evaluators.sums import Sums, sums
from evaluators.table import Table, check_same_list, read_table
from runs.assembly import build_data
from runs.folder import Run, opened_run
from runs.folds import default_split
from runs.origin import renderer_of
from runs.plain import read_config
from runs.stored_config import take_data_of_run

_WIDE: Final = 24  # characters of a value in the table of a sweep

_KINDS: Final = ("-cross-fitted", "-postprocessed", "")
"""Endings of the names of a run's tables: the first that is there is what its scores are of."""


class Entry(NamedTuple):
    """One run or table: its file, its thresholds, what its system is called; of a run, its folder and its seed."""

    table: Path
    thresholds: Thresholds
    system: str
    run: Path | None = None
    seed: Any = None


class _Settings(TypedDict):
    """Keys of conf/compare.yaml that no node below it has."""

    runs: str | Sequence[str | Sequence[str]] | None
    tables: str | Sequence[str] | None
    folder: str | None
    to: str | None
    split: Split | None
    groups: str | None
    attributes: str | None
    au_thresholds: float | Sequence[float] | str | None
    overwrite: bool


def compare(config: DictConfig) -> None:
    """Compare what the command line names; print, and write the tables into the run folder."""
    plain: Any = OmegaConf.to_container(config)
    if errors := list(key_errors(plain, _Settings)):
        raise ConfigError(errors, "the command line")
    for key in ("runs", "tables"):
        plain[key] = [plain[key]] if isinstance(plain[key], str) else plain[key]
    given = [key for key in ("runs", "tables", "folder") if plain[key] is not None]
    if len(given) != 1 or not plain[given[0]]:
        raise ConfigError(["give one of runs=[…], tables=[…] and sweep=…"], "the command line")
    if plain["split"] is None and plain["tables"] is None:
        plain["split"] = _split_of(plain)
    entries = list(_entries(plain))
    take_data_of_run(config, entries[0].table)
    config.split = plain["split"] or default_split(config.data)
    if errors := split_errors(config.split):
        raise ConfigError(errors, "the command line")
    with opened_run(config, lambda found: key_errors(found, _Settings)) as run:
        _compare(run, entries, best_first=plain["folder"] is not None)


def _split_of(plain: Mapping[str, Any]) -> str:
    """Return the split that the first run is of, where it is there."""
    given = np.ravel(plain["runs"][0])[:1] if plain["runs"] else sorted(Path(plain["folder"]).glob("*"))
    stored = next((path for one in given if (path := Path(one) / "config.yaml").is_file()), None)
    data = None if stored is None else read_config(stored).get("data")
    return default_split(data if isinstance(data, dict) else {})


def _compare(run: Run, entries: Sequence[Entry], *, best_first: bool) -> None:
    plain = run.config
    tables = [read_table(entry.table) for entry in entries]
    check_same_list(tables)
    data = build_data(plain, IMAGENET, tables[0].expressions)
    data.evaluate_only()
    labels = data.frames(plain["split"])
    check_same_list([labels, tables[0]])
    by = read_groups(_file(plain, "groups", data.root), tables[0]) if plain["groups"] else None
    attributes = _attributes(_file(plain, "attributes", data.root), tables[0]) if plain["attributes"] else None
    run.started()
    of_system: dict[str, list[Sums]] = {}
    for entry, table in zip(entries, tables, strict=True):
        of_system.setdefault(entry.system, []).append(sums(table, labels, by=by, au_thresholds=entry.thresholds))
    systems = [System(name, tuple(of_runs)) for name, of_runs in of_system.items()]
    if best_first:
        systems.sort(key=lambda system: -float(np.mean([_first(one) for one in system.runs])))
    if plain["to"] is not None:
        if plain["to"] not in of_system:
            raise DataError(f"to={plain['to']}: no such system; {suggest(plain['to'], list(of_system))}")
        systems.sort(key=lambda system: system.name != plain["to"])
    found = comparison.compare(systems)
    gaps: dict[str, list[Gap]] = {}
    if attributes is not None:
        for name in found.systems:
            number = [entry.system for entry in entries].index(name)
            gaps[name] = audit(tables[number], labels, attributes, entries[number].thresholds)
    keys, values = _differing(plain["folder"], found.systems) if plain["folder"] else (None, [])
    compared = Compared(
        found,
        "groups" if by else "pictures" if lists_pictures(labels) else "videos",
        [[_link(entry, run.folder) for entry in entries if entry.system == name] for name in found.systems],
        _facts(plain, entries, tables[0], labels),
        keys,
        values,
        gaps,
    )
    _tell(compared)
    _write(found, run.folder)
    if gaps:
        write_whole(run.folder / "audit.csv", gaps_csv(gaps))
        print(f"every gap: {run.folder / 'audit.csv'}")
    print(f"report: {write_comparison(run.folder, compared)}")


def _file(plain: Mapping[str, Any], key: str, root: str | Sequence[str]) -> Path:
    """Find a file by its path, or by its name in a folder of the data, where drawn faces have their attributes.

    Raises:
        DataError: it is in neither.
    """
    path, roots = Path(plain[key]).expanduser(), [root] if isinstance(root, str) else root
    found = first_found(path, roots)
    if found is None:
        drawn = f"; python prepare.py attributes {roots[0]} writes that of drawn faces" if renderer_of(roots) else ""
        raise DataError(f"{key}={path}: no such file, nor is it in {', '.join(roots)}{drawn}")
    return found


def _attributes(path: Path, table: Table) -> dict[str, Sequence[str]]:
    """Read the attributes of which there are groups to compare, and print what is left out."""
    read = read_attributes(path, table)
    try:
        columns, left_out = comparable(read.columns)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if read.others:
        left_out.append(f"{len(read.others)} {read.key}s that the tables do not have, {read.others[0]} first")
    if left_out:
        print(f"left out of {path.name}: {'; '.join(left_out)}")
    return columns


def _first(one: Sums) -> float:
    """Return the first main score of a run."""
    return next(value for name, value in one.named().items() if name in MAIN)


def _link(entry: Entry, folder: Path) -> Link:
    """Return what a page in a folder calls a run, and where the run's own page is."""
    if entry.run is None:
        return Link("1", None)
    page = entry.run.resolve() / FILE
    text = entry.run.name if entry.seed is None else f"seed {entry.seed}"
    return Link(text, os.path.relpath(page, folder.resolve()) if page.is_file() else None)


def _facts(plain: Mapping[str, Any], entries: Sequence[Entry], table: Table, labels: Frames) -> list[str]:
    """Return what is compared, in the first line of the page."""
    seeds = sorted({str(entry.seed) for entry in entries if entry.seed is not None})
    facts = [f"{len(entries)} {'tables' if entries[0].run is None else 'runs'}"]
    facts += [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"] if seeds else []
    rows = "pictures" if lists_pictures(labels) else f"rows of {len(set(labels.video)):,} videos"
    facts.append(f"{len(labels):,} {rows}, split {plain['split']}")
    facts += list(labels.files) if len(labels.files) < 2 else [f"{len(labels.files)} label files"]
    facts += ["drawn faces"] if table.metadata.get("renderer") else []
    return facts + [f"{key} {Path(plain[key]).name}" for key in ("groups", "attributes") if plain[key]]


def _tell(compared: Compared) -> None:
    found, rows = compared.found, printed(compared.found)
    cells = [compared.keys or (), *(map(_cut, values) for values in compared.values)]
    for row, beside in zip_longest(rows, cells, fillvalue=[""] * len(compared.keys or ())):
        row[1:1] = beside
    print(aligned(rows))
    print(caveat(found.units, compared.units))
    if found.leads:
        print(READING)
    for sentence in sentences(found):
        print(sentence)
    for name, gaps in compared.gaps.items():
        print(f"\n{name}: gaps between groups{compared.audited(name)}")
        print(aligned(gap_lines(gaps)))
        print("\n".join(gap_sentences(gaps)))
    if compared.gaps:
        print(LEGEND)


def _cut(value: str) -> str:
    return value if len(value) <= _WIDE else f"…{value[-_WIDE:]}"


def _write(found: Comparison, folder: Path) -> None:
    write_whole(folder / "comparison.csv", as_csv(found))
    write_whole(
        folder / "comparison.json",
        json.dumps({"rows": as_rows(found), "says": list(sentences(found))}, indent=2) + "\n",
    )
    write_whole(folder / "comparison.tex", as_latex(found))
    print(f"every score: {folder / 'comparison.csv'}, .json; main scores for LaTeX: comparison.tex")


def _entries(plain: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield what is compared, system by system.

    Raises:
        ConfigError: something is not there.
    """
    if plain["tables"] is not None:
        _refuse_twice([Path(one) for one in plain["tables"]])
        names = _short([Path(one).with_suffix("") for one in plain["tables"]])
        for one, name in zip(plain["tables"], names, strict=True):
            yield Entry(Path(one), 0.5 if plain["au_thresholds"] is None else plain["au_thresholds"], name)
        return
    if plain["folder"] is not None:
        folder = Path(plain["folder"])
        groups = [[path.parent] for path in sorted(folder.glob("*/scores.json"))]
        if not groups:
            raise ConfigError([f"sweep={folder}: no run with a result is in it"], "the command line")
    else:
        groups = [[Path(one)] if isinstance(one, str) else [Path(run) for run in one] for one in plain["runs"]]
    paths = [path for group in groups for path in group]
    if missing := [path for path in paths if not (path / "config.yaml").is_file()]:
        raise ConfigError([f"{path}: no run folder, it has no config.yaml" for path in missing], "the command line")
    _refuse_twice(paths)
    configs = {path: _flat(read_config(path / "config.yaml")) for path in paths}
    alike: dict[str, list[Path]] = {}
    for number, group in enumerate(groups):
        key = str(number) if len(group) > 1 else json.dumps(_without_seeds(configs[group[0]]), sort_keys=True)
        alike.setdefault(key, []).extend(group)
    systems = list(alike.values())
    called = _short([of_one[0] for of_one in systems])
    for of_one, name in zip(systems, called, strict=True):
        for path in of_one:
            yield _of_run(path, plain, name, configs[path].get("seed"))


def _refuse_twice(paths: Sequence[Path]) -> None:
    real = [path.resolve() for path in paths]
    if twice := sorted({str(path) for path, one in zip(paths, real, strict=True) if real.count(one) > 1}):
        raise ConfigError([f"{path} is given twice" for path in twice], "the command line")


def _of_run(path: Path, plain: Mapping[str, Any], name: str, seed: Any) -> Entry:
    split, thresholds = plain["split"], plain["au_thresholds"]
    made = [path / "predictions" / f"{split}{kind}.parquet" for kind in _KINDS]
    table = next((one for one in made if one.is_file()), None)
    if table is None:
        raise ConfigError([f"{made[-1]} is not there: evaluate.py checkpoint={path} makes it"], "the command line")
    if table is made[0]:
        thresholds = 0.5  # its action units are decisions
    if thresholds is None:
        notes: Any = (
            json.loads((path / "scores.json").read_text(encoding="utf-8")) if (path / "scores.json").is_file() else {}
        )
        thresholds = notes.get("postprocess", {}).get("au_thresholds", 0.5)
    return Entry(table, thresholds, name, path, seed)


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of a configuration by their dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        key: value for name, one in node.items() for key, value in _flat(one, f"{prefix}.{name}".lstrip(".")).items()
    }


def _without_seeds(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a system: everything but seeds, and where a run is kept."""
    return {
        key: value for key, value in flat.items() if key.rpartition(".")[2] != "seed" and not key.startswith("paths.")
    }


def _differing(folder: str, systems: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the keys in which the runs of a sweep differ, and of each run their values."""
    flat = [_without_seeds(_flat(read_config(Path(folder) / name / "config.yaml"))) for name in systems]
    keys = list(dict.fromkeys(key for config in flat for key in config))
    shown = [key for key in keys if len({json.dumps(config.get(key)) for config in flat}) > 1]
    last = [key.rpartition(".")[2] for key in shown]
    header = [name if last.count(name) == 1 else key for name, key in zip(last, shown, strict=True)]
    return header, [[_text(config.get(key)) for key in shown] for config in flat]


def _text(value: Any) -> str:
    """Write a value as a command line has it; nothing where it is null."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _short(paths: Sequence[Path]) -> list[str]:
    """Call each path by as few of its last parts as tell them apart."""
    whole = [path.absolute() for path in paths]
    for count in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-count:]) for path in whole]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in whole]
