# Everything runs in private environments, .venv, .loaders and .engines; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-loaders test-engines lint format bench clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "captioner needs Python 3.11 or newer; found: $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

demo: .venv/.ready ## the whole job, offline, on a small dataset that it makes itself
	$(BIN)/captioner demo

# The older of the two versions of webdataset that are supported: open_clip and UniMed's loader require it.
.venv/webdataset-0.2.86/.ready: .venv/.ready
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --no-deps --target $(@D) webdataset==0.2.86
	@touch $@

test: .venv/.ready .venv/webdataset-0.2.86/.ready ## the test suite
	$(BIN)/python -m pytest -n auto

# torch comes first and is named again, so that nothing that needs it brings another build.
.loaders/.ready: pyproject.toml
	rm -rf .loaders
	$(PYTHON) -m venv .loaders
	.loaders/bin/python -m pip install --quiet torch==2.13.0
	.loaders/bin/python -m pip install --quiet torch==2.13.0 open_clip_torch==3.3.0 webdataset==0.2.86 \
	  datasets mlcroissant wids pytest hypothesis --editable '.[dicom]'
	@touch $@

test-loaders: .loaders/.ready ## that open_clip, datasets, wids and mlcroissant read our shards; installs PyTorch in .loaders
	.loaders/bin/python -m pytest tests/shards/test_shard_loaders.py tests/shards/test_shard_metadata.py \
	  tests/shards/test_shard_join.py tests/shards/test_shard_unimed.py tests/unimed/test_unimed_loader.py

test-engines: .venv/.ready ## the tests that need vLLM and transformers serve (on the CPU; 4 GB, installed once into .engines)
	$(BIN)/python -m tests.integration.engines

lint: .venv/.ready ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.ready ## put the formatting right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.ready ## every figure that the documentation quotes
	$(BIN)/python -m benchmarks

clean: ## remove the private environments and caches
	rm -rf .venv .loaders .engines .mypy_cache .ruff_cache .pytest_cache .hypothesis
