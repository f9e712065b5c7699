# Everything runs in a virtual environment of its own, .venv, made from the lock files.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lint format bench docs notebook clean

demo: .venv/installed
	$(BIN)/pleura demo --out demo

test: lint
	$(BIN)/pytest -n auto --dist loadscope

test-slow: .venv/installed-dev
	$(BIN)/pytest -m slow -n auto --dist loadscope

lint: .venv/installed-dev
	$(BIN)/ruff format --check src tests benchmarks recipes docs
	$(BIN)/ruff check src tests benchmarks recipes docs
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-dev
	$(BIN)/ruff format src tests benchmarks recipes docs
	$(BIN)/ruff check --fix src tests benchmarks recipes docs

docs: .venv/installed-dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

notebook: .venv/installed-dev
	rm -rf build/notebook
	mkdir -p build/notebook
	cp docs/tutorial/pneumothorax.ipynb build/notebook
	$(BIN)/jupyter execute --inplace --NotebookClient.record_timing=False \
		build/notebook/pneumothorax.ipynb
	cp build/notebook/pneumothorax.ipynb docs/tutorial

bench: .venv/installed-dev build/peers
	$(BIN)/python -m benchmarks

build/peers: .venv/installed-dev requirements-peers.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $@ -r requirements-peers.lock
	touch $@

clean:
	rm -rf .venv demo build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	touch $@
