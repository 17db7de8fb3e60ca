#!/usr/bin/env python3
"""Checks all that adapterd ships in, as far as this machine can, and says what it could not check.

    python3 -m venv .venv && .venv/bin/pip install -r deploy/requirements.txt
    .venv/bin/python deploy/check.py [--binary target/dist/adapterd] [--crds FOLDER]

Exit 0 if nothing failed; what was skipped is named with what it needs.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from checks import Failed, Skipped, chart, containers, live, service, supply, watching  # noqa: E402

MODULES = [watching, containers, service, chart, supply, live]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, help="a built adapterd, for what needs a running one")
    parser.add_argument("--crds", type=Path, help="a folder with definitions of custom resources, as YAML")
    parser.add_argument("--only", default="", help="checks whose names have this in them")
    arguments = parser.parse_args()
    live.binary = arguments.binary and arguments.binary.resolve()
    chart.crds = arguments.crds
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    for module in MODULES:
        for check in module.CHECKS:
            name = check.__name__.replace("_", " ")
            if arguments.only not in name:
                continue
            began = time.monotonic()
            try:
                state, said = "ok", check()
            except Skipped as why:
                state, said = "skipped", str(why)
            except Failed as why:
                state, said = "FAILED", str(why)
            # One broken check must not hide the others.
            except Exception as why:
                state, said = "FAILED", repr(why)
            counts[state] += 1
            print(f"{state:8} {name} ({said}; {time.monotonic() - began:.1f} s)", flush=True)
    live.stop()
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
