# `make demo` predicts the example reads, `make test` runs the tests, `make lint` the checks,
# `make docs` writes the site into site/. `make test-instructions` runs the tests of what must hold on
# every CPU as one with AVX2 computes, `make test-random` the property-based tests with new examples.
# `make test-lowest` and `make test-newest` test the lowest and the newest versions of all
# dependencies that pyproject.toml admits, in an environment that is made for it and removed.
# Each of the others sets up .venv in this directory first, from the locked versions; for the tests,
# which start many processes, it is compiled by all cores.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2_VNNI MKL_ENABLE_INSTRUCTIONS=AVX2

# What the tests of the bounds need beside the program, and which they are.
TESTING := pytest hypothesis jsonschema playwright pyyaml
BOUNDED := tests/cli tests/sequences tests/prediction tests/evaluation tests/test_start.py

# Warnings are errors only with the locked versions.
define test_with
	set -e; made=$$(mktemp -d); trap 'rm -rf "$$made"' EXIT; $(PYTHON) -m venv "$$made"; \
	"$$made/bin/python" -m pip install --quiet --disable-pip-version-check $(1) $(TESTING); \
	"$$made/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .; \
	"$$made/bin/python" -m pip check; \
	"$$made/bin/python" -m pytest -o filterwarnings=default -p no:cacheprovider $(BOUNDED)
endef

.PHONY: demo test test-instructions test-random test-lowest test-newest lint docs clean

demo: $(VENV)/.runtime
	rm -rf demo-output
	$(BIN)/virnucpro predict examples/reads.fastq.gz examples/contigs.fasta -o demo-output
	$(BIN)/python examples/compare.py demo-output examples/truth.tsv

# Tests run where their scratch files, caches, settings and Ray's are apart from the user's and from
# those of other tests, and leave nothing there unless one fails. Tests that act as another user pass
# through the directory.
define pytest
	scratch=$$(mktemp -d) && chmod 711 $$scratch && mkdir $$scratch/cache $$scratch/config \
	&& if TMPDIR=$$scratch XDG_CACHE_HOME=$$scratch/cache XDG_CONFIG_HOME=$$scratch/config \
		$(1) $(BIN)/python -m pytest $(2); \
	then chmod -R u+rwX $$scratch && rm -rf $$scratch; \
	else echo "left to be looked at: $$scratch"; exit 1; fi
endef

test: $(VENV)/.dev
	@$(call pytest,,--numprocesses auto --dist loadfile --no-loadscope-reorder)

test-instructions: $(VENV)/.dev
	@$(call pytest,$(AVX2),-q tests/encoders/test_same_bytes.py tests/encoders/test_int8.py)
	@$(call pytest,ONEDNN_MAX_CPU_ISA=AVX2,-q tests/docs/test_commands.py -k "in_order and start")

test-random: $(VENV)/.dev
	@$(call pytest,,-m hypothesis --hypothesis-profile=default --numprocesses auto)

test-lowest:
	$(call test_with,--requirement requirements-lowest.txt)

test-newest:
	$(call test_with,torch==2.13.0 ".[anndata,ray,train]")

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
