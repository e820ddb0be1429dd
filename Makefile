# Every target is one line of intent; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup clients demo run test check static format bench requirements clean

BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile --quiet --no-config --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## make this checkout ready to work in (packages, .venv, generated code)
	@tools/setup

clients: ## the same, and the OpenStack command line clients in .venv-clients
	@tools/setup clients

demo: setup ## show Krater at work on this machine
	tools/demo

run: setup ## run Krater embedded on this machine, in the foreground
	$(BIN)/krater serve

test: clients static ## everything that must hold: checks and all tests (root, kernel and engine needed)
	$(BIN)/pytest -m "not live" -n 2 --dist worksteal
	$(BIN)/pytest -m live tests/compat -n 2 --dist loadfile
	$(BIN)/pytest -m live --ignore=tests/compat

check: setup static ## what needs no root and little time: format, lint, types, imports, sizes, fast tests
	$(BIN)/pytest -m "not live and not thorough" -n 2 --dist worksteal

static: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_sizes.py

format: setup ## format the code and fix what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: setup ## measure
	$(BIN)/python -m benchmarks

requirements: setup ## compile requirements/*.in anew (add UPGRADE=--upgrade for the newest versions)
	$(COMPILE) $(UPGRADE) pyproject.toml requirements/run.in -o requirements/run.txt
	$(COMPILE) $(UPGRADE) -c requirements/run.txt pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(COMPILE) $(UPGRADE) requirements/clients.in -o requirements/clients.txt

clean: ## remove environments, caches and generated code
	rm -rf .venv .venv-clients .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	rm -rf src/krater/agent/runtimes/oci/pb
	find src tests benchmarks tools -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
