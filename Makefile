# Everything a newcomer needs: `make help`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint format clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## make the virtual environment .venv with everything in it

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## draw the miniature corpus, prepare it, train the paper's best row, score it
	$(BIN)/python -m deepfake_ms.prepare data=miniature
	$(BIN)/python -m deepfake_ms.train experiment=table2_wl_rf_mep data=miniature

test: $(INSTALLED) lint  ## lint and run the tests
	$(BIN)/python -m pytest

test-slow: $(INSTALLED)  ## the longer checks
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)  ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## delete the virtual environment; data and runs stay
	rm -rf $(VENV)
