"""Whole videos through overlapping windows: every row once, as a slow loop says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from affect.batch import AffectLogits
from affect.labels import EXPRESSIONS, TASKS
from affect.preprocessing import IMAGENET
from evaluators.predictions import PredictionWriter, merge_parts
from evaluators.table import Table, read_table
from features.planning import windows
from features.windows import WindowsDataModule
from heads.network import FeatureDescription
from heads.temporal.module import TemporalModule
from heads.temporal.stitching import Stitcher
from losses.multitask import MultiTaskLoss
from tests.features.windows import Video, values, windows_of
from training.optimisation import Adam


class Plain(nn.Module):
    """A head whose scores of a frame depend on all of its window; a causal one's on all frames up to it."""

    expressions, preprocessing, tasks = EXPRESSIONS, IMAGENET, TASKS

    def __init__(self, *, causal: bool = False, width: int = 3) -> None:
        super().__init__()
        self.causal = causal
        self.features = [FeatureDescription(sha256=f"{0:064x}", embedding=width, outputs=["x"])]
        random = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(width, 22, generator=random))

    def forward(self, features: Tensor, present: Tensor) -> AffectLogits:
        there = present.unsqueeze(-1)
        mean = (features * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True)
        return self._scores(features + mean.square())

    def initial(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1, self.weight.shape[0])

    def advance(self, features: Tensor, state: Tensor) -> tuple[AffectLogits, Tensor]:
        sums = state + features.cumsum(dim=1)
        return self._scores(sums), sums[:, -1:]

    def _scores(self, hidden: Tensor) -> AffectLogits:
        affect, expression, units = (hidden @ self.weight).split([2, 8, 12], dim=-1)
        return AffectLogits(valence_arousal=affect, expression=expression, action_units=units)


def module_of(**options: Any) -> TemporalModule:
    return TemporalModule(network=Plain(**options), loss=MultiTaskLoss(), optimiser=Adam(), keep_logits=True)


def table_of(folder: Path, data: WindowsDataModule, *, causal: bool = False, ranks: int = 1) -> Table:
    """The table that the processes make, one after another."""
    for rank in range(ranks):
        module, writer = module_of(causal=causal), PredictionWriter(folder, rank)
        with torch.no_grad():
            for batch in data._loader_of_cuts("val", data.cuts("val", rank, ranks)):
                writer.add(batch["row"], module.predict(batch), batch["unreadable"])
        writer.finish()
    return read_table(merge_parts(folder, data.frames("val"), folder / "val.parquet", {}))


def slow_logits(
    videos: Mapping[str, Video], window: int, hop: int, grid: str, *, causal: bool = False
) -> list[np.ndarray[Any, Any] | None]:
    """The raw expression scores of each row: loops over windows, and a list of scores for each frame."""
    found: list[np.ndarray[Any, Any] | None] = []
    for name, video in videos.items():
        if not any(frame in range(1, max(video.listed) + 1) for frame in video.known) or (
            grid == "rows" and not any(min(video.listed) <= f <= max(video.listed) for f in video.known)
        ):
            found += [None] * len(video.listed)
            continue
        frames = sorted(set(video.listed)) if grid == "rows" else [*range(1, max(video.listed) + 1)]
        known = [frame for frame in video.known if frames[0] <= frame <= frames[-1]]
        features = np.zeros((len(frames), 3), np.float32)
        for position, frame in enumerate(frames):
            if causal:
                before = [one for one in known if one <= frame]
                if before:
                    features[position] = values(name, [max(before)])[0]
            else:
                features[position] = values(name, [min(known, key=lambda one: (abs(one - frame), one))])[0]
        said: dict[int, list[Tensor]] = {frame: [] for frame in frames}
        starts = [0] if causal or len(frames) <= window else list(range(0, len(frames) - window, hop))
        starts += [] if causal or len(frames) <= window else [len(frames) - window]
        network = Plain(causal=causal)
        for start in starts:
            part = torch.from_numpy(features[start:] if causal else features[start : start + window])[None]
            with torch.no_grad():
                output = (
                    network.advance(part, network.initial(1))[0]
                    if causal
                    else network(part, torch.ones(1, part.shape[1], dtype=torch.bool))
                )
            for offset, scores in enumerate(output.expression[0]):
                said[frames[start + offset]].append(scores)
        means = {frame: torch.stack(scores).double().mean(dim=0).numpy() for frame, scores in said.items()}
        found += [means[frame] for frame in video.listed]
    return found


