"""The page of a comparison and of a sweep: what stands in it, that it asks nobody, and that names stay text."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import numpy as np

from evaluators.audit import LEGEND, Gap
from evaluators.comparison import READING, Comparison, System, caveat, cell, compare, lead_cell, sentences
from evaluators.intervals import Interval
from evaluators.page.comparison import Compared, write_comparison
from evaluators.page.markup import Link
from evaluators.sums import Sums
from tests.evaluators.page.markup import asks_nobody, cards, policy

BAD = "</script><script>alert(1)</script><img src=x onerror=\"alert(1)\"> & '{0}'"
SCORES = ("P_VA", "P_AU", "F1_AU1", "ACC_AU")


def of_skill(skill: float, videos: int) -> Sums:
    """Sums of ratios that are about as high as is asked for."""
    rng = np.random.default_rng(int(skill * 1000))
    top = np.clip(skill + rng.normal(0, 0.1, (videos, 4)), 0, 1)
    units = tuple(map(str, range(videos)))
    return Sums(SCORES, units, np.zeros((videos, 6, 0)), top, np.ones_like(top), np.eye(4))


def found(names: list[str], videos: int = 20, runs: int = 1) -> Comparison:
    skills = np.linspace(0.3, 0.6, len(names))
    return compare([
        System(name, tuple(of_skill(skill + run / 100, videos) for run in range(runs)))
        for name, skill in zip(names, skills, strict=True)
    ])  # fmt: skip


def written(folder: Path, compared: Compared) -> str:
    path = write_comparison(folder, compared)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_page_holds_the_comparison(tmp_path: Path) -> None:
    of = found(["base", "better", "best"], runs=2)
    runs = [[Link("seed 0", f"../{name}/report.html"), Link("seed 1", None)] for name in of.systems]
    gap = Gap("age", "old", "young", (10, 12), "P_VA", Interval(0.1, 0.05, 0.2), 0.01)
    compared = Compared(of, "videos", runs, ["split val"], gaps={name: [gap] for name in of.systems})
    page = written(tmp_path, compared)
    assert cards(page) == [
        "What can be told", "P_VA", "P_AU", "Main scores", "Gaps between groups", "All scores", "All differences",
        "What the scores mean",
    ]  # fmt: skip
    assert "<h1>Comparison of 3 systems, 20 videos</h1>" in page
    assert "<p class=facts>split val</p>" in page
    for sentence in sentences(of):
        assert f"<li>{escape(sentence)}</li>" in page
    assert caveat(20, "videos") in page
    assert escape(READING[1:]) in page
    assert "Orange: base, " in page
    for name in of.systems:
        assert f'<tr><th scope="row">{name}</th><td><a href="../{name}/report.html">seed 0</a>, seed 1</td>' in page
        for score in SCORES:
            told = 1 + 2 * (score in of.main)  # in the table of all scores; in the main ones' and the figure, too
            assert len(re.findall(rf">{re.escape(cell(of.scores[name].intervals[score]))}<", page)) >= told
    for name in of.leads:
        for score in SCORES:
            assert f"<td>{escape(lead_cell(of, name, score))}</td>" in page
    assert page.count(f"<h3>base{' (its first run)'}</h3>") == 1
    assert page.count("<td>10 : 12</td><td>+0.100 [+0.050, +0.200] p 0.010 *</td>") == 3
    assert LEGEND in page
    hollow, told = page.count('<g class="hollow">'), sum(p < 0.05 for one in of.holm.values() for p in one.values())
    assert page.count('<g class="reference">') == 2
    assert hollow == sum(one[score] >= 0.05 for one in of.holm.values() for score in of.main)
    assert told > 0


def test_a_sweep_says_first_what_differs(tmp_path: Path) -> None:
    of = found(["1", "0"])
    runs = [[Link("seed 0", None)]] * 2
    page = written(tmp_path, Compared(of, "videos", runs, keys=["base_lr", "<key>"], values=[["8e-3", BAD], ["", "b"]]))
    assert cards(page)[:3] == ["Main scores", "What can be told", "P_VA"]
    assert "Gaps between groups" not in cards(page)
    assert "<h1>Sweep of 2 systems, 20 videos</h1>" in page
    assert '<th scope="col">system</th><th scope="col">base_lr</th><th scope="col">&lt;key&gt;</th>' in page
    assert f'<th scope="row">1</th><td>8e-3</td><td>{escape(BAD)}</td><td>seed 0</td>' in page
    assert page.count(f"<small>base_lr=8e-3, &lt;key&gt;={escape(BAD)}</small>") == 2  # of each main score
    assert asks_nobody(page)


def test_the_page_asks_nobody_and_names_stay_text(tmp_path: Path) -> None:
    of = found([BAD, f"{BAD}2"])
    gaps = {name: [Gap(BAD, BAD, BAD, (3, 12), "P_VA", None, float("nan"))] for name in of.systems}
    file = '../a b#?"<x>:javascript/report.html'
    runs = [[Link(BAD, file)], [Link("seed 1", "javascript:alert(1)")]]
    page = written(tmp_path, Compared(of, BAD, runs, [BAD], gaps=gaps))
    elements = asks_nobody(page, "../a%20b%23%3F%22%3Cx%3E%3Ajavascript/report.html", "javascript%3Aalert%281%29")
    assert not {"script", "img"} & {tag for tag, _ in elements}
    assert policy(elements) == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'none'"
    assert sum(one.get("class") == "scroll" for _, one in elements) == 6  # every table


def test_of_one_video_there_are_dots_alone(tmp_path: Path) -> None:
    of = found(["a", "b"], videos=1)
    page = written(tmp_path, Compared(of, "videos", [[Link("1", None)]] * 2))
    assert "no intervals: they need two videos or more" in page
    assert "nan" not in page.lower()
    assert page.count("<circle") == 6
    assert not re.search(r"<g[^>]*><line", page)


def test_of_one_system_there_is_nothing_to_compare(tmp_path: Path) -> None:
    of = found(["only"])
    page = written(tmp_path, Compared(of, "videos", [[Link("1", None)]]))
    assert "<h1>Comparison of 1 system, 20 videos</h1>" in page
    assert "All differences" not in cards(page)
    assert not re.search('Orange|ahead of|<li>|class="reference"', page)


def test_many_systems_are_a_small_page(tmp_path: Path) -> None:
    of = found([f"a-system-with-quite-a-long-name-{number:02}" for number in range(12)], videos=200, runs=2)
    page = written(tmp_path, Compared(of, "videos", [[Link("seed 0", None), Link("seed 1", None)]] * 12))
    assert len(page.encode()) < 200_000
