"""Checks of what adapterd ships in. A check is a function; it returns what it found, or raises `Failed` or `Skipped`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


class Failed(Exception):
    """What is wrong."""


class Skipped(Exception):
    """What is not here, and how to get it."""


def tool(name, install):
    """Where a program is: on the path, or beside the Python that runs this."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if not found:
        raise Skipped(f"needs {name}: {install}")
    return found


def module(name, install="pip install -r deploy/requirements.txt"):
    try:
        return __import__(name)
    except ImportError:
        raise Skipped(f"needs the module {name}: {install}") from None


def run(*command, cwd=ROOT, fine=(0,), env=None, timeout=120):
    """The output of a command that has to end as one of `fine`."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)
    if done.returncode not in fine:
        said = (done.stdout + done.stderr).strip()
        raise Failed(f"{Path(str(command[0])).name} exits with {done.returncode}: {said[-3000:]}")
    return done.stdout + done.stderr


def expect(true, why):
    if not true:
        raise Failed(why)


def yaml():
    return module("yaml")
