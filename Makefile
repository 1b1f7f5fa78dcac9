# What a contributor runs. `make fast` is the half of the tests that loads no model.
.PHONY: install fast test lint docs

PYTHON ?= python3
BIN = .venv/bin

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

fast: install
	$(BIN)/pytest -m "not slow and not model and not nightly"

test: install
	$(BIN)/pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/generate_cli.py
	$(BIN)/mkdocs build --strict --site-dir build/site
