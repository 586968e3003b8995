# What the makefiles of the layers share: packages into $(ARTIFACTS_DIR)/python, for any machine, on any machine.
# `sam build` starts a layer's makefile with ARTIFACTS_DIR set, and from where the makefile lies.

root := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))..)
uv := $(firstword $(wildcard $(root)/.venv/bin/uv) uv)
packages = $(ARTIFACTS_DIR)/python

# Wheels only, each with its locked hash, for the Python of Lambda: neither that Python nor a container is needed.
# --no-deps: the lock is whole, so nothing is looked for that it does not name.
install = $(uv) pip install --quiet --target $(packages) --python-version 3.13 --only-binary :all: \
	--require-hashes --no-deps --link-mode copy --no-compile-bytecode

# What nobody imports: commands, tests, stubs, sources of what is compiled already, and of each dist-info all but the
# version (importlib.metadata asks for it) and the licence. One date and one mode, so that the same lock gives the same
# zip, and `sam deploy` uploads nothing that has not changed. (Not 1980, where zip begins: west of Greenwich that is 1979.)
define tidy
	rm -rf $(packages)/bin $(packages)/.lock
	find $(packages) -depth -type d \( -name __pycache__ -o -name tests -o -name test \) -exec rm -rf {} +
	find $(packages) -type f \( -name '*.py[cio]' -o -name '*.[ch]' -o -name '*.pxd' \) -delete
	find $(packages) -type f -path '*.dist-info/*' ! -name METADATA ! -path '*/licenses/*' ! -iname 'licen[cs]e*' -delete
	find $(packages) -depth -type d -empty -delete
	$(settle)
endef

settle = chmod -R u=rwX,go=rX $(ARTIFACTS_DIR) && \
	find $(ARTIFACTS_DIR) -exec env TZ=UTC touch -h -t 200001010000 {} +
