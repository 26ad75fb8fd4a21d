#!/usr/bin/env bash
# Makes what a build with CUDA needs, without a GPU and without rights on the machine: a toolkit folder
# .venv/cuda/toolkit out of NVIDIA's wheels, pinned in requirements.txt. Does nothing when that is there.
#
#   bin/nvcc   the compiler, through ./nvcc
#   include    headers
#   lib64      linker scripts in the place of libcuda.so, libcublas.so, ...: they point to the archive that
#              build.sh makes, which opens the real libraries when they are first called
#
# CUDA_HOME=/path/to/toolkit takes an installed toolkit in the place of the wheels.
# PYTHON=/path/to/python chooses the interpreter (3.11 or 3.12). A C compiler and g++ must be on PATH.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../../benchmarks/peers/common/python.sh"
cd "$here/../.."
venv=.venv/cuda
toolkit=$venv/toolkit
marker=$venv/complete

wanted() { cat "$here/requirements.txt" "$here/setup.sh" "$here/nvcc" && echo "CUDA_HOME=${CUDA_HOME:-}"; }

if [ -f "$marker" ] && wanted | cmp --silent - "$marker"; then
    say "the CUDA toolkit is set up in $toolkit"
    exit 0
fi

for tool in cc g++ ar; do
    if ! command -v "$tool" >/dev/null; then
        say "$tool is not on PATH, and nvcc needs it (Debian: apt-get install build-essential)"
        exit 1
    fi
done

python=$(find_python)
say "making $venv with $("$python" --version)"
rm -rf "$venv"
"$python" -m venv "$venv"
if [ -n "${CUDA_HOME:-}" ]; then
    root=$(cd "$CUDA_HOME" && pwd)
    say "taking the toolkit in $root"
else
    say "installing the pinned packages (a download of 200 MB; 500 MB on disk)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --requirement "$here/requirements.txt"
    root=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/nvidia/cu13
fi

mkdir -p "$toolkit/bin" "$toolkit/lib64"
ln -s "$root" "$toolkit/root"
ln -s "$root/include" "$toolkit/include"
cp "$here/nvcc" "$toolkit/bin/nvcc"
for library in cuda cublas cublasLt curand cudart nvrtc; do
    echo "INPUT(libsightline_cuda.a)" >"$toolkit/lib64/lib$library.so"
done

say "trying the compiler"
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
echo 'extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2.0f; }' >"$trial/twice.cu"
"$toolkit/bin/nvcc" -arch=sm_90 --ptx --output-directory "$trial" "$trial/twice.cu"
grep --quiet 'entry twice' "$trial/twice.ptx"
wanted >"$marker"
say "the CUDA toolkit is set up in $toolkit"
