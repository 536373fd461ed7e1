# Two commands are enough: `make demo` and `make test`. Each sets up what it needs first.

SCALE ?= small
ROUNDS ?= 200
SEED ?= 20260101
FUZZ ?= 5000
SECONDS ?= 60
SERVE ?= 1
OUT ?= out/demo
BAIGE := .venv/bin/baige
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-clients bench leak-test lint unit docs clean test-reliability fuzz lock sbom audit wheelhouse setup-test fuzz-guided

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
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m pytest tests/clients --timeout 900 $(PYTEST_ARGS)

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

docs:  ## write docs/cli.md anew from the commands, the tables of docs/configuration.md from the settings
	@.venv/bin/python -m api.cli.reference docs/cli.md
	@.venv/bin/python -m api.configuration docs/configuration.md

test-reliability: setup-test  ## kill -9 of everything under load, ROUNDS=200 times, then check that nothing is lost
	@ROUNDS=$(ROUNDS) SEED=$(SEED) REPORT=out/reliability.json .venv/bin/python -m pytest -q -s tests/reliability/test_rounds.py
	@OUTAGE_S=30 .venv/bin/python -m pytest -q tests/reliability --deselect tests/reliability/test_rounds.py

fuzz: setup-test  ## random and damaged input at the doors without a database, FUZZ=5000 examples each
	@FUZZ=$(FUZZ) .venv/bin/python -m pytest -q --timeout 7200 tests/unit/layers/test_fuzz.py

fuzz-guided: setup-test  ## the same led by coverage (atheris, installed into .tools), SECONDS=60 for each door
	@scripts/fuzz_guided.sh $(SECONDS)

lock: setup-test  ## write requirements.lock anew: every dependency with version and hashes
	@scripts/supply.sh lock

sbom: setup-test  ## CycloneDX bill of materials and list of licences, into out/supply/
	@scripts/supply.sh sbom

audit: setup-test  ## known vulnerabilities of the locked versions, where their data can be had
	@scripts/supply.sh audit

wheelhouse: setup-test  ## all that an installation without a network needs, into out/wheelhouse/
	@scripts/wheelhouse.sh

setup-test:
	@scripts/setup.sh test

clean:  ## stop the embedded database and delete it, .venv and everything that was built
	@[ ! -x $(BAIGE) ] || BAIGE_DATABASE_URL= $(BAIGE) db drop --yes || true
	rm -rf .venv .tools .baige out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
