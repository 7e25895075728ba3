# Two commands for a newcomer: `make reproduce` and `make test`. Both make their own environment.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
RUN := $(VENV)/.installed-run
ALL := $(VENV)/.installed
OUT ?= runs

RELEASE ?= build/release
# One worker a core, a file of tests to one worker.
PYTEST := $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DELETE_ON_ERROR:
.PHONY: help venv torch reproduce release notebooks test test-slow lint lock clean

help:
	@echo "make venv       create $(VENV) with everything: tests, notebooks, Ray (Python 3.11 or newer)"
	@echo "make reproduce  fetch MNIST and CIFAR-10, run LS and a short KIP of Table 1, print them"
	@echo "make test       run the test suite (make test-slow adds the long ones)"
	@echo "make release    build the release folder from checkpoints/ into build/release and verify it"
	@echo "make notebooks  run the notebooks at their default settings, in place (installs PyTorch first)"
	@echo "make torch      add the pinned PyTorch to $(VENV)"
	@echo "make clean      remove $(VENV), $(OUT)/ and the test cache"
	@echo "make lint       style, and which package may import which"
	@echo "make lock       resolve both locks again from pyproject.toml (needs uv); then"
	@echo "                make environment.yml writes the same pins for conda"

venv: $(ALL)

# The locks are complete, so nothing is resolved at install time (--no-deps): that is also what
# keeps neural-tangents from pulling TensorFlow in. The tables, evaluate, distill and release need
# the packages of requirements-run.lock alone, a third of all.
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --no-deps

$(RUN): requirements-run.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; run 'make $(MAKECMDGOALS) PYTHON=python3.11'"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --require-hashes -r requirements-run.lock
	$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(ALL): requirements.lock $(RUN)
	$(INSTALL) --require-hashes -r requirements.lock
	@touch $@

torch: venv
	$(PY) -m pip install --quiet --disable-pip-version-check torch==2.13.0

reproduce: $(RUN)
	$(PY) -m paper_repro.table1_comparison --datasets mnist cifar10 --ipc 1 \
	  --methods LS "KIP (l)" --architectures ConvNet --minutes 1.2 \
	  --out $(OUT) --beside results

release: $(RUN)
	$(PY) -m release build --checkpoints checkpoints --out $(RELEASE)
	$(PY) -m release verify $(RELEASE) --checkpoints checkpoints

notebooks: torch
	$(PY) .ci/execute_notebooks.py notebooks/*.ipynb

test: venv
	$(PYTEST) -m "not slow"

test-slow: venv
	$(PYTEST)

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

environment.yml: requirements.lock .ci/environment_yml.py | venv
	$(PY) .ci/environment_yml.py > $@

LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --no-emit-index-url \
  --no-emit-find-links --no-header --generate-hashes --extra oracle --extra build

lock:
	$(LOCK) --extra test --extra notebook --extra release --extra ray -o requirements.lock
	$(LOCK) --no-annotate --constraint requirements.lock -o requirements-run.lock

clean:
	rm -rf $(VENV) $(OUT) .pytest_cache
