"""The LightningModule of the temporal heads: it learns from windows of features, and predicts whole videos."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from affect.batch import AffectLogits, Batch, Predictions
from affect.errors import ConfigError, DataError
from affect.labels import TASKS, label_names
from affect.settings import buildable
from features.windows import WindowsDataModule
from heads.network import FeatureDescription
from heads.temporal.causal import CausalNetwork, State
from heads.temporal.network import TemporalNetwork
from heads.temporal.stitching import Stitcher
from training.multitask import MultiTaskModule
from training.optimisation import Groups

_log = logging.getLogger(__name__)


@buildable("model")
class TemporalModule(MultiTaskModule):
    """Trains a network on windows of stored features, on the frames that have features of their own and a label.

    Validation and prediction score each row of the list once: the raw scores of overlapping windows are averaged
    before softmax, sigmoid or clamping. A causal network goes through each video with its state, so the pieces that the
    video comes in change nothing.

    Args:
        laid: how windows lie on the videos that it learns from, for videos that come without a data module; keys of
            ``features.planning.Laid``.
        **options: keywords of ``MultiTaskModule``.
    """

    network: TemporalNetwork

    def __init__(self, *, laid: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.laid = laid
        self._video = VideoScores(self.network)

    def setup(self, stage: str) -> None:
        """Check that the data fit the network.

        Raises:
            ConfigError: they are no windows, or not as a causal network needs them.
            DataError: the stores are of other networks than the head learnt from, or in another order.
        """
        data = self._data
        if not isinstance(data, WindowsDataModule):
            raise ConfigError(["model: a temporal head looks at windows of stored features: give data=windows"])
        check_stores(data, self.network.features)
        if self.network.causal:
            wrong = []
            if data.fill != "previous":
                wrong.append("data.fill=nearest takes features of later frames: give previous")
            if data.max_frames is None:
                wrong.append("data.max_frames=null forgets what was before each window: give 4096")
            if wrong:
                raise ConfigError([f"{problem}, as this head is causal" for problem in wrong])
        elif data.max_frames and stage != "fit":
            longest = data.max_frames
            cut = sum(len(plan) > longest for plan in data.plans(data.predict_split))
            if cut:
                _log.warning("%d videos are longer than data.max_frames=%d: the head sees them in pieces", cut, longest)
        super().setup(stage)

    @property
    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def logits(self, batch: Batch) -> AffectLogits:
        """Return the network's scores of one batch of windows, (B, T, …)."""
        logits: AffectLogits = self.network(batch["features"], batch["present"])
        return logits

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each task over all frames of a batch that have features of their own and a label."""
        unseen = ~batch["seen"]
        labels = {
            "valence_arousal": batch["valence_arousal"].masked_fill(unseen[..., None], torch.nan),
            "expression": batch["expression"].masked_fill(unseen, -1),
            "action_units": batch["action_units"].masked_fill(unseen[..., None], torch.nan),
        }
        losses: dict[str, Tensor] = self.loss(self.logits(batch), labels)  # of windows: their CCC may be wanted
        return losses

    def parameter_groups(self, lr: float) -> Groups:
        """Return one group: the sources let everything decay alike, the loss's own parameters, too."""
        return [
            {"params": list(self.parameters()), "lr": lr, "weight_decay": getattr(self.optimiser, "weight_decay", 0)}
        ]

    def predict(self, batch: Batch) -> Predictions:
        """Return the predictions of the rows that this batch is the last to cover, and which these are (``row``).

        Batches must come as ``WindowsDataModule`` gives them: all of a video, one after another.
        """
        none = torch.zeros(0, dtype=torch.int64)
        rows, at = batch.get("known", none), batch.get("at", none)
        if not len(batch["features"]):
            return {"row": rows}
        if not batch["start"][0]:
            self._video = VideoScores(self.network)
        first = self._video.given
        means = self._video.add(batch["features"], batch["present"], batch["start"].tolist(), batch["done"].tolist())
        predictions = self.predictions_of_columns(means[at - first])
        predictions["row"] = rows
        return predictions

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        predictions = self.predict_float32(batch)[""]
        rows = predictions.pop("row").cpu().numpy()
        if len(rows):
            labels = self._data.frames(self._data.held)
            of_rows = {task: torch.from_numpy(getattr(labels, task)[rows]).to(self.device) for task in TASKS}
            self.scores.update(predictions, cast("Batch", of_rows))

    def predictions_of_columns(self, columns: Tensor) -> Predictions:
        """Return what a table says of (N, C) raw scores of all tasks side by side, as ``VideoScores`` gives them."""
        names = label_names(self.expressions)
        parts = torch.split(columns, [len(names[task]) for task in self.network.tasks], dim=-1)
        return self.predictions_of(AffectLogits(**dict(zip(self.network.tasks, parts, strict=True))))


class VideoScores:
    """The raw scores of one video, or of one person in it, whose windows come one after another.

    Args:
        network: in evaluation mode; what a causal one remembers is kept here.
    """

    def __init__(self, network: TemporalNetwork) -> None:
        self.network = network
        self._stitcher = Stitcher()
        self._state: State | None = None

    @property
    def given(self) -> int:
        """Positions that were given out, from the beginning of the video."""
        return self._stitcher.given

    def add(self, features: Tensor, present: Tensor, start: Sequence[int], done: Sequence[int]) -> Tensor:
        """Add windows in the order of their starts; a causal network takes one at a time, the next piece of the video.

        Args:
            features: (B, T, D).
            present: (B, T), false for padding.
            start: the first position of each.
            done: how many positions at the beginning of the video no window after each covers.

        Returns:
            (K, C) of the positions that are done now, all tasks side by side: the means over overlapping windows.
        """
        if self.network.causal:
            network = cast(CausalNetwork, self.network)
            state = network.initial(1) if self._state is None else self._state
            output, self._state = network.advance(features, state)
        else:
            output = self.network(features, present)
        columns = torch.cat([getattr(output, task).float() for task in self.network.tasks], dim=2)
        spans = zip(start, done, present.sum(dim=1).tolist(), columns, strict=True)
        return torch.cat([self._stitcher.add(first, one[:size], last) for first, last, size, one in spans])


def check_stores(data: WindowsDataModule, wanted: list[FeatureDescription]) -> None:
    """Check that the stores are of the networks, and in the order, that a head learnt from.

    Raises:
        DataError: they are not.
    """
    made, needed = [store.info.sha256 for store in data.stores], [one["sha256"] for one in wanted]
    if made == needed:
        return
    folders = ", ".join(str(store.root) for store in data.stores)
    if sorted(made) == sorted(needed):
        order = ", ".join(str(data.stores[made.index(sha256)].root) for sha256 in needed)
        raise DataError(f"data.store=[{folders}]: the head learnt from these stores in another order: give [{order}]")
    hashes = (", ".join(f"{sha256[:12]}…" for sha256 in some) for some in (made, needed))
    raise DataError(
        f"{folders}: features of {', '.join(store.info.network for store in data.stores)} ({next(hashes)}), but this "
        f"head learnt from those of other networks ({next(hashes)}): give data.store= their stores"
    )
