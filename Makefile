# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
ARGS ?=

.PHONY: help demo test check bench lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.run  ## build six local images, run the matrix on them, render the report (options: make demo ARGS="--only 'python-*'")
	@$(BIN)/e2e-matrix demo $(ARGS)

test: $(VENV)/.dev  ## run every test, on real containers and in a real browser
	@$(BIN)/e2e-matrix setup --for-tests
	@$(BIN)/pytest $(ARGS)

check: $(VENV)/.dev  ## lint, format and types, in seconds
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.dev  ## compare the runner with the plainest possible loop
	@$(BIN)/python bench/compare.py $(ARGS)

lock: $(VENV)/.dev  ## resolve the dependencies again
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra setup pyproject.toml -o requirements.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean: $(VENV)/.run  ## remove what runs of ours left on the engine
	@$(BIN)/e2e-matrix clean

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit("e2e-matrix needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo "On Debian/Ubuntu: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 3; }
	@touch $@

# The locks carry a hash for every file and name no index: pip takes them from wherever it is configured to.
$(VENV)/.run: $(VENV)/.venv requirements.txt pyproject.toml
	@echo "installing the locked dependencies into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
