# Sourced by the setup.sh of each bench: finds the Python of the reference programs.
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
