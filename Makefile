# `make sweep` and `make test` make the environment where it is missing, `make setup` that alone. Needs Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
ARGS ?=
# More words for pip. PyTorch without CUDA, which is smaller by some GB:
#   make sweep PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'
PIP_ARGS ?=

.PHONY: sweep test setup
sweep: $(VENV)/.ready
	$(VENV)/bin/python study/run_sweep.py --preset smoke $(ARGS)

test: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt requirements-no-deps.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing PyTorch, Ray and the rest, about 7 GB on disk; this takes minutes"
	$(VENV)/bin/python -m pip install --progress-bar on $(PIP_ARGS) --constraint constraints.txt --editable '.[test]'
	$(VENV)/bin/python -m pip install --quiet --no-deps --requirement requirements-no-deps.txt
	@touch $@
