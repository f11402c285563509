# Everything a developer or CI calls. Needs GNU make and Python 3.11 or later; .venv is made on first use.
# ARGS passes arguments on, as in `make test ARGS="-k login"`.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYPROJECTS := $(wildcard pyproject.toml shared/pyproject.toml gateway/pyproject.toml services/*/pyproject.toml deploy/*/pyproject.toml)
# A test worker per core. At least two, so that tests which share state are found out everywhere; at most
# eight, as they all share one PostgreSQL.
WORKERS = $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); \
    if [ $$n -lt 2 ]; then echo 2; elif [ $$n -gt 8 ]; then echo 8; else echo $$n; fi)

unexport $(filter-out PYTHON,$(filter PYTHON% VIRTUAL_ENV,$(.VARIABLES)))
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHON
# Networks that inspect TLS have their own authority among the system's certificates.
export UV_SYSTEM_CERTS ?= true

.DEFAULT_GOAL := help
.PHONY: help run reset demo test lint types arch check format contracts lock bench backends backends-down clean moved

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(STAMP) ## Start the whole of Quill on this machine (BACKENDS=real: on the real servers); Ctrl-C stops it
	@exec $(PY) -m quill_embedded run $(if $(BACKENDS),--backends $(BACKENDS)) $(ARGS)

reset: $(STAMP) ## Delete the local data and start afresh next time
	@exec $(PY) -m quill_embedded reset $(if $(BACKENDS),--backends $(BACKENDS)) $(ARGS)

demo: $(STAMP) ## Walk through a first day with Quill, against a running `make run`
	@$(if $(BACKENDS),export QUILL_DATA_DIR="$${QUILL_DATA_DIR:-$$($(PY) -m quill_embedded where --backends $(BACKENDS))}"; )exec $(VENV)/bin/quill demo $(ARGS)

test: $(STAMP) ## Run the tests (those of a real server where QUILL_TEST_… names one)
	@exec $(PY) -m pytest -n $(WORKERS) $(ARGS)

check: lint types arch ## Run lint, types and arch

lint: $(STAMP) ## Check style and formatting
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

# The packages' tests are checked apart, as each of them is called `tests`.
types: $(STAMP) ## Check the types of everything, strictly
	@$(VENV)/bin/mypy $(wildcard shared/quill_* gateway/quill_* services/*/quill_* deploy/*/quill_* deploy/*.py tests bench/*.py conftest.py)
	@for each in $(wildcard shared/tests gateway/tests services/*/tests deploy/*/tests); do \
	    $(VENV)/bin/mypy $$each || exit 1; done

arch: $(STAMP) ## Check the architecture's rules
	@$(PY) -m pytest -q tests/architecture $(ARGS)

format: $(STAMP) ## Format the code and mend what can be mended
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

contracts: $(STAMP) ## Regenerate the committed OpenAPI, event schemas and AsyncAPI
	@$(PY) -m quill_cli.contracts $(ARGS)

lock: $(STAMP) ## Pin the dependencies anew into requirements.lock (newer ones: ARGS=--upgrade)
	@$(PY) deploy/lock.py $(ARGS)

bench: $(STAMP) ## Measure, as ratios against peers in the same run
	@exec $(PY) -m bench $(ARGS)

backends: $(STAMP) ## Install and start the real servers: RabbitMQ, PostgreSQL, EHRbase and HAPI FHIR
	@exec $(PY) -m quill_backends up --hapi-database postgresql $(ARGS)

backends-down: $(STAMP) ## Stop the real servers
	@exec $(PY) -m quill_backends down $(ARGS)

clean: ## Delete .venv and all caches; the local data stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp that names another directory means the repository was moved.
$(STAMP): requirements.lock $(PYPROJECTS) deploy/venv.sh $(if $(filter-out $(CURDIR),$(shell cat $(STAMP) 2>/dev/null)),moved)
	@deploy/venv.sh
