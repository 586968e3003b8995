# Winterbourne. `make` alone lists the targets.

PYTHON ?= python3
PORT ?= 3000
URL ?= $(if $(STACK),,http://127.0.0.1:$(PORT))
EVENT ?= tests/events/chat.json
STAGE ?= dev
UPGRADE ?= --upgrade

bin := .venv/bin
pip := $(bin)/python -m pip --disable-pip-version-check --quiet install --require-hashes
dependencies := layers/dependencies/requirements

# What an installer prints is shown where it fails, unless the reason is one that a sentence says better.
export PIP_RETRIES ?= 2
or_say = >.venv/log 2>&1 || { if grep -qE "$(1)" .venv/log; then echo "$($(2))"; else cat .venv/log; \
	echo "nothing is installed; the reason is above"; fi >&2; exit 1; }
or_no_index = $(call or_say,connection broken by '[^S]|Failed to connect|(tcp connect|dns) error|timed out,no_index)
no_index := no package can be fetched, for the package index does not answer: look at the network, and at PIP_INDEX_URL (of \
	pip) and UV_DEFAULT_INDEX (of uv) if the index is another than the public one
or_no_wheel = $(call or_say,No matching distribution,no_wheel)
no_wheel = the wheel of $$(cut -d " " -f 1 $(engine)) is not in $(wheels): put it there, or name the folder that has it, as in: \
	make WINTERBOURNE_WHEELS=../wheels $(MAKECMDGOALS)

# The engine is a wheel, named by its hash in requirements.txt; what else is installed is locked in that wheel.
engine := requirements.txt
locks := .venv/lib/python3.*/site-packages/winterbourne/local/files/locks
development := $(locks)/dev.txt
install_engine = $(pip) --force-reinstall --no-deps --no-index --find-links "$(wheels)" -r $(engine) $(or_no_wheel) && touch $@
wheels = $(or $(WINTERBOURNE_WHEELS),$(error WINTERBOURNE_WHEELS names no folder: say in which one the wheels of the \
	engine are, as in: make WINTERBOURNE_WHEELS=../wheels $(MAKECMDGOALS)))

# local.mk is of this machine alone (WINTERBOURNE_WHEELS ?= ...), development.mk of the engine's own repository.
-include local.mk development.mk

.DEFAULT_GOAL := help
.PHONY: help run test install build invoke deploy doctor verify lock upgrade clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Some doors of ARGS are served by uvicorn, which only development has.
run: $(if $(filter %asgi %web %agentcore,$(ARGS)),.venv/dev,.venv/run) ## Start the chat on http://127.0.0.1:3000 (PORT=3000, ARGS="--help"); Ctrl-C stops it
	@$(bin)/python -m winterbourne.local run --port $(PORT) $(ARGS)

test: .venv/dev ## Set up what the tests need and run every one of them
	$(bin)/python -m pytest $(PYTEST_ARGS)

install: .venv/dev ## Make .venv with everything for development

.PHONY: stage
stage:
	@grep -qsF "[$(STAGE)." samconfig.toml || { echo "there is no stage $(STAGE) in samconfig.toml; there are:" \
		"$$(sed -n 's/^ *\[ *\([A-Za-z0-9_-]*\)\..*/\1/p' samconfig.toml | sort -u | tr '\n' ' ')" >&2; exit 1; }

build: stage .venv/dev ## Build the functions and both layers into .aws-sam
	$(sam) build --config-env $(STAGE) $(addprefix --parameter-overrides ,$(filter Architecture=%,$(PARAMETERS)))

invoke: .venv/dev ## Run the built function once in Lambda's own image (EVENT=tests/events/chat.json); needs Docker
	@docker info >/dev/null 2>&1 || { echo "make invoke needs Docker, and none answers here; make run does without"; false; }
	@$(sam) build --parameter-overrides Architecture=$(processor) >&2
	@$(sam) local invoke ChatFunction --event $(EVENT) --parameter-overrides Architecture=$(processor) | \
		$(bin)/python -m winterbourne.local.sam_output

deploy: build ## Build and deploy (STAGE=dev or prod, as in samconfig.toml; PARAMETERS='ModelId=...'); with CI set, nothing is asked
	$(if $(PARAMETERS),given=$$($(of_stage)) && )$(sam) deploy --config-env $(STAGE) $(unasked) $(if $(PARAMETERS),--parameter-overrides "$$given")
	@given=$$($(of_stage)) && case "$$given" in *DeletionProtection=*) ;; *Stage=\"prod\"*) echo "protecting the conversations" && \
		$(sam) deploy --config-env $(STAGE) $(unasking) --parameter-overrides "$$given DeletionProtection=true" ;; esac

doctor: .venv/dev ## Say what is wrong and how to fix it (URL=..., or STACK=... REGION=...; ORIGIN=...; KEY=...)
	@$(bin)/python -m winterbourne.local doctor --url "$(URL)" --stack "$(STACK)" --region "$(REGION)" --origin "$(ORIGIN)"

verify: stage .venv/dev ## Prove on your AWS account, for about half a dollar, what only AWS can settle, and leave nothing (STAGE=dev; REGION=..., ARGS="--help")
	@exec env PATH="$(CURDIR)/$(bin):$$PATH" $(bin)/python -m winterbourne.local verify --stage $(STAGE) --region "$(REGION)" \
		--parameters "$$PARAMETERS" $(ARGS)

# One .venv holds what tools import and what builds and tests need, so that both keep to one set of versions.
lock: .venv/uv ## Lock what your tools import, after a change of layers/dependencies/requirements.in (UPGRADE= keeps versions)
	$(lock) $(dependencies).in -c $(locks)/dev.txt -o $(dependencies).txt

upgrade: .venv/pyvenv.cfg ## Take the newest engine in the folder WINTERBOURNE_WHEELS
	@rm -rf .venv/wheel && $(bin)/python -m pip --disable-pip-version-check --quiet download --no-deps --no-index \
		--find-links "$(wheels)" --dest .venv/wheel winterbourne
	@cat $(engine) >.venv/before 2>/dev/null || :
	@set -- .venv/wheel/*.whl && version=$${1#*/winterbourne-} && hash=$$($(bin)/python -m pip hash "$$1" | tail -n 1) && \
		echo "winterbourne[chat,local]==$${version%%-*} $$hash" >$(engine) && cat $(engine)
	@$(MAKE) --no-print-directory lock UPGRADE= || { cp .venv/before $(engine); echo "nothing is upgraded; the reason is above," \
		"perhaps that what $(dependencies).in asks for does not go with this engine" >&2; exit 1; }
	@$(MAKE) --no-print-directory install

