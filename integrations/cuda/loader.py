#!/usr/bin/env python3
"""Writes the jump table of loader.c, x86-64 assembly, to standard output.

    loader.py CUDARC_FOLDER CANDLE_KERNELS_FOLDER CUDA_MAJOR

The names are those that the two crates declare, so that they fit whatever versions Cargo.lock names.
"""

import re
import sys
from pathlib import Path

# Module of cudarc, soname, what its functions return when there is no library, and whether cuInit fails without it.
# cublasLt stands before cublas, which needs it and would look for it less widely.
LIBRARIES = [
    ("driver", "libcuda.so.1", 999, True),
    ("cublaslt", "libcublasLt.so.{major}", 1, True),
    ("cublas", "libcublas.so.{major}", 1, True),
    ("curand", "libcurand.so.10", 101, True),
    ("nvrtc", "libnvrtc.so.{major}", 11, False),
]
# In loader.c.
WRITTEN = {"cuInit", "cuGetErrorString", "cuGetErrorName"}

RESOLVE = """
# rax is the number of variadic vector arguments, the rest are arguments.
sl_enter:
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %r8
    pushq %r9
    pushq %rax
    subq $136, %rsp
    movups %xmm0, (%rsp)
    movups %xmm1, 16(%rsp)
    movups %xmm2, 32(%rsp)
    movups %xmm3, 48(%rsp)
    movups %xmm4, 64(%rsp)
    movups %xmm5, 80(%rsp)
    movups %xmm6, 96(%rsp)
    movups %xmm7, 112(%rsp)
    movq 192(%rsp), %rdi
    call sl_resolve@PLT
    movq %rax, %r11
    movups (%rsp), %xmm0
    movups 16(%rsp), %xmm1
    movups 32(%rsp), %xmm2
    movups 48(%rsp), %xmm3
    movups 64(%rsp), %xmm4
    movups 80(%rsp), %xmm5
    movups 96(%rsp), %xmm6
    movups 112(%rsp), %xmm7
    addq $136, %rsp
    popq %rax
    popq %r9
    popq %r8
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    addq $8, %rsp
    jmp *%r11
"""


def declared(text: str) -> list[str]:
    """Names of functions in blocks `extern "C" { … }`."""
    names = set()
    for block in re.findall(r'extern "C" \{(.*?)\n\s*\}', text, re.DOTALL):
        names.update(re.findall(r"\bfn (\w+)\s*\(", block))
    return sorted(names)


def main() -> None:
    cudarc, kernels, major = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    functions = []
    for number, (module, *_) in enumerate(LIBRARIES):
        names = declared((cudarc / "src" / module / "sys" / "mod.rs").read_text())
        if not names:
            raise SystemExit(f"{cudarc} declares no functions of {module}: loader.py does not fit to this version")
        functions += [(name, number) for name in names if name not in WRITTEN]
    left_out = declared((kernels / "src" / "ffi.rs").read_text())

    out = [".text"]
    for index, (name, _) in enumerate(functions):
        out += [
            f".globl {name}",
            f".type {name}, @function",
            f"{name}:",
            f"    movq sl_slots+{8 * index}(%rip), %r11",
            "    jmp *%r11",
            f"sl_first_{index}:",
            f"    pushq ${index}",
            "    jmp sl_enter",
        ]
    for name in left_out:
        out += [f".globl {name}", f".type {name}, @function", f"{name}:", "    jmp sl_left_out@PLT"]
    out.append(RESOLVE)

    out += [".data", ".balign 8", ".globl sl_slots", "sl_slots:"]
    out += [f"    .quad sl_first_{index}" for index in range(len(functions))]
    out += [".globl sl_libraries", "sl_libraries:"]
    for number, (_, _, failure, is_needed) in enumerate(LIBRARIES):
        out += [f"    .quad {value}" for value in (f"sl_soname_{number}", failure, int(is_needed), 0)]
    out += ['.section .data.rel.ro,"aw"', ".balign 8", ".globl sl_names", "sl_names:"]
    out += [f"    .quad sl_name_{index}" for index in range(len(functions))]
    out += [".section .rodata", ".balign 4", ".globl sl_library_count", "sl_library_count:"]
    out += [f"    .long {len(LIBRARIES)}", ".globl sl_library_of", "sl_library_of:"]
    out += [f"    .byte {number}" for _, number in functions]
    for number, (_, soname, *_) in enumerate(LIBRARIES):
        out.append(f'sl_soname_{number}: .string "{soname.format(major=major)}"')
    out += [f'sl_name_{index}: .string "{name}"' for index, (name, _) in enumerate(functions)]
    out.append('.section .note.GNU-stack,"",@progbits')
    print("\n".join(out))


main()
