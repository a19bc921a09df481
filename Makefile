# Two commands: `make search` runs the main job on a fresh machine, `make test` proves the project.
# The search writes into ./runs, and the confirmation takes the newest run there: with an --out elsewhere, name it in RUN.
VENV ?= .venv
PYTHON ?= python3
ARGS ?=
RUN ?=
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: search test clean

search: $(VENV)/.main
	$(VENV)/bin/nas search --space fbnet --device pixel $(ARGS)
	$(VENV)/bin/nas confirm --epochs-factor 1.5 $(RUN)

test: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy nas search_spaces
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --torch-free
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --torch-only

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.main: $(VENV)/bin/python setup.cfg pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python setup.cfg pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.main

clean:
	rm -rf $(VENV) build *.egg-info
