# make demo   restores a face on this machine and writes out/demo.png
# make test   the checks and tests
#
# Both set up a virtual environment of their own first, and again only when what it is made of has changed.
# PYTHON chooses the interpreter, VENV the environment's folder.

PYTHON ?= python3
VENV ?= .venv
INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test

demo: $(VENV)/demo.stamp
	$(VENV)/bin/python -m idfsr_jax.commands.demo --out out/demo.png

test: $(VENV)/test.stamp
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

$(VENV)/demo.stamp: requirements.txt | $(VENV)/bin/python
	$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/test.stamp: requirements.txt requirements-test.txt | $(VENV)/bin/python
	$(INSTALL) -r requirements-test.txt
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'idfsr-jax needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12'; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
