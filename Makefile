# `make benchmark` and `make test` work on a bare machine with Python 3.11 or newer; nothing needs to be activated.
PYTHON ?= python3
BIN := .venv/bin
# More flags for snakemake or pytest: make benchmark ARGS='--cores 4', make test ARGS='-k lds'
ARGS ?=
PORT ?= 5000
# Processes that run tests.
WORKERS ?= 2
# Packages are installed without compiling all their modules, most of which are never imported, and which took half of the time;
# Python compiles a module when it first imports it, and must then be allowed to keep the result.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --maxschedchunk 1

.DEFAULT_GOAL := help
.PHONY: help env env-speech env-music env-text env-dev quickstart benchmark report provenance-report ui docs test test-fast test-gpu test-slurm bench-peers lint format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: .venv/.runtime  ## make the environment alone, in .venv

env-speech: .venv/.speech  ## add soundfile, for settings with recordings

env-music: .venv/.music  ## add mido, for settings with performances in MIDI

env-text: .venv/.text  ## add transformers, peft and datasets, for settings with models of Hugging Face

env-dev: .venv/.development

quickstart: env  ## install, run the first setting of params.yaml and print its leaderboard: about a minute
	@$(BIN)/snakemake quickstart $(ARGS)
	@echo "make benchmark continues with the other settings of params.yaml"

benchmark: env  ## install, run the default benchmark (params.yaml) and print the leaderboard
	@$(BIN)/snakemake $(ARGS)
	@$(BIN)/proponent leaderboard

report: env  ## run what is missing and write the report, one page to open: results/report/index.html
	@$(BIN)/snakemake results/report/index.html $(ARGS)
	@echo "open results/report/index.html"

provenance-report: env  ## write provenance-report.html: every rule, file and time of the last run, by Snakemake
	@$(BIN)/snakemake --report provenance-report.html $(ARGS)

ui: env  ## compare runs in MLflow's UI, after snakemake publish: http://127.0.0.1:5000 (PORT=5001 for another)
	@$(BIN)/proponent ui --port $(PORT)

docs: env-dev  ## write the documentation and the reference of the Python interface as a site: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file docs/website/mkdocs.yml
	@echo "open site/index.html; for its search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

test: env-dev  ## install, run every test
	@$(PYTEST) $(ARGS)

test-fast: env-dev  ## the tests that take two minutes together
	@$(PYTEST) -m "not slow" $(ARGS)

test-slurm: env-dev  ## the tests on a real Slurm; as root: installs Debian's packages
	@tests/slurm/cluster install
	@$(BIN)/python -m pytest tests/slurm -m slurm -rs $(ARGS)

test-gpu: env-dev  ## every engine and kind of method on the GPU against the CPU (skipped by name without one)
	@$(BIN)/python -m pytest -rs tests/gpu $(ARGS)

bench-peers: env  ## compare with other libraries, each in an environment of its own: docs/peers.md
	@$(BIN)/python benchmarks/peers/environments.py
	@$(BIN)/python benchmarks/peers/run.py $(ARGS)

lint: env-dev  ## ruff, types, spelling and style of the prose, formatting of the rules, snakemake's own lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/codespell src workflow configs profiles benchmarks docs *.md *.yaml Snakefile Makefile
	@$(BIN)/python tests/style/banned.py
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint

format: env-dev  ## let ruff and snakefmt write what lint asks for
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/snakefmt Snakefile workflow

clean:  ## remove the environment and caches; results/ stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "proponent needs Python 3.11 or newer; say which: make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv

.venv/.runtime: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing into .venv (a few minutes the first time)"
	@$(PIP_INSTALL) -r requirements.lock
	@$(PIP_INSTALL) --no-deps --editable .
	@touch $@

.venv/.speech: requirements-speech.lock .venv/.runtime
	@$(PIP_INSTALL) -r requirements-speech.lock
	@touch $@

.venv/.music: requirements-music.lock .venv/.runtime
	@$(PIP_INSTALL) -r requirements-music.lock
	@touch $@

.venv/.text: requirements-text.lock .venv/.runtime
	@$(PIP_INSTALL) -r requirements-text.lock
	@touch $@

.venv/.development: requirements-dev.lock requirements-music.lock requirements-speech.lock requirements-text.lock .venv/.runtime
	@$(PIP_INSTALL) -r requirements-dev.lock
	@touch $@
