# Winterbourne. `make` alone lists the targets.

PYTHON ?= python3
PORT ?= 3000
URL ?= $(if $(STACK),,http://127.0.0.1:$(PORT))
EVENT ?= tests/events/chat.json
PYTEST_ARGS ?= -n 2
STAGE ?= dev
UPGRADE ?= --upgrade

bin := .venv/bin
pip := $(bin)/python -m pip --disable-pip-version-check --quiet install --require-hashes

.DEFAULT_GOAL := help
.PHONY: help run test test-clients soak bench check format install build invoke deploy doctor lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/run ## Start the chat on http://127.0.0.1:3000 (PORT=3000, ARGS="--no-practice"); Ctrl-C stops it
	@$(bin)/python -m winterbourne.local --port $(PORT) $(ARGS)

test: .venv/dev ## Set up what the tests need and run every one of them, in about four minutes
	$(bin)/python -m pytest $(PYTEST_ARGS)

test-clients: .venv/dev ## Run other people's suites and clients, pinned, against what is spoken here, in about three minutes
	$(bin)/python -m pytest $(PYTEST_ARGS) -m clients

soak: .venv/dev ## Break streams, send bad requests and watch the memory, for some five minutes (ARGS="--short")
	$(bin)/python -m tests.soak $(ARGS)

bench: .venv/dev ## Print the figures of the README, in about four minutes; fails if a bar is missed
	$(bin)/python -m tests.bench

check: .venv/dev ## Check format, lint and types
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy

format: .venv/dev ## Format the code and fix what the linter can
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

install: .venv/dev ## Make .venv with everything for development

build: .venv/dev ## Build the function and both layers into .aws-sam
	$(sam) build --config-env $(STAGE) $(addprefix --parameter-overrides ,$(filter Architecture=%,$(PARAMETERS)))

invoke: .venv/dev ## Run the built function once in Lambda's own image (EVENT=tests/events/chat.json); needs Docker
	@docker info >/dev/null 2>&1 || { echo "make invoke needs Docker, and none answers here; make run does without"; false; }
	@$(sam) build --parameter-overrides Architecture=$(processor) >&2
	@$(sam) local invoke ChatFunction --event $(EVENT) --parameter-overrides Architecture=$(processor) | \
		$(bin)/python -m winterbourne.local.sam_output

deploy: build ## Build and deploy (STAGE=dev or prod, as in samconfig.toml; PARAMETERS='ModelId=...')
	$(if $(PARAMETERS),given=$$($(of_stage)) && )$(sam) deploy --config-env $(STAGE) $(if $(PARAMETERS),--parameter-overrides "$$given")

doctor: .venv/dev ## Say what is wrong and how to fix it (URL=..., or STACK=... REGION=...; ORIGIN=...; KEY=...)
	@$(bin)/python -m winterbourne.local.doctor --url "$(URL)" --stack "$(STACK)" --region "$(REGION)" --origin "$(ORIGIN)"

lock: .venv/dev ## Renew the lock files from the two pyproject.toml (UPGRADE= keeps the versions they have)
	$(lock) pyproject.toml -o $(dependencies)
	$(lock) layers/winterbourne/pyproject.toml -c $(dependencies) -o $(runtime)
	$(lock) --group dev pyproject.toml -c $(dependencies) -c $(runtime) -o requirements-dev.txt
	$(lock) $(clients).in -o $(clients).txt

clean: ## Remove what the other targets made
	rm -rf .venv .aws-sam .bench .clients .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/artifacts layers/winterbourne/build

sam := SAM_CLI_TELEMETRY=0 PATH="$(CURDIR)/$(bin):$$PATH" $(bin)/sam
# What is named on the command line takes the place of the stage's own parameters, so those are named again.
of_stage = $(bin)/python -m winterbourne.local.sam_parameters $(STAGE) "$$PARAMETERS"
processor = $(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)

# What is shared has one version everywhere: the later locks keep to the earlier ones.
dependencies := layers/dependencies/requirements.txt
runtime := layers/winterbourne/requirements.txt
clients := tests/contract/clients/requirements
lock := $(bin)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links $(UPGRADE)

# A .venv is kept if its Python is new enough, has pip, and is the one that was asked for, if any was. Otherwise it is
# made anew, and what was installed in it with it.
new_enough := import sys; sys.exit(sys.version_info < (3, 11))
which_python := import sys; print(sys.version_info[:3], sys.base_prefix)
asked = $(if $(filter file default undefined,$(origin PYTHON)),,$(PYTHON))
.PHONY: interpreter
interpreter:
	@if $(bin)/python -c 'import pip; $(new_enough)' 2>/dev/null && { test -z "$(asked)" || \
		test "$$($(bin)/python -c '$(which_python)')" = "$$($(asked) -c '$(which_python)' 2>&1)"; }; then exit 0; fi; \
	$(PYTHON) -c '$(new_enough)' 2>/dev/null || { echo "Winterbourne needs Python 3.11 or later, and $(PYTHON) is" \
		"$$($(PYTHON) --version 2>/dev/null || echo 'not there'); name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; }; \
	rm -rf .venv && $(PYTHON) -m venv .venv
.venv/pyvenv.cfg: interpreter ;

# The engine is imported from this checkout, wherever that is: a line in .venv says so.
.PHONY: engine
engine: .venv/pyvenv.cfg
	@for site in .venv/lib/python3.*/site-packages; do \
		grep -qsxF "$(engine)" $$site/winterbourne.pth || echo "$(engine)" >$$site/winterbourne.pth; done

engine := $(CURDIR)/layers/winterbourne/python

# Running needs only what the function itself needs; the tools of development come when they are asked for.
.venv/run: layers/dependencies/requirements.txt .venv/pyvenv.cfg | engine
	@echo "installing what the function needs into .venv"
	@$(pip) -r layers/dependencies/requirements.txt
	@touch $@

# By uv, itself installed by its line in the lock: pip takes minutes, and may stumble over extras of what is pinned.
.venv/dev: requirements-dev.txt .venv/pyvenv.cfg | engine
	@echo "installing what development needs into .venv"
	@awk '/^[^ ]/ {ours = /^uv==/} ours' $< >.venv/uv.txt
	@$(pip) -r .venv/uv.txt
	@$(bin)/uv pip install --quiet --python $(bin)/python --require-hashes -r $<
	@touch $@ .venv/run
