# Everything sets itself up: `make demo` and `make test` need Python >= 3.11 with venv, and a package index.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CLIENTS := $(VENV)/clients/modern/.ready $(VENV)/clients/legacy/.ready
SOURCES := mcp_gateway tools policies tests benchmarks examples release

.PHONY: help demo environments test faults fuzz soak test-clients check format lint types coverage policy-test build compiled audit lock clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): requirements.lock pyproject.toml scripts/mcp-gateway
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "mcp-gateway needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=python3.11 or install it."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/pip check --disable-pip-version-check >/dev/null || { $(BIN)/pip check; exit 1; }
	@touch $@

demo: $(READY)  ## the whole road on your machine, in half a minute
	@$(BIN)/mcp-gateway demo $(ARGS)

environments: $(READY) $(CLIENTS)

# Each worker begins with a part of its own, so that what a module sets up is seldom set up twice, and takes from others at the end.
SHARED := -n auto --dist worksteal

test: $(READY) $(if $(filter true,$(CI)),$(CLIENTS))  ## all tests
	@$(BIN)/python -m pytest $(SHARED) $(ARGS)

faults: $(READY)  ## the fault scenarios in full
	@FAULTS=full $(BIN)/python -m pytest tests/faults -n 2 --dist worksteal --timeout=3600 $(ARGS)

soak: $(READY)  ## a gateway under mixed load for SOAK_MINUTES=30; nothing may grow
	@SOAK_MINUTES=$(or $(SOAK_MINUTES),30) $(BIN)/python -m pytest tests/faults/test_soak.py -n 0 -s $(ARGS)

FUZZED := tests/fuzz tests/facts/test_fuzz.py tests/facts/test_graphql_against_execution.py tests/masking/test_cuts.py \
	tests/policy/test_contradictions.py tests/policy/test_looks.py tests/policy/test_sets.py
fuzz: $(READY)  ## a million mutated messages at every door, and texts at every parser
	@FUZZ=full $(BIN)/python -m pytest $(FUZZED) -n 2 --dist worksteal --timeout=3600 -rP $(ARGS)

test-clients: $(READY) $(CLIENTS)  ## agent frameworks as clients, each in an environment of its own
	@$(BIN)/python -m pytest tests/clients $(ARGS)

$(VENV)/clients/%/.ready: tests/clients/%.lock $(READY)
	@echo "setting up $(@D) (once)"
	@$(PYTHON) -m venv --without-pip $(@D)
	@$(BIN)/pip --python $(@D)/bin/python install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

check: format lint types coverage policy-test build  ## everything that has to hold before a commit

format: $(READY)
	@$(BIN)/ruff format --check $(SOURCES)

lint: $(READY)
	@$(BIN)/ruff check $(SOURCES)

types: $(READY)
	@$(BIN)/mypy

coverage: $(READY)
	@$(BIN)/python -m pytest $(SHARED) --cov --cov-report=term:skip-covered $(ARGS)

policy-test: $(READY)  ## the starter policies against their cases
	@$(BIN)/mcp-gateway policy test policies/tests

build: $(READY)
	@$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@$(BIN)/python -m release.sbom dist/sbom.cdx.json && echo "built into dist/, with the list of parts in sbom.cdx.json"

COMPILED := $(VENV)/compiled
compiled: $(READY)  ## a gateway with its examination of SQL compiled, in .venv/compiled; takes a C compiler, and minutes
	@rm -rf $(COMPILED) dist/*-cp*.whl
	@HATCH_BUILD_HOOK_ENABLE_CUSTOM=true $(BIN)/python -m build --no-isolation --wheel --outdir dist . >/dev/null
	@$(PYTHON) -m venv $(COMPILED)
	@$(COMPILED)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(COMPILED)/bin/pip install --quiet --disable-pip-version-check --no-deps dist/*-cp*.whl
	@echo "$(COMPILED)/bin/mcp-gateway runs it; $$(ls dist/*-cp*.whl) installs it elsewhere"

AUDIT := $(VENV)/audit
$(AUDIT)/.ready: release/audit.lock $(READY)
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

audit: $(AUDIT)/.ready  ## ask advisory sources about everything in the lock file; fails where none answers
	@$(BIN)/python -m release.audit $(AUDIT)/bin/pip-audit

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header
lock: $(READY)  ## resolve the lock files anew
	@$(BIN)/pip install --quiet uv
	@$(LOCK) --all-extras --group dev pyproject.toml -o requirements.lock
	@for name in modern legacy; do $(LOCK) tests/clients/$$name.in -o tests/clients/$$name.lock; done
	@$(LOCK) release/audit.in -o release/audit.lock

clean:
	rm -rf $(VENV) dist .coverage .mypy_cache .ruff_cache .pytest_cache
