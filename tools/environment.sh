# Sourced by ./run and ./test: make .venv hold what a lock file says, once per lock file, and torch where it is used.
# Needs python3 >= 3.11 with venv; everything else is installed into this folder.

find_python() {
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys, sqlite3
# On Python 3.12 and later the job engine needs SQLite 3.42.
old = sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42)
sys.exit(sys.version_info < (3, 11) or old)' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "Écluse needs python3 3.11 or newer (from 3.12 on with SQLite 3.42); found: $(python3 --version 2>&1)." >&2
  return 1
}

# ensure_environment LOCK: afterwards .venv/bin holds the packages of LOCK and the `ecluse` command.
ensure_environment() {
  lock=$1
  stamp=$(cat "$lock" pyproject.toml requirements-tools.lock | cksum)
  held=$(cat .venv/.installed 2>/dev/null || true)
  case "$held" in *"$stamp"*) [ -x .venv/bin/ecluse ] && return ;; esac
  if [ -L .venv ]; then
    echo "Nothing was installed: .venv is a link, and what it points at would change. Remove the link: rm .venv" >&2
    return 1
  fi
  python=$(find_python)
  echo "Installing from $lock with $("$python" --version) …" >&2
  if ! [ -x .tools/bin/uv ]; then
    "$python" -m venv .tools || {
      echo "python3 has no venv. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2
      return 1
    }
    .tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-tools.lock
  fi
  [ -x .venv/bin/python ] || .tools/bin/uv venv --quiet --python "$python" .venv
  VIRTUAL_ENV=$PWD/.venv .tools/bin/uv pip sync --require-hashes "$lock"
  VIRTUAL_ENV=$PWD/.venv .tools/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
  echo "$stamp" >.venv/.installed
  # Each lock contains those before it, so ./run has nothing to do after ./test.
  case "$lock" in
    requirements-dev.lock) contained="requirements.lock requirements-servers.lock requirements-mlflow.lock" ;;
    requirements-mlflow.lock) contained="requirements.lock requirements-servers.lock" ;;
    requirements-servers.lock) contained=requirements.lock ;;
    *) contained= ;;
  esac
  for other in $contained; do
    cat "$other" pyproject.toml requirements-tools.lock | cksum >>.venv/.installed
  done
}

# ensure_torch, after ensure_environment: .venv holds torch, which no lock does, as its build depends on the machine.
# A new lock removes it (pip sync), and writes .installed anew.
TORCH=2.13.0
ensure_torch() {
  grep -q "^torch $TORCH$" .venv/.installed 2>/dev/null && return
  if [ -L .venv ]; then
    .venv/bin/python -c 'import torch' 2>/dev/null && return
    echo "torch was not installed: .venv is a link, and what it points at would change. Remove the link: rm .venv" >&2
    return 1
  fi
  backend=${UV_TORCH_BACKEND:-cpu}
  VIRTUAL_ENV=$PWD/.venv .tools/bin/uv pip install --quiet --require-hashes --no-deps -r requirements-torch.lock
  if [ "$backend" = cpu ] && offered_by_pip; then
    echo "Installed torch $TORCH from where pip's settings say (find-links)." >&2
  else
    echo "Installing torch $TORCH ($backend) from the index of PyTorch …" >&2
    # What CUDA needs comes with torch; all else is in the lock.
    [ "$backend" = cpu ] && alone=--no-deps || alone=
    # shellcheck disable=SC2086 # nothing, or one word
    if ! VIRTUAL_ENV=$PWD/.venv UV_HTTP_TIMEOUT=60 UV_HTTP_RETRIES=1 \
      .tools/bin/uv pip install --quiet --torch-backend="$backend" $alone "torch==$TORCH"; then
      cat >&2 <<END
torch $TORCH could not be installed: the index of PyTorch is out of reach, or has no build
for this machine. Put a wheel of it into a folder and say so: PIP_FIND_LINKS=/that/folder. Only fine-tuning and the
tests need torch; the recipe "features" does without.
END
      return 1
    fi
  fi
  .venv/bin/python -c 'import torch' || {
    echo "torch $TORCH was installed and cannot be imported (see above); uv pip uninstall torch removes it." >&2
    return 1
  }
  echo "torch $TORCH" >>.venv/.installed
}

# Where this machine's pip settings name a folder with the wheel, that is taken: never PyPI's, of several GB with CUDA.
offered_by_pip() {
  .tools/bin/python -m pip --python .venv/bin/python install --quiet --disable-pip-version-check \
    --no-index --no-deps "torch==$TORCH" 2>/dev/null
}
