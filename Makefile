# `make demo` and `make test` need nothing but Python 3.11, 3.12 or 3.13: each creates .venv where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
RUN := logs/demo/$(shell date +%Y-%m-%d_%H-%M-%S)
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt --quiet --editable
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: setup setup-tests demo test test-slow campaign lint clean

# what training, extracting and evaluating need
setup: $(VENV)/.installed

# what the tests need as well
setup-tests: $(VENV)/.installed-tests

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("Python %d.%d will not do: give one of PYTHON=python3.11, python3.12, python3.13" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	@echo "installing into $(VENV): 6.2 GB, 5.3 of them for GPUs (README.md says how to do without); minutes, by the network"
	$(INSTALL) .
	touch $@

$(VENV)/.installed-tests: $(VENV)/.installed
	@echo "installing what the tests need: 1.7 GB, 1.2 of them for LightAutoML (not with Python 3.13)"
	$(INSTALL) ".[dev,automl,mlflow,onnx,pretrained,sweeps,tensorboard,tune,wandb]"
	touch $@

# `make demo SEED=n` trains with another seed on the same faces; fewer than data=synthetic draws by itself, to be quick
DEMO := data=synthetic scale=tiny trainer=cpu seed=$(SEED)
demo: setup
	$(BIN)/python train.py experiment=dan $(DEMO) render.train_faces=5000 paths.run_dir=$(RUN)/dan
	$(BIN)/python train.py experiment=emma $(DEMO) render.train_videos=1400 paths.run_dir=$(RUN)/emma \
	  model.network.dan.weights=$(RUN)/dan/weights/dan.pth

lint: setup-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: setup-tests
	$(BIN)/python -m pytest -m slow

# tries every reader with changed and hostile files, and kills every command; one table at the end
campaign: setup-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.campaign --out logs/campaign

clean:
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
