# Everything runs in .venv, with relative paths only: make can't have a blank in the name of a target, and the path of
# a clone may hold one.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# Looked for only where a recipe asks, and tried, since a version manager's stand-in may be there without a version.
PYTHON ?= $(shell for name in python3.11 python3; do \
	"$$name" -c '$(IS_NEW_ENOUGH)' 2>/dev/null && command -v "$$name" && break; done)
RUN := .venv/bin/python
PYTEST := $(RUN) -m pytest
# For tests that wait more than they work: as many processes, however few cores. Each has servers of its own.
WAITING := -n 3

##@ To see it

.PHONY: help
help: ## say what there is (this)
	@awk -F ':.*## ' '/^##@ /{print "\n" substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: .venv/.runtime ## the demo site with visitors, then the account of it; ONCE=1 ends there
	@$(RUN) deploy/demo/run.py $(if $(filter-out 0 no false,$(ONCE)),--once) $(DEMO_OPTIONS)

##@ To work on it

.PHONY: venv
venv: .venv/.dev ## the virtual environment with everything for development

.PHONY: test
test: .venv/.dev ## everything; installs RabbitMQ, PostgreSQL and Chromium where they are missing
	$(RUN) deploy/stack.py install --browser
	$(MAKE) lint
	$(MAKE) test-unit
	$(MAKE) test-integration
	$(MAKE) test-browser
	$(PYTEST) tests/faults

.PHONY: test-unit
test-unit: .venv/.dev ## what needs no server
	$(PYTEST) tests/unit -n auto --dist loadfile

.PHONY: test-integration
test-integration: .venv/.dev ## the contract on both transports and both databases, and what else needs real servers
	$(RUN) deploy/stack.py install
	$(PYTEST) tests/integration/test_contract.py tests/integration/test_embedded_workers.py $(WAITING)
	$(PYTEST) --ds settings.stack tests/integration --ignore tests/integration/test_embedded_workers.py $(WAITING) --dist loadfile

.PHONY: test-browser
test-browser: .venv/.dev ## a real browser at the demo site: clicks, the heat map, the admin
	$(RUN) deploy/stack.py install --browser
	$(PYTEST) tests/browser

.PHONY: faults
faults: .venv/.dev ## ten rounds of kills, restarts and outages under traffic
	$(RUN) deploy/stack.py install
	FOOTFALL_FAULT_ROUNDS=10 FOOTFALL_OUTAGE_SECONDS=120 $(PYTEST) tests/faults

.PHONY: bench
bench: .venv/.dev ## how fast the hot paths are beside what they replace: read the ratios
	$(RUN) deploy/stack.py install
	$(RUN) deploy/stack.py run -- $(PYTEST) --ds settings.stack tests/benchmarks --benchmark-columns=median,ops,rounds

.PHONY: lint
lint: .venv/.dev ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	MYPYPATH=tests $(RUN) -m mypy -p footfall
	FOOTFALL_DEMO_DIR=.mypy_cache/demo $(RUN) -m mypy --config-file deploy/demo/mypy.ini deploy/demo

.PHONY: wheel
wheel: .venv/.dev ## dist/footfall-….whl
	rm -rf build  # it would bring along modules that are no longer there
	$(RUN) -m build --wheel

.PHONY: clean
clean: ## remove what these targets made
	if [ -d .stack ] && [ -n "$(PYTHON)" ]; then "$(PYTHON)" deploy/stack.py stop --dir .stack --remove; fi
	rm -rf .venv .demo .stack build dist .src/footfall.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find deploy producers spiders storage tests workers -name __pycache__ -type d -prune -exec rm -rf {} +

# -- The virtual environment. The stamps say what was installed, so that a second run has nothing to do.

.venv/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11 or newer is needed, and not found. On Debian: apt-get install python3 python3-venv" >&2; \
		exit 1; \
	fi
	@if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
			echo "Python's venv module is missing. On Debian: apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
		echo "Installing with apt-get: python3-venv"; \
		apt-get update --quiet; \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends python3-venv; \
	fi
	"$(PYTHON)" -m venv --clear .venv

.venv/.runtime: pyproject.toml | .venv/bin/python
	@echo "Installing what Footfall needs to run"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(RUN) -m pip install --quiet --editable '.[spiders,history]' 'gunicorn>=23'
	@touch $@

.venv/.dev: .venv/.runtime
	@echo "Installing what its development needs"
	@$(RUN) -m pip install --quiet --group dev
	@touch $@
