# Sourced by the setup.sh of each bench: makes the Python environment of the reference programs.
#
# PYTHON=/path/to/python chooses the interpreter (3.11 or 3.12: what all the pinned versions have wheels for).

say() { printf '%s\n' "$*" >&2; }

python_fits() {
    "$1" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11; do
        if python_fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    say "no Python 3.11 or 3.12 with the venv module is on PATH; set PYTHON=/path/to/python"
    return 1
}

# set_up NAME WHAT SIZE [PIP OPTION…]
#
# Makes .venv/NAME with the packages of the requirements.txt beside the caller; nothing where that is there already. WHAT is
# what it holds and SIZE what it takes, in words. The caller sets `here`, stands in the repository's root, and defines `finish`,
# which does what is left to do and tries the packages, so that what is missing is found here. `wanted` prints what the
# environment is made of; it may be defined anew.
wanted() { cat "$here/requirements.txt"; }

set_up() {
    local name=$1 what=$2 size=$3
    shift 3
    venv=.venv/$name
    local marker=$venv/complete python
    if [ -f "$marker" ] && wanted | cmp --silent - "$marker"; then
        say "the $what of $venv: set up"
        return
    fi
    python=$(find_python)
    say "making $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    say "installing the pinned packages ($size)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" --requirement "$here/requirements.txt"
    say "trying the packages"
    finish
    wanted >"$marker"
    say "the $what of $venv: set up"
}

# PyPI's torch for Linux is linked against gigabytes of CUDA libraries, which it needs to start but never calls on a CPU. They
# are left out: stand_in.sh puts a library of empty functions in their place.
stand_in=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/stand_in.sh
without_cuda() {
    bash "$stand_in" "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/torch/lib"
}
