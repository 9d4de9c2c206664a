# Two lines of Spark, two environments: `make test` runs on 3.5, `make test SPARK=4.1` on 4.1.
SPARK  ?= 3.5
PYTHON ?= python3.11

VENV_3.5 := .venv
VENV_4.1 := .venv-4.1
EXTRAS_3.5 := local,dev
EXTRAS_4.1 := local41,dev
VENV := $(VENV_$(SPARK))
BIN  := $(VENV)/bin

.PHONY: demo test check test-contract torture bench wheel-smoke clean
.DEFAULT_GOAL := demo

# The stamp is the target: an interrupted installation is begun again, a changed pyproject.toml installs again.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS_$(SPARK))]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m lakekit.demo

check: $(VENV)/.installed
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not torture"

test-contract: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not torture" tests/contract

torture: $(VENV)/.installed
	$(BIN)/python -m pytest -m torture tests

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/upsert.py

wheel-smoke: $(VENV)/.installed
	$(BIN)/python tests/smoke_wheel.py

clean:
	rm -rf .venv .venv-4.1 build dist demo-lake
