# make start [APP=gigwork]   install what is missing, start an app in the foreground
# make test                  the test suite              make check   format, lint, types
# make test-long             measurements, fuzzing, crowds
# make bench                 benchmarks                  make clean   remove what make made, databases of apps included
APP ?= gigwork
PYTHON ?= python3
BIN := .venv/bin
TESTS ?=

.PHONY: start install test test-long check format bench clean system browser brokers constraints help

start: $(BIN)/.installed
	@exec $(BIN)/basalt start apps/$(APP)

install: $(BIN)/.installed

help:
	@head -n 5 Makefile

system:
	@tools/install-system-packages

$(BIN)/python: | system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'basalt: Python 3.11 or newer is needed' >&2; exit 1; }
	@echo 'basalt: creating the environment in .venv' >&2
	@$(PYTHON) -m venv .venv

$(BIN)/.installed: pyproject.toml constraints.txt | $(BIN)/python system
	@echo 'basalt: installing Python packages' >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(BIN)/.installed-test: pyproject.toml constraints.txt $(BIN)/.installed
	@echo 'basalt: installing the tools of the tests' >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

tests/contract/js/node_modules/.installed: tests/contract/js/package-lock.json | $(BIN)/.installed-test
	@echo 'basalt: installing the JavaScript clients' >&2
	@cd tests/contract/js && PATH="$(abspath $(BIN)):$$PATH" npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

browser:
	@tools/install-test-browser

brokers:
	@tools/install-test-brokers

test: $(BIN)/.installed-test tests/contract/js/node_modules/.installed browser brokers
	@$(BIN)/python -m compileall -q src  # the tests start hundreds of processes
	@$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not long" $(TESTS)

test-long: $(BIN)/.installed-test tests/contract/js/node_modules/.installed browser brokers
	@$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m long $(TESTS)

check: $(BIN)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(BIN)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BIN)/.installed-test
	$(BIN)/python -m bench.rest
	$(BIN)/python -m bench.auth
	$(BIN)/python -m bench.realtime
	$(BIN)/python -m bench.storage
	$(BIN)/python -m bench.storage_images
	$(BIN)/python -m bench.jobs
	$(BIN)/python -m bench.fanout
	$(BIN)/python -m bench.functions
	$(BIN)/python -m bench.cache
	$(BIN)/python -m bench.gigwork
	$(BIN)/python -m bench.start

# Pin what the tests ran with. Names and versions only.
constraints: $(BIN)/.installed-test
	@$(BIN)/python -m pip freeze --exclude-editable | grep -v '^-' > constraints.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache tests/contract/js/node_modules apps/*/.basalt
