"""Draw a cut-out face and what a network says: ``python -m examples.draw_scores best.ckpt face.jpg drawing.png``."""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from affect.labels import AU_NAMES, EXPRESSIONS
from datamodules.pictures import read_image
from evaluators.figures import BLUE, GREY, INK, ORANGE
from runs.predictor import Predictor


def score(checkpoint: Path, picture: Path) -> dict[str, float]:
    """Return what a network says of a face that is cut out already, by the columns of a prediction table."""
    model = Predictor(checkpoint)
    said = model.crops([picture])  # (1, columns) for each task
    return {name: float(value) for task in said for name, value in zip(model.columns[task], said[task][0], strict=True)}


def draw(picture: Path, scores: dict[str, float], destination: Path) -> None:
    """Write the face, its place in the plane of valence and arousal, and bars of expressions and action units.

    Args:
        picture: the face.
        scores: of it, all three tasks.
        destination: a PNG file.
    """
    figure = Figure(figsize=(9.6, 2.7), dpi=100, layout="constrained")
    face, plane, left, right = figure.subplots(1, 4, width_ratios=[1, 1, 0.9, 0.9])
    face.imshow(read_image(picture), interpolation="bicubic")
    face.axis("off")
    plane.plot(scores["valence"], scores["arousal"], "o", color=ORANGE, markersize=9, clip_on=False)
    plane.axhline(0, color=GREY, zorder=0)
    plane.axvline(0, color=GREY, zorder=0)
    plane.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    plane.set_xlabel("valence", fontsize=8)
    plane.set_ylabel("arousal", fontsize=8)
    plane.set_title(f"valence {scores['valence']:.2f}, arousal {scores['arousal']:.2f}", fontsize=9)
    rows = ((left, "expression", [f"expr_{name}" for name in EXPRESSIONS]), (right, "action units", list(AU_NAMES)))
    for axes, title, names in rows:
        values = [scores[name] for name in names]
        axes.barh([name.removeprefix("expr_").replace("au", "AU") for name in names], values, color=BLUE)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=9)
        axes.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    for axes in (plane, left, right):
        axes.tick_params(labelsize=8, colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(destination, format="png", metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(sys.argv[2]), score(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3]))
