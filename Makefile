# Sets up .venv with what a target needs and runs it. A machine needs Python 3.11 or newer, make and a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
.DEFAULT_GOAL := help
.PHONY: help compare test lint types bench figures clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("perfmodel needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(BIN)/python pyproject.toml
	@echo "installing perfmodel into $(VENV)"
	$(INSTALL) -e .
	@touch $@

$(VENV)/.all: $(VENV)/.core
	@echo "installing what tests, figures and benchmarks need into $(VENV)"
	$(INSTALL) -e '.[test]'
	@touch $@

compare: $(VENV)/.core ## the four interfaces on this host's own free memory
	$(BIN)/perfmodel compare --backing host

lint: $(VENV)/.all ## style, spelling and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	PYTHONPATH=. $(BIN)/lint-imports

types: $(VENV)/.all ## static types
	$(BIN)/mypy

test: lint types ## all checks and all tests
	$(BIN)/pytest -n 2 --dist loadfile

bench: $(VENV)/.all ## benchmarks, small sizes, and the table of them
	$(BIN)/pytest --benchmark-only --benchmark-json=bench.json
	$(BIN)/python bench/table.py bench.json

figures: $(VENV)/.all ## the table's and the figures' source in the README and docs
	$(BIN)/perfmodel compare --memory 512GiB --shattered 0.1 --json compare.json
	$(BIN)/perfmodel plot compare.json -o docs/compare-512g.png
	$(BIN)/perfmodel scale --memory 512GiB --shattered 0.1 --json scaling-populate.json
	$(BIN)/perfmodel plot scaling-populate.json -o docs/scaling-populate.png
	$(BIN)/perfmodel scale --memory 512GiB --preset gnr-6980p --nodes 2 --counts 2,4,8,16,32,64,128,248 \
		--interface page-4k --interface pfn --workload convert --workload teardown \
		--state inside --state ticking --state halted --json scaling-changes.json
	$(BIN)/perfmodel plot scaling-changes.json -o docs/scaling-changes.png
	$(BIN)/perfmodel validate --json validate.json
	$(BIN)/perfmodel plot validate.json -o docs/residuals.png
	$(BIN)/perfmodel sensitivity --json sensitivity.json
	$(BIN)/perfmodel plot sensitivity.json -o docs/sensitivity.png

clean: ## remove what was built
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
