# Everything a newcomer needs; `make help` lists it.
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
# A line break within would end the command.
override ARGS := $(strip $(ARGS))
# Where run folders go.
RUNS   ?= runs
BIN    := $(VENV)/bin
# Test workers, one for each core; each keeps to one thread.
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-long test-all lint format bench bench-full clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.installed  ## make the virtual environment .venv with all dependencies
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e ".[dev]"
	@touch $@

# A convolutional generator (ARGS=generator=stylegan2) has no explorer; the "-" goes on without.
quickstart: setup  ## train CIPS on satellite pictures for 8 to 15 minutes on two CPU cores, by their kind (ARGS="key=value ..." to change it)
	$(BIN)/python -m cips_lab.train experiment=quickstart name=quickstart paths.runs=$(RUNS) $(ARGS)
	$(BIN)/python -m cips_lab.synthesize ckpt=$(RUNS)/quickstart seeds=0-63 output=$(RUNS)/quickstart/samples.png
	-$(BIN)/python -m cips_lab.explore ckpt=$(RUNS)/quickstart output=$(RUNS)/quickstart/explorer.html
	@cat $(RUNS)/quickstart/evaluations.md
	@echo "Look at $(RUNS)/quickstart/samples.png (what it learned) and $(RUNS)/quickstart/samples/real.png (what it saw)."
	@test ! -e $(RUNS)/quickstart/explorer.html || \
	  echo "Open $(RUNS)/quickstart/explorer.html in a browser: zoom into a picture, drag beyond its frame, walk from seed to seed."

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test: setup  ## the test suite but for the longest tests (no network, minutes)
	$(PYTEST) -m "not slow and not long" $(ARGS)

test-long: setup  ## the longest tests (tests/long_tests.txt)
	$(PYTEST) -m "long and not slow" $(ARGS)

test-all: setup  ## all tests, those marked slow too
	$(PYTEST) $(ARGS)

lint: setup  ## ruff (style, imports, bugs) and mypy (types)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## time the parts of a training iteration against the machine's own matrix-product rate
	$(BIN)/python -m benchmarks.bench $(ARGS)

bench-full: setup  ## make bench, and how the generator step grows with resolution and batch at the paper's scale (an hour)
	$(BIN)/python -m benchmarks.bench --full $(ARGS)

clean:  ## remove caches and built packages (not runs, not .venv)
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
