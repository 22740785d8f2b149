"""The repository stays within the limits of its design: small files, short functions, few configuration files."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from affect.errors import ConfigError
from runs.config import CONFIG_DIR, composed
from tests.house import ROOT, groups, sizes, yaml_files

EXPERIMENTS = sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml"))
SCALES = sorted(path.stem for path in (CONFIG_DIR / "scale").glob("*.yaml"))


def test_readme_fits_on_a_page() -> None:
    assert (ROOT / "README.md").stat().st_size <= 9000


def test_files_and_functions_are_short() -> None:
    measured = sizes()
    assert measured.longest_file <= (350, "~"), measured.longest_file
    assert measured.longest_function <= (70, "~"), measured.longest_function


def test_the_configuration_is_small() -> None:
    assert yaml_files() <= 65
    assert groups() <= 14
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        assert len(OmegaConf.to_yaml(compose("train")).splitlines()) <= 130


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_says_what_differs_at_the_scales_that_it_has(experiment: str) -> None:
    files = {scale: CONFIG_DIR / "values" / scale / f"{experiment}.yaml" for scale in SCALES}
    assert files["tiny"].is_file()
    for scale, file in files.items():
        if scale != "paper" and not file.is_file():
            with pytest.raises(ConfigError, match=f"no values for scale={scale}: give scale=paper or scale=tiny, or"):
                composed("train", [f"experiment={experiment}", f"scale={scale}"])
            continue
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            config = compose("train", overrides=[f"experiment={experiment}", f"scale={scale}", "debug=fast"])
        assert (config.name, config.scale, config.trainer.max_epochs) == (experiment, scale, 1)
        assert config.model.optimiser.get("warmup_epochs", 0) == 0
