#!/bin/sh
# Makes .venv: the locked packages with their hashes, then this repository's own packages, editable.
# Wants a Python of 3.11 or later and nothing else. Called by the Makefile when something changed.
set -eu
cd "$(dirname "$0")/.."
here=$(pwd -P)

venv=.venv
stamp=$venv/.installed
packages="shared gateway services/auth services/patients services/letters services/messaging services/orgs \
deploy/embedded deploy/cli deploy/backends"

# Settings of some other environment must not decide what lands in this one.
for name in $(env | sed -n 's/^\(PYTHON[A-Z0-9_][A-Z0-9_]*\)=.*/\1/p') VIRTUAL_ENV CONDA_PREFIX PIP_USER PIP_TARGET \
    PIP_PREFIX PIP_REQUIRE_HASHES UV_SYSTEM_PYTHON UV_PYTHON UV_TARGET UV_PREFIX; do
    unset "$name"
done

recent_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3.14 python3 python; do
        if recent_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    echo "Quill needs Python 3.11 or later and found none on PATH; install one, or name it: make run PYTHON=/path/to/python3" >&2
    return 1
}

# A moved directory leaves the old path in every script and editable package, so that .venv starts afresh.
if ! recent_enough $venv/bin/python || { [ -f $stamp ] && [ "$(cat $stamp)" != "$here" ]; }; then
    rm -rf $venv # before the search, which would find its Python on PATH
    python=$(find_python)
    echo "Making $venv with $("$python" --version) ..."
    if ! said=$("$python" -m venv $venv 2>&1); then
        rm -rf $venv
        printf '%s\n' "$said" >&2
        echo "$python could not make a virtual environment; on Debian and Ubuntu its package python3-venv is missing." >&2
        exit 1
    fi
fi
rm -f $stamp

# Without a home directory that can be written to, the downloads are cached for this run only.
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}
if ! { mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null; then
    export XDG_CACHE_HOME="$here/$venv/.cache"
fi

# uv is the quicker installer. Where it cannot work, pip does the same from the same lock.
export PIP_DISABLE_PIP_VERSION_CHECK=1
pip="$venv/bin/python -m pip --quiet"
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    [ -x $venv/bin/uv ] || $pip install uv || echo "uv cannot be had here, going on with pip." >&2
    uv=$venv/bin/uv
fi

editable=
for package in $packages; do
    editable="$editable --editable ./$package"
done
echo "Installing the locked packages ..."
if ! { "$uv" pip sync --quiet --python $venv/bin/python --require-hashes requirements.lock &&
    "$uv" pip install --quiet --python $venv/bin/python --no-deps --no-build-isolation $editable; }; then
    echo "uv did not manage, trying pip ..." >&2
    $pip install --require-hashes --no-deps --requirement requirements.lock
    $pip install --no-deps --no-build-isolation --no-index $editable
fi
rm -rf $venv/.cache
printf '%s\n' "$here" >$stamp
