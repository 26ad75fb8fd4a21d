#!/usr/bin/env bash
# Production lines per crate: lines of each source file before its first `#[cfg(test)]`.
set -euo pipefail
cd "$(dirname "$0")/.."
for crate in crates/*/; do
    src="$crate/src"
    [ -d "$src" ] || src="$crate"
    find "$src" -name '*.rs' -print0 | xargs -0 awk -v crate="$(basename "$crate")" '
        FNR == 1 { skip = 0 }
        /^#\[cfg\(test\)\]/ { skip = 1 }
        !skip { lines++ }
        END { printf "%6d  %s\n", lines, crate }'
done | sort -k2 | awk '{ total += $1; print } END { printf "%6d  total\n", total }'
