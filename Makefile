# Two lines of Spark, two environments: `make test` runs on 3.5, `make test SPARK=4.1` on 4.1.
SPARK  ?= 3.5
PYTHON ?= $(shell command -v python3.11 || command -v python3)

VENV_3.5 := .venv
VENV_4.1 := .venv-4.1
LOCAL_3.5 := local
LOCAL_4.1 := local41
VENV := $(VENV_$(SPARK))
BIN  := $(VENV)/bin

TESTS ?=
# Two processes with a Spark session each; tests/conftest.py says what stays together.
PYTEST = $(BIN)/python -m pytest -m "not torture" -n 2

# Tests are many small Spark jobs on cold code: the quick compiler and the simplest collector almost halve their time. With that
# compiler alone Java sets 48 MB aside for code; a session of tests fills them, and then spends a quarter of its time making room.
# Huge pages, where the machine has them, save a tenth, and a heap that need not grow first most of the collections.
test test-contract torture: export LAKEKIT_JAVA_OPTIONS ?= -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC -XX:MetaspaceSize=256m -XX:+UseTransparentHugePages -Xms1g -Xmn700m

.PHONY: demo test check test-contract torture bench wheel-smoke clean
.DEFAULT_GOAL := demo

# A stamp is written last, so an interrupted installation is begun again, and a changed pyproject.toml installs again.
# The demo needs Spark and Java only; tests and checks need the developer's tools as well.
$(VENV)/.installed: pyproject.toml
	@echo "lakekit: installing Spark $(SPARK) and a Java runtime into $(VENV); the first time this takes a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[$(LOCAL_$(SPARK)),cli]"
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "lakekit: installing the developer's tools into $(VENV)"
	$(BIN)/python -m pip install --quiet --editable ".[$(LOCAL_$(SPARK)),dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m lakekit.demo

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.dev
	$(PYTEST) $(TESTS)

# On the line whose whole suite CI does not run: every case, on one format what is decided before a row is written, once for each
# format what writes, and no processes to be killed or raced. `make test SPARK=4.1` runs all of it.
test-contract: $(VENV)/.dev
	$(PYTEST) --dist loadfile -m "not torture and not decided and not slow" tests/contract -k "not -mor] and not -dv]"

torture: $(VENV)/.dev
	$(BIN)/python -m tests.torture

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/upsert.py

wheel-smoke: $(VENV)/.dev
	$(BIN)/python tests/smoke_wheel.py

clean:
	rm -rf .venv .venv-4.1 build dist demo-lake
