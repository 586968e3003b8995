# What the engine's own repository needs beyond a project's Makefile, which includes it: there the engine is a wheel, here
# it is its source, and there are more tools, checks and locks.

PYTEST_ARGS ?= -n 2

# The engine is imported from this checkout, wherever that is: a line in .venv says so.
source := $(CURDIR)/layers/winterbourne/python
engine := source
install_engine = for site in .venv/lib/python3.*/site-packages; do \
	grep -qsxF "$(source)" $$site/winterbourne.pth || echo "$(source)" >$$site/winterbourne.pth; done; \
	test -e $@ || touch $@
wheels = $(error this is the engine itself; a project has its wheel, and upgrades it)
locks := layers/winterbourne/python/winterbourne/local/files/locks
development := requirements-dev.txt
clients := tests/contract/clients/requirements
instructor := tests/contract/clients/instructor
linters := tests/contract/clients/linters
made := .bench .clients .coverage .pythons .mypy_cache .ruff_cache .hypothesis dist tests/artifacts

.PHONY: source test-clients test-doors test-pythons test-successor coverage soak bench check format prices reference wheel layer locks
source: ;
.venv/run: $(locks)/chat.txt
.venv/dev: $(development)
.venv/uv: $(development)

test-clients: .venv/dev ## Run other people's suites and clients, pinned, against what is spoken here, and most of the page in a browser, in about ten minutes
	$(bin)/python -m pytest $(PYTEST_ARGS) -m clients

test-doors: .venv/dev ## Go in through AWS's own parts: the tutorial and an upgrade up to sam build, the wheel where nothing else is, sam local (needs Docker), Lambda's emulator, ASGI servers, and the end-to-end suite through a REST API and uvicorn; four minutes
	$(bin)/python -m pytest $(PYTEST_ARGS) -m doors
	@for door in rest asgi; do echo "through --door $$door:"; DOOR=$$door $(bin)/python -m pytest $(PYTEST_ARGS) $(through_doors) || exit; done

# What asks a chat over HTTP, whatever stands before it. What is a door's own is in test_doors.py.
through_doors := $(patsubst %,tests/end_to_end/test_%.py,any_request chat conversations kept_chats models truth \
	clients_openai clients_sse clients_ag_ui clients_resume)

test-pythons: .venv/dev ## Run the tests under each Python from 3.11 to 3.14 that is here (TESTS="tests/runtime", WITHOUT=3.13)
	$(bin)/python -m tests.pythons $(addprefix --without ,$(WITHOUT)) $(PYTEST_ARGS) $(TESTS)

# What asks or answers over HTTP, or is handed a client; TESTS= for other folders.
with_http := tests/chat tests/functions tests/local/doctor
test-successor: .venv/dev ## Run the tests that go over HTTP with httpx2 in httpx's place, where httpx is not installed (TESTS="tests/chat")
	$(bin)/python -m tests.pythons --httpx2 $(PYTEST_ARGS) $(or $(TESTS),$(with_http) --ignore=tests/functions/chat/test_start.py)

# What runs in a browser measures no more lines and takes minutes; what counts bytes or imports would count coverage's own.
unmeasured := $(patsubst %,--ignore=tests/%.py,$(addprefix end_to_end/test_,page page_face page_markdown metrics_page) \
	chat/test_memory functions/chat/test_start)
coverage: .venv/dev ## Measure which lines and branches the tests run, in about eight minutes; fails below the floor
	@rm -rf .coverage && mkdir .coverage
	$(bin)/coverage run -m pytest $(PYTEST_ARGS) $(unmeasured)
	@$(bin)/coverage combine --quiet
	@status=0; $(bin)/coverage report --show-missing >.coverage/report || status=$$?; \
		awk 'match($$0, / [0-9.]+%/) && substr($$0, RSTART) + 0 < 90' .coverage/report; grep ^TOTAL .coverage/report; exit $$status

soak: .venv/dev ## Break, cut and kill streams, send bad requests, watch the memory, for some ten minutes (ARGS="--short")
	$(bin)/python -m tests.soak $(ARGS)

bench: .venv/dev ## Print the figures of the README, in some nine minutes; fails if a bar is missed (ARGS="start tools", ARGS=--readme writes them there)
	$(bin)/python -m tests.bench $(ARGS)

check: .venv/dev ## Check format, lint and types
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy

format: .venv/dev ## Format the code and fix what the linter can
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

prices: .venv/dev ## Make the table of models' prices anew from LiteLLM, as the clients' lock pins it, and print what has changed
	@$(bin)/python -m tests.prices

reference: .venv/dev ## Write the pages of docs/reference that are made from the code
	$(bin)/python -m tests.reference

# Every file in it has one date, so the same sources give the same bytes.
wheel: .venv/dev ## Build the engine's wheel into dist/
	SOURCE_DATE_EPOCH=946684800 $(bin)/uv build --quiet --wheel --no-build-isolation --python $(bin)/python \
		--out-dir dist layers/winterbourne

layer: .venv/dev ## Write the layer of the runtime alone into dist/, and print how to publish it
	@$(MAKE) --no-print-directory -C layers/winterbourne layer DIST="$(CURDIR)/dist"

# What is shared has one version everywhere: the later locks keep to the earlier ones.
lock: locks
locks: .venv/uv
	$(lock) $(distribution) -o $(locks)/runtime.txt
	$(lock) $(distribution) --extra chat -c $(locks)/runtime.txt -o $(locks)/chat.txt
	$(lock) $(distribution) --extra dev -c $(locks)/chat.txt -o $(locks)/dev.txt
	$(lock) $(distribution) --extra dev --group pyproject.toml:dev -c $(locks)/dev.txt -o $(development)
	$(lock) $(clients).in -o $(clients).txt
	$(lock) $(instructor).in -o $(instructor).txt
	$(lock) $(linters).in -o $(linters).txt

distribution := layers/winterbourne/pyproject.toml
