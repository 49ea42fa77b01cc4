# Everything a newcomer needs: `make help`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Of `make reproduce-table1` and `reproduce-table2`. The real corpus: DATA=celebdf_v2 ROOT=/path/to/Celeb-DF-v2
# SIZE=full TRAINER=gpu SPLIT=paper_frames. Full-size models start from pretrained weights.
DATA ?= miniature_shortcut
NAME ?= $(DATA)
ROOT ?=
SPLIT ?= official
SIZE ?= small
MODEL ?= genconvit_ed$(if $(filter small,$(SIZE)),_small)
TRAINER ?= cpu
SEEDS ?= 0,1,2
JOBS ?= 2
OVERRIDES ?=
DRY_RUN ?=
CORPUS := data=$(DATA) data.name=$(NAME) $(if $(ROOT),data.root=$(ROOT))
RUN = $(strip $(CORPUS) split=$(SPLIT) $(CHOICE) $(if $(PRETRAINED),model.pretrained=true) trainer=$(TRAINER) $(OVERRIDES))
COMMA := ,
ROWS = table$(TABLE)_*$(if $(EXCLUDED),$(COMMA)exclude=[$(EXCLUDED)])
# Rows of Table 1 without a small variant: linear_probe needs pretrained features, senet154 in small would be senet.
FULL_SIZE_ONLY := table1_linear_probe,table1_senet154

.DEFAULT_GOAL := help
.PHONY: help install demo reproduce-table1 reproduce-table2 test test-slow lint format clean

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

reproduce-table1: $(INSTALLED)  ## all rows of Table 1, each another detector; arguments as for Table 2
	$(REPRODUCE)

reproduce-table2: $(INSTALLED)  ## all rows of Table 2: plan, sweep, report; DRY_RUN=1 stops after the plan
	$(REPRODUCE)

reproduce-table1: TABLE := 1
reproduce-table1: CHOICE := size=$(SIZE)
reproduce-table1: PRETRAINED := $(filter full,$(SIZE))
reproduce-table1: EXCLUDED := $(if $(filter small,$(SIZE)),$(FULL_SIZE_ONLY))
reproduce-table1: REPORTED := runs/$(NAME) --size $(SIZE)
reproduce-table2: TABLE := 2
reproduce-table2: CHOICE := model=$(MODEL)
reproduce-table2: PRETRAINED := $(filter genconvit_ed,$(MODEL))
reproduce-table2: REPORTED := runs/$(NAME)/$(MODEL)

define REPRODUCE
$(if $(DRY_RUN),,$(BIN)/python -m deepfake_ms.prepare $(CORPUS))
$(if $(EXCLUDED),@echo "Left out for want of a small variant: $(EXCLUDED)")
$(BIN)/python experiments/sweep/plan.py --experiments 'table$(TABLE)_*' $(if $(EXCLUDED),--exclude '$(EXCLUDED)') \
	--seeds $(SEEDS) --jobs $(JOBS) $(RUN)
$(if $(DRY_RUN),@echo "DRY_RUN: nothing is trained.",$(SWEEP_AND_REPORT))
endef

# A run that fails must not keep the others from being reported.
SWEEP_AND_REPORT = $(BIN)/python -m deepfake_ms.train -m hydra/launcher=isolated hydra.launcher.n_jobs=$(JOBS) \
	'experiment=glob($(ROWS))' seed=$(SEEDS) $(RUN); failed=$$?; \
	$(BIN)/python -m experiments.report --table $(TABLE) --runs $(REPORTED) && exit $$failed

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
