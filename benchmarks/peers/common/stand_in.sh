#!/usr/bin/env bash
# stand_in.sh FOLDER: puts one library of functions that only abort in the place of every CUDA library that
# the libraries in FOLDER (torch/lib) are linked against, so that torch starts without them. On a machine
# without a GPU nothing calls them. The CUDA runtime, which is called at the start, is the real one.
#
# Needs cc, nm and readelf. Does nothing where torch is linked against no CUDA library.
set -euo pipefail
cd "$1"
stand_in=libstand_in.so

for tool in cc nm readelf; do
    if ! command -v "$tool" >/dev/null; then
        echo "no \`$tool\` on PATH; it comes with a C compiler (Debian, Ubuntu: apt-get install gcc)" >&2
        exit 1
    fi
done

# The libraries that are missing: all of CUDA's but the runtime and the driver.
libraries=$(readelf --dynamic lib*.so | sed -n 's/.*(NEEDED).*\[\(lib\(cu\|nv\|nccl\)[^]]*\)\]/\1/p' |
    sort -u | grep -v -e '^libcudart' -e '^libcuda\.so' || true)
if [ -z "$libraries" ]; then
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The functions, each as NAME or NAME@VERSION.
nm --dynamic --undefined-only --with-symbol-versions lib*.so | awk 'NF == 2 { print $2 }' |
    grep -E '^(cu|nv|nccl)' | grep -v '^cuda' | sort -u >"$work/names"
awk -F@ '{ print "void " $1 "(void) { __builtin_trap(); }" }' "$work/names" >"$work/functions.c"
# The loader insists on the versions.
awk -F@ '$2 { names[$2] = names[$2] " " $1 ";" } END { for (v in names) print v " {" names[v] " };" }' \
    "$work/names" >"$work/versions"
cc -w -fno-builtin -shared -nostdlib -Wl,--version-script="$work/versions" -o "$stand_in" "$work/functions.c"
for library in $libraries; do
    ln -s "$stand_in" "$library"
done
