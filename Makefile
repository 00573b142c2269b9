# `make sweep` and `make test` make the environment where it is missing. Needs Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
ARGS ?=

.PHONY: sweep test lint
sweep: $(VENV)/.ready
	$(VENV)/bin/python study/run_sweep.py $(ARGS)

test: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/python -m pytest $(ARGS)

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	@touch $@
