# Everything a newcomer needs: `make help`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOWEST := .venv-lowest

# Arguments of `make reproduce-table1` and `make reproduce-table2`. For the real corpus: DATA=celebdf_v2
# ROOT=/path/to/Celeb-DF-v2 SPLIT=paper_frames SIZE=full TRAINER=gpu. Full-size models start from pretrained weights.
DATA ?= miniature_shortcut
NAME ?= $(DATA)
ROOT ?=
SPLIT ?= official
SIZE ?= lite
MODEL ?= genconvit_ed
TRAINER ?= cpu
SEEDS ?= 0,1,2
JOBS ?= 2
OVERRIDES ?=
TEST_JOBS ?= 2
DRY_RUN ?=
CORPUS := data=$(DATA) data.name=$(NAME) $(if $(ROOT),"data.root=$(ROOT)")
TRAINED = $(strip $(CORPUS) split=$(SPLIT) $(CHOICE) size=$(SIZE) trainer=$(TRAINER) $(OVERRIDES))
COMMA := ,
ROWS = table$(TABLE)_*$(if $(EXCLUDED),$(COMMA)exclude=[$(EXCLUDED)])
# Rows of Table 1 without a variant of the size. small: linear_probe needs pretrained features, and a small senet154 would
# be senet. lite: no package has their weights.
WITHOUT_small := table1_linear_probe,table1_senet154
WITHOUT_lite := table1_resnet50,table1_senet,table1_bit,table1_vit,table1_recce,table1_senet154

.DEFAULT_GOAL := help
.PHONY: help install demo app reproduce-table1 reproduce-table2 generalisation docs test test-slow reliability \
	test-lowest gpu-check lint format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## create the virtual environment .venv and install everything

$(INSTALLED): constraints.txt
$(LOWEST)/.installed: constraints-lowest.txt

%/.installed: pyproject.toml
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --disable-pip-version-check -c $(filter constraints%,$^) -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## draw and prepare the miniature corpus, then train and score the paper's best row
	$(BIN)/deepfake-ms prepare data=miniature
	$(BIN)/deepfake-ms train experiment=table2_wl_rf_mep data=miniature size=lite

app: $(INSTALLED)  ## open a page that scores videos and images with a finished run: make app RUN=runs/...
	$(if $(RUN),,$(error Give the folder of a finished run: make app RUN=runs/...))
	$(BIN)/deepfake-ms app "run=$(RUN)"

reproduce-table1: $(INSTALLED)  ## plan, train and report all detectors of Table 1; arguments as for Table 2
	$(REPRODUCE)

reproduce-table2: $(INSTALLED)  ## plan, train and report all rows of Table 2; DRY_RUN=1 stops after the plan
	$(REPRODUCE)

reproduce-table1: TABLE := 1
reproduce-table1: EXCLUDED := $(WITHOUT_$(SIZE))
reproduce-table1: REPORTED := runs/$(NAME) --size $(SIZE)
reproduce-table2: TABLE := 2
reproduce-table2: CHOICE := model=$(MODEL)
reproduce-table2: REPORTED := runs/$(NAME)/$(MODEL)$(if $(filter full,$(SIZE)),,_$(SIZE))

define REPRODUCE
$(if $(DRY_RUN),,$(BIN)/deepfake-ms prepare $(CORPUS))
$(if $(EXCLUDED),@echo "Excluded for lack of a $(SIZE) variant: $(EXCLUDED)")
$(BIN)/python -m experiments.sweep --experiments 'table$(TABLE)_*' $(if $(EXCLUDED),--exclude '$(EXCLUDED)') \
	--seeds $(SEEDS) --jobs $(JOBS) $(TRAINED)
$(if $(DRY_RUN),@echo "DRY_RUN: nothing is trained.",$(SWEEP_AND_REPORT))
endef

# The report is written even if some runs fail.
SWEEP_AND_REPORT = $(BIN)/deepfake-ms train -m hydra/launcher=isolated hydra.launcher.n_jobs=$(JOBS) \
	'experiment=glob($(ROWS))' seed=$(SEEDS) $(TRAINED); failed=$$?; \
	$(BIN)/python -m experiments.report --table $(TABLE) --runs $(REPORTED) && exit $$failed

SHIFTS := miniature_shortcut miniature shift_people shift_artefacts shift_compression

generalisation: $(INSTALLED)  ## train seven detectors on drawn faces, test them on five corpora and on degraded faces
	for corpus in $(SHIFTS); do $(BIN)/deepfake-ms prepare data=$$corpus || exit; done
	$(BIN)/deepfake-ms train -m hydra/launcher=isolated hydra.launcher.n_jobs=$(JOBS) data=miniature_shortcut \
		split=official size=lite seed=0 experiment=table2_base,table2_na,table2_rf,table2_mep,table2_rf_mep
	$(BIN)/deepfake-ms train -m hydra/launcher=isolated hydra.launcher.n_jobs=$(JOBS) data=miniature \
		split=official size=lite seed=0 experiment=table2_rf,table2_rf_mep
	$(BIN)/python -m experiments.generalisation --runs runs/miniature_shortcut/genconvit_ed_lite \
		runs/miniature/genconvit_ed_lite

docs: $(INSTALLED)  ## build the documentation in docs/_build/html; warnings and broken links are errors
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

test: $(INSTALLED) lint  ## check style and run the tests, in TEST_JOBS processes
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

test-slow: $(INSTALLED)  ## run the slow tests
	$(BIN)/python -m pytest -m slow

reliability: $(INSTALLED)  ## run all fault tests and count in RELIABILITY.md how many faults were survived
	$(BIN)/python -m pytest -m fault -n $(TEST_JOBS) --dist worksteal --reliability=RELIABILITY.md

gpu-check: $(INSTALLED)  ## check training and scoring on one GPU, in at most seven minutes
	$(BIN)/python -m experiments.gpu_check

test-lowest: $(LOWEST)/.installed  ## run the tests with the lowest versions that pyproject.toml allows
	$(LOWEST)/bin/python -m pytest

lint: $(INSTALLED)  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)  ## fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## delete the virtual environments and the built documentation; keep data and runs
	rm -rf $(VENV) $(LOWEST) docs/_build docs/reference
