"""What ``prepare.py doctor`` does: all faults of a data folder at once, as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

from affect.errors import ConfigError
from affect.files import check_output, write_whole
from affect.hints import key_errors
from affect.labels import TASKS, label_names
from affect.preprocessing import IMAGENET
from runs.config import check_set, composed, literal_paths, resolve

_SHOWN: Final = 5  # findings of a kind that are printed


class _Settings(TypedDict):
    """Keys of the command line besides ``data``, ``render`` and ``paths``."""

    official: str | None  # abaw3, abaw4, abaw5, abaw7: compare with the counts of that challenge's files
    pictures: bool  # open every picture, too, and look for copies between the splits
    json: str | None  # a file for all counts and findings


def doctor(arguments: Sequence[str]) -> bool:
    """Print what is in a data folder and everything that is wrong with it.

    Args:
        arguments: ``data=…``, ``data.root=…`` and the keys of _Settings.

    Returns:
        Whether something would change a score.

    Raises:
        UserError: keys that there are not, or data that cannot be read at all.
        OSError: no such folder.
    """
    words = literal_paths(arguments)
    config = composed("doctor", words)
    target = str(config.data.get("_target_"))
    if not target.startswith("datamodules."):
        raise ConfigError([f"data: {target} is no data with pictures; give data=affwild2_mtl or another"])
    check_set("doctor", words)
    plain = resolve(config, lambda node: key_errors(node, _Settings))
    if plain["json"] is not None:
        check_output(Path(plain["json"]))

    # these import torch, which a misspelt key can do without
    from datamodules.doctor.lists import check_lists
    from datamodules.doctor.official import compare, official_counts
    from datamodules.doctor.pictures import check_pictures
    from datamodules.doctor.reading import read_parts
    from runs.assembly import build_data

    module = build_data(plain, IMAGENET)
    official = None if plain["official"] is None else official_counts(plain["official"], module)
    parts, findings = read_parts(module)
    findings += check_lists(module, parts)
    if official is not None:
        findings += compare(parts, official)
    if plain["pictures"]:
        findings += check_pictures(module, parts, Path(plain["paths"]["cache_dir"]).expanduser() / "doctor")
    counts = {part.name: part.counts() for part in parts}
    faults = sum(finding.fault for finding in findings)
    if plain["json"] is not None:
        found = [{**one._asdict(), "file": None if one.file is None else str(one.file)} for one in findings]
        content = {
            "data": plain["data"]["_target_"],
            "root": plain["data"]["root"],
            "counts": counts,
            "findings": found,
        }
        write_whole(Path(plain["json"]), json.dumps(content, indent=2) + "\n")
    print("\n".join([*_table(counts, module.expressions), "", *_told(findings)]))
    remarks = len(findings) - faults
    told = f"{remarks or 'no'} remark{'s' * (remarks != 1)}"
    print(f"{faults or 'no'} fault{'s' * (faults != 1)} that would change a score, {told}")
    return faults > 0


def _table(counts: Mapping[str, Mapping[str, int]], expressions: Sequence[str]) -> Iterator[str]:
    """Return the lines of a table: a column for each list; tasks of which no list has a label are told in one line."""
    names = label_names(expressions)
    rows = dict.fromkeys(key for of_list in counts.values() for key in of_list)
    hidden: set[str] = set()
    for task in TASKS:
        if task in rows and not any(of_list.get(task) for of_list in counts.values()):
            hidden |= {*names[task]}
    inside = {*expressions, *names["action_units"]}
    cells = [["", *counts]]
    for key in rows:
        if key not in hidden:
            told = f"  {key}" if key in inside else key.replace("_", " ")
            cells.append([told, *(str(of_list.get(key, "")) for of_list in counts.values())])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        yield "  ".join(
            [first.ljust(widths[0]), *(one.rjust(width) for one, width in zip(others, widths[1:], strict=True))]
        )


def _told(findings: Sequence[Any]) -> Iterator[str]:
    """Return a few findings of each kind, faults first."""
    for fault in (True, False):
        kinds = Counter(one.kind for one in findings if one.fault is fault)
        for kind, count in kinds.items():
            yield f"{'fault' if fault else 'remark'}: {kind}: {count}"
            shown = [f"  {one}" for one in findings if (one.kind, one.fault) == (kind, fault)][:_SHOWN]
            yield from [*shown, *["  …"] * (count > _SHOWN)]
