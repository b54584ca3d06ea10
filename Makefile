# make run    install what is needed and serve the shipped providers.yaml and routing.yaml
# make test   install what is needed and run every test
# make bench-privacy  what the detectors of personal and secret data find, miss, mistake and cost
# make bench-privacy-heldout  the same on made values and texts that the detectors were not corrected against
# make proof  the long forms of everything that has one: first those that measure time, alone; then all others, and each
#             property ten times as often
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Many tests wait for something, so there may be more of them than processors.
WORKERS := $(shell echo $$(($$(nproc) * 2)))
# Where long forms measure time, and so run one after the other.
TIMED  := tests/faults tests/spending tests/scenarios

# Compiled tests and modules are kept, whatever the shell that calls us thinks of that.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test proof check lint types bench bench-privacy bench-privacy-heldout setup lock clean

run: $(STAMP)
	$(BIN)/llmproxyd run --config-dir . --state-dir .state

# Tests that measure time run alone, after the others. Each worker reads all of the tests: that is quick where they have been
# read before, so first each processor reads a part of them.
test: $(STAMP)
	-@find tests -name 'test_*.py' | xargs -P $$(nproc) -n 64 $(BIN)/python -m pytest --collect-only >/dev/null 2>&1
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not quiet and not proof" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m "quiet and not proof" $(PYTEST_ARGS) $$(grep -rl --include='test_*.py' mark.quiet tests)

# Many of them measure time: run nothing else meanwhile.
proof: $(STAMP)
	$(BIN)/python -m pytest -m proof -vv $(TIMED) $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m "proof or (hypothesis and not quiet)" --hypothesis-profile proof -n auto --dist loadfile \
	  $(TIMED:%=--ignore %) -v $(PYTEST_ARGS)

check: $(STAMP)
	$(BIN)/llmproxyd check --config-dir .

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m bench

bench-privacy: $(STAMP)
	$(BIN)/python -m bench.privacy $(BENCH_ARGS)

bench-privacy-heldout: $(STAMP)
	$(BIN)/python -m bench.privacy.heldout $(BENCH_ARGS)

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Rewrites requirements.lock from pyproject.toml; needs uv on the PATH.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .state .mypy_cache .ruff_cache .pytest_cache .hypothesis
