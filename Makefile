# make demo and make test do everything on a fresh machine with Python 3.10 or newer: create .venv, install, run.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-lowest test-newest lint bench bench-env clean

demo: .venv/installed
	$(BIN)/flp demo

# The C++ engine must be there, or its tests would be skipped: FLP_REQUIRE_NATIVE=0 make test does without a compiler.
test test-all: export FLP_REQUIRE_NATIVE ?= 1

test: .venv/installed
	$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile --durations=20

# With what runs on clusters, and with the peer of the meta-gradient, whose tests are skipped where they are missing.
test-all: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench,dask,ray]'
	$(BIN)/python -m pytest -q

# Some of the tests with the lowest versions of all packages that pyproject.toml allows, and with the newest there are.
test-lowest test-newest:
	PYTHON=$(PYTHON) .ci/bounds $(@:test-%=%)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-env: .venv/installed
	$(BIN)/python benchmarks/environment_speed.py

bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/flp bench --output results
	$(BIN)/python benchmarks/long_lifetime.py
	$(BIN)/python benchmarks/evaluation_speed.py
	$(BIN)/python benchmarks/growth.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, see PYTHON= in the Makefile")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv dist build
