# SPDX-License-Identifier: Apache-2.0
# `make help` lists what there is. Everything runs in `.venv`, which is made on first use
# from the locked requirements; `PYTHON=python3.12 make test` chooses the interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(INSTALL) --require-hashes --only-binary :all:

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test sweep check docs bench numerics lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-dev  ## train a classifier of handwritten digits
	$(BIN)/python examples/digits.py

test: $(VENV)/.stamp-dev  ## run every test and every example in a docstring
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov=rosin --cov-report=term:skip-covered

sweep: $(VENV)/.stamp-dev  ## run the exhaustive tests that `make test` leaves out
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m sweep

check: $(VENV)/.stamp-dev  ## lint, formatting, types, spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/codespell

docs: $(VENV)/.stamp-docs  ## build the documentation into site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.stamp-bench  ## measure Rosin beside other libraries
	$(BIN)/python -m benchmarks

numerics: $(VENV)/.stamp-dev  ## measure how exact the numbers are, fail if a bar is missed
	$(BIN)/python -m numerics

lock: $(VENV)/.stamp-dev  ## lock the dependencies again; UPGRADE=1 takes newer ones
	$(BIN)/python scripts/lock.py $(if $(UPGRADE),--upgrade)

clean:  ## remove what building, testing and the examples left behind; keep .venv
	rm -rf build dist out site .coverage .coverage.* .hypothesis .pytest_cache .ruff_cache
	find benchmarks docs examples numerics scripts src tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV)/.stamp-dev: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Rosin: expected Python 3.11 or newer, got " + sys.version.split()[0] + " as $(PYTHON).\n  fix: name another, as in PYTHON=python3.12 make ...")'
	@test -x $(BIN)/python || { echo "making $(VENV), a minute or two"; $(PYTHON) -m venv $(VENV); }
	$(LOCKED) -r requirements/dev.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.stamp-docs: requirements/docs.txt $(VENV)/.stamp-dev
	$(LOCKED) -r requirements/docs.txt
	@touch $@

$(VENV)/.stamp-bench: requirements/bench.txt $(VENV)/.stamp-dev
	$(LOCKED) -r requirements/bench.txt
	@touch $@
