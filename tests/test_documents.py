"""What the pages say can be followed: links lead somewhere, and commands are understood by the programs they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.command import as_given
from runs.config import check_command_line
from runs.help import help_text
from runs.search_space import read
from tests.house import ROOT, tracked

PAGES = sorted(path for path in tracked("*.md") if "tests" not in path.relative_to(ROOT).parts)
PROGRAMS = (
    "train.py", "evaluate.py", "extract.py", "automl.py", "predict.py", "compare.py", "export.py", "recipe.py",
)  # fmt: skip


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    """The page without its blocks of code, in which brackets are no links."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def problem(page: Path, link: str) -> str | None:
    """What is wrong with a relative link."""
    place, _, anchor = link.partition("#")
    target = (page.parent / place).resolve() if place else page
    if not target.exists():
        return f"{link}: no such file"
    return f"{link}: no such heading" if anchor and anchor not in anchors(target) else None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    relative = [link for link in links if not re.match(r"https?:", link)]
    assert [found for link in relative if (found := problem(page, link))] == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    readme = ROOT / "README.md"
    assert problem(readme, "docs/nothing.md") == "docs/nothing.md: no such file"
    assert problem(readme, "docs/data.md#nothing") == "docs/data.md#nothing: no such heading"
    assert problem(readme, "docs/data.md#your-own-video") is None


def commands(page: Path) -> Iterator[list[str]]:
    """A page's commands, as a shell takes them apart; ``…`` and ``<run>`` stand for what is given."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`(python [^`]*)`", text_of(page))
    for line in [line for block in blocks for line in block.replace("\\\n", " ").splitlines()] + inline:
        words = shlex.split(re.sub(r"<[^>]*>", "GIVEN", line), comments=True)
        yield [word.replace("…", "GIVEN") for word in words if word != "…"]


CASES = [
    pytest.param(words[at].removesuffix(".py"), words[at + 1 :], id=f"{name_of(page)}: {' '.join(words[at:])[:100]}")
    for page in PAGES
    for words in commands(page)
    for at in [next((at for at, word in enumerate(words) if word in PROGRAMS), -1)]
    if at >= 0
]


def test_the_search_in_the_documents_is_understood() -> None:
    (line,) = (words for page in PAGES for words in commands(page) if "tune.py" in words and "tune.trials=20" in words)
    check_command_line("train", read(line[line.index("tune.py") + 1 :]).example())


@pytest.mark.parametrize(("program", "arguments"), CASES)
def test_the_keys_of_a_command_are_known(program: str, arguments: list[str]) -> None:
    given = as_given(program, arguments)
    if help_text(program, given) is None:  # which checks the rest of the command line
        check_command_line(program, given)


def test_the_modules_and_scripts_of_commands_are_there() -> None:
    lines = [" ".join(words) for page in PAGES for words in commands(page)]
    scripts = {found for line in lines for found in re.findall(r"python (\w+\.py)", line)}
    modules = {
        found for line in lines for found in re.findall(r"python -m ((?:benchmarks|examples|rendering)\S*)", line)
    }
    assert {"train.py", "prepare.py"} <= scripts
    assert {"benchmarks.masked_step", "examples.draw_scores"} <= modules
    paths = [*scripts, *(module.replace(".", "/") + ".py" for module in modules)]
    assert [path for path in paths if not (ROOT / path).is_file()] == []
