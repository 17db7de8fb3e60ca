"""Runs the commands of the how-tos, as they are written, against a program.

    python3 tests/docs/run.py target/release/adapterd [PAGE…]

A block of `sh` below a line `<!-- run -->` is run. The blocks of a page run in order, in one shell, in a folder of their
own in which `adapters` is the one of the source tree and `adapterd` is the program; state lies in a fresh data directory,
and the daemon listens on free ports in place of the usual ones. A command that fails ends its page. Exits with 1 where one
has failed, and with 2 where a page has nothing to run.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^<!-- run -->\n+```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HTTP, GRPC = "127.0.0.1:8080", "127.0.0.1:8081"


def blocks(page):
    """The blocks to run, each with the line it begins in."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(1)) + 1, found[1]) for found in BLOCK.finditer(text)]


def free_ports(count):
    """Addresses that nobody listens on now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [f"127.0.0.1:{door.getsockname()[1]}" for door in held]
    finally:
        for door in held:
            door.close()


def environment(folder, http, grpc):
    """What commands see: nothing of who runs this that would lead them to another daemon."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ADAPTERD_")}
    return kept | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "NO_PROXY": "127.0.0.1,localhost",
        "ADAPTERD_SERVER": http,
        "ADAPTERD_SERVER__HTTP": http,
        "ADAPTERD_SERVER__GRPC": grpc,
        "ADAPTERD_STORAGE__DATA_DIR": str(folder / "data"),
        "ADAPTERD_TELEMETRY__LOG": "warn",
    }


def script(found, http, grpc):
    """One script that leaves the line of the block it is at in the file `at`."""
    parts = ["set -eu"]
    for line, text in found:
        text = text.replace(HTTP, http).replace(GRPC, grpc)
        parts += [f"echo {line} > at", text]
    return "\n".join(parts)


def end(process):
    """Ends the shell and what it started: the group is its own. A daemon first gets to end by itself."""
    for last, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, last)
        except ProcessLookupError:
            return
        until = time.monotonic() + patience
        while time.monotonic() < until:
            process.poll()
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)


def run(page, program, limit, show):
    """Why a page does not hold, or None."""
    found = blocks(page)
    if not found:
        return "has nothing to run"
    with tempfile.TemporaryDirectory(prefix="adapterd-docs-") as name:
        folder = Path(name)
        (folder / "bin").mkdir()
        (folder / "bin" / "adapterd").symlink_to(program)
        (folder / "adapters").symlink_to(ROOT / "adapters")
        http, grpc = free_ports(2)
        said = folder / "said"
        with said.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                ["sh", "-c", script(found, http, grpc)],
                cwd=folder,
                env=environment(folder, http, grpc),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                code = f"none after {limit} s"
            finally:
                end(process)
        told = said.read_text(encoding="utf-8", errors="replace")
        at = (folder / "at").read_text().strip() if (folder / "at").exists() else "?"
    if show or code != 0:
        print(told.rstrip())
    return None if code == 0 else f"line {at}: exit code {code}"


def main():
    parser = argparse.ArgumentParser(description="Runs the commands of the how-tos.")
    parser.add_argument("program", type=Path, help="the adapterd to run")
    parser.add_argument("pages", nargs="*", type=Path, help="pages [default: those of docs/howto with marked blocks]")
    parser.add_argument("--limit", type=float, default=900, metavar="SECONDS", help="for one page [default: 900]")
    parser.add_argument("--show", action="store_true", help="print what commands said also where none failed")
    asked = parser.parse_intermixed_args()
    program = asked.program.resolve()
    if not os.access(program, os.X_OK):
        sys.exit(f"{program} is no program")
    pages = asked.pages or [page for page in sorted((ROOT / "docs" / "howto").glob("*.md")) if blocks(page)]
    if not pages:
        print("no page has anything to run")
        sys.exit(2)
    failed = empty = 0
    for page in pages:
        began = time.monotonic()
        why = run(page, program, asked.limit, asked.show)
        failed += why is not None
        empty += why == "has nothing to run"
        took = time.monotonic() - began
        print(f"{page.name}: {why or 'holds'} ({len(blocks(page))} blocks, {took:.0f} s)", flush=True)
    sys.exit(2 if empty and empty == failed else 1 if failed else 0)


if __name__ == "__main__":
    main()
