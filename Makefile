# make run     set up, then take the real CT through the whole chain
# make test    set up, then run the tests
# make check   lint, types, layers
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
CASE ?= lidc
SEED ?= 0
TRIALS ?= 20

.PHONY: help setup run test check format lock bench bench-registration bench-ablation bench-planning campaign clean

help:
	@sed -n '1,3p' Makefile

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "needlework needs Python 3.11 or newer: make PYTHON=python3.11 run")'
	@echo "[1/4] virtual environment"
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing; on Debian: apt-get install python3-venv"; exit 2; }
	@echo "[2/4] packages, hash-checked (about 0.6 GB, once)"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --no-deps --require-hashes --only-binary=:all: -r requirements.lock | awk '/^Collecting/ {if (++n % 20 == 0) {printf "      %d packages found\n", n; fflush()}} /^Installing/ {printf "      installing %d packages\n", n; fflush()}'
	@echo "[3/4] needlework"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet --no-deps --no-build-isolation --editable .
	@echo "[4/4] compiling the inner loops (once)"
	@$(BIN)/python -m console.warm
	@touch $(STAMP)

# The chain completing is the success of `run`; the verdict, pass or fail, is printed (exit 0 or 1).
run: setup
	@$(BIN)/needlework run $(CASE) --seed $(SEED); status=$$?; [ $$status -le 1 ] || exit $$status

# Files in order: the whole chain, one long file, begins first.
test: setup
	@$(BIN)/needlework case fetch lidc
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup
	@$(BIN)/python -m benchmarks.chain

bench-registration: setup
	@failed=; for part in images labels fiducials fit accuracy surface ct_to_ct calibration tracking dicomout; do \
		echo "== $$part"; $(BIN)/python -m benchmarks.registration_$$part || failed="$$failed $$part"; \
	done; [ -z "$$failed" ] || { echo "missed:$$failed"; exit 1; }

ABLATION := $(sort $(patsubst benchmarks/ablation_%.py,%,$(wildcard benchmarks/ablation_*.py)))
bench-ablation: setup
	@failed=; for part in $(ABLATION); do \
		echo "== $$part"; $(BIN)/python -m benchmarks.ablation_$$part || failed="$$failed $$part"; \
	done; [ -z "$$failed" ] || { echo "missed:$$failed"; exit 1; }

PLANNING := $(sort $(patsubst benchmarks/planning_%.py,%,$(wildcard benchmarks/planning_*.py)))
bench-planning: setup
	@failed=; for part in $(PLANNING); do \
		echo "== $$part"; $(BIN)/python -m benchmarks.planning_$$part || failed="$$failed $$part"; \
	done; [ -z "$$failed" ] || { echo "missed:$$failed"; exit 1; }

campaign: setup
	@$(BIN)/needlework campaign $(CASE) --trials $(TRIALS)

# Renew the lock: needs uv. The lock is complete (it is installed with --no-deps), holds hashes and no address.
lock:
	uv pip compile --quiet pyproject.toml --extra dev --no-strip-markers --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
