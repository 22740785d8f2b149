# `make demo` and `make test` need nothing but Python 3.11 or newer: each creates .venv where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
RUN := logs/demo/$(shell date +%Y-%m-%d_%H-%M-%S)
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: setup demo test test-slow campaign lint clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[dev,automl,onnx,pretrained,tensorboard,wandb]"
	touch $@

# `make demo SEED=n` trains with another seed on the same faces
demo: setup
	$(BIN)/python train.py experiment=dan data=synthetic scale=tiny trainer=cpu seed=$(SEED) paths.run_dir=$(RUN)/dan
	$(BIN)/python train.py experiment=emma data=synthetic scale=tiny trainer=cpu seed=$(SEED) paths.run_dir=$(RUN)/emma \
	  model.network.dan.weights=$(RUN)/dan/weights/dan.pth

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

# tries every reader with changed and hostile files, and kills every command; one table at the end
campaign: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.campaign --out logs/campaign

clean:
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
