# Everything this project does, in one place. Only Python >= 3.11 and make are assumed; the rest installs itself into
# .venv, once. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --quiet --disable-pip-version-check
TESTS  ?= tests
PYTEST_FLAGS ?= -n auto
# A part of the tests cannot reach the lowest coverage allowed, so it is measured for the whole suite only.
COVERAGE := $(if $(filter tests,$(TESTS)),--cov --cov-report=term)

NOTEBOOKS  := .venv-notebooks

LOWEST     := .venv-lowest
LOWEST_PIP := $(LOWEST)/bin/pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint type format test-lowest test-pyodide test-workerd test-clients test-real-model test-types test-templates test-providers test-ecosystem test-browser test-readme notebooks notebooks-refresh docs docs-refresh wheel bench soak clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python >= 3.11 is needed; try make PYTHON=python3.12 ..."; exit 1; }
	@echo "==> making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade "pip>=25.1"

$(VENV)/.demo: pyproject.toml | $(BIN)/pip
	@echo "==> installing the package and its sandbox (once; takes about a minute)"
	@$(PIP) install --editable ".[sandbox]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/pip
	@echo "==> installing what tests and linters need (once)"
	@$(PIP) install --editable ".[sandbox]" --group test --group lint
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(VENV)/.test
	@echo "==> installing what notebooks and docs need (once)"
	@$(PIP) install --editable ".[notebooks]" --group docs
	@touch $@

demo: $(VENV)/.demo ## Show the main features against the sandbox, without an account
	@$(BIN)/workers-gemma demo

test: $(VENV)/.test ## Run the offline test suite with branch coverage, or a part: TESTS=tests/unit_tests/request
	@echo "==> running the tests"
	@$(BIN)/pytest $(TESTS) $(PYTEST_FLAGS) -m "not slow and not browser" $(COVERAGE)

