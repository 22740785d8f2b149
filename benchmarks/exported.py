"""Frames/s and sizes of networks in torch, as ONNX, and with integers.

    python -m benchmarks.exported --faces FOLDER [--experiment emma] [--batch 8] [--rounds 3] [--cpu] [--json FILE]

The networks of `conf/experiment`, of the paper's size, with random weights, which take as long as others. Each way sees
the same batch of faces, one way after the other; medians over the rounds. FOLDER has cut-out faces: of at most 64 every
second one gives the ranges of the integers. torch and onnxruntime have OMP_NUM_THREADS threads.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.machine import benchmark_parser, machine, print_machine, take_turns, write_figures
from datamodules.resizing import Image
from runs.building import build
from runs.config import CONFIG_DIR
from runs.int8 import faces_of, to_int8
from runs.portable import Portable, portable
from runs.to_onnx import to_onnx

RANDOM = {
    "emma": ("vit.weights=random", "dan.weights=random"),
    "cotex": ("weights=random",),
    "emotieffnet_backbone": ("weights=random",),
}
"""Of each experiment, what its network needs."""


def network_of(experiment: str, scale: str) -> Any:
    """Return the module of an experiment, with random weights."""
    given = [f"experiment={experiment}", f"scale={scale}", "data.root=none"]
    unweighted = {"emma": ("loss.au_pos_weight=none", "loss.expression_weight=none"),
                  "emotieffnet_backbone": ("loss.expression_weight=none",)}.get(experiment, ())  # fmt: skip
    given += [f"model.{one}" for one in unweighted] + [f"model.network.{one}" for one in RANDOM[experiment]]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", given).model, resolve=True)
    assert isinstance(config, dict)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it starts untrained
        return build({str(key): value for key, value in config.items()}, "model").eval()


def runner(content: bytes, images: Image) -> Callable[[int], object]:
    """Return what runs a file of ONNX on a batch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda _: session.run(None, {"image": images})


def measure(network: Portable, faces: Image, batch: int, rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Return frames/s and MB of each way."""
    size = sum(one.numel() * one.element_size() for one in network.module.state_dict().values())
    made = to_onnx(network, {})
    files = {
        "ONNX": made,
        "int8, products": to_int8(made, network, {}, None)[0],
        "int8, convolutions too": to_int8(made, network, {}, faces)[0],
    }
    images = faces[:batch]
    given = torch.from_numpy(images)

    def in_torch(_: int) -> object:
        with torch.inference_mode():
            return network.module(given)

    ways = {"torch": in_torch, **{name: runner(content, images) for name, content in files.items()}}
    seconds = take_turns(ways, rounds, clock)
    sizes = {"torch": size, **{name: len(content) for name, content in files.items()}}
    return {
        name: {"frames/s": len(images) / statistics.median(taken), "MB": sizes[name] / 1e6}
        for name, taken in seconds.items()
    }


def main() -> None:
    """Measure and print."""
    parser = benchmark_parser(__doc__, rounds=3)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--experiment", nargs="+", choices=RANDOM, default=list(RANDOM))
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cpu", action="store_true", help="count the processor's time: other work runs beside")
    given = parser.parse_args()
    facts: dict[str, Any] = {"machine": machine(), "rounds": given.rounds, "batch": given.batch}
    print_machine(facts["machine"])
    for experiment in given.experiment:
        module = network_of(experiment, given.scale)
        faces = faces_of(given.faces, module.preprocessing)[:64]
        clock = time.process_time if given.cpu else time.perf_counter
        facts[experiment] = measure(portable(module, module.scores.tasks), faces, given.batch, given.rounds, clock)
        for name, figures in facts[experiment].items():
            print(f"{experiment}, {name}: {figures['frames/s']:.2f} frames/s, {figures['MB']:.1f} MB", flush=True)
    write_figures(given.json, facts)


if __name__ == "__main__":
    main()
