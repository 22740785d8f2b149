"""From drawings to people: what networks that learnt from drawn faces say of photographed ones.

    python -m benchmarks.studies.people FOLDER --runs RUN … --london FOLDER [--photographs FOLDER] [--tta]
        [--all-people]

Each of ``--runs`` is a run folder, or a folder of runs that differ in their seed (``seed0/many/vit``, …, as in
``'<study>/seed*/many/vit'``); what is given under one pattern is one system. ``--london`` is the folder that
``python prepare.py london`` has made: 51 people, neutral and smiling. Counted is, in the mean over seeds, in how many
people action units 6 and 12, happiness and valence are higher with the smile (a tie counts as no), and how many neutral
faces are called neutral or other. Only every second person is read, beginning with the second: a recipe is chosen on
them. ``--all-people`` reads the others, too, once it is. ``--photographs`` have expressions: P_EXPR and accuracy are
told, too. Intervals (95 %) are over people and seeds. Nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Final

import numpy as np

from affect.errors import ConfigError, DataError
from affect.files import write_whole
from affect.labels import AU_NAMES, EXPRESSIONS
from benchmarks.studies.running import study_parser
from evaluators.intervals import estimate
from evaluators.report import aligned, read_scores
from evaluators.sums import Sums, means
from evaluators.table import Table, read_table
from runs.ending import clear_errors
from runs.stages import run

RISES: Final = ("AU12", "AU6", "happiness", "valence")
SHOWN: Final = (*RISES, "neutral or other")
HALVES: Final = {"2nd, 4th, …": slice(1, None, 2), "1st, 3rd, …": slice(0, None, 2), "all": slice(None)}
"""People of each half; recipes are chosen on the first."""


def answers(table: Table) -> Sums:
    """Return for each of ``SHOWN`` the share of people for whom it holds, who stand in the order of their names.

    Args:
        table: of the rows ``<person>_neutral`` and ``<person>_smiling``, all three tasks.

    Raises:
        DataError: a person lacks one of the two.
    """
    row_of = {name: row for row, name in enumerate(table.video)}
    people = sorted({name.rsplit("_", 1)[0] for name in row_of})
    if row_of.keys() != {f"{person}_{look}" for person in people for look in ("neutral", "smiling")}:
        raise DataError(f"{table.source}: each person needs the rows <person>_neutral and <person>_smiling, no others")
    neutral, smiling = (np.array([row_of[f"{one}_{look}"] for one in people]) for look in ("neutral", "smiling"))
    units, expression = table.predictions["action_units"], table.predictions["expression"]
    values = {
        "AU12": units[:, AU_NAMES.index("au12")],
        "AU6": units[:, AU_NAMES.index("au6")],
        "happiness": expression[:, EXPRESSIONS.index("happiness")],
        "valence": table.predictions["valence_arousal"][:, 0],
    }
    called = expression[neutral].argmax(axis=1)
    calm = np.isin(called, [EXPRESSIONS.index("neutral"), EXPRESSIONS.index("other")])
    rises = {name: value[smiling] > value[neutral] for name, value in values.items()}
    return means({**rises, "neutral or other": calm}, people)


def counted(holds: Sequence[Sums], half: slice) -> dict[str, str]:
    """Count people: by the names of ``SHOWN``, the mean over seeds and its 95 % interval over people and seeds.

    Args:
        holds: of each seed, whether it holds for each person.
        half: which people count.
    """
    people = np.arange(len(holds[0]))[half]
    found = estimate([one.select(people) for one in holds])
    several = len(people)
    told = {}
    for name, (value, low, high) in found.intervals.items():
        low, high = (round(min(max(end, 0.0), 1.0) * several) for end in (low, high))
        told[name] = f"{value * several:.1f} [{low}, {high}] of {several}"
    return told


def systems(patterns: Sequence[str]) -> dict[str, list[Path]]:
    """Return the run folders of each pattern.

    Raises:
        ConfigError: a pattern without a run.
    """
    found = {}
    for pattern in patterns:
        places = map(Path, sorted(glob(pattern)))
        found[pattern] = [place.absolute() for place in places if (place / "checkpoints" / "best.ckpt").is_file()]
        if not found[pattern]:
            raise ConfigError([f"--runs: no run with checkpoints/best.ckpt at {pattern}"], "the command line")
    return found


def study(
    folder: Path, runs: Mapping[str, Sequence[Path]], london: Path, photographs: Path | None,
    *, everyone: bool = False, tta: bool = False,
) -> None:  # fmt: skip
    """Predict what is missing with the runs of each system; then write and print the tables.

    Args:
        folder: of the predictions.
        runs: those of each system.
        london: 51 people neutral and smiling.
        photographs: others, with expressions.
        everyone: count the people that choose nothing, too.
        tta: predict with test-time augmentation.
    """
    halves = list(HALVES) if everyone else list(HALVES)[:1]
    data = ["data=affwild2_uni", f"data.root={london}/faces", "data.images=cropped", "data.task=expr",
            "split=test", "data.test_list=frames.txt", f"tta={str(tta).lower()}"]  # fmt: skip
    lines, results = [["system", "people", *SHOWN]], {}
    shown = [["photographs", "P_EXPR", "ACC_EXPR"]]
    for number, (system, places) in enumerate(runs.items()):
        of_seeds = []
        for index, place in enumerate(places):
            target = folder / f"system{number}" / f"run{index}"
            made = run(target / "london", "evaluate", [f"checkpoint={place}", *data])
            of_seeds.append(answers(read_table(made / "predictions" / "test.parquet")))
            if photographs is not None:
                given = [f"checkpoint={place}", "data=affwild2_mtl", f"data.root={photographs}",
                         f"tta={str(tta).lower()}"]  # fmt: skip
                scores = read_scores(run(target / "photographs", "evaluate", given) / "scores.json")
                shown.append([f"{system} ({place})", *(f"{scores[name]:.3f}" for name in shown[0][1:])])
        for half in halves:
            told = counted(of_seeds, HALVES[half])
            lines.append([system, half, *(told[name] for name in SHOWN)])
        shares = {half: np.mean([one.top[HALVES[half]] for one in of_seeds], axis=(0, 1)) for half in halves}
        results[system] = {half: dict(zip(SHOWN, share.tolist(), strict=True)) for half, share in shares.items()}
    print(aligned(lines), end="\n\n")
    if photographs is not None:
        print(aligned(shown), end="\n\n")
    write_whole(folder / "results.json", json.dumps(results, indent=2) + "\n")
    print(f"results: {folder / 'results.json'}")


def main() -> None:
    """Read the command line and make the study."""
    parser = study_parser(__doc__)
    parser.add_argument("--runs", nargs="+", required=True, help="run folders; a pattern is one system")
    parser.add_argument("--london", type=Path, required=True, help="what prepare.py london has made")
    parser.add_argument("--photographs", type=Path, help="photographs with expressions, as s-Aff-Wild2 has them")
    parser.add_argument("--all-people", action="store_true", help="read the half that chooses nothing, too")
    parser.add_argument("--tta", action="store_true", help="predict with test-time augmentation")
    options = parser.parse_args()
    photographs = options.photographs and options.photographs.absolute()
    folder, london = options.folder.absolute(), options.london.absolute()
    study(folder, systems(options.runs), london, photographs, everyone=options.all_people, tta=options.tta)


if __name__ == "__main__":
    with clear_errors():
        main()
