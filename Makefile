# Every target but `help` and `clean` first brings .venv up to date; that costs nothing when it is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
# Which build of torch: `cpu`, `cuda` (the package index's own build), or a name that uv knows, such as `cu128`.
# What was last asked for is remembered in .venv, so that `make test` does not put the CPU build back.
INSTALLED := $(shell cat .venv/torch-build 2>/dev/null)
TORCH ?= $(or $(INSTALLED),cpu)
# The CPU build comes from the folder of wheels that pip is configured with (find-links), where torch lies in it,
# and otherwise from PyTorch's own index.
WHEELS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
ifneq ($(TORCH),cuda)
ifneq ($(and $(filter cpu,$(TORCH)),$(wildcard $(WHEELS:%=%/torch-*.whl))),)
export UV_FIND_LINKS := $(WHEELS)
else
export UV_TORCH_BACKEND := $(TORCH)
endif
endif

DEMO ?= demo

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
STAMP := .venv/installed-$(TORCH)
PACKAGES := -e 'packages/brainatlas-text[ants,demo,plots]' -e 'packages/brainldm[words]'

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP)  ## make .venv with both packages and the pinned versions (TORCH=cuda for a GPU)

# --compile-bytecode: otherwise every first start compiles torch and its kin, or each start does.
$(STAMP): constraints.txt pyproject.toml packages/brainatlas-text/pyproject.toml packages/brainldm/pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt uv
	@echo "Installing both packages into .venv (torch: $(TORCH)) ..."
	@$(BIN)/uv pip install -q -p .venv --compile-bytecode -c constraints.txt $(PACKAGES) --group dev --group docs \
	  $(if $(filter-out $(TORCH),$(INSTALLED)),--reinstall-package torch)
	@rm -f .venv/installed-*; echo "$(TORCH)" > .venv/torch-build; touch $@

check: $(STAMP)  ## format, lint, types, import layers
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-logo

test: $(STAMP)  ## all tests, two at a time (TESTS=path or "-m unit" for some)
	pytest -n 2 --dist loadfile $(TESTS)

demo: $(STAMP)  ## from scans on disk to slices from sentences, into demo/
	brainatlas-text demo-sources $(DEMO)/sources
	brainatlas-text build --sources ibsr oasis ixi kirby --root $(DEMO)/sources --out $(DEMO)/dataset --recipe demo \
	  || [ $$? -eq 3 ]  # 3: done, some scans rejected; the demo has one of each kind that must be
	python -c 'from datasets import load_dataset; print(next(iter(load_dataset("$(DEMO)/dataset", split="train", streaming=True)))["txt"])'
	accelerate launch brainldm train --recipe demo --data $(DEMO)/dataset --out $(DEMO)/run
	brainldm sample $(DEMO)/run "A T2-weighted axial slice of the brain of a 35-year-old woman" --seed 7 --out $(DEMO)/t2-axial.png
	brainldm sample $(DEMO)/run --grid --seed 7 --out $(DEMO)/grid.png
	brainldm evaluate $(DEMO)/run --data $(DEMO)/dataset
	@printf '\n%s\n' "Pictures    $(DEMO)/t2-axial.png, $(DEMO)/grid.png, $(DEMO)/run/pictures/" \
	  "Data set    $(DEMO)/dataset/ (README.md is its card)" "Evaluation  $(DEMO)/run/evaluation/"

bench: $(STAMP)  ## every performance claim, measured (BENCH=name for one)
	python benchmarks/run.py $(BENCH)

docs: $(STAMP)  ## the documentation, strictly, into site/
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

clean:  ## remove what the targets made, except .venv
	rm -rf $(DEMO) site dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find packages tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup check test demo bench docs clean
