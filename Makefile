# Everything a developer or CI runs. `make` lists it.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
TIMM := .deps/timm
PEERS := .deps/peers
PEERS_READY := $(PEERS)/ready
CPU_BUILD := $(if $(filter Darwin,$(shell uname)),,+cpu --extra-index-url https://download.pytorch.org/whl/cpu)
DEMO_READY := $(VENV)/demo-ready
CODE := $(wildcard src tests examples benchmarks scripts hatch_build.py)
TYPED := $(patsubst %/,%,$(sort $(dir $(wildcard src/*/__init__.py examples/*.py benchmarks/*.py scripts/*.py))))

.PHONY: help setup web page demo check lint types floors openapi pictures test bench faults docs clean
.DEFAULT_GOAL := help

help:
	@echo "make setup    create $(VENV) and install hypertuner with its tools (PYTHON=python3.12 picks another Python)"
	@echo "make web      build the page of the GUI into src/hypertuner/web (Node 20 or newer)"
	@echo "make demo     train three small models on handwritten digits and show what hypertuner does with them"
	@echo "make check    lint (ruff), types (mypy) and floors (import-linter); each is a target of its own, too"
	@echo "make openapi  write web/openapi.json, out of which the page's types are made, from the server's own types"
	@echo "make page     what tells whether the page's source is sound (types, lint, its tests, its size), then make web"
	@echo "make test     make check and make page, then all tests (make test ARGS='tests/test_args.py -k dotted' for some)"
	@echo "make bench    measure hypertuner against its peers (make bench ARGS='--only log --quick' for a part)"
	@echo "make faults   plant faults into the code that saves, one by one, and show that the tests find each"
	@echo "make pictures make the pictures of the docs, with a real Chromium, from runs of the demo"
	@echo "make docs     build the documentation into site/; every warning is an error"
	@echo "make clean    remove $(VENV), caches and built files; never your storage"

setup: $(READY)
	@$(BIN)/python scripts/web.py --if-can
	@echo "$(VENV) is ready: $$($(BIN)/python --version), pins from constraints.txt"

web: $(READY)
	@$(BIN)/python scripts/web.py

page: $(READY)
	@$(BIN)/python scripts/web.py --check

demo: $(DEMO_READY)
	@$(BIN)/python scripts/web.py --if-can
	@$(BIN)/hypertuner demo $(ARGS)

check: lint types floors

lint: $(READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(READY)
	$(BIN)/mypy $(TYPED)

floors: $(READY)
	$(BIN)/lint-imports

openapi: $(READY)
	@$(BIN)/python scripts/openapi.py

pictures: $(DEMO_READY)
	@$(BIN)/python scripts/screenshots.py

# Two workers: the suite starts real processes, more of them only wait for each other on a small machine.
test: check page $(TIMM)
	$(BIN)/python -m pytest -n 2 $(ARGS)

# Beside the environment, not in it: timm asks for torchvision, whose release from PyPI fits one build of torch only,
# and one that does not fit breaks whatever imports it. One test looks here.
$(TIMM): constraints.txt
	@rm -rf $(TIMM)
	@$(BIN)/python -m pip install --quiet --no-deps --target $(TIMM) timm==1.0.31 torchvision==0.28.0
	@touch $(TIMM)

# In the peers' environment, with hypertuner as it is in src/.
bench: $(PEERS_READY)
	@PYTHONPATH=src $(PEERS)/bin/python -m benchmarks $(ARGS)

# Minutes, not part of the tests: a few of the faults are planted there, too.
faults: $(READY)
	@$(BIN)/python scripts/planted_faults.py $(ARGS)

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	@rm -rf $(VENV) site dist src/hypertuner/web web/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find src tests examples benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# A stamp is as new as the last successful installation, so a second `make setup` has nothing to do.
# Whoever has everything has what the demo needs, too.
$(READY): pyproject.toml constraints.txt
	@$(call install,dev)
	@touch $(DEMO_READY) $@

# torch first and alone, because only it comes from PyTorch's own index: these benchmarks run on a CPU, and PyPI's build
# for Linux brings gigabytes of CUDA. `+cpu` makes the installation fail rather than fall back to that one.
$(PEERS_READY): CPU_TORCH = $(shell grep -o "^torch==[0-9.]*" benchmarks/requirements.txt)$(CPU_BUILD)
$(PEERS_READY): benchmarks/requirements.txt
	@echo "installing the peers of benchmarks/requirements.txt into $(PEERS) (2 GB: some minutes the first time)"
	@rm -rf $(PEERS)
	@"$(PYTHON)" -m venv $(PEERS)
	@if ! { $(PEERS)/bin/python -m pip install --disable-pip-version-check --no-deps $(CPU_TORCH) && \
	  $(PEERS)/bin/python -m pip install --disable-pip-version-check -r benchmarks/requirements.txt; \
	} >$(PEERS)/install.log 2>&1; then \
	  cat $(PEERS)/install.log >&2; \
	  echo "The installation failed; pip's words are above and in $(PEERS)/install.log" >&2; exit 1; \
	fi
	@touch $@

$(DEMO_READY): pyproject.toml constraints.txt
	@$(call install,demo)
	@touch $@

# $(call install,EXTRA): pip speaks into a file, which is shown only when it fails.
define install
	set -e; \
	if ! command -v "$(PYTHON)" >/dev/null 2>&1; then \
	  echo "There is no '$(PYTHON)' here. Install Python 3.10 or newer, or name one: make setup PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then \
	  echo "'$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); hypertuner needs Python 3.10 or newer." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; \
	fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "1/2 creating $(VENV) with $$("$(PYTHON)" --version)"; \
	  "$(PYTHON)" -m venv --clear $(VENV) || { echo "Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	else \
	  echo "1/2 keeping $(VENV) with $$($(BIN)/python --version)"; \
	fi; \
	echo "2/2 installing hypertuner[$(1)] (torch is large: some minutes the first time)"; \
	if ! $(BIN)/python -m pip install --disable-pip-version-check -e '.[$(1)]' -c constraints.txt >$(VENV)/install.log 2>&1; then \
	  cat $(VENV)/install.log >&2; \
	  echo "The installation failed; pip's words are above and in $(VENV)/install.log" >&2; exit 1; \
	fi
endef
