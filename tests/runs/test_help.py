"""``--help`` explains every choice on one page, and ``help=<group>`` every key of a group."""

from __future__ import annotations

import pytest
from hydra import initialize_config_dir

from affect.errors import ConfigError
from runs.config import CONFIG_DIR
from runs.help import described, help_text
from runs.options import options

PROGRAMS = ("train", "evaluate", "extract", "automl", "predict", "compare", "export", "recipe")


def told(name: str, *arguments: str) -> str:
    text = help_text(name, arguments)
    assert text is not None
    return text


def test_no_help_is_given_where_none_is_asked_for() -> None:
    assert help_text("train", ["experiment=cotex", "seed=1"]) is None


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_fits_on_a_page_and_begins_with_three_examples(name: str, word: str) -> None:
    lines = told(name, word).splitlines()
    assert len(lines) <= 110
    assert max(map(len, lines)) <= 83  # an example is one line
    assert [line.startswith(f"  python {name}.py ") for line in lines[1:6]] == [False, True, True, True, False]


def test_every_option_of_every_group_is_described() -> None:
    groups = [path.name for path in CONFIG_DIR.iterdir() if path.is_dir() and path.name != "values"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        known = {group: options(group) for group in [*groups, "backbone", "draws"]}
    silent = [(group, option) for group in known for option in known[group] if not described(group, option)]
    assert silent == []
    assert len(known) >= 14


def test_the_choices_of_the_command_line_are_marked() -> None:
    lines = told("train", "--help", "experiment=cotex").splitlines()
    marked = {line.split()[1] for line in lines if line.startswith("  * ")}
    assert {"cotex", "lsd", "paper", "auto"} <= marked
    assert "emma" not in marked


def test_a_group_has_its_keys_with_values_and_comments() -> None:
    text = told("train", "help=data", "data=affwild2_uni")
    assert "\n  * affwild2_uni " in text
    assert "\ndata.images=cropped_aligned           or cropped\n" in text
    assert "\ndata.task=???                         va, expr or au\n" in text
    assert "or cropped" not in told("train", "help=data", "data=affwild2_mtl")


def test_the_model_of_an_experiment_is_explained_at_the_scale_that_is_asked_for() -> None:
    text = told("train", "--help=model", "experiment=emma", "scale=tiny")
    assert "\nmodel.network.head_hidden=512         null: one Linear\n" in text
    assert "\nmodel.network.vit.width=256\n" in text


def test_an_option_that_builds_on_another_keeps_its_comments() -> None:
    assert "bf16-mixed where the hardware has it" in told("train", "help=trainer", "trainer=cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["help=modle"], "help=modle: no such group; did you mean model"),
        (["--help", "experiment=ema"], "experiment=ema: no such option; did you mean emma"),
        (["--help", "sed=1"], "unknown key 'sed'; did you mean seed"),
    ],
)
def test_errors_come_before_help(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        help_text("train", arguments)


def test_a_key_that_must_be_set_is_listed() -> None:
    assert "\n  store=???           folder; features" in told("extract", "--help")
