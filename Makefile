# One command set for people and for CI: `make help` lists it. Works with GNU make 3.81 and newer.

# The first Python that fits; `make PYTHON=python3.13 setup` chooses another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
READY := .venv/.ready
# Processes that run tests side by side.
JOBS ?= 2

# The web app: its packages, and what the server serves of it.
PACKAGES := web/node_modules/.package-lock.json
APP := src/tidenote/server/static/index.html
APP_SOURCES = $(shell find web/src web/public web/build -type f) $(wildcard web/*.ts web/*.js web/*.html web/*.json)

CODE := $(wildcard src tests benchmarks)
PYTEST := $(BIN)/python -m pytest
SIM := PYTHONPATH=tests $(BIN)/python -m sim.replay
SOAK_S ?= 3600
# How long each target of `make guided` is fuzzed.
FUZZ_S ?= 300
# The first seed of a soak: another one each time finds more.
FIRST ?= 1000000
export SEEDS

# What must be covered to the last branch, and the tests that are to do it.
PURE := src/tidenote/core/*,src/tidenote/wire/*,src/tidenote/client/policy.py,src/tidenote/vault/plan.py,src/tidenote/vault/twins.py
PURE_TESTS = $(wildcard tests/core tests/wire tests/client/test_policy.py tests/vault/test_plan*.py tests/vault/test_twins.py)

# What failed half-way is made again.
.DELETE_ON_ERROR:

.PHONY: help setup test lint types unit sim soak e2e web images bench docs fuzz guided cover run format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(READY) $(APP) ## Create .venv and build the web app, with the exact versions of the lock files

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || test -x $(BIN)/python || { echo "Tidenote needs CPython 3.11 or newer" >&2; exit 1; }
	@echo "Installing what Tidenote needs: this takes a minute"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

$(PACKAGES): web/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' \
		|| { echo "Tidenote's web app is built with Node.js 20.19 or newer, and npm: https://nodejs.org" >&2; exit 1; }
	@echo "Installing what the web app is built with: this takes a minute"
	cd web && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $(PACKAGES)

$(APP): $(PACKAGES) $(APP_SOURCES)
	cd web && npm run --silent build -- --logLevel warn

test: setup lint types cover web ## Everything that must be green; pytest's closing line is the last
	$(PYTEST) --numprocesses $(JOBS) --quiet

lint: setup ## Check style and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: setup ## Check types, strictly
	$(BIN)/mypy $(CODE)

unit: setup ## Tests without real processes and without the seeded world
	$(PYTEST) --numprocesses $(JOBS) --quiet -m "not e2e and not sim"

sim: setup ## The seeded world: SEEDS=n of them; SEED=n that one; REPLAY=file a failure that was kept
	$(if $(SEED)$(REPLAY),$(SIM) $(SEED)$(REPLAY),$(PYTEST) --numprocesses $(JOBS) --quiet -m sim)

soak: setup ## The seeded world for SOAK_S seconds, on one core
	$(SIM) --soak $(SOAK_S) --first $(FIRST)

e2e: setup ## Real processes, sockets and files
	$(PYTEST) --numprocesses $(JOBS) --quiet -m e2e

cover: setup ## Every branch of the pure parts is tested
	$(BIN)/coverage erase
	$(if $(PURE_TESTS),HYPOTHESIS_PROFILE=cover $(BIN)/coverage run -m pytest --numprocesses $(JOBS) --quiet $(PURE_TESTS))
	$(if $(PURE_TESTS),$(BIN)/coverage combine --quiet)
	$(if $(PURE_TESTS),$(BIN)/coverage report --include='$(PURE)' --show-missing --skip-covered --fail-under=100)

web: setup ## Check, build and test the web app, in a real browser too
	cd web && npm run --silent check
	cd web && npm run --silent unit
	cd web && npm run --silent e2e

images: setup ## Draw the pictures of docs/images and the icons anew
	cd web && npm run --silent images

bench: setup ## Measure speed and memory, beside the raw limits of this machine
	$(BIN)/python -m benchmarks

docs: setup ## Check that the documents say what the code does
	$(PYTEST) --quiet tests/test_docs.py

fuzz: setup ## The laws with 100,000 examples each, other properties with 25,000
	HYPOTHESIS_PROFILE=fuzz $(PYTEST) --numprocesses $(JOBS) --quiet --timeout 0 $(wildcard tests/core tests/wire tests/client tests/vault)

guided: setup ## Properties led by what code they reach, FUZZ_S seconds each; Linux only
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris==3.0.0
	for target in decoder session planner merge front-matter; do \
		PYTHONPATH=tests $(BIN)/python tests/fuzzing.py $$target $(FUZZ_S) || exit 1; \
	done

run: setup ## A server and two synced folders to play with
	$(BIN)/tidenote demo

format: setup ## Write the code as the formatter likes it
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

lock: ## Resolve pyproject.toml anew into requirements.lock
	$(BIN)/python -m pip list --format freeze --exclude-editable --exclude pip --exclude setuptools > .lock.new
	{ sed -n '/^#/p' requirements.lock; sed 's/^\(uvloop==.*\)$$/\1; sys_platform != "win32"/' .lock.new; } > .lock.all
	mv .lock.all requirements.lock && rm .lock.new

clean: ## Remove everything that can be made again
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .demo src/tidenote/server/static
	rm -rf web/node_modules web/test-results web/playwright-report
