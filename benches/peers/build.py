#!/usr/bin/env python3
"""Builds llama.cpp's server for this processor from the source inside the llama-cpp-python package."""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import layout

# What the published numbers were measured with.
VERSION = "0.3.36"
TARGETS = ["llama-server", "llama-bench", "llama-quantize"]


def download(dir: Path, version: str) -> Path:
    """The source archive, from the package index this Python is set up for."""
    found = sorted(dir.glob(f"llama_cpp_python-{version}.tar.gz"))
    if not found:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python"]
        subprocess.run([*pip, "--dest", str(dir), f"llama-cpp-python=={version}"], check=True)
        found = sorted(dir.glob(f"llama_cpp_python-{version}.tar.gz"))
    return found[0]


def unpack(archive: Path, dir: Path) -> Path:
    source = dir / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
    if not source.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(dir, filter="data")
    return source


def keep_tile_config(source: Path) -> None:
    """With gcc 12 and before, `_tile_loadconfig` reads eight bytes as the compiler sees it and 64 as the processor does, so the
    stores to the rest of the structure go missing and the first product ends the process. One empty statement keeps them."""
    path = source / "ggml" / "src" / "ggml-cpu" / "amx" / "mmq.cpp"
    load, kept = "    _tile_loadconfig(&tc);", '    __asm__ volatile("" : : "m"(tc));\n'
    text = path.read_text()
    if load in text and kept not in text:
        path.write_text(text.replace(load, kept + load))


def build(source: Path, dir: Path, jobs: int) -> None:
    # cmake and ninja may be Python packages of this very environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = {**os.environ, "PATH": path}
    cmake = shutil.which("cmake", path=path) or sys.exit("build.py: needs cmake and ninja: pip install -r requirements.txt")
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "GGML_NATIVE": "ON",
        "BUILD_SHARED_LIBS": "OFF",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
        "LLAMA_BUILD_UI": "OFF",
        "LLAMA_USE_PREBUILT_UI": "OFF",
    }
    flags = [f"-D{key}={value}" for key, value in settings.items()]
    subprocess.run([cmake, "-S", str(source), "-B", str(dir), "-G", "Ninja", *flags], check=True, env=env)
    subprocess.run([cmake, "--build", str(dir), "-j", str(jobs), "--target", *TARGETS], check=True, env=env)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    layout.add_argument(args)
    args.add_argument("--version", default=VERSION, help=f"of llama-cpp-python (default {VERSION})")
    args.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at once (default: one for each core)")
    args = args.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    source = unpack(download(args.dir, args.version), args.dir)
    keep_tile_config(source)
    build(source, args.dir / "build", args.jobs)
    print(f"built {', '.join(TARGETS)} in {layout.program(args.dir, 'llama-server').parent}")


if __name__ == "__main__":
    main()
