# Every target sets up what it needs: system packages by apt, the rest in .venv.
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml hatch_build.py $(wildcard src/nettax/bpf/*.[ch] src/nettax/bpf/*/*.h src/nettax/native/*.[ch] src/nettax/native/*/*.[ch] src/nettax/servers/*.[ch])

.PHONY: help setup demo test test-full lab-smoke bench lint docs dist clean
help:
	@echo "make demo       see who pays for the network on this machine (about 3 minutes)"
	@echo "make test       linters, types and tests (under 10 minutes)"
	@echo "make test-full  also kill storms, soaks and whole experiments"
	@echo "make lab-smoke  a kernel booted, the server in it compared (under 3 minutes)"
	@echo "make docs       the documentation, in build/docs"
	@echo "make dist       wheels for x86-64 and arm64, and the sdist, in dist/"
	@echo "make bench      what nettax costs beside perf, bpftrace and libbpf-tools"

setup: $(VENV)/.installed

# Packages are installed only where a command is missing; as an ordinary user, say what to install.
$(VENV)/.packages:
	@sh scripts/packages.sh
	@test -d $(VENV) || python3 -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.packages $(SOURCES)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/nettax demo

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run --Werror src/nettax/bpf/*.[ch] src/nettax/bpf/*/*.h src/nettax/native/*.[ch] src/nettax/native/*/*.[ch] src/nettax/servers/*.[ch] kmod/*.[ch]

docs: setup
	$(BIN)/sphinx-build -W -n -q -b html docs build/docs

# Unit tests measure nothing, so they share the CPUs; the others come one by one.
test: lint docs
	$(BIN)/pytest -m 'not full' -n auto tests/unit
	$(BIN)/pytest -m 'not full' --ignore tests/unit

test-full: lint
	@sh scripts/packages.sh dist clean lab
	$(BIN)/pytest

lab-smoke: setup
	@sh scripts/packages.sh lab
	$(BIN)/pytest -m full -k smoke tests/vm/test_compare.py

bench: setup
	$(BIN)/python -m bench

# The same commit gives the same bytes.
dist: setup
	@sh scripts/packages.sh dist
	@PYTHON=$(BIN)/python sh scripts/dist.sh dist

clean:
	rm -rf $(VENV) dist build src/nettax/bpf/*.o src/nettax/native/*.so src/nettax/native/qemu/*.so src/nettax/servers/nettax-server src/nettax/build.json
