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

RESULTS := build/results
PM := $(BIN)/perfmodel

figures: $(VENV)/.all ## every figure and report of the README and docs, from scratch: some 15 minutes
	rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	$(PM) compare --memory 512GiB --shattered 0.1 --json $(RESULTS)/compare.json
	$(PM) plot $(RESULTS)/compare.json -o docs/compare-512g.png
	$(PM) plot $(RESULTS)/compare.json --figure refusals -o docs/refusals.png
	$(PM) run examples/td-16g.toml --json $(RESULTS)/life.json
	$(PM) plot $(RESULTS)/life.json -o docs/life.png
	$(PM) steady --memory 64GiB --json $(RESULTS)/steady.json
	$(PM) plot $(RESULTS)/steady.json -o docs/walks.png
	$(PM) sweep --axis memory=1GiB,4GiB,16GiB,64GiB,256GiB,1TiB,4TiB --shattered 0.1 -o $(RESULTS)/memory.nc
	$(PM) plot $(RESULTS)/memory.nc -o docs/throughput.png
	$(PM) sweep --memory 512GiB --axis shattered=0,0.00390625,0.015625,0.0625,0.125,0.25,0.5,1 -o $(RESULTS)/shares.nc
	$(PM) plot $(RESULTS)/shares.nc -o docs/speedup.png
	$(PM) plot $(RESULTS)/shares.nc --figure stages -o docs/stages.png
	$(PM) sweep --memory 16GiB --axis vcpus=1,2,4,8,16,32,64 -o $(RESULTS)/vcpus.nc
	$(PM) plot $(RESULTS)/vcpus.nc -o docs/vcpus.png
	$(PM) scale --memory 512GiB --shattered 0.1 --json $(RESULTS)/scaling-populate.json
	$(PM) plot $(RESULTS)/scaling-populate.json -o docs/scaling-populate.png
	$(PM) plot $(RESULTS)/scaling-populate.json --figure latency -o docs/latency.png
	$(PM) scale --memory 512GiB --preset gnr-6980p --nodes 2 --counts 2,4,8,16,32,64,128,248 \
		--interface page-4k --interface pfn --workload convert --workload teardown \
		--state inside --state ticking --state halted --json $(RESULTS)/scaling-changes.json
	$(PM) plot $(RESULTS)/scaling-changes.json -o docs/scaling-changes.png
	$(PM) validate --json $(RESULTS)/validate.json
	$(PM) plot $(RESULTS)/validate.json -o docs/residuals.png
	$(PM) sensitivity --json $(RESULTS)/sensitivity.json
	$(PM) plot $(RESULTS)/sensitivity.json -o docs/sensitivity.png
	$(BIN)/pytest -q --benchmark-only --benchmark-json=$(RESULTS)/bench.json
	$(PM) plot $(RESULTS)/bench.json -o docs/roofline.png
	$(PM) explore -o $(RESULTS)/explore.html
	$(BIN)/python tests/support/screenshots.py $(RESULTS)/explore.html docs
	for guest in 16GiB:16g 512GiB:512g 4TiB:4t; do \
		$(PM) report --memory $${guest%:*} -o docs/reports/$${guest#*:} && rm docs/reports/$${guest#*:}/report.html || exit 1; \
	done

clean: ## remove what was built
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
