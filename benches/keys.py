#!/usr/bin/env python3
"""What keys, their limits and the record of changes cost a request of one token. Where the machine is not quiet: many short rounds.

Two daemons on the embedded base, one that asks nobody who they are and one that asks for a key with limits on requests, tokens and
streams, take turns: a round is so many requests on 16 connections that are kept open, each with one request at a time. A pair is
a round of each, and every second pair begins with the other daemon. Python's standard library is all it needs; it stops only the
daemons it started."""

import argparse
import json
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from daemon import BINARY, TIMEOUT, Daemon  # noqa: E402: found beside the tests

BODY = {"model": "legal", "prompt": "Hello", "max_tokens": 1, "temperature": 0, "ignore_eos": True}
LIMITS = ["--requests-per-minute", "100000000", "--tokens-per-minute", "1000000000", "--concurrent", "1000"]


class Client:
    """The connections to one daemon: one thread, and no more is parsed than where an answer ends."""

    def __init__(self, daemon: Daemon, connections: int, key: str | None):
        self.daemon, body = daemon, json.dumps(BODY).encode()
        key = f"authorization: Bearer {key}\r\n" if key else ""
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\n{key}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body
        self.sockets = [socket.create_connection(("127.0.0.1", daemon.port), timeout=TIMEOUT) for _ in range(connections)]
        for one in self.sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def processor(self) -> float:
        """Seconds of a processor that the daemon's threads have used."""
        threads = Path(f"/proc/{self.daemon.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    @staticmethod
    def is_whole(answer: bytes) -> bool:
        head, mark, body = answer.partition(b"\r\n\r\n")
        if not mark:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not answered: {answer.decode(errors='replace')}")
        at = head.lower().index(b"content-length:") + len(b"content-length:")
        return len(body) == int(head[at:].split(b"\r\n", 1)[0])

    def round(self, requests: int) -> tuple[float, float]:
        """Requests a second, and the daemon's microseconds for one."""
        used, began, left, open_ = self.processor(), time.monotonic(), requests, 0
        with selectors.DefaultSelector() as selector:
            for one in self.sockets:
                one.sendall(self.request)
                selector.register(one, selectors.EVENT_READ, bytearray())
                left, open_ = left - 1, open_ + 1
            while open_:
                for ready, _ in selector.select(TIMEOUT):
                    ready.data.extend(ready.fileobj.recv(65536))
                    if not self.is_whole(bytes(ready.data)):
                        continue
                    ready.data.clear()
                    if left > 0:
                        ready.fileobj.sendall(self.request)
                        left -= 1
                    else:
                        open_ -= 1
        return requests / (time.monotonic() - began), 1e6 * (self.processor() - used) / requests


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapterd", type=Path, default=BINARY)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--requests", type=int, default=1000, help="in one round")
    parser.add_argument("--connections", type=int, default=16)
    args = parser.parse_args()
    settings = {"ADAPTERD_TELEMETRY__LOG": "warn"}
    with tempfile.TemporaryDirectory() as open_, tempfile.TemporaryDirectory() as kept:
        making = [str(args.adapterd), "key", "create", "--data-dir", kept, "--name"]
        subprocess.run([*making, "root", "--scopes", "admin"], check=True, capture_output=True)
        key = subprocess.run([*making, "one", "--scopes", "infer", *LIMITS], check=True, capture_output=True, text=True).stdout.strip()
        off = Client(Daemon(args.adapterd, open_, settings=settings), args.connections, None)
        on = Client(Daemon(args.adapterd, kept, settings=settings | {"ADAPTERD_AUTH__MODE": "keys"}), args.connections, key)
        clients, rows = {"off": off, "on": on}, []
        for client in clients.values():
            client.round(args.requests)
        for pair in range(args.pairs):
            order = list(clients) if pair % 2 else list(clients)[::-1]
            rows.append({name: clients[name].round(args.requests) for name in order})
            (off_rate, off_used), (on_rate, on_used) = rows[-1]["off"], rows[-1]["on"]
            print(f"off {off_rate:7.0f}/s {off_used:6.0f} µs   on {on_rate:7.0f}/s {on_used:6.0f} µs   on ÷ off {on_rate / off_rate:.3f}", flush=True)
        whole = {name: [sum(1 / row[name][0] for row in rows), sum(row[name][1] for row in rows)] for name in clients}
        print(f"requests a second, on ÷ off: {spread([row['on'][0] / row['off'][0] for row in rows])}, {args.pairs} pairs of {args.requests}")
        print(f"the daemon's time for a request, off ÷ on: {spread([row['off'][1] / row['on'][1] for row in rows])}")
        print("all rounds together: {:.3f} and {:.3f}".format(*(off / on for off, on in zip(whole["off"], whole["on"]))))
        for client in clients.values():
            client.daemon.stop()


if __name__ == "__main__":
    main()
