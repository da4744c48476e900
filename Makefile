# `make demo` predicts the example reads, `make test` runs the tests, `make lint` the checks,
# `make docs` writes the site into site/.
# Each sets up .venv in this directory first, from the locked versions; for the tests, which start
# many processes, it is compiled by all cores.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: demo test lint docs clean

demo: $(VENV)/.runtime
	rm -rf demo-output
	$(BIN)/virnucpro predict examples/reads.fastq.gz examples/contigs.fasta -o demo-output
	$(BIN)/python examples/compare.py demo-output examples/truth.tsv

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

clean:
	rm -rf $(VENV) demo-output site

$(VENV)/.runtime: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("virnucpro needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --requirement requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(PIP) --requirement requirements-dev.lock
	$(BIN)/python -m compileall -q -j 0 -x '/tests?/|/testing/' $(VENV)/lib
	touch $@
