"""Measures the house: ``python -m tests.house`` prints what tests/test_house.py holds to its limits."""

from __future__ import annotations

import ast
import io
import subprocess
import tokenize
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
    tokenize.ENDMARKER,
}  # fmt: skip


class Sizes(NamedTuple):
    """Of the Python files outside tests/ and examples/."""

    longest_file: tuple[int, str]  # all of its lines
    longest_function: tuple[int, str]  # from def to its last line


def tracked(pattern: str) -> list[Path]:
    """Return the files of the repository that match, new ones that git does not ignore included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def code_lines(text: str) -> int:
    """Count the lines that hold code."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def python_files() -> dict[str, str]:
    """Return the text of each Python file outside tests/ and examples/, by its name."""
    names = {str(path.relative_to(ROOT)): path for path in tracked("*.py")}
    return {
        name: path.read_text(encoding="utf-8")
        for name, path in names.items()
        if not name.startswith(("tests/", "examples/"))
    }


def sizes() -> Sizes:
    """Measure the Python files."""
    files, functions = [(0, "")], [(0, "")]
    for name, text in python_files().items():
        files.append((text.count("\n"), name))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions.append(((node.end_lineno or 0) - node.lineno + 1, f"{name}:{node.name}"))
    return Sizes(max(files), max(functions))


def yaml_files() -> int:
    """Count the YAML files of conf/ beside those of conf/values/."""
    return sum("values" not in path.relative_to(ROOT).parts for path in tracked("conf/*.yaml"))


def groups() -> int:
    """Count the groups of conf/."""
    return len({path.relative_to(ROOT).parts[1] for path in tracked("conf/*.yaml") if path.parent != ROOT / "conf"})


if __name__ == "__main__":
    print(f"README.md: {(ROOT / 'README.md').stat().st_size} bytes")
    print(f"conf/: {yaml_files()} YAML files beside values/, {groups()} groups")
    print(f"code_lines: {sum(map(code_lines, python_files().values()))}")  # without docstrings, comments, blank lines
    for name, value in sizes()._asdict().items():
        print(f"{name}: {value}")
