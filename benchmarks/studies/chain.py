"""What the two priors are worth to EMMA on rendered faces: pre-training, DAN, and EMMA with each, with both, with none.

    python -m benchmarks.studies.chain logs/chain [key=value …] [--seeds 0 1 2]

For each seed: ``experiment=mae`` on unlabelled faces, ``experiment=dan`` on AffectNet-like faces, then EMMA four times
on the same videos. Faces are drawn anew for each seed, and no person is in two of the data sets. Each run is a run of
train.py in a folder of its own, ``<folder>/seed<n>/<run>``; runs that are finished are not repeated, so that the
command can be given again after an interruption. ``<folder>/table.csv`` has the scores, and the mean and the standard
deviation over the seeds are printed. A ``key=value`` goes to the EMMA runs.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.studies.running import study_parser, trained
from evaluators.metrics import Scores
from evaluators.report import aligned
from runs.ending import clear_errors

COMMON: Final = ("data=synthetic", "scale=tiny", "trainer=cpu")
ARMS: Final = ("scratch", "mae", "dan", "both")
SHOWN: Final = ("P_MTL", "P_VA", "P_EXPR", "P_AU")


def arm_overrides(arm: str, folder: Path) -> list[str]:
    """Return what makes one of ``ARMS`` of EMMA.

    All have the linear patch embedding, which a masked autoencoder has. Without a DAN the ViT itself gives valence and
    arousal (row "ViT" of Table 5).

    Args:
        arm: one of ``ARMS``.
        folder: of the seed, with the runs ``mae`` and ``dan``.
    """
    overrides = ["model.network.vit.stem=linear"]
    if arm in ("mae", "both"):
        overrides.append(f"model.network.vit.weights={folder}/mae/weights/encoder.pth")
    if arm in ("dan", "both"):
        overrides.append(f"model.network.dan.weights={folder}/dan/weights/dan.pth")
    else:
        overrides.append("model.network.dan=null")
    return overrides


def chain(folder: Path, seed: int, overrides: Sequence[str]) -> dict[str, Scores]:
    """Return the scores of one seed's runs by their names."""
    common = [*COMMON, f"seed={seed}", f"render.seed={seed}"]
    scores = {prior: trained(folder / prior, [f"experiment={prior}", *common]) for prior in ("mae", "dan")}
    for arm in ARMS:
        given = ["experiment=emma", *common, *arm_overrides(arm, folder), *overrides]
        scores[f"emma-{arm}"] = trained(folder / f"emma-{arm}", given)
    return scores


def table(results: dict[int, dict[str, Scores]]) -> list[list[str]]:
    """Return header and a row for each arm: mean ± standard deviation over the seeds, and the gain over ``scratch``.

    The gain is taken seed by seed, on the same faces, so that its deviation is not that of the faces.
    """
    rows = [["EMMA", *SHOWN, "gain in P_MTL"]]
    for arm in ARMS:
        arms = [seed[f"emma-{arm}"] for seed in results.values()]
        columns = [[one[name] or 0.0 for one in arms] for name in SHOWN]
        first = [seed["emma-scratch"] for seed in results.values()]
        gains = [(one["P_MTL"] or 0.0) - (other["P_MTL"] or 0.0) for one, other in zip(arms, first, strict=True)]
        rows.append([arm, *(_spread(values) for values in columns), _spread(gains)])
    return rows


def _spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"


def main() -> None:
    """Run what is missing, then write and print the table."""
    parser = study_parser(__doc__, seeds=(0, 1, 2))
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the EMMA runs")
    options = parser.parse_intermixed_args()
    folder = options.folder.absolute()
    results = {seed: chain(folder / f"seed{seed}", seed, options.overrides) for seed in options.seeds}
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", "run", *SHOWN])
        for seed, runs in results.items():
            writer.writerows([seed, arm, *(runs[f"emma-{arm}"][name] for name in SHOWN)] for arm in ARMS)
    print(aligned(table(results)))
    for prior, name in (("mae", "LOSS"), ("dan", "P_EXPR")):
        print(f"{prior}: {name} {_spread([seed[prior][name] or 0.0 for seed in results.values()])}")
    print(f"table: {folder / 'table.csv'}")


if __name__ == "__main__":
    with clear_errors():
        main()
