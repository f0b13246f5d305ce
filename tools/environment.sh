# Sourced by ./run and ./test: make .venv hold what a lock file says, once per lock file, and torch where it is used.
# Needs python3 >= 3.11 with venv; everything else is installed into this folder.

verbose= # set by --verbose: show all that the installer writes
install_log=.tools/install.log

# step WORDS COMMAND…: run one step of an installation. On a terminal one line moves while it runs; elsewhere one line
# says what begins. What the command writes is kept in $install_log, and with $verbose shown too. When it fails, its
# last lines are shown, and its exit status comes back.
step() {
  words=$1
  shift
  mkdir -p .tools
  if [ -n "$verbose" ]; then
    echo "$words …" >&2
    "$@" >&2
    return
  fi
  echo "# $(date): $words" >>"$install_log"
  begin=$(($(wc -l <"$install_log") + 1))
  failed=0
  if [ -t 2 ]; then
    moving_line "$words" "$begin" &
    moving=$!
    trap 'kill "$moving" 2>/dev/null; printf "\r\033[K" >&2; trap - INT; kill -INT $$' INT
    "$@" >>"$install_log" 2>&1 || failed=$?
    trap - INT
    kill "$moving" 2>/dev/null || true
    wait "$moving" 2>/dev/null || true
    printf '\r\033[K' >&2
  else
    echo "$words …" >&2
    "$@" >>"$install_log" 2>&1 || failed=$?
  fi
  [ "$failed" = 0 ] && return
  echo "$words: failed. The last lines of $install_log, where the rest is:" >&2
  tail -n +"$begin" "$install_log" | grep -v '^ [+-] ' | tail -n 15 | sed 's/^/  /' >&2
  echo "Nothing was started. The same command begins again; --verbose as its first word shows all." >&2
  return "$failed"
}

# One line that says how long a step has taken, and what the installer does just now. Ends with this shell.
moving_line() {
  seconds=0
  while kill -0 $$ 2>/dev/null; do
    now=$(tail -n +"$2" "$install_log" | sed -n 's/^ *\(Downloading\|Downloaded\|Building\|Built\|Prepared\) \(.*\)/\2/p' | tail -n 1)
    printf '\r\033[K%s … %s s %.40s' "$1" "$seconds" "$now" >&2
    sleep 1
    seconds=$((seconds + 1))
  done
}

find_python() {
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "Écluse needs python3 3.11 or newer; found: $(python3 --version 2>&1)." >&2
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
  if ! [ -x .tools/bin/uv ]; then
    step "Preparing the installer with $("$python" --version)" install_uv "$python" || return
  fi
  step "Installing what $lock lists" install_packages "$python" "$lock" || return
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

install_uv() {
  "$1" -m venv .tools || {
    echo "python3 has no venv. On Debian or Ubuntu: sudo apt-get install python3-venv"
    return 1
  }
  .tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-tools.lock
}

install_packages() {
  [ -x .venv/bin/python ] || .tools/bin/uv venv --quiet --python "$1" .venv || return
  # Not `sync`: it would remove the applications that someone has installed beside.
  VIRTUAL_ENV=$PWD/.venv .tools/bin/uv pip install --require-hashes -r "$2" || return
  VIRTUAL_ENV=$PWD/.venv .tools/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
}

# ensure_bytecode, after ensure_environment: what a start imports is compiled, also where the environment forbids Python
# to write that. What was installed since, or has changed in src, is compiled again.
ensure_bytecode() {
  compiled=.venv/.compiled
  [ -w .venv ] && [ -w src ] || return 0 # installed by another, who compiles it
  if [ ! -e "$compiled" ] || [ "$compiled" -ot .venv/.installed ]; then # written in one moment: compiled since
    echo >"$compiled.new" # before anything is read, so that what changes meanwhile is newer
    step "Compiling what is imported" .venv/bin/python tools/bytecode.py || return
  elif [ -n "$(find src -name '*.py' -newer "$compiled" 2>/dev/null)" ]; then
    echo >"$compiled.new"
    # What cannot be compiled is said by who imports it.
    .venv/bin/python -m compileall -q src >>"$install_log" 2>&1 || true
  else
    return 0
  fi
  mv "$compiled.new" "$compiled"
}

# ensure_torch, after ensure_environment: .venv holds torch, which no lock does, as its build depends on the machine.
# A new lock writes .installed anew.
TORCH=2.13.0
ensure_torch() {
  grep -q "^torch $TORCH$" .venv/.installed 2>/dev/null && return
  if [ -L .venv ]; then
    .venv/bin/python -c 'import torch' 2>/dev/null && return
    echo "torch was not installed: .venv is a link, and what it points at would change. Remove the link: rm .venv" >&2
    return 1
  fi
  step "Installing torch $TORCH" install_torch "${UV_TORCH_BACKEND:-cpu}" || {
    cat >&2 <<END
Without torch $TORCH all works but fine-tuning and the tests: the recipe "features" does without. Where the index of
PyTorch is out of reach, put a wheel of it into a folder and say so: PIP_FIND_LINKS=/that/folder.
END
    return 1
  }
  echo "torch $TORCH" >>.venv/.installed
}

# install_torch BACKEND: cpu takes a wheel that this machine offers before the index of PyTorch.
install_torch() {
  VIRTUAL_ENV=$PWD/.venv .tools/bin/uv pip install --quiet --require-hashes --no-deps -r requirements-torch.lock || return
  if ! { [ "$1" = cpu ] && offered_by_pip; }; then
    echo "From the index of PyTorch, built for $1:"
    # What CUDA needs comes with torch; all else is in the lock.
    [ "$1" = cpu ] && alone=--no-deps || alone=
    # shellcheck disable=SC2086 # nothing, or one word
    VIRTUAL_ENV=$PWD/.venv UV_HTTP_TIMEOUT=60 UV_HTTP_RETRIES=1 \
      .tools/bin/uv pip install --torch-backend="$1" $alone "torch==$TORCH" || return
  fi
  .venv/bin/python -c 'import torch' || {
    echo "torch $TORCH was installed and cannot be imported (see above); uv pip uninstall torch removes it."
    return 1
  }
}

# Where this machine's pip settings name a folder with the wheel, that is taken: never PyPI's, of several GB with CUDA.
offered_by_pip() {
  .tools/bin/python -m pip --python .venv/bin/python install --quiet --disable-pip-version-check \
    --no-index --no-deps "torch==$TORCH" 2>/dev/null
}
