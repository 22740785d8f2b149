"""The figures of a run's report, as SVG text, and of its dashboards, as PNG.

A figure of the report is a list of panels, each an SVG of its own: side by side on a wide page, below each other on a
narrow one. matplotlib is imported when the first figure is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.labels import ACTION_UNITS, EXPRESSIONS, OTHER
from evaluators.names import MAIN, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE: Final = "#3b6ea8"
ORANGE: Final = "#d9822b"
GREY: Final = "#c9d0d8"
INK: Final = "#2b3440"
COLOURS: Final = (BLUE, ORANGE, "#3f9b6b", "#b04a5a", "#7a5ea8", "#8a6d4b", "#4aa3b0", "#7d8590")
PEOPLE: Final = ("#2e9e6b", "#c8496a", "#8a63d2", "#a8752f", "#1f9bb0", "#d053b5", "#7f9a1f", "#7d8590")
"""Of people, one after the other: seen on light and on dark, and none of them that of valence or arousal."""
EXPRESSION_COLOURS: Final = ("#9aa5b1", "#c8463c", "#6a8f3c", "#7a5ea8", "#e0a526", "#3b6ea8", "#2fa3a0", "#8a6d4b")
"""In the order of ``EXPRESSIONS``."""
CURVES: Final = (*MAIN, "score")
"""Validation scores that are drawn as curves; scores per class would hide them."""

Panel: TypeAlias = "Callable[[Axes], object]"
"""Draws into the axes that it is given."""


def person_colour(face_id: int) -> str:
    """Return the colour of a person in a video, from 1 on: the same in everything that is drawn of it."""
    return PEOPLE[(face_id - 1) % len(PEOPLE)]


def expression_colours(names: Sequence[str]) -> dict[str, str]:
    """Return the colour of each expression; what is none of ABAW's has that of Other."""
    known = dict(zip(EXPRESSIONS, EXPRESSION_COLOURS, strict=True))
    return {name: known.get(name, EXPRESSION_COLOURS[OTHER]) for name in names}


class Drawn:
    """Holds the file of a figure after its ``drawing`` block."""

    content = b""

    @property
    def text(self) -> str:
        """The SVG text."""
        return self.content.decode()


