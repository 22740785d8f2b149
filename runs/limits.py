"""Sees to it that a run can end with a result, and that a training validates what it ends with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from affect.errors import ConfigError
from affect.hints import key_errors
from affect.settings import Count, NotNegative, Whole

_ONE_BEST = ("save_top_k", "every_n_epochs", "every_n_train_steps", "train_time_interval")


class _Numbers(TypedDict, total=False):
    """Keys of the trainer whose ranges Lightning does not check."""

    check_val_every_n_epoch: Count | None
    accumulate_grad_batches: Count
    gradient_clip_val: NotNegative | None
    log_every_n_steps: Whole | None
    num_nodes: Count


def limit_errors(trainer: Mapping[str, Any], callbacks: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Find the settings with which there would be no result.

    Args:
        trainer: the node ``trainer``.
        callbacks: the node ``callbacks`` of a training; None: the run only predicts.
    """
    yield from key_errors(trainer, _Numbers, "trainer.")
    if trainer.get("fast_dev_run"):
        yield "trainer.fast_dev_run keeps no checkpoint and predicts one batch: give debug=fast for a quick try"
    share = trainer.get("limit_predict_batches")
    if share is not None and not (type(share) is float and share == 1):
        yield f"trainer.limit_predict_batches={share}: the table has to have every row, leave it null"
    if trainer.get("barebones"):
        yield "trainer.barebones keeps no checkpoint and no metrics, leave it out"
    if callbacks is None:
        return
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer.get(key) == 0:
            yield f"trainer.{key}=0: a training has to have a step"
    if trainer.get("limit_val_batches") == 0:
        yield "trainer.limit_val_batches=0: without validation no epoch is the best; 1 is the quickest"
    if trainer.get("val_check_interval") == 0:
        yield "trainer.val_check_interval=0: give a share of an epoch, a number of batches or a time"
    if trainer.get("overfit_batches"):
        yield (
            "trainer.overfit_batches takes the data's own sampler away: give trainer.limit_train_batches=… and "
            "trainer.limit_val_batches=…"
        )
    if trainer.get("enable_checkpointing") is False:
        yield "trainer.enable_checkpointing=false: the result is made with the best checkpoint, leave it out"
    best = callbacks.get("best")
    if best is None or best.get("filename") != "best":
        yield "callbacks.best has to keep checkpoints/best.ckpt, with which the result is made: leave it as it is"
        return
    for key in _ONE_BEST:
        if best.get(key) not in (None, 1):
            yield f"callbacks.best.{key}={best[key]}: one best.ckpt is kept, after any validation: leave the key out"


class ValidatedEnd(Callback):
    """Have the state that a training ends with validated.

    Lightning validates when an epoch is over and when something has asked the training to stop: not at the last of
    ``max_steps``, nor in an epoch that ``check_val_every_n_epoch`` leaves out, so that there might be no best one.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse an interval between validations that no epoch is long enough for.

        Raises:
            ConfigError: with the number of batches.
        """
        interval, share = getattr(trainer, "val_check_interval", None), trainer.limit_train_batches  # None: by time
        if stage != "fit" or type(interval) is not int or trainer.check_val_every_n_epoch is None:
            return
        batches = len(trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
        batches = min(batches, share) if isinstance(share, int) else int(batches * share)
        if interval > batches:
            raise ConfigError(
                [
                    f"trainer.val_check_interval={interval}, but an epoch has {batches} batches: give fewer, or count "
                    "over all epochs with trainer.check_val_every_n_epoch=null"
                ]
            )

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        epochs, steps = trainer.max_epochs or -1, trainer.max_steps
        last_epoch = trainer.current_epoch + 1 == epochs and trainer.fit_loop.epoch_loop._num_ready_batches_reached()
        if trainer.should_stop or last_epoch or trainer.global_step == steps:
            trainer.should_stop = True
            if trainer.check_val_every_n_epoch is not None:
                trainer.check_val_every_n_epoch = 1
