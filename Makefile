.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
UV := .tools/bin/uv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# clip-retrieval's client and front, in a folder of their own: with what it pins it fits no
# environment of ours, and these two need none of that.
PEER := $(VENV)/clip-retrieval
PEER_LOCK := clip_assets_tests/service/clip-retrieval.lock
PYTHON := 3.11
# Of the package, in the lock: all but ray, which is large and whose steps no test runs.
EXTRAS := k8s postgres s3 hdf5 hf peers

# Bytecode is kept: a process that loads open_clip takes two thirds of the CPU time to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(UV):
	@echo "==> installing uv into .tools"
	@python3 -m venv .tools && .tools/bin/python -m pip install --quiet 'uv>=0.9,<1'

# The environment is rebuilt only when the lock or the project file changes.
$(STAMP): requirements.lock pyproject.toml | $(UV)
	@echo "==> installing the locked environment into $(VENV) (about 6 GB, once)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip install --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --python $(BIN)/python --quiet --no-deps --editable .
	@touch $(STAMP)

$(PEER): $(PEER_LOCK) | $(STAMP)
	@$(UV) pip install --python $(BIN)/python --quiet --no-deps --require-hashes --target $@ -r $<
	@touch $@

.PHONY: setup
setup: $(STAMP) ## Install everything from the lock into .venv

.PHONY: system
system: ## Install PostgreSQL's server and Chromium, which tests start; as root, on Debian
	@.ci/system

.PHONY: lock
lock: $(UV) ## Resolve requirements.lock again from pyproject.toml
	$(UV) pip compile pyproject.toml --group dev $(EXTRAS:%=--extra %) --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --python-version $(PYTHON) --quiet -o requirements.lock

.PHONY: demo
demo: $(STAMP) ## Build a small world, run the whole graph over it, and search it
	@$(BIN)/clip-assets demo

.PHONY: ui
ui: $(STAMP) ## Open the Dagster UI on http://127.0.0.1:3000
	@test -n "$$CLIP_ASSETS_ROOT" -o -e data -o ! -e demo-pool || export CLIP_ASSETS_ROOT=demo-pool; \
	$(BIN)/dagster dev --host 127.0.0.1 --port 3000

# Three workers share two cores: a thread that waits for others leaves the core to them.
test test-fast: export OMP_WAIT_POLICY := passive

.PHONY: test
test: $(STAMP) $(PEER) ## Install everything and pass the tests, slow ones too
	@.ci/system || true  # the test that needs it fails and says the same; the others run
	@$(BIN)/python -m pytest -n 3 --dist worksteal

.PHONY: test-fast
test-fast: $(STAMP) $(PEER) ## Only the tests that take less than ten seconds each
	@$(BIN)/python -m pytest -n 2 -m "not slow"

.PHONY: check
check: $(STAMP) ## Lint, formatting, types, dependencies, generated documents: all that CI checks
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/basedpyright
	@$(BIN)/deptry clip_assets
	@$(BIN)/deptry clip_assets_tests tools --ignore DEP002,DEP004
	@$(BIN)/python docs/build.py --check

.PHONY: fmt
fmt: $(STAMP) ## Format the code and fix what the linter can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: docs
docs: $(STAMP) ## Write the generated documents again
	@$(BIN)/python docs/build.py

.PHONY: tinyclip
tinyclip: $(STAMP) ## Train the demo's tiny CLIP again and measure it (about 20 minutes)
	@$(BIN)/python -m tools.tinyclip.training --output clip_assets/demo/model
	@$(BIN)/python -m tools.tinyclip.evaluation clip_assets/demo/model

.PHONY: clean
clean: ## Remove the demo's pool, its world and Dagster's state, but not the environment
	rm -rf demo-pool demo-world .dagster build
