# One command for everything. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
# What `pip install ernie-search` brings, and what its tests need: no torch.
CORE := .venv-core
# Stands while a set-up is under way; one that was interrupted may have left half-written packages,
# which pip would take for installed, so the next set-up then starts from an empty environment.
UNFINISHED := $(VENV)/.unfinished
# Of tens of thousands of modules a few thousand are ever imported: Python compiles those, when they are.
PIP_FLAGS := --disable-pip-version-check --quiet --no-compile
# Processes that share the tests, a file at a time, since a file's tests share what they trained.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-core faults check lint types docs pictures dist format bench clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with everything in it (quick when it is there)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"error: Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}; try: make setup PYTHON=python3.11")'
	@$(PYTHON) -c 'import sys, importlib.util as u; sys.exit(0 if u.find_spec("ensurepip") else "error: this Python has no venv; try: apt-get install python3-venv")'
	@if [ -e $(UNFINISHED) ]; then rm -rf $(VENV); fi
	@mkdir -p $(VENV); rm -f $(STAMP); touch $(UNFINISHED)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	@rm -f $(UNFINISHED); touch $(STAMP)

demo: setup  ## train, index, search and measure on this machine's own API documentation
	$(BIN)/ernie-search demo

test: setup  ## run all tests, in two processes: make test WORKERS=4
	ERNIE_SEARCH_TESTS=all $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=30 --durations-min=5

test-core: $(CORE)/.stamp  ## run the tests of search without torch, in an environment that has none
	ERNIE_SEARCH_TESTS=core $(CORE)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

$(CORE)/.stamp: pyproject.toml constraints.txt
	@if [ -d $(CORE) ] && [ ! -e $@ ]; then rm -rf $(CORE); fi
	@rm -f $@
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[test]"
	@touch $@

faults: setup  ## kill a writer to an index 200 times: make faults ARGS="--rounds 50 --seed 7"
	$(BIN)/python tests/faults/kill_rounds.py $(ARGS)

check: lint types docs test test-core  ## what CI runs: format, lint, types, documentation, tests

# With several jobs (`make -j2 check`), the core's environment is made beside what needs one core, and the tests,
# which take two, come one after the other.
ifneq ($(filter check,$(MAKECMDGOALS)),)
$(CORE)/.stamp: | setup
test: | lint types docs $(CORE)/.stamp
test-core: | test
endif

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

docs: setup  ## build the documentation into build/site, warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures: setup  ## take the documentation's pictures anew, in Chromium (docs/build/pictures.py says of what)
	$(BIN)/python -m docs.build.pictures $(ARGS)

dist: setup  ## build sdist and wheel into dist, and check that the wheel is complete and runs
	$(BIN)/python tests/distribution.py dist

format: setup  ## format the code and fix what the linter can fix
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

bench: setup  ## run a benchmark: make bench NAME=encode ARGS="--quick --json"
ifdef NAME
	$(BIN)/python -m benchmarks.$(NAME) $(ARGS)
else
	@echo "make bench NAME=..., one of: $(patsubst %/__main__,%,$(patsubst benchmarks/%.py,%,$(wildcard benchmarks/[a-z]*.py benchmarks/*/__main__.py)))"
endif

clean:  ## remove caches and build leftovers; .venv and runs stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache build dist src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
