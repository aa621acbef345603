# Each target builds what it needs on a machine with python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test test-slow check format wheelhouse clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Expected Python 3.11 or newer.')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/synthgen demo tables --output demo

# Two workers on two cores: threads of their own would fight for these.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Everything for a hospital without network: carry the folder over, then
#   make install PIP_OPTIONS="--no-index --find-links wheelhouse"
wheelhouse:
	$(PYTHON) -m pip download --quiet -d wheelhouse -c constraints.txt ".[dev]" "setuptools>=77" wheel pip

clean:
	rm -rf $(VENV) build dist *.egg-info
