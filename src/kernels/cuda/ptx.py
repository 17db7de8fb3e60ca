#!/usr/bin/env python3
"""Makes the PTX of every kernel file here, with NVRTC alone: no CUDA toolkit, no GPU, no driver.

    python3 -m venv venv && venv/bin/pip install nvidia-cuda-nvrtc-cu12==12.0.140
    venv/bin/python src/kernels/cuda/ptx.py [--report]

The oldest NVRTC of CUDA 12 is chosen on purpose: a driver reads PTX of its own age and older. compute_80 runs on every GPU
since Ampere. --report also assembles for sm_90 and prints registers, spills and shared memory of each kernel.
"""

import ctypes
import pathlib
import sys

ARCHITECTURE = "compute_80"
HERE = pathlib.Path(__file__).resolve().parent


def digest(*texts):
    """FNV-1a, 64 bits; `digest` of `kernels/cuda/ptx.rs` is the same."""
    value = 0xCBF29CE484222325
    for byte in b"".join(texts):
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return f"{value:016x}"


def nvrtc():
    import nvidia.cuda_nvrtc

    folder = pathlib.Path(list(nvidia.cuda_nvrtc.__path__)[0]) / "lib"
    ctypes.CDLL(str(next(folder.glob("libnvrtc-builtins.so.*"))), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(next(folder.glob("libnvrtc.so.*"))))


def text_of(library, program, what):
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, text)
    return text.raw.rstrip(b"\0")


def compile(library, name, source, prelude, options, what):
    program = ctypes.c_void_p()
    headers, names = (ctypes.c_char_p * 1)(prelude), (ctypes.c_char_p * 1)(b"prelude.cuh")
    library.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), 1, headers, names)
    options = [option.encode() for option in ["--std=c++17", *options]]
    failed = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    log = text_of(library, program, "ProgramLog").decode()
    if failed:
        sys.exit(f"{name}:\n{log}")
    return text_of(library, program, what), log


def main():
    library = nvrtc()
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    prelude = (HERE / "prelude.cuh").read_bytes()
    for path in sorted(HERE.glob("*.cu")):
        source = path.read_bytes()
        ptx, _ = compile(library, path.name, source, prelude, [f"--gpu-architecture={ARCHITECTURE}"], "PTX")
        head = f"// source {digest(prelude, source)}, NVRTC {major.value}.{minor.value}, {ARCHITECTURE}\n"
        path.with_suffix(".ptx").write_bytes(head.encode() + ptx + b"\n")
        print(f"{path.name}: {len(ptx)} bytes of PTX")
        if "--report" in sys.argv:
            options = ["--gpu-architecture=sm_90", "--ptxas-options=-v"]
            _, log = compile(library, path.name, source, prelude, options, "CUBIN")
            print("\n".join(line for line in log.splitlines() if "ptxas" in line or "spill" in line))


if __name__ == "__main__":
    main()
