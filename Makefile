# Freehold. `make` alone prints what there is.
.DEFAULT_GOAL := help
.PHONY: help setup demo test prove check bench

PYTHON ?= python3
export PORT ?= 8000
BIN := .venv/bin

help: ## print this
	@echo "Freehold: a home for many small organisations on one machine."
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1   \2/p' $(MAKEFILE_LIST)

setup: ## virtual environment, locked dependencies, front-end assets; starts nothing, safe to repeat
	@$(PYTHON) deploy/setup.py

demo: setup ## three organisations with content, served on http://localhost:8000 (PORT= to change) until Ctrl-C
	@$(BIN)/freehold demo
	@FREEHOLD_LOG_LEVEL="$${FREEHOLD_LOG_LEVEL:-warning}" exec $(BIN)/freehold serve

test: ## the whole suite, in a real browser where there is one
	@$(PYTHON) deploy/setup.py --dev --browser
	@$(BIN)/python -m pytest -m "not prove" -n 2 --dist loadfile --no-loadscope-reorder

prove: ## the long proofs, which CI leaves out
	@$(PYTHON) deploy/setup.py --dev --browser
	@$(BIN)/python -m pytest -m prove --timeout 7200

check: ## style, types, layers, templates, lock files
	@$(PYTHON) deploy/setup.py --dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -P deploy/check.py

bench: ## the benchmarks, one table of ratios
	@$(PYTHON) deploy/setup.py --dev
	@$(BIN)/python -m bench