@contextmanager
def drawing(
    width: float,
    height: float,
    panels: int = 1,
    kind: Literal["svg", "png"] = "svg",
    heights: Sequence[float] = (1,),
) -> Iterator[tuple[list[Axes], Drawn]]:
    """Yield panels, and turn them into a file at the end; no global state, no display.

    Args:
        width: of the figure, inches.
        height: likewise.
        panels: side by side.
        kind: of the file.
        heights: of several rows of panels, relative to each other.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": 9,
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "svg.hashsalt": "report",  # the same run gives the same bytes
        "svg.fonttype": "none",  # text stays text: it is small, and can be read aloud and searched
    }
    with mpl.rc_context(style):
        figure, drawn = Figure(figsize=(width, height), layout="constrained"), Drawn()
        ratios = {"height_ratios": list(heights)}
        yield list(figure.subplots(len(heights), panels, squeeze=False, gridspec_kw=ratios).flat), drawn
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
        drawn.content = buffer.getvalue()


def apart(panels: Sequence[Panel], width: float = 3.6, height: float = 3.1) -> list[str]:
    """Draw each panel as an SVG of its own, of this size in inches."""
    return [together([panel], width, height) for panel in panels]


def together(panels: Sequence[Panel], width: float = 3.6, height: float = 3.1) -> str:
    """Draw panels of this size side by side in one SVG."""
    with drawing(width * len(panels), height, len(panels)) as (drawn, svg):
        for panel, axes in zip(panels, drawn, strict=True):
            panel(axes)
    return svg.text


def f1_bars(scores: Scores, reference: Scores | None, reference_name: str) -> list[str]:
    """Draw F1 per expression and action unit, with the reference as a mark on each bar; nothing without such scores."""
    drawn = []
    for title, prefix in (("Expressions", "F1_EXPR_"), ("Action units", "F1_AU")):
        values, marks = _starting(scores, prefix), _starting(reference or {}, prefix)
        if any(value is not None for value in values.values()):

            def draw(axes: Axes, title: str = title, values: Scores = values, marks: Scores = marks) -> None:
                _draw_bars(axes, values, marks, reference_name)
                axes.set(title=title)

            drawn += apart([draw], 4.6, 0.8 + 0.24 * len(values))
    return drawn


def _draw_bars(axes: Axes, values: Scores, marks: Scores, reference_name: str) -> None:
    names = [name.removeprefix("F1_EXPR_").removeprefix("F1_") for name in values]
    axes.barh(names, [value or 0.0 for value in values.values()], color=BLUE, height=0.7)
    for position, name in enumerate(values):
        value, mark = values[name], marks.get(name)
        text = "no labels" if value is None else f"{value:.2f}"
        axes.text(max(value or 0.0, mark or 0.0) + 0.02, position, text, va="center", fontsize=8)
        if mark is not None:
            axes.plot([mark, mark], [position - 0.42, position + 0.42], color=ORANGE, linewidth=2)
    if marks:
        axes.plot([], [], color=ORANGE, linewidth=2, label=reference_name)
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    axes.set(xlim=(0, 1.1), ylim=(len(values) - 0.4, -0.6), xticks=np.linspace(0, 1, 6))
    axes.tick_params(length=0)
    axes.grid(axis="x", color=GREY, linewidth=0.4)
    axes.set_axisbelow(True)


def training_curves(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draw losses, validation scores and learning rates against the step; nothing where nothing was logged."""
    names = list(dict.fromkeys(name for record in records for name in record if name not in ("step", "epoch")))
    groups = {
        "Loss": [name for name in names if "loss" in name.lower()],
        "Validation scores": [name for name in names if name.startswith("val/") and name[4:] in CURVES],
        "Learning rate": [name for name in names if name.lower().startswith("lr")],
    }
    panels: list[Panel] = []
    for title, group in groups.items():
        lines = [line for name in group if (line := (name, *_series(records, name)))[1]]
        if any(name == "val/P_MTL" for name, *_ in lines):  # then val/score is the same curve
            lines = [line for line in lines if line[0] != "val/score"]

        def draw(axes: Axes, title: str = title, lines: Sequence[Any] = lines) -> None:
            few = len(lines) <= len(COLOURS)
            for index, (name, steps, values) in enumerate(lines):
                style = {"color": COLOURS[index], "label": name} if few else {"color": BLUE, "alpha": 0.5}
                marker = "o" if len(steps) < 40 else None
                axes.plot(steps, values, linewidth=1.4, marker=marker, markersize=2.5, **style)
            if few:
                axes.legend(frameon=False, fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
            axes.set(title=title if few else f"{title} ({len(lines)} groups)", xlabel="step")
            axes.grid(color=GREY, linewidth=0.4)

        panels += [draw] if lines else []
    return apart(panels)


def smoothing_curves(ks: Sequence[int], scores: Sequence[Scores], kind: str) -> list[Panel]:
    """Return panels of the scores of each task against the half-width of the smoothing; none where nothing has labels.

    Args:
        ks: half-widths in frames.
        scores: the scores for each half-width.
        kind: kind of smoothing, for the axis.
    """
    order, panels = np.argsort(ks), list[Panel]()
    for title, candidates in (
        ("Valence and arousal", ("P_VA", "CCC_V", "CCC_A")),
        ("Expressions", ("P_EXPR", "P_LSD", "ACC_EXPR")),
        ("Action units", ("P_AU",)),
    ):
        names = [name for name in candidates if scores[0].get(name) is not None]

        def draw(axes: Axes, title: str = title, names: Sequence[str] = names) -> None:
            for name, colour in zip(names, COLOURS, strict=False):
                values = [scores[index][name] for index in order]
                axes.plot([ks[index] for index in order], values, label=name, color=colour, marker="o", markersize=3)
            axes.set_xscale("symlog", linthresh=1)  # so that k = 0 has a place beside 1, 10, 100
            axes.set_xlim(0)
            if len(ks) <= 10:
                axes.set_xticks(sorted(ks), minor=False)
                axes.set_xticks([], minor=True)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set(title=title, xlabel=f"k of the {kind} window [i − k, i + k], frames")
            axes.legend(frameon=False, fontsize=7.5)
            axes.grid(color=GREY, linewidth=0.4)

        panels += [draw] if names else []
    return panels


def threshold_curves(
    steps: NDArray[np.floating], f1: NDArray[np.floating], chosen: Sequence[float], known: NDArray[np.bool_]
) -> list[str]:
    """Draw F1 of each action unit against its threshold, with a mark at the one that is used; two units in each SVG.

    Args:
        steps: (S,) thresholds.
        f1: (S, 12) of them.
        chosen: twelve, those that the scores are of.
        known: (12,) whether a unit has labels; others are left out.
    """

    def draw(axes: Axes, column: int) -> None:
        axes.plot(steps, f1[:, column], color=BLUE, linewidth=1.4)
        axes.axvline(chosen[column], color=ORANGE, linewidth=1.4)
        best = int(f1[:, column].argmax())
        axes.plot(steps[best], f1[best, column], "o", color=BLUE, markersize=4)
        axes.set_title(f"AU{ACTION_UNITS[column]}: {f1[best, column]:.2f} at {steps[best]:.2f}", fontsize=9)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.grid(color=GREY, linewidth=0.4)

    panels = [lambda axes, column=column: draw(axes, column) for column in np.flatnonzero(known).tolist()]
    return [together(panels[at : at + 2], 2.2, 1.7) for at in range(0, len(panels), 2)]  # half the time of one in each


def confusion_picture(confusion: NDArray[np.int64], names: Sequence[str]) -> bytes:
    """Draw labels in rows and predictions in columns, as PNG: colour is the share in the row, numbers are counts."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    with drawing(4.6, 4.2, kind="png") as ((axes,), png):
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(confusion):
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="label")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return png.content


def valence_arousal(prediction: NDArray[np.floating], label: NDArray[np.floating], scores: Scores) -> list[str]:
    """Draw predicted against labelled valence and arousal, (N, 2) each without NaN, as hexagons coloured by count."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    # more or less of one colour, which is seen on light and on dark
    shades = LinearSegmentedColormap.from_list("shades", [to_rgba(BLUE, 0.12), to_rgba(BLUE, 1)], N=24)

    def draw(axes: Axes, column: int, name: str) -> None:
        axes.hexbin(
            label[:, column], prediction[:, column],
            gridsize=30, extent=(-1, 1, -1, 1), bins="log", mincnt=1, cmap=shades, vmin=0.5, linewidths=0,
        )  # fmt: skip
        axes.plot([-1, 1], [-1, 1], color=ORANGE, linewidth=1, linestyle="--")
        ccc = scores.get(f"CCC_{name[0]}")
        title = name if ccc is None else f"{name}, CCC {ccc:.3f}"
        axes.set(title=title, xlabel="label", ylabel="predicted", xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
        axes.set(xticks=np.linspace(-1, 1, 5), yticks=np.linspace(-1, 1, 5))

    return apart([lambda axes: draw(axes, 0, "Valence"), lambda axes: draw(axes, 1, "Arousal")], 3.7, 3.6)


def _starting(scores: Scores, prefix: str) -> Scores:
    return {name: value for name, value in scores.items() if name.startswith(prefix)}


def _series(records: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """Return steps and values of the finite numbers logged under a name."""
    points = [(record.get("step", index), record[name]) for index, record in enumerate(records) if name in record]
    points = [(step, value) for step, value in points if isinstance(value, int | float) and math.isfinite(value)]
    return [step for step, _ in points], [value for _, value in points]
