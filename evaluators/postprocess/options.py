"""What can be asked of the post-processing: the keys of ``conf/postprocess``, and what is refused of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.folds import base_video, deal
from affect.frames import Frames
from affect.labels import LSD_EXPRESSIONS, TASKS
from evaluators.postprocess.biases import Biases, check_biases, check_labels, is_search
from evaluators.postprocess.blending import SPACES, Weights, resolve_weights
from evaluators.postprocess.coverage import Coverage, check_coverage, check_fit
from evaluators.postprocess.exponential import MAX_GAP, Alphas, alphas
from evaluators.postprocess.filling import FILLS
from evaluators.postprocess.gating import CONFIDENCE, check_gate_count
from evaluators.postprocess.settings import one_of
from evaluators.postprocess.smoothing import PUBLISHED_K, WINDOWS, HalfWidths, half_widths
from evaluators.postprocess.temperature import Temperatures, check_search, resolve_temperatures
from evaluators.postprocess.thresholds import SEARCHES, Thresholds, resolve_thresholds
from evaluators.postprocess.timeline import check_videos
from evaluators.postprocess.unseen import LabelMeans, check_fallback, resolve_fallback, unknown_means
from evaluators.postprocess.widths import check_labels as check_widths

SEARCH: Final = "search"
"""The word that asks for a search of the weights, the half-widths or the temperatures."""

EXPONENTIAL: Final = "exponential"
"""The kind of smoothing that has no window."""


@dataclass(frozen=True)
class PostProcess:
    """How predictions are processed; the defaults change nothing.

    Attributes:
        weights: weights of the tables: None (equal), one per table, lists by task, ``search``, or a stored file.
        blend: what is averaged: ``probabilities``, ``logits`` or ``raw`` (``blending.blend``).
        gate: None, or the rule ``other``, ``other_seven`` or ``confidence`` (``gating``).
        confidence: probability above which the gate of this name takes the second table's expression.
        missing: how missing frames are filled: None (not at all), ``linear`` or ``reversed`` (``filling.fill_nulls``).
        fallback: values by task for a video without any prediction (``unseen.resolve_fallback``); None: the means of
            the training labels.
        smoothing: None, ``box``, ``median`` or ``gaussian`` (``smoothing``), or ``exponential`` (``exponential``).
        k: half-width of the smoothing in frames, one number, one by task, ``search`` (``widths``), or a stored file;
            what is not given is the published one.
        sigma: standard deviation of the Gaussian in frames; None for k / 2.
        alpha: of exponential smoothing, how much what was seen before weighs: one number, one by task, or None for the
            published ones.
        max_gap: frames without a prediction after which exponential smoothing starts anew; and, in tables of people,
            frames without a person's face over which nothing reaches, whatever fills and smooths.
        temperature: None, one number, one by task, ``search``, or a stored file (``temperature``).
        coverage: None; the share of frames whose label the intervals and sets that are fitted on this list shall hold,
            alone or with the seed of their draws; or the stored file of such a fit (``coverage``).
        expression_biases: None, numbers in the order of the expressions or by name, a stored file, or ``search`` or
            ``grid`` to search them on the labels (``biases``).
        au_thresholds: one number, twelve, ``published``, the file of a search, or ``exact`` or ``grid`` to search them
            on the labels.
        cross_fit: None, or in how many folds of whole videos what is searched is fitted on the others (``crossing``).
    """

    weights: Weights = None
    blend: str = "probabilities"
    gate: str | None = None
    confidence: float = CONFIDENCE
    missing: str | None = None
    fallback: Any = None
    smoothing: str | None = None
    k: HalfWidths | None = None
    sigma: float | None = None
    alpha: Alphas | None = None
    max_gap: int = MAX_GAP
    temperature: Temperatures | None = None
    coverage: Coverage | None = None
    expression_biases: Biases | None = None
    au_thresholds: Thresholds = 0.5
    cross_fit: int | None = None

    @classmethod
    def of(cls, node: Mapping[str, Any], tables: int = 1, *, people: bool = False) -> PostProcess:
        """Make the settings of a configuration node, checking all of them before anything is computed.

        Args:
            node: the keys above; those that are not there keep their defaults.
            tables: how many tables there are to blend.
            people: whether they are tables of people (``process_people``).

        Raises:
            UserError: with every error found.
        """
        if errors := cls.problems(node, tables, people=people):
            raise UserError("; ".join(errors))
        return cls(**node)

    @classmethod
    def problems(cls, node: Mapping[str, Any], tables: int = 1, *, people: bool = False) -> list[str]:
        """List everything that is wrong with a node, given how many tables there are to blend."""
        known = [one.name for one in fields(cls)]
        errors = [f"postprocess.{key}: unknown; there are {', '.join(known)}" for key in node if key not in known]
        settings = cls(**{key: value for key, value in node.items() if key in known})
        checks: list[Callable[[], object]] = [
            lambda: one_of("blend", settings.blend, SPACES),
            lambda: one_of("missing", settings.missing, (None, *FILLS)),
            lambda: check_fallback(settings.fallback),
            lambda: one_of("smoothing", settings.smoothing, (None, *WINDOWS, EXPONENTIAL)),
            lambda: settings.k == SEARCH or half_widths(settings.k, TASKS),
            lambda: alphas(settings.alpha, list(settings.alpha) if isinstance(settings.alpha, Mapping) else TASKS),
            lambda: _check_used(settings, people=people),
            lambda: _check_gate(settings, tables),
            lambda: _check_weights(settings.weights, tables),
            lambda: _check_cross_fit(settings),
            lambda: settings.temperature == SEARCH or resolve_temperatures(settings.temperature),
            lambda: check_coverage(settings.coverage),
            lambda: check_biases(settings.expression_biases),
            lambda: settings.au_thresholds in SEARCHES or resolve_thresholds(settings.au_thresholds),
        ]
        for check in checks:
            try:
                check()
            except UserError as error:
                errors.append(str(error))
            except (TypeError, ValueError) as error:
                errors.append(f"postprocess: {error}; see conf/postprocess/default.yaml for the forms")
        return errors

    def check_unseen(
        self,
        frames: Frames,
        image: NDArray[np.bool_],
        known: LabelMeans,
        tasks: Sequence[str],
        expressions: Sequence[str],
        *,
        submitted: bool = False,
    ) -> None:
        """Refuse, before predicting, a list that has a video without any image, if nothing is known to fill it with.

        Args:
            frames: the list.
            image: (N,) whether a row has an image.
            known: means of the training labels.
            tasks: the tasks that will be predicted.
            expressions: class names.
            submitted: whether a submission will be written, which has no empty rows.

        Raises:
            UserError: ``fallback`` has other values than these tasks and expressions.
            DataError: naming the video and what to give.
        """
        values = {**known, **resolve_fallback(self.fallback, expressions)}
        missing = [task for task in tasks if task not in values]
        if missing and (self.missing is not None or (submitted and tuple(expressions) != LSD_EXPRESSIONS)):
            seen = {frames.video[row] for row in np.flatnonzero(image).tolist()}
            name = next((name for name in frames.video if name not in seen), None)
            if name is not None:
                raise unknown_means(f"the frame list: video {name!r} has no image at all", missing, expressions)

    def folds_of(self, frames: Frames) -> NDArray[np.int64]:
        """Deal whole videos into the folds of ``cross_fit``; (N,) from 0.

        The folds are alike in rows and in how many of them have labels of a task, but not in which: folds that share
        out the classes evenly tell each other what is in them, so that rules of the others fit too well
        (``benchmarks.studies.optimism``).

        Raises:
            DataError: fewer videos than folds.
        """
        assert self.cross_fit is not None
        counts = [np.ones(len(frames)), *(frames.labelled(task) for task in TASKS)]
        return deal([base_video(name) for name in frames.video], np.stack(counts, axis=1), self.cross_fit)

    def check_list(self, frames: Frames) -> None:
        """Refuse a list on which these settings must fail, before hours are spent on its predictions.

        Raises:
            DataError: filling or smoothing of single pictures, or fewer videos than folds.
            UserError: a search, or a fit of the coverage, without a label of what it concerns.
        """
        if self.smoothing is not None or self.missing is not None:
            check_videos(frames, "the frame list")
        if self.cross_fit is not None:
            self.folds_of(frames)
        if self.k == SEARCH:
            check_widths(frames)
        if self.temperature == SEARCH:
            check_search(frames)
        if self.coverage is not None and not isinstance(self.coverage, str):
            check_fit(frames, self.coverage)
        if is_search(self.expression_biases):
            check_labels(str(self.expression_biases), frames)
        if self.au_thresholds in SEARCHES and np.isnan(frames.action_units).all():
            raise UserError(
                f"postprocess.au_thresholds={self.au_thresholds}: this list has no action-unit label to search on; "
                "search on a split with labels and give the file that it stores"
            )


def _check_used(settings: PostProcess, *, people: bool) -> None:
    """Refuse settings that nothing would use: they were meant to do something."""
    if settings.sigma is not None and settings.smoothing != "gaussian":
        raise UserError(
            "postprocess.sigma belongs to the Gaussian: give postprocess.smoothing=gaussian, or leave it out"
        )
    if settings.sigma is not None and not settings.sigma > 0:
        raise UserError(f"postprocess.sigma is {settings.sigma!r}; give frames, more than 0, or null for k / 2")
    if settings.smoothing not in WINDOWS and settings.k not in (None, PUBLISHED_K):
        raise UserError("postprocess.k smooths nothing by itself: give postprocess.smoothing=box, median or gaussian")
    if people and settings.k == SEARCH:
        raise UserError("postprocess.k=search needs labels: give the postprocess.json of a run that searched")
    exponential = settings.smoothing == EXPONENTIAL
    # of people, the network may look at stretches, too: ``check_gap``
    if not exponential and (settings.alpha is not None or (settings.max_gap != MAX_GAP and not people)):
        raise UserError(
            "postprocess.alpha and max_gap smooth nothing by themselves: give postprocess.smoothing=exponential"
        )
    if type(settings.max_gap) is not int or settings.max_gap < 1:
        raise UserError(f"postprocess.max_gap is {settings.max_gap!r}; give frames, 1 or more")


def check_gap(settings: PostProcess, *, in_time: bool) -> None:
    """Refuse a gap between a person's faces that nothing would use.

    Args:
        settings: for tables of people.
        in_time: whether a network looks at a person's faces through time.
    """
    used = in_time or settings.smoothing is not None or settings.missing is not None
    if settings.max_gap != MAX_GAP and not used:
        raise UserError(
            f"postprocess.max_gap={settings.max_gap} is of temporal heads, smoothing and filling, and these "
            "checkpoints look at each face alone: give postprocess.smoothing or missing, too, or leave it out"
        )


def _check_gate(settings: PostProcess, tables: int) -> None:
    """Refuse a gate or a blend that has no use with this number of tables, or together."""
    gate, confidence = settings.gate, settings.confidence
    if settings.blend == "raw" and tables < 2:
        raise UserError("postprocess.blend=raw is for several tables: evaluate.py 'predictions=[a.parquet,b.parquet]'")
    if gate is not None:
        check_gate_count(gate, tables)
    if gate == "confidence" and settings.blend == "raw":
        raise UserError(
            "postprocess.blend=raw concerns expressions, which gate=confidence does not blend: leave one out"
        )
    if gate != "confidence" and confidence != CONFIDENCE:
        raise UserError("postprocess.confidence belongs to one gate: give postprocess.gate=confidence, or leave it out")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise UserError(f"postprocess.confidence is {confidence!r}; give a probability, 0 to 1")


def _check_weights(weights: Weights, tables: int) -> None:
    if weights is None:
        return
    if tables < 2:
        raise UserError("postprocess.weights is for several tables: evaluate.py 'predictions=[a.parquet,b.parquet]'")
    if weights != SEARCH:
        resolve_weights(weights, tables)


def _check_cross_fit(settings: PostProcess) -> None:
    """Refuse folds that nothing would use, or that would not be apart."""
    folds = settings.cross_fit
    if folds is None:
        return
    if type(folds) is not int or folds < 2:
        raise UserError(f"postprocess.cross_fit is {folds!r}; give how many folds, 2 or more, or null")
    searched = SEARCH in (settings.weights, settings.k, settings.temperature) or settings.au_thresholds in SEARCHES
    if not searched and not is_search(settings.expression_biases):
        raise UserError(
            "postprocess.cross_fit fits what is searched, and nothing is: give postprocess.expression_biases=search or "
            "au_thresholds=exact, say, or leave it out"
        )
    if settings.blend == "raw":
        raise UserError(
            "postprocess.blend=raw scales by all rows, so no fold is apart: leave postprocess.cross_fit out"
        )
