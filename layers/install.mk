# What the makefiles of functions and layers share, for any machine, on any machine. `sam build` starts them with
# ARTIFACTS_DIR set, and from where the makefile lies.

root := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))..)
uv := $(firstword $(wildcard $(root)/.venv/bin/uv) uv)
packages = $(ARTIFACTS_DIR)/python

# Wheels only, each with its locked hash, for the Python of Lambda: neither that Python nor a container is needed.
# --no-deps: the lock is whole, so nothing is looked for that it does not name.
install = $(uv) pip install --quiet --target $(packages) --python-version 3.13 --only-binary :all: \
	--require-hashes --no-deps --link-mode copy --no-compile-bytecode

# What nobody imports: commands, tests, stubs, sources of what is compiled already, and of each dist-info all but the
# version (importlib.metadata asks for it) and the licence.
define tidy
	rm -rf $(packages)/bin $(packages)/.lock
	find $(packages) -depth -type d \( -name __pycache__ -o -name tests -o -name test \) -exec rm -rf {} +
	find $(packages) -type f \( -name '*.py[cio]' -o -name '*.[ch]' -o -name '*.pxd' \) -delete
	find $(packages) -type f -path '*.dist-info/*' ! -name METADATA ! -path '*/licenses/*' ! -iname 'licen[cs]e*' -delete
	find $(packages) -depth -type d -empty -delete
endef

# Lambda cannot keep what it compiles: without this every cold start would compile every module again. It takes the
# very Python of Lambda, so it is done where that is at hand. By hash, unchecked: dates say nothing in there.
# $(1) is where the files will lie, for tracebacks.
compile = if python3.13 -c '' 2>/dev/null; \
	then python3.13 -m compileall -q -s $(ARTIFACTS_DIR) -p $(1) --invalidation-mode unchecked-hash $(ARTIFACTS_DIR); \
	else echo "python3.13 is not on PATH: nothing is compiled ahead, cold starts take longer" >&2; fi

# One date and one mode, so that the same sources and locks give the same zip, and `sam deploy` uploads nothing that has
# not changed. (Not 1980, where zip begins: west of Greenwich that is 1979.)
settle = chmod -R u=rwX,go=rX $(ARTIFACTS_DIR) && \
	find $(ARTIFACTS_DIR) -exec env TZ=UTC touch -h -t 200001010000 {} +
