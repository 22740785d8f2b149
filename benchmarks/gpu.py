"""Figures of this machine's GPU, one JSON line for each row; benchmarks/gpu.sh runs the rows one after the other.

    PYTHON=python3 bash benchmarks/gpu.sh [FOLDER OF PICTURES]
    python -m benchmarks.gpu check
    python -m benchmarks.gpu emma [--root FOLDER] [--toy] [--steps 20]

``plain-…`` are the steps of benchmarks/reference/, in float32; the others are train.py's own, in the precision that it
chooses on this machine. ``input`` is EMMA fed from files by the default loaders, as ``data=affwild2_mtl`` reads them.
``--toy`` takes networks and batches of a few kilobytes, to rehearse the rows where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple

NEEDED: Final = ("torch", "torchvision", "pytorch-lightning", "timm", "hydra-core", "omegaconf", "torchmetrics",
                 "albumentations", "opencv-python-headless", "pyarrow", "rich", "filelock")  # fmt: skip
TOY: Final = {
    "emma": ("scale=tiny", "model.optimiser.muon=false"),
    "cotex": ("scale=tiny", "model.network.width=32", "model.network.depth=1"),
    "mae": ("scale=tiny", "model.network.width=32", "model.network.depth=1"),
}


class Row(NamedTuple):
    """What is measured: the experiment, images of a micro-batch, micro-batches of a step, and overrides."""

    experiment: str
    batch: int
    accumulation: int = 1
    overrides: tuple[str, ...] = ()


ROWS: Final = {
    "emma": Row("emma", 100),
    "plain-emma": Row("emma", 100),
    "cotex": Row("cotex", 1216, overrides=("model.mask_ratio=0.95",)),
    "plain-cotex": Row("cotex", 1216, overrides=("model.mask_ratio=0.95",)),
    "input": Row("emma", 100),
    "mae": Row("mae", 256),
    "plain-mae": Row("mae", 256),
    "emma-compiled": Row("emma", 100, overrides=("model.compile=true",)),
    "cotex-compiled": Row("cotex", 1216, overrides=("model.mask_ratio=0.95", "model.compile=true")),
}
"""The most important first."""
WARM_UP: Final = 5
"""Steps that are not measured."""
FEW: Final = 2
"""Images of a toy step."""


def check() -> None:
    """Print what there is, and end with what is missing.

    Raises:
        SystemExit: a package is missing.
    """
    found: dict[str, str] = {}
    for package in NEEDED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    missing = [package for package, which in found.items() if which == "missing"]
    card = "none"
    if not missing:
        import torch

        card = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    print(json.dumps({"row": "machine", "gpu": card, **found}), flush=True)
    if missing:
        raise SystemExit(
            f"benchmarks.gpu: {', '.join(missing)} missing; nothing is installed here and nothing measured"
        )


def measured(step: Callable[[], object], images: int, steps: int) -> dict[str, float]:
    """Return images per second and peak memory, GiB, of a step that is taken so many times after the warm-up."""
    for _ in range(WARM_UP):
        step()
    start = _begin()
    for _ in range(steps):
        step()
    return _figures(start, images * steps)


def plain(row: Row, steps: int, toy: bool) -> dict[str, float]:
    """Measure the plain way of a row."""
    from benchmarks.reference import emma_step, mae_step, masked_step
    from benchmarks.training_step import random_batch

    images = FEW if toy else row.batch
    batch = random_batch(images, 224)
    if row.experiment == "emma":
        of_emma = emma_step.plain_step(_device())
        return measured(lambda: of_emma([batch]), images, steps)
    made, ratio = (masked_step, 0.95) if row.experiment == "cotex" else (mae_step, 0.75)
    of_masked = made.plain_step(ratio, _device())  # type: ignore[attr-defined]
    return measured(lambda: of_masked(batch["image"], batch["expression"]), images, steps)


def ours(row: Row, steps: int, toy: bool, root: str | None) -> dict[str, float]:
    """Measure train.py's own step; with ``root``, fed from files."""
    import pytorch_lightning as pl

    from benchmarks.training_step import Repeated, configure, random_batch
    from runs.assembly import build_data, build_module
    from runs.building import build
    from runs.config import automatic_precision

    overrides = [*row.overrides, *(TOY[row.experiment] if toy else ())]
    if root is not None:
        overrides += ["data=affwild2_mtl", f"data.root={root}", "data.on_unreadable=skip"]
    batch_size = FEW if toy else row.batch
    config = configure(
        automatic_precision("auto"), batch_size, row.accumulation, overrides, experiment=row.experiment, trainer="auto"
    )
    module = build_module(config["model"], initialise=False)
    clock = _clock(steps, batch_size)
    trainer: pl.Trainer = build(
        {**config["trainer"], "max_epochs": 100_000, "max_steps": WARM_UP + steps},
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, callbacks=[clock],
    )  # fmt: skip
    data: pl.LightningDataModule
    if root is None:
        data = Repeated(random_batch(batch_size, module.preprocessing.image_size), WARM_UP + steps)
    else:
        data = build_data(config, module.preprocessing, module.expressions)
    trainer.fit(module, datamodule=data)
    figures: dict[str, float] = clock.figures
    return figures


def _clock(steps: int, images: int) -> Any:
    """Return a callback that measures the steps after the warm-up, and how long they wait for their batches."""
    import pytorch_lightning as pl

    class Clock(pl.Callback):
        figures: dict[str, float]

        def __init__(self) -> None:
            self.start = self.left = self.waited = 0.0

        def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
            if trainer.global_step == WARM_UP:
                self.start = _begin()
            elif self.start:
                self.waited += time.perf_counter() - self.left

        def on_train_batch_end(
            self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
        ) -> None:
            if trainer.global_step == WARM_UP + steps:
                self.figures = _figures(self.start, images * steps)
                self.figures["waiting_for_input"] = self.waited * self.figures["images_per_s"] / (images * steps)
            self.left = time.perf_counter()

    return Clock()


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _begin() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    return time.perf_counter()


def _figures(start: float, images: int) -> dict[str, float]:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = (
        torch.cuda.max_memory_allocated()
        if torch.cuda.is_available()
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {"images_per_s": images / seconds, "peak_gib": peak / 2**30}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one row and print its line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("row", choices=("check", *ROWS))
    parser.add_argument("--root", help="pictures and lists of the multi-task challenge, for `input`")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args(arguments)
    if options.row == "check":
        check()
        return
    row = ROWS[options.row]
    if options.row == "input" and options.root is None:
        raise SystemExit("benchmarks.gpu input: give --root=FOLDER, of pictures and lists of the multi-task challenge")
    if options.row.startswith("plain-"):
        figures = plain(row, options.steps, options.toy)
    else:
        figures = ours(row, options.steps, options.toy, options.root if options.row == "input" else None)
    line = {"row": options.row, "batch": FEW if options.toy else row.batch, "steps": options.steps}
    print(json.dumps({**line, **{name: round(figure, 4) for name, figure in figures.items()}}), flush=True)


if __name__ == "__main__":
    main()
