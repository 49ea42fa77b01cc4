# Everything a newcomer needs: `make help`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Of `make reproduce-table2`. The real corpus: DATA=celebdf_v2 ROOT=/path/to/Celeb-DF-v2 MODEL=genconvit_ed TRAINER=gpu
DATA ?= miniature_graded
NAME ?= $(DATA)
ROOT ?=
SPLIT ?= identity
MODEL ?= genconvit_ed_small
TRAINER ?= cpu
SEEDS ?= 0,1,2
JOBS ?= 2
OVERRIDES ?=
DRY_RUN ?=
CORPUS := data=$(DATA) data.name=$(NAME) $(if $(ROOT),data.root=$(ROOT))
RUN := $(CORPUS) split=$(SPLIT) model=$(MODEL) $(if $(filter genconvit_ed,$(MODEL)),model.pretrained=true) \
	trainer=$(TRAINER) $(OVERRIDES)

.DEFAULT_GOAL := help
.PHONY: help install demo reproduce-table2 test test-slow lint format clean

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

reproduce-table2: $(INSTALLED)  ## all rows of Table 2: plan, sweep, report; DRY_RUN=1 stops after the plan
	$(if $(DRY_RUN),,$(BIN)/python -m deepfake_ms.prepare $(CORPUS))
	$(BIN)/python experiments/sweep/plan.py --experiments 'table2_*' --seeds $(SEEDS) --jobs $(JOBS) $(RUN)
	$(if $(DRY_RUN),@echo "DRY_RUN: nothing is trained.",$(SWEEP_AND_REPORT))

# A run that fails must not keep the others from being reported.
SWEEP_AND_REPORT = $(BIN)/python -m deepfake_ms.train -m hydra/launcher=isolated hydra.launcher.n_jobs=$(JOBS) \
	'experiment=glob(table2_*)' seed=$(SEEDS) $(RUN); failed=$$?; \
	$(BIN)/python -m experiments.report --table 2 --runs runs/$(NAME)/$(MODEL) && exit $$failed

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
