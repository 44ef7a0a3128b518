# Needs GNU make and Python 3.11 (with venv); everything else is set up in .venv and .venv-tflite-support
# (and, if asked for, .venv-schedule).
# A set-up is finished when its .installed file exists; it is done again, from nothing, when its lock file changes.

WORKDIR ?= out/demo
ARGS ?=
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $(name))))
PIP_TOOLS = pip-tools==7.6.2

.DEFAULT_GOAL := help
.PHONY: help setup tflite-support schedule demo test test-slow lint format lock clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

setup: .venv/.installed tflite-support ## set up both environments (the other targets do it when needed)

tflite-support: .venv-tflite-support/.installed ## set up the second environment, which writes and checks metadata

schedule: setup .venv-schedule/.installed ## set up a third environment, for scheduled runs with Prefect (docs/scheduling.md)

demo: setup ## from labelled images to a benchmarked int8 release in WORKDIR=out/demo; flags in ARGS
	@.venv/bin/python -m pipeline.main run --config=configs/demo.py --workdir=$(WORKDIR) $(ARGS)

test: setup ## run the tests but for the slow ones; pytest's options in ARGS
	@.venv/bin/python -m pytest --durations=15 $(ARGS)

test-slow: setup ## run the slow tests
	@.venv/bin/python -m pytest --durations=15 -m slow $(ARGS)

lint: .venv/.installed ## check style, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/.installed ## mend style and format where a tool can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: .tools/pip-tools/.installed ## pin the whole sets, with hashes, after a change of requirements*.txt (ARGS=--upgrade: newest)
	$(call compile,requirements)
	$(call compile,requirements-tflite-support)
	$(call compile,requirements-schedule)

clean: ## remove the environments and all caches; results in out/ stay
	rm -rf .venv .venv-tflite-support .venv-schedule .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: requirements.lock
	@$(create_environment)
	@echo "litesmith: installing the packages of $< (2.7 GB, a minute or two)"
	@$(@D)/bin/python -m pip install -qq --no-deps --require-hashes -r $<
	@touch $@

.venv-tflite-support/.installed: requirements-tflite-support.lock
	@$(create_environment)
	@echo "litesmith: installing the packages of $< (0.3 GB)"
	@$(@D)/bin/python -m pip install -qq --no-deps --require-hashes -r $<
	@touch $@

.venv-schedule/.installed: requirements-schedule.lock
	@$(create_environment)
	@echo "litesmith: installing the packages of $< (0.3 GB)"
	@$(@D)/bin/python -m pip install -qq --no-deps --require-hashes -r $<
	@touch $@

.tools/pip-tools/.installed: Makefile
	@$(create_environment)
	@$(@D)/bin/python -m pip install -qq $(PIP_TOOLS)
	@touch $@

# --clear also removes what an interrupted set-up left.
define create_environment
$(if $(PYTHON),,$(error litesmith needs Python 3.11: neither python3.11 nor python3 is one (make PYTHON=/path/to/python3.11 names another)))\
echo "litesmith: creating $(@D) with $(PYTHON)" && $(PYTHON) -m venv --clear $(@D)
endef

# PyPI alone decides: indexes and wheels that this machine's pip is set to use besides stay out of the lock.
define compile
@echo "litesmith: resolving $(1).txt into $(1).lock (up to five minutes)"
@PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= PIP_EXTRA_INDEX_URL= CUSTOM_COMPILE_COMMAND="make lock" \
	.tools/pip-tools/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --output-file=$(1).lock $(ARGS) $(1).txt
endef
