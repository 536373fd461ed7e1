# Two commands are enough: `make demo` and `make test`. Each sets up what it needs first.

SCALE ?= small
SERVE ?= 1
OUT ?= out/demo
BAIGE := .venv/bin/baige
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-clients bench leak-test lint unit docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup:  ## system packages, Python and .venv
	@scripts/setup.sh run

demo:  ## the reference city, its coverage and maps, served on http://127.0.0.1:8080 (SERVE=0 only builds; SCALE=full)
	@scripts/setup.sh run
	@$(BAIGE) demo --scale $(SCALE) --out $(OUT) $(if $(filter 0 no false,$(SERVE)),--no-serve,--serve)

test:  ## lint, types, import contract and all tests
	@scripts/setup.sh test
	@scripts/check.sh $(PYTEST_ARGS)

test-clients:  ## QGIS, ogctests and schemathesis against a served city (installs them)
	@scripts/setup.sh clients
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m pytest tests/clients $(PYTEST_ARGS)

bench:  ## measure speed, with the libraries compared against
	@scripts/setup.sh bench
	@.venv/bin/python -m benchmarks

leak-test:  ## who sees what: every layer, route, format and parameter crawled for each role
	@scripts/setup.sh test
	@BAIGE_LEAK_TEST=full .venv/bin/python -m pytest tests/integration/test_access/test_leaks.py --timeout 3600 --durations 10 -q $(PYTEST_ARGS)

lint:  ## ruff, mypy and the import contract only
	@scripts/setup.sh test
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

unit:  ## the quick tests, without a database
	@scripts/setup.sh test
	@.venv/bin/python -m pytest tests/unit tests/contract $(PYTEST_ARGS)

docs:  ## write docs/cli.md anew from the commands
	@.venv/bin/python -m api.cli.reference docs/cli.md

clean:  ## stop the embedded database and delete it, .venv and everything that was built
	@[ ! -x $(BAIGE) ] || BAIGE_DATABASE_URL= $(BAIGE) db drop --yes || true
	rm -rf .venv .tools .baige out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
