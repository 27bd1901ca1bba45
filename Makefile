# What a newcomer types. PYTHON=… chooses the interpreter, EXTRAS=ray,torch,dev adds to what is installed,
# ARGS=… goes to the command, MONGARS_STATE names the installation's folder.
.PHONY: help install up down test lint soak
.DEFAULT_GOAL := help

EXTRAS ?=
ARGS ?=
export PYTHON
# What starts processes is run once more when it fails, a second later, and the summary counts it as rerun: on a busy
# machine one start in thousands is late.
AGAIN = --reruns 1 --reruns-delay 1 -r aR
# Two files at a time, each with the processes that it starts, in the order of tests/conftest.py; what is marked alone
# waits until nothing else runs.
BESIDE = -q -n 2 --dist loadfile --no-loadscope-reorder --durations 40

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: ## Install pinned versions into .venv
	@scripts/install --extras "$(EXTRAS)"

up: install ## Install, make an installation when there is none, start it; Ctrl-C stops it
	@exec .venv/bin/mongars up $(ARGS)

down: ## Stop what runs in the background
	@.venv/bin/mongars down $(ARGS)

test: ## Run every check: linters, types, architecture, tests
	@scripts/install --extras dev
	@scripts/check
ifdef PYTEST_ARGS
	@.venv/bin/python -m pytest -m "not soak" $(PYTEST_ARGS)
else
	@.venv/bin/python -m pytest -m "not soak" -q -n logical --dist loadfile tests/unit tests/contract
	@.venv/bin/python -m pytest -m "not soak" $(BESIDE) $(AGAIN) tests/integration tests/e2e
endif

lint: ## Run the checks without the tests
	@scripts/install --extras dev
	@scripts/check

soak: ## Run the guarantees at their stated counts (hours)
	@scripts/install --extras dev
	@.venv/bin/python -m pytest -m soak --timeout 0 $(PYTEST_ARGS)
