#!/usr/bin/env bash
# Prints a Chromium for the tests of pages: the one on PATH, or Debian's package, which it installs where it may. Exits
# with 1, and says what is missing, where there is none.
set -euo pipefail

find_browser() {
    local name
    for name in chromium chromium-browser google-chrome chrome; do
        command -v "$name" && return 0
    done
    return 1
}
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium >&2
}

if find_browser; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    install || { apt-get update >&2 && install; } || true
    if find_browser; then exit 0; fi
fi
echo "no Chromium: the tests of pages in a browser are skipped. Install one (Debian: apt-get install chromium)" >&2
exit 1
