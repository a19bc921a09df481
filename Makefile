# Two commands: `make search` runs the main job on a fresh machine, `make test` proves the project.
# `make docs` builds the documentation into ./site, and fails on any warning.
# The search writes into ./runs, and the confirmation takes the newest run there: with an --out elsewhere, name it in RUN.
VENV ?= .venv
PYTHON ?= python3
ARGS ?=
RUN ?=
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: search test docs clean

search: $(VENV)/.main
	$(VENV)/bin/nas search --space fbnet --device pixel $(ARGS)
	$(VENV)/bin/nas confirm --epochs-factor 1.5 $(RUN)

test: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy nas search_spaces
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --torch-free
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --torch-only

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.main: $(VENV)/bin/python setup.cfg pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python setup.cfg pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.main

$(VENV)/.docs: $(VENV)/bin/python setup.cfg pyproject.toml constraints.txt
	$(PIP) -e '.[docs]'
	touch $@ $(VENV)/.main

clean:
	rm -rf $(VENV) build site *.egg-info
