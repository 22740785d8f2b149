"""Windows and frames a second of the temporal heads, in training and in prediction, against plain loops.

    python -m benchmarks.temporal [--rounds 5] [--scale paper] [--head NAME …] [--windows N] [--json FILE]

Features are random, 768 a frame, and every window is whole. A batch is that of the preset unless ``--windows`` says
otherwise. The plain way (benchmarks/reference/) takes windows one after the other, and causal heads frame by frame.
Both ways take turns, on one thread, and medians over the rounds are reported, in CPU seconds: other work on the machine
then counts little. The latency of a causal head is the median time from the features of a frame to its scores.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from affect.labels import TASKS
from benchmarks.machine import benchmark_parser, machine, print_machine, take_turns, write_figures
from benchmarks.reference import temporal as plain
from heads.temporal.choices import HEADS, settings
from losses.windows import WindowLoss
from runs.building import build

FEATURES: Final = 768
LATENCY_FRAMES: Final = 100
TOLERANCE: Final = 1e-4
"""How far scores may differ: float32 sums are in another order."""


class Case(NamedTuple):
    """A head and a batch for it."""

    network: Any
    batch: dict[str, Tensor]

    @property
    def windows(self) -> int:
        """Return their number in the batch."""
        return len(self.batch["features"])

    @property
    def frames(self) -> int:
        """Return their number in all windows."""
        return self.batch["present"].numel()


def make(head: str, scale: str, *, windows: int | None = None, features: int = FEATURES) -> Case:
    """Build a head and draw a batch.

    Args:
        head: a key of ``HEADS``.
        scale: ``paper`` or ``tiny``.
        windows: in the batch; None: as many as the preset has.
        features: length of a frame's features.
    """
    torch.manual_seed(0)
    node = settings(HEADS[head], scale)
    described = [{"sha256": "", "embedding": features, "outputs": []}]
    network = build({**node["model"]["network"], "features": described, "tasks": list(TASKS)}, "model")
    shape = windows or node["data"]["batch_size"], node["data"]["window"]
    batch = {
        "features": torch.randn(*shape, features),
        "present": torch.ones(shape, dtype=torch.bool),
        "valence_arousal": torch.rand(*shape, 2) * 2 - 1,
        "expression": torch.randint(8, shape),
        "action_units": torch.randint(2, (*shape, 12)).float(),
    }
    return Case(network, batch)


def predict(case: Case) -> Tensor:
    """Return valence and arousal of a batch at once."""
    with torch.no_grad():
        scores: Tensor = case.network(case.batch["features"], case.batch["present"]).valence_arousal
    return scores


def train(case: Case, loss: WindowLoss, optimiser: torch.optim.Optimizer) -> None:
    """Take a step on a batch at once."""
    optimiser.zero_grad()
    losses: dict[str, Tensor] = loss(case.network(case.batch["features"], case.batch["present"]), case.batch)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def latency(case: Case, frames: int = LATENCY_FRAMES) -> float:
    """Return the median CPU seconds that a causal head takes for the next frame."""
    state, seconds = case.network.initial(1), []
    with torch.no_grad():
        for frame in range(frames):
            features = case.batch["features"][:1, frame % case.batch["features"].shape[1], None]
            start = time.process_time()
            _, state = case.network.advance(features, state)
            seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Return the figures of one head."""
    figures: dict[str, Any] = {"windows": case.windows, "frames": case.frames}
    batch = case.batch
    case.network.eval()
    gap = (predict(case) - plain.predict(case.network, batch["features"], batch["present"])).abs().max().item()
    figures["agree"] = gap <= TOLERANCE
    figures["latency_s"] = latency(case) if case.network.causal else None
    ways: dict[str, dict[str, Callable[[int], object]]] = {
        "prediction": {
            "ours": lambda _: predict(case),
            "reference": lambda _: plain.predict(case.network, batch["features"], batch["present"]),
        }
    }
    loss = WindowLoss(ccc="window")
    optimiser = torch.optim.AdamW(case.network.parameters(), lr=1e-5)
    ways["training"] = {
        "ours": lambda _: train(case, loss, optimiser),
        "reference": lambda _: plain.train(case.network, loss, optimiser, batch),
    }
    for name, both in ways.items():
        case.network.train(name == "training")
        turns = take_turns(both, rounds, clock=time.process_time)
        seconds = {way: statistics.median(times) for way, times in turns.items()}
        figures[name] = {
            "seconds": seconds,
            "ratio": seconds["reference"] / seconds["ours"],
            "windows_per_s": case.windows / seconds["ours"],
            "frames_per_s": case.frames / seconds["ours"],
        }
    return figures


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--scale", choices=["paper", "tiny"], default="paper")
    parser.add_argument("--head", nargs="+", choices=list(HEADS), default=list(HEADS))
    parser.add_argument("--windows", type=int, help="in a batch; the preset's by default")
    parser.add_argument("--features", type=int, default=FEATURES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts = machine()
    print_machine(facts)
    print(f"{'':<28}{'windows/s':>10}{'frames/s':>10}{'plain, x':>10}{'frame, ms':>11}")
    figures: dict[str, Any] = {}
    for head in options.head:
        case = make(head, options.scale, windows=options.windows, features=options.features)
        figures[head] = measure(case, options.rounds)
        frame = figures[head]["latency_s"]
        for name in ("training", "prediction"):
            of = figures[head][name]
            line = (
                f"{head + ', ' + name:<28}{of['windows_per_s']:>10.2f}{of['frames_per_s']:>10.0f}{of['ratio']:>10.2f}"
            )
            line += f"{1000 * frame:>11.2f}" if frame is not None and name == "prediction" else ""
            print(line + ("" if figures[head]["agree"] else "  DIFFER"))
    settings_ = {name: getattr(options, name) for name in ("rounds", "scale", "windows", "features")}
    write_figures(options.json, {"figures": figures, "settings": {**settings_, "threads": 1}, "machine": facts})


if __name__ == "__main__":
    main()
