"""How many rows and labels the files of the challenges have, as far as it is public; nothing here is guessed.

All were counted by participants: github.com/sb-ai-lab/EmotiEffLib, training_and_examples/ABAW/. ABAW4 is from
abaw4_mtl_train.ipynb (cells 23 to 32, 106 to 108) and abaw4_lsd, the others from the notebooks of their challenges; the
expressions of ABAW5 agree with github.com/PoloWlg/Affwild_ViT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from affect.errors import ConfigError
from affect.labels import AU_NAMES, EXPRESSIONS, LSD_EXPRESSIONS
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.base import FaceDataModule
from datamodules.doctor.reading import Finding, Part
from datamodules.lsd import LSDDataModule

Counts = Mapping[str, Mapping[str, int]]
"""Numbers by split, named as ``Part.counts`` names them."""


def _mtl(
    rows: int, tasks: tuple[int, int, int], expressions: tuple[int, ...], units: tuple[int, ...]
) -> dict[str, int]:
    return {
        "with a label": rows,
        **dict(zip(("valence_arousal", "expression", "action_units"), tasks, strict=True)),
        **dict(zip(EXPRESSIONS, expressions, strict=True)),
        **dict(zip(AU_NAMES, units, strict=True)),
    }


OFFICIAL: Final[Mapping[str, Mapping[str, Counts]]] = {
    "abaw3": {
        "affwild2_mtl": {"test": {"rows": 51245}},
        "affwild2_uni task=va": {"test": {"videos": 152}},
        "affwild2_uni task=expr": {"test": {"videos": 228}},
        "affwild2_uni task=au": {"test": {"videos": 141}},
    },
    "abaw4": {
        "affwild2_mtl": {
            "train": _mtl(
                142333,
                (103917, 90645, 103316),
                (23976, 4555, 3168, 3122, 18135, 7609, 5228, 24852),
                (18713, 8745, 20342, 30605, 41337, 38286, 26783, 2460, 2980, 5003, 70584, 10756),
            ),
            "val": _mtl(
                26876,
                (26876, 15440, 26876),
                (1886, 487, 565, 1254, 3751, 1893, 1003, 4601),
                (5531, 2554, 5442, 8818, 13224, 11421, 8319, 782, 757, 808, 20427, 2934),
            ),
            "test": {"rows": 51159},
        },
        "lsd": {
            "train": {
                "rows": 277251,
                **dict(zip(LSD_EXPRESSIONS, (18286, 15150, 10923, 73285, 144631, 14976), strict=True)),
            },
            "val": {"rows": 4670},
            "test": {"rows": 106120},
        },
    },
    "abaw5": {
        "affwild2_uni task=va": {
            "train": {"valence_arousal": 1680144},
            "val": {"valence_arousal": 382021, "videos": 76},
            "test": {"rows": 927210, "videos": 162},
        },
        "affwild2_uni task=expr": {
            "train": {"expression": 597361, "videos": 248},
            "val": {"expression": 284230, "videos": 70},
            "test": {"rows": 1022655, "videos": 228},
        },
        "affwild2_uni task=au": {
            "train": {"action_units": 1359523},
            "val": {"action_units": 445845, "videos": 105},
            "test": {"rows": 729736, "videos": 141},
        },
    },
    "abaw7": {"affwild2_mtl": {"test": {"rows": 51159}}},
}
"""What is known of each challenge, by the data that reads it."""


def official_counts(challenge: str, module: FaceDataModule) -> Counts:
    """Return what is known of a challenge's lists.

    Args:
        challenge: a key of OFFICIAL.
        module: reads the lists.

    Raises:
        ConfigError: the challenge is unknown, or had no such data.
    """
    known = OFFICIAL.get(challenge, {})
    name = _name_of(module)
    if name not in known:
        with_it = [one for one, data in OFFICIAL.items() if name in data]
        there = (
            " or ".join(f"official={one}" for one in with_it) or "nothing is known of this data; leave official= out"
        )
        of_it = f" of {name.replace(' ', ' data.')}" if known else ""
        raise ConfigError([f"official={challenge}: no counts{of_it} are known; {there}"], "the command line")
    return known[name]


def compare(parts: list[Part], official: Counts) -> list[Finding]:
    """Compare lists with the official counts: less is a remark, for it may be meant; more is a fault."""
    findings = []
    for part in parts:
        counted, wanted = part.counts(), official.get(part.split, {})
        for what, count in wanted.items():
            if counted[what] != count:
                fault = counted[what] > count
                told = f"{part.name}: {what.replace('_', ' ')}: {counted[what]}, of {count} in the official files"
                findings.append(
                    Finding("official", f"{told}{'' if fault else ', so it is a part of them'}", fault=fault)
                )
    return findings


def _name_of(module: FaceDataModule) -> str:
    if isinstance(module, AffWild2UniDataModule):
        return f"affwild2_uni task={module.task}"
    if type(module) is MTLDataModule:
        return "affwild2_mtl"
    return "lsd" if isinstance(module, LSDDataModule) else "this data"
