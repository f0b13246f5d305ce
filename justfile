# Every task of the project. `just` lists them.
export PATH := justfile_directory() / ".venv/bin:" + env_var("PATH")

_default:
    @just --list --unsorted

# Lint, format check (Python and templates), layers: what ./test begins with.
lint:
    ruff check --quiet src tests benchmarks tools
    ruff format --quiet --check src tests benchmarks tools
    djangofmt --quiet --check src
    lint-imports --no-logo

# The same, and types.
check: lint
    mypy

# Reformat and mend what can be mended.
fix:
    ruff check --fix src tests benchmarks tools
    ruff format src tests benchmarks tools
    djangofmt --quiet src

# All tests, or those named: just test tests/contracts
test *args:
    pytest {{args}}

# Let people work while everything is struck, and audit: just nemesis --seed 7 --seeds 3
nemesis *args:
    python -m tests.nemesis {{args}}

# Write docs/reference from the code.
docs:
    python tools/reference.py

# Bring every translation to its file, add what has none yet, and list it; with a code, such as de: that language too.
messages *args:
    python -m tools.messages {{args}}

# Compile the lock files from pyproject.toml.
lock *args:
    uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --no-emit-index-url --no-emit-find-links --extra server --extra build --extra mongodb --extra dynamodb --extra tracing {{args}} pyproject.toml -o requirements.lock
    uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --no-emit-index-url --no-emit-find-links --extra server --extra build --extra mongodb --extra dynamodb --extra tracing --extra servers {{args}} -c requirements.lock pyproject.toml -o requirements-servers.lock
    uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --no-emit-index-url --no-emit-find-links --extra server --extra build --extra mongodb --extra dynamodb --extra tracing --extra servers --extra mlflow {{args}} -c requirements-servers.lock pyproject.toml -o requirements-mlflow.lock
    uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --no-emit-index-url --no-emit-find-links --extra dev {{args}} -c requirements-mlflow.lock pyproject.toml -o requirements-dev.lock
    echo "uv==$(sed -n "s/^uv==\([^ ]*\).*/\1/p" requirements-dev.lock)" | uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --no-emit-index-url --no-emit-find-links - -o requirements-tools.lock
    printf '%s\n' filelock fsspec networkx setuptools sympy | uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --no-emit-index-url --no-emit-find-links {{args}} -c requirements-dev.lock - -o requirements-torch.lock