def same(table: Table, expected: Sequence[np.ndarray[Any, Any] | None]) -> None:
    assert table.null.tolist() == [one is None for one in expected]
    logits = table.predictions["logits_expression"]
    for row, one in enumerate(expected):
        if one is not None:
            np.testing.assert_allclose(logits[row], one, rtol=1e-5, atol=1e-4)
            softmax = np.exp(one - one.max()) / np.exp(one - one.max()).sum()
            np.testing.assert_allclose(table.predictions["expression"][row], softmax, rtol=1e-3, atol=1e-4)


VIDEO = st.builds(
    Video,
    listed=st.lists(st.integers(1, 24), min_size=1, max_size=30),
    known=st.sets(st.integers(1, 30), max_size=24).map(sorted),
)


def with_own(videos: Sequence[Video]) -> dict[str, Video]:
    """Names for the videos; one at least has features of a listed frame, or there would be no table."""
    named = {"a" * (number + 1): video for number, video in enumerate(videos)}
    first = videos[0]
    return {**named, "a": first._replace(known=sorted({*first.known, first.listed[0]}))}


@settings(max_examples=60, deadline=None)
@given(
    videos=st.lists(VIDEO, min_size=1, max_size=4).map(with_own),
    window=st.integers(1, 12),
    data=st.data(),
    grid=st.sampled_from(["frames", "rows"]),
    batch=st.integers(1, 5),
    ranks=st.integers(1, 2),
)
def test_every_row_gets_the_mean_of_the_windows_that_cover_it(
    tmp_path_factory: pytest.TempPathFactory,
    videos: dict[str, Video],
    window: int,
    data: st.DataObject,
    grid: Any,
    batch: int,
    ranks: int,
) -> None:
    hop = data.draw(st.integers(1, window))
    folder = tmp_path_factory.mktemp("stitched")
    module = windows_of(folder, videos, window=window, hop=hop, grid=grid, eval_batch_size=batch)
    same(table_of(folder / "t", module, ranks=ranks), slow_logits(videos, window, hop, grid))


@settings(max_examples=25, deadline=None)
@given(videos=st.lists(VIDEO, min_size=1, max_size=3).map(with_own), size=st.integers(1, 30))
def test_the_pieces_of_a_causal_head_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, videos: dict[str, Video], size: int
) -> None:
    folder = tmp_path_factory.mktemp("causal")
    data = windows_of(folder, videos, fill="previous", max_frames=size)
    same(table_of(folder / "t", data, causal=True), slow_logits(videos, 1, 1, "frames", causal=True))


@given(st.integers(1, 50), st.integers(1, 12), st.data())
def test_the_stitcher_holds_no_more_than_two_windows(length: int, window: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, window))
    spans, stitcher, given_out = windows(length, window, hop), Stitcher(), []
    scores = torch.arange(length, dtype=torch.float64)[:, None]
    for start, stop, done in zip(*(column.tolist() for column in spans), strict=True):
        given_out.append(stitcher.add(start, scores[start:stop], done))
        assert stitcher.given == done
        assert stitcher._sum is not None
        assert len(stitcher._sum) <= window
    assert torch.equal(torch.cat(given_out), scores)  # the mean of equal scores


@pytest.mark.parametrize(("start", "done"), [(1, 5), (5, 6), (2, 9)])
def test_windows_that_come_too_late_or_leave_gaps_are_refused(start: int, done: int) -> None:
    stitcher = Stitcher()
    stitcher.add(0, torch.zeros(4, 2), 2)
    with pytest.raises(ValueError, match="after 2 were given"):
        stitcher.add(start, torch.zeros(3, 2), done)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("way", ["stored", "chained"])
def test_memory_does_not_grow_with_the_video(tmp_path: Path, way: str, causal: bool) -> None:
    def peak(frames: int) -> int:
        words = [sys.executable, "-m", "tests.heads.temporal.long_video", way, f"{tmp_path}/{frames}", str(frames)]
        done = subprocess.run([*words, str(causal)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert peak(100_000) <= 1.1 * peak(10_000)
