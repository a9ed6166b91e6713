# Everything this project does, in one place. Only Python >= 3.11 and make are assumed; the rest installs itself into
# .venv. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TESTS  ?= tests
PYTEST_FLAGS ?= -n auto

.DEFAULT_GOAL := help
.PHONY: help demo test coverage lint type format bench wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python >= 3.11 is needed; try make PYTHON=python3.12 ..."; exit 1; }
	@echo "==> making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"

$(VENV)/.demo: pyproject.toml | $(BIN)/pip
	@echo "==> installing the package and its sandbox (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[sandbox]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/pip
	@echo "==> installing what tests and linters need (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[sandbox]" --group test --group lint
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## Show the main job against the sandbox, without an account
	@$(BIN)/workers-gemma demo

test: $(VENV)/.test ## Run the whole offline test suite, with branch coverage
	@echo "==> running the tests"
	@$(BIN)/pytest $(TESTS) $(PYTEST_FLAGS) --cov --cov-report=term:skip-covered

lint: $(VENV)/.test ## Check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

type: $(VENV)/.test ## Check types, strictly
	@$(BIN)/mypy

format: $(VENV)/.test ## Format the code
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

wheel: $(VENV)/.test ## Build wheel and sdist, and import each in an empty environment
	@$(BIN)/python tests/packaging/check_distributions.py

clean: ## Remove what was made
	rm -rf $(VENV) build dist site .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
