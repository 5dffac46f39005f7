# `make` lists what there is. The first target that needs Python makes the environment ready: an active virtual or conda
# environment is used as it is (conda's `base` does not count as chosen), otherwise .venv is created.

PLAN    ?= demo
ARGS    ?=
DATA    ?=
WORKERS ?=
METHOD  ?=
IMAGES  ?=
EXTRAS  ?=

ifneq ($(VIRTUAL_ENV),)
  PREFIX := $(VIRTUAL_ENV)
else ifneq ($(and $(CONDA_PREFIX),$(filter-out base,$(CONDA_DEFAULT_ENV))),)
  PREFIX := $(CONDA_PREFIX)
else
  PREFIX := $(CURDIR)/.venv
endif
OWNER := $(if $(subst $(CURDIR)/.venv,,$(PREFIX)),active,own)
PY    := "$(PREFIX)/bin/python"
# names the requirements that the environment was last made ready for
STAMP := $(PREFIX)/.scant-$(shell cat pyproject.toml requirements.lock .ci/install.py | cksum | cut -d ' ' -f 1)

export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export OMP_NUM_THREADS := 1
ifneq ($(DATA),)
  export BENCH_DATA := $(DATA)
endif

SCANT   := $(PY) -m benchmark
PYTEST  := $(PY) -m pytest
# tests side by side, one process a core
SPREAD  := -n logical --maxprocesses 4 --dist worksteal
OPTIONS  = $(if $(DATA),--data "$(DATA)") $(if $(WORKERS),--workers $(WORKERS)) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help env format lint types test test-all contract bench plan status tune power report ui data sync verify speed lock clean .ready

help: ## List the targets and the variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PLAN=NAME      a plan of benchmark/plans/ or a YAML file (default: demo)"
	@echo "  DATA=FOLDER    where the scans lie (default: data/; the phantoms of the demo need none)"
	@echo "  IMAGES=FOLDER  your own images and masks: 'make bench IMAGES=FOLDER' writes a plan for them and runs it"
	@echo "  WORKERS=N      cells computed at once (default: one per core, or per share of a GPU)"
	@echo "  METHOD=NAME    the method or dataset that 'make contract' checks (default: all)"
	@echo "  EXTRAS='A B'   what 'make env' adds: dashboard, slurm, postgres, gpu, encoders"
	@echo "  TORCH=BUILD    cpu or cuda: the PyTorch that 'make env' installs (default: by nvidia-smi)"
	@echo "  ARGS='...'     further options, passed on"

.ready:
	@test -e "$(STAMP)" || .ci/environment "$(PREFIX)" "$(STAMP)" $(OWNER)

env: .ready ## Make the environment ready and say which one it is
	@$(if $(EXTRAS),$(PY) .ci/install.py $(EXTRAS))
	@$(PY) -c 'import sys, torch; print(f"{sys.prefix}: Python {sys.version.split()[0]}, PyTorch {torch.__version__}")'

format: .ready ## Format the code
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

lint: .ready ## Check style and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: .ready ## Check the type hints
	$(PY) -m mypy

test: .ready ## Run the tests, less the slow ones and those that need a browser
	$(PYTEST) $(SPREAD) -m "not slow and not browser" $(ARGS)

test-all: .ready ## Run every test
	$(PYTEST) $(SPREAD) $(ARGS)

# METHOD is matched as a whole parameter of a test, [pce] or [pce-2d]: `pce` does not select `pce_entropy` as well
contract: .ready ## Check what METHOD= promises as a method or dataset (all, if not given)
	$(if $(METHOD),@$(SCANT) show $(METHOD) >/dev/null)
	$(PYTEST) tests/contracts $(if $(METHOD),-k "[$(METHOD)] or [$(METHOD)- or -$(METHOD)- or -$(METHOD)]") $(ARGS)

bench: .ready ## Run a plan: train, evaluate, track, report; finished cells are kept
	$(SCANT) bench $(if $(IMAGES),--images "$(IMAGES)",$(PLAN)) $(OPTIONS)

plan: .ready ## Show a plan's cells, state and cost; runs nothing
	$(SCANT) plan $(PLAN) $(OPTIONS)

status: .ready ## Show what is done, running, failed and left
	$(SCANT) status $(PLAN) $(ARGS)

tune: .ready ## Tune every method of a plan with the same Optuna budget
	$(SCANT) tune $(PLAN) $(OPTIONS)

power: .ready ## Say what difference a plan can find, and what it would need
	$(SCANT) power $(PLAN) $(if $(DATA),--data "$(DATA)") $(ARGS)

report: .ready ## Rebuild a plan's tables, plots and page from its records
	$(SCANT) report $(PLAN) $(ARGS)

ui: .ready ## Open MLflow on what ran
	$(SCANT) ui $(ARGS)

data: .ready ## Inspect and prepare datasets: ARGS="card acdc", ARGS="verify acdc", ...
	$(SCANT) data $(ARGS)

sync: .ready ## Send MLflow what it missed
	$(SCANT) sync $(PLAN) $(ARGS)

verify: .ready ## Run finished cells again and compare with their records
	$(SCANT) verify $(PLAN) $(ARGS)

speed: .ready ## Time the suite against its peers
	$(PY) -m benchmarks $(ARGS)

# Resolved for Python 3.11, whose pins hold for 3.12 too, without PyTorch, whose build depends on the machine, and setuptools,
# whose version depends on PyTorch (2.11 and 2.12 refuse what 2.13 takes). With the
# CPU build in sight (a folder in PIP_FIND_LINKS, or PyTorch's own index) no CUDA package gets in. ARGS=--upgrade for newer.
lock: .ready ## Renew requirements.lock from pyproject.toml
	PATH="$(PREFIX)/bin:$$PATH" UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" uv pip compile pyproject.toml --quiet \
		--output-file requirements.lock --python-version 3.11 --extra test --no-emit-package torch --no-emit-package setuptools \
		$(if $(PIP_FIND_LINKS)$(UV_FIND_LINKS),,--torch-backend cpu) \
		--annotation-style line --custom-compile-command "make lock" $(ARGS)

clean: ## Remove caches; records, data and the environment stay
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
	rm -rf .bench_cache .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist *.egg-info
