# Two commands do everything on a bare machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/rtdecode

.PHONY: demo test check lint bench docs clean

demo: $(VENV)/.demo-ready
	$(RUN) demo $(ARGS)

test: $(VENV)/.test-ready
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.test-ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

bench: $(VENV)/.test-ready
	$(RUN) bench

docs: $(VENV)/.test-ready
	$(BIN)/mkdocs build -f .mkdocs.yml

$(VENV)/.demo-ready: pyproject.toml tools/setup.sh
	PYTHON=$(PYTHON) bash tools/setup.sh demo

$(VENV)/.test-ready: pyproject.toml tools/setup.sh
	PYTHON=$(PYTHON) bash tools/setup.sh test

clean:
	rm -rf $(VENV) site build *.egg-info