clean: ## Remove what the other targets made
	rm -rf .venv .aws-sam .pytest_cache $(made)

sam := SAM_CLI_TELEMETRY=0 PATH="$(CURDIR)/$(bin):$$PATH" $(bin)/sam
# What is named on the command line takes the place of the stage's own parameters, so those are named again.
unasking := --no-confirm-changeset --no-fail-on-empty-changeset
unasked = $(if $(CI),$(unasking))
# A table is protected once its stack is there: the rollback of a first deployment that fails has to delete it.
of_stage = $(bin)/python -m winterbourne.local.sam_parameters $(STAGE) "$$PARAMETERS"
processor = $(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)

lock := $(bin)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links $(UPGRADE)

# A .venv is kept if its Python is new enough, has pip, is the one that was asked for, if any was, and was made where it
# lies: its commands name their folder. Otherwise it is made anew, and what was installed in it with it.
new_enough := import sys; sys.exit(sys.version_info < (3, 11))
able := import ensurepip, venv; $(new_enough)
is_here := grep -qsF "$$(cd .venv && pwd -P)" .venv/bin/activate
which_python := import sys; print(sys.version_info[:3], sys.base_prefix)
asked = $(if $(filter file default undefined,$(origin PYTHON)),,$(PYTHON))
.PHONY: interpreter
interpreter:
	@if $(bin)/python -c 'import pip; $(new_enough)' 2>/dev/null && $(is_here) && { test -z "$(asked)" || \
		test "$$($(bin)/python -c '$(which_python)')" = "$$($(asked) -c '$(which_python)' 2>&1)"; }; then exit 0; fi; \
	$(PYTHON) -c '$(new_enough)' 2>/dev/null || { echo "Winterbourne needs Python 3.11 or later, and $(PYTHON) is" \
		"$$($(PYTHON) --version 2>/dev/null || echo 'not there, or does not start'); $(name_another)" >&2; exit 1; }; \
	$(PYTHON) -c '$(able)' 2>/dev/null || { echo "$(PYTHON) cannot make .venv, for it came without venv and pip:" \
		"install them (on Debian and Ubuntu: apt install $(notdir $(PYTHON))-venv), or $(name_another)" >&2; exit 1; }; \
	rm -rf .venv 2>/dev/null || { echo ".venv is unfit and cannot be removed, perhaps because it is another user's:" \
		"remove it yourself" >&2; exit 1; }; \
	$(PYTHON) -m venv .venv
name_another = $$(for version in 3.14 3.13 3.12 3.11; do python$$version -c '$(able)' 2>/dev/null && \
	echo "name another: make PYTHON=python$$version $(MAKECMDGOALS)" && exit; done; \
	echo "install another, with venv and pip, and name it: make PYTHON=python3.14 $(MAKECMDGOALS)")
.venv/pyvenv.cfg: interpreter ;

.venv/engine: $(engine) .venv/pyvenv.cfg
	@$(install_engine)

# uv is installed by its own line in the lock: pip takes minutes for the rest, and may stumble over extras of what is
# pinned.
.venv/uv: .venv/engine
	@awk '/^[^ ]/ {ours = /^uv==/} ours' $(development) >.venv/uv.txt
	@$(pip) -r .venv/uv.txt $(or_no_index)
	@touch $@

# Running needs only what the function itself needs; the tools of development come when they are asked for.
.venv/run: $(dependencies).txt .venv/engine
	@echo "installing what the function needs into .venv"
	@$(pip) -r $(locks)/chat.txt -r $(dependencies).txt $(or_no_index)
	@touch $@

.venv/dev: $(dependencies).txt .venv/uv
	@echo "installing what development needs into .venv"
	@$(bin)/uv pip install --quiet --python $(bin)/python --require-hashes -r $(development) -r $(dependencies).txt $(or_no_index)
	@touch $@ .venv/run
