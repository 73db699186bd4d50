# Every target sets up what it needs: a .venv from the hash-checked lock file, nothing global.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
REPO ?= $(CURDIR)
SETUP := $(VENV)/.set-up

.PHONY: demo test check bench chaos clean lock proto

demo: $(SETUP)
	@$(BIN)/python -m infrastructure.local.demo "$(REPO)"

test: $(SETUP)
	$(BIN)/python -m pytest -m "not slow" --numprocesses=3 --dist=loadfile --no-loadscope-reorder

check: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python -m nervous_system.generate --check

bench: $(SETUP)
	$(BIN)/python -m tests.benchmarks

chaos: $(SETUP)
	$(BIN)/python -m pytest tests/integration -m slow
	$(BIN)/python -m pytest tests/chaos -o norecursedirs=".*" -o timeout=1800

proto: $(SETUP)
	$(BIN)/python -m nervous_system.generate

# Renews the lock files from pyproject.toml: of development, and of the image, which has a part of the same.
lock: $(SETUP)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra test --generate-hashes --no-header --no-emit-index-url \
	  --python-version 3.11 --output-file requirements.lock --quiet
	$(BIN)/uv pip compile pyproject.toml --extra server --extra capture --extra fdb --constraint requirements.lock \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 \
	  --output-file infrastructure/image/requirements.lock --quiet
	echo setuptools | $(BIN)/uv pip compile - --constraint requirements.lock \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 \
	  --output-file infrastructure/image/build.lock --quiet

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(SETUP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: install it, or name another with make PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: apt-get install python3.11-venv" >&2; exit 2; }
	@echo "Setting up .venv (once, a minute or two) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