lint: $(VENV)/.test ## Check style, which package may import which, and the files that GitHub reads
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms \
		$(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	@$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

type: $(VENV)/.test ## Check types, strictly
	@$(BIN)/mypy

format: $(VENV)/.test ## Format the code
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

# LangChain's suites and agents need a newer core, so the lowest versions run the unit tests that need neither.
# langsmith comes with langchain-core, which names this version as the lowest; 0.15.0 needs pydantic 2.9.
$(LOWEST)/.ready: pyproject.toml Makefile
	@echo "==> installing the lowest versions promised, in $(LOWEST) (once)"
	@$(PYTHON) -m venv $(LOWEST)
	@$(LOWEST_PIP) install --upgrade "pip>=25.1"
	@$(LOWEST_PIP) install --editable ".[sandbox]" "langchain-core==1.6.0" "httpx==0.27.0" "pydantic==2.7.4" \
		"langsmith==0.3.45" hypothesis outlines-core pytest pytest-asyncio pytest-xdist respx
	@touch $@

test-lowest: $(LOWEST)/.ready ## Run unit tests on the lowest versions promised
	@$(LOWEST)/bin/pytest $(PYTEST_FLAGS) -m lowest tests/unit_tests

test-pyodide: $(VENV)/.test ## Run the binding in Pyodide under node
	@$(BIN)/python -m tests.pyodide.run

test-workerd: $(VENV)/.test ## Run Cloudflare's own env.AI client in workerd against the sandbox
	@$(BIN)/python -m tests.workerd.run

test-real-model: $(VENV)/.test ## Request chats, tools and schemas from real models (llama.cpp, SmolLM2, Gemma 3)
	@$(BIN)/python -m tests.real_model.run

# The first run saves the histories that unit tests send to a model, the second renders them.
test-templates: $(VENV)/.test ## Render requests through Gemma's own chat templates, and check the prompts
	@rm -rf build/templates/histories
	@$(BIN)/python -c 'from tests.templates.templates import fetch_templates; fetch_templates()'
	@$(BIN)/pytest -p tests.templates.recording $(PYTEST_FLAGS) -q -m "not slow" -k "not any_history" \
		tests/unit_tests/request tests/unit_tests/structured_output/test_structured_agents.py \
		tests/unit_tests/test_middleware.py
	@$(BIN)/pytest $(PYTEST_FLAGS) -q tests/templates/check_*.py

test-clients: $(VENV)/.test ## Run other client libraries (npm and PyPI) against the sandbox
	@$(BIN)/python -m tests.clients.run

$(VENV)/.ecosystem: $(VENV)/.test
	@echo "==> installing LangChain's and LangGraph's own packages (once)"
	@$(PIP) install --group ecosystem
	@touch $@

test-ecosystem: $(VENV)/.ecosystem ## Run agents, middleware, MCP tools, caches, events and retrieval on the sandbox
	@$(BIN)/pytest -q -n auto -W ignore -o python_files="check_*.py" tests/ecosystem

$(VENV)/.providers: $(VENV)/.test
	@echo "==> installing other providers' packages (once)"
	@$(PIP) install --group providers
	@touch $@

test-providers: $(VENV)/.providers ## Continue conversations that other providers' packages started
	@$(BIN)/pytest $(PYTEST_FLAGS) -q tests/providers/check_*.py

test-types: $(VENV)/.test ## Check what the sandbox accepts against Cloudflare's own types
	@$(BIN)/python -m tests.workers_types.run

$(VENV)/.browser: $(VENV)/.test
	@echo "==> installing what drives a browser (once)"
	@$(PIP) install --group browser
	@touch $@

# playwright's own browsers cannot be downloaded everywhere; Debian's chromium can.
test-browser: $(VENV)/.browser ## Open the sandbox's inspector in a real browser
	@command -v chromium >/dev/null || { echo "==> installing chromium"; apt-get -qq update && apt-get -qq install -y chromium; }
	@$(BIN)/pytest -m browser tests/sandbox_tests/inspector

# An environment of its own shows that the notebooks need nothing but their extra.
$(NOTEBOOKS)/.ready: pyproject.toml
	@echo "==> installing the extra notebooks alone, in $(NOTEBOOKS) (once)"
	@$(PYTHON) -m venv $(NOTEBOOKS)
	@$(NOTEBOOKS)/bin/pip --quiet --disable-pip-version-check install --editable ".[notebooks]"
	@touch $@

notebooks: $(NOTEBOOKS)/.ready ## Run every notebook top to bottom
	@$(NOTEBOOKS)/bin/python notebooks/refresh.py --check

notebooks-refresh: $(NOTEBOOKS)/.ready ## Run every notebook and save its outputs
	@$(NOTEBOOKS)/bin/python notebooks/refresh.py

docs: $(VENV)/.docs ## Build the documentation into site/, and run all code on its pages
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "==> built site/index.html; to search it, serve it: $(PYTHON) -m http.server -d site"
	@$(BIN)/pytest -q tests/test_documentation.py -k "code_block or generated"

docs-refresh: $(VENV)/.docs ## Update the outputs and tables of the documentation
	@$(BIN)/python -m tests.helpers.generated_docs

test-readme: $(VENV)/.test ## Follow the README in a fresh environment and an empty folder
	@$(BIN)/pytest -q -m slow tests/packaging/test_readme.py

wheel: $(VENV)/.test ## Build wheel and sdist, and import each in an empty environment
	@$(BIN)/python tests/packaging/check_distributions.py

bench: $(VENV)/.docs ## Measure the cost of calls, compared with other packages, and plot it
	@$(BIN)/python -W ignore -m benchmarks.run
	@$(BIN)/python -m benchmarks.growth

soak: $(VENV)/.test ## Make 20,000 calls with faults, and check the outcome of each
	@$(BIN)/python -m benchmarks.soak --calls 20000 --in-flight 64
	@$(BIN)/python -m benchmarks.soak_sandbox --calls 20000 --in-flight 64

clean: ## Remove everything that these targets created
	rm -rf $(VENV) $(LOWEST) $(NOTEBOOKS) build dist site .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
