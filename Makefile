# Everything that people do with a checkout, from a clean one on: Python >= 3.11 with venv, a C compiler, a package index.
# `make help` lists the targets. PYTHON names the interpreter, VENV the environment.
# Used by people; .ci/run does the same from an archive of the sources.
PYTHON ?= python3
VENV ?= .venv
SANITIZERS := thread address undefined
STRESS := $(wildcard tests/test_stress.py tests/test_devices_stress.py tests/test_space_stress.py tests/test_last_blocks.py tests/test_reclaim.py \
	tests/test_epoch.py tests/test_backends_stress.py tests/test_swap_threads.py tests/test_events.py tests/test_space_events.py)
STRESS_SECONDS ?= 60

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-long lint stubs docs bench traces sanitize $(SANITIZERS:%=sanitize-%) break-epoch dev clean distclean

TAG := $(shell $(PYTHON) -c 'import sys; print(sys.implementation.cache_tag)')
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# Two targets of one `make -j` may install into one environment.
LOCK := $(if $(shell command -v flock),flock $(VENV)/.lock)
WHEEL := build/wheel-$(TAG)

# Directories too: a file that is gone leaves no other trace.
PACKED := $(wildcard pyproject.toml setup.py MANIFEST.in README.md LICENSE)
SOURCES := $(PACKED) $(shell find src \( -name __pycache__ -o -name '*.egg-info' \) -prune -o -type d -print \
	-o -type f ! -name '*.so' -print)

# setuptools packs whatever an earlier build left in build/lib, and does not notice new compiler flags:
# each build gets a fresh copy of the sources.
define fresh_copy
rm -rf $(1) && mkdir -p $(1) && cp -R $(PACKED) src $(1) && find $(1) -name '*.so' -delete
endef

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | while IFS="$$(printf '\t')" read -r name what; \
		do printf '  make %-11s  %s\n' "$$name" "$$what"; done
	@printf '\n  PYTHON=python3.13 make test VENV=.venv-313: another interpreter, another environment\n'

# The stamp names the version: another PYTHON makes the environment anew.
$(VENV)/.made-$(TAG):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("swaptable needs Python 3.11 or later; try PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(WHEEL)/.built: $(SOURCES) | $(VENV)/.made-$(TAG)
	$(call fresh_copy,build/tree-$(TAG))
	rm -rf $(WHEEL)
	$(PIP) wheel --no-deps --wheel-dir $(WHEEL) build/tree-$(TAG)
	touch $@

# The wheel of a changed tree has the version of the one before it: pip must be told to replace that.
$(VENV)/.installed: $(WHEEL)/.built $(VENV)/.made-$(TAG)
	$(LOCK) $(PIP) install --force-reinstall --no-deps $(WHEEL)/*.whl
	$(LOCK) $(PIP) install "$$(echo $(WHEEL)/*.whl)[cli]"
	touch $@

$(VENV)/.with-%: $(VENV)/.installed
	$(LOCK) $(PIP) install "$$(echo $(WHEEL)/*.whl)[$*]"
	touch $@

demo: $(VENV)/.installed ## install it and compare the designs on the trace that it brings
	$(BIN)/swaptable compare

test: $(VENV)/.with-test ## install it and run the tests
	$(BIN)/python -m pytest

test-long: $(VENV)/.with-test ## the tests that take minutes
	$(BIN)/python -m pytest -m long

lint: $(VENV)/.with-lint ## ruff and cython-lint
	$(BIN)/ruff check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint src tests examples

# The plug-ins for pytest and hypothesis are checked too, which takes both.
stubs: $(VENV)/.with-lint $(VENV)/.with-test ## hold the .pyi files to the compiled modules
	$(BIN)/python -m mypy.stubtest swaptable --allowlist tests/stubtest_allowlist.txt --mypy-config-file tests/stubtest.ini
	$(BIN)/python -m mypy --strict tests/typing_sample.py examples/tiering_simpy.py

docs: $(VENV)/.with-docs ## the documentation, into build/docs; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

bench: $(VENV)/.with-bench ## run the benchmarks on this tree; ASV="-b alloc" picks some
	$(BIN)/asv machine --yes
	$(BIN)/asv run --environment existing:$(CURDIR)/$(BIN)/python --set-commit-hash "$$(git rev-parse HEAD)" --show-stderr $(ASV)

# Beside the shipped ones and not over them: what the README says of those is of those.
traces: $(VENV)/.installed ## record the traces of real programs again, into build/traces (needs valgrind, x264, node)
	PATH="$(CURDIR)/$(BIN):$$PATH" sh src/swaptable/trace/data/record.sh build/traces

# ---- the extensions with a sanitizer each, on an interpreter that knows nothing of it

CFLAGS_thread := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
CFLAGS_address := -O1 -g -fno-omit-frame-pointer -fsanitize=address
CFLAGS_undefined := -O1 -g -fno-omit-frame-pointer -fsanitize=undefined -fno-sanitize-recover=undefined
CFLAGS_break-epoch := -DSWAPTABLE_BREAK_EPOCH
PRELOAD_thread := libtsan.so
PRELOAD_address := libasan.so
PRELOAD_undefined := libubsan.so
# CPython leaks by itself; ours are counted by check(). A report must not be lost in a test that passes.
RUN_ENV := SWAPTABLE_STRESS_SECONDS=$(STRESS_SECONDS) TSAN_OPTIONS=exitcode=66:suppressions=$(CURDIR)/tests/tsan.supp ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OPENBLAS_NUM_THREADS=1

# Flags that are no user's: an environment of its own for each, since objects do not know what they were compiled with.
build/special-%/.installed: $(SOURCES)
	$(call fresh_copy,build/special-$*/tree)
	$(PYTHON) -m venv --clear build/special-$*/venv
	SWAPTABLE_CFLAGS="$(CFLAGS_$*)" \
		build/special-$*/venv/bin/python -m pip --disable-pip-version-check -q install "build/special-$*/tree[test]"
	touch $@

sanitize: $(SANITIZERS:%=sanitize-%) ## the stress tests under -fsanitize=thread, address and undefined

# env comes first: the preloaded library is for Python, not for the shell. -s: pytest would keep the reports to itself.
$(SANITIZERS:%=sanitize-%): sanitize-%: build/special-%/.installed
	env $(RUN_ENV) LD_PRELOAD="$$($(CC) -print-file-name=$(PRELOAD_$*))" \
		build/special-$*/venv/bin/python -m pytest -s -p no:cacheprovider $(STRESS)

# Exit 1 is a test that failed; anything else would be another mishap and prove nothing.
break-epoch: build/special-break-epoch/.installed ## show that a build without epochs fails tests/test_epoch.py
	build/special-break-epoch/venv/bin/python -m pytest -p no:cacheprovider tests/test_epoch.py; test $$? = 1

# ----

dev: ## an editable installation with all tools in .venv-dev
	test -x .venv-dev/bin/python || $(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python -m pip --disable-pip-version-check -q install "Cython>=3.1" "setuptools>=77"
	.venv-dev/bin/python -m pip --disable-pip-version-check -q install --no-build-isolation --editable ".[cli,test,lint]"

clean: ## remove what was built; the environments stay
	rm -rf build dist src/*.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
	find src -name '*.so' -delete

distclean: clean ## remove the environments too
	rm -rf .venv .venv-dev $(VENV) .asv
