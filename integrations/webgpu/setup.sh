#!/usr/bin/env bash
# A Vulkan driver for the tests of the feature `webgpu`: the machine's own, or Mesa's, which works without a GPU. Installs
# Debian's packages where it may. Exits with 0 if a driver is there, else with 1 and says what is missing.
set -euo pipefail

has_driver() {
    ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' || return 1
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null
}

packages=(mesa-vulkan-drivers libvulkan1)
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${packages[@]}" >&2
}

case "$(uname -s)" in
Darwin | MINGW* | MSYS* | CYGWIN*) exit 0 ;; # Metal and DX12 are part of the system.
esac
if has_driver; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    install || { apt-get update >&2 && install; } || true
    if has_driver; then exit 0; fi
fi
echo "no Vulkan driver: the tests that need a GPU are skipped. Install one (Debian: apt-get install ${packages[*]})" >&2
exit 1
