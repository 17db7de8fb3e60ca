#!/usr/bin/env python3
"""Asks a daemon for ten times what it can answer, with three keys of weights 1, 2 and 4, and looks at who gets how much.

First one caller alone shows how long an answer takes. Then each key's clients ask at once, all the time, for as long as is said; a
refusal must come soon and say when to come back, the keys' tokens must be in proportion to their weights, and memory flat. At the end
the daemon must be as quick as before within seconds. Python's standard library is all it needs; it stops only the daemon it started."""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from daemon import BINARY, TIMEOUT, Daemon  # noqa: E402: found beside the tests

WEIGHTS = [1, 2, 4]
ROWS, QUEUE = 8, 48
SETTINGS = {"ADAPTERD_AUTH__MODE": "keys", "ADAPTERD_TELEMETRY__LOG": "warn", "ADAPTERD_LIMITS__QUEUE": str(QUEUE), "ADAPTERD_ENGINE__ROWS": str(ROWS)}
# Seconds at the beginning that are not looked at: queues fill, and memory with them.
SETTLING = 10
BUSY = {429, 503}
# What is demanded: of each share, seconds, MiB, seconds.
SHARE, REFUSAL, GROWTH, BACK = 0.05, 0.050, 8.0, 5.0


def ask(connection: http.client.HTTPConnection, key: str, tokens: int) -> tuple[int, bytes, bool]:
    body = json.dumps({"model": "legal", "prompt": "Hi", "max_tokens": tokens, "ignore_eos": True})
    connection.request("POST", "/v1/completions", body, {"content-type": "application/json", "authorization": f"Bearer {key}"})
    response = connection.getresponse()
    return response.status, response.read(), response.getheader("retry-after") is not None


class Load:
    """What all clients saw, by weight."""

    def __init__(self, daemon: Daemon, keys: dict[int, str], tokens: int):
        self.daemon, self.keys, self.tokens = daemon, keys, tokens
        self.lock, self.stop, self.began = threading.Lock(), threading.Event(), time.monotonic()
        self.answered, self.refused, self.odd = {weight: [] for weight in keys}, [], Counter()

    def client(self, weight: int) -> None:
        connection = self.daemon.connect()
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                status, body, says_when = ask(connection, self.keys[weight], self.tokens)
            except (OSError, http.client.HTTPException) as fault:
                with self.lock:
                    self.odd[type(fault).__name__] += 1
                connection.close()
                connection = self.daemon.connect()
                continue
            ended = time.monotonic()
            with self.lock:
                if status == 200:
                    self.answered[weight].append((ended - self.began, json.loads(body)["usage"]["completion_tokens"]))
                elif status in BUSY and says_when:
                    self.refused.append(ended - began)
                else:
                    self.odd[f"{status} {body[:80]!r}"] += 1
            if status != 200:
                # Sooner than it was told to, as those who make an overload do.
                self.stop.wait(0.25)
        connection.close()

    def run(self, clients: int, seconds: float) -> list[float]:
        """Memory, once a second."""
        threads = [threading.Thread(target=self.client, args=(weight,)) for weight in self.keys for _ in range(clients)]
        for thread in threads:
            thread.start()
        memory = []
        while time.monotonic() - self.began < seconds:
            memory.append(self.daemon.memory())
            time.sleep(1)
        self.stop.set()
        for thread in threads:
            thread.join(TIMEOUT)
        return memory

    def shares(self, seconds: float) -> dict[int, float]:
        sums = {weight: sum(count for at, count in ends if SETTLING <= at < seconds) for weight, ends in self.answered.items()}
        return {weight: count / max(sum(sums.values()), 1) for weight, count in sums.items()}


def alone(daemon: Daemon, key: str) -> float:
    """Seconds for an answer, the median of nine."""
    times, connection = [], daemon.connect()
    for _ in range(9):
        began = time.monotonic()
        status, body, _ = ask(connection, key, 16)
        if status != 200:
            raise SystemExit(f"one caller alone gets {status}: {body.decode()}")
        times.append(time.monotonic() - began)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapterd", type=Path, default=BINARY)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=60, help="of each key; three times 60 are ten times and more what 8 rows hold beside their queue's share")
    parser.add_argument("--tokens", type=int, default=48, help="of an answer")
    args = parser.parse_args()
    seconds, wrong = args.minutes * 60, []
    with tempfile.TemporaryDirectory() as folder:
        making = [str(args.adapterd), "key", "create", "--data-dir", folder, "--name"]
        subprocess.run([*making, "root", "--scopes", "admin"], check=True, capture_output=True)
        keys = {}
        for weight in WEIGHTS:
            made = subprocess.run([*making, f"w{weight}", "--scopes", "infer", "--weight", str(weight)], check=True, capture_output=True, text=True)
            keys[weight] = made.stdout.strip()
        daemon = Daemon(args.adapterd, folder, settings=SETTINGS)
        before = alone(daemon, keys[1])
        load = Load(daemon, keys, args.tokens)
        memory = load.run(args.clients, seconds)
        # From the moment at which the last of them has its answer.
        ended = time.monotonic()
        while (after := alone(daemon, keys[1])) > 1.5 * before and time.monotonic() - ended < 60:
            pass
        back = time.monotonic() - ended
        daemon.stop()
    shares, refused = load.shares(seconds), sorted(load.refused)
    for weight, share in shares.items():
        due = weight / sum(WEIGHTS)
        print(f"weight {weight}: {share:.4f} of the tokens, {due:.4f} due, {100 * (share / due - 1):+.1f} %")
        if abs(share / due - 1) > SHARE:
            wrong.append(f"the share of weight {weight}")
    tokens = sum(count for ends in load.answered.values() for at, count in ends if SETTLING <= at < seconds)
    print(f"{tokens / (seconds - SETTLING):.0f} tokens a second, {sum(map(len, load.answered.values()))} answers, {len(refused)} refusals")
    if refused:
        late = refused[int(len(refused) * 0.99)]
        print(f"refusals: median {1000 * statistics.median(refused):.1f} ms, 99 % {1000 * late:.1f} ms, longest {1000 * refused[-1]:.1f} ms")
        if late > REFUSAL:
            wrong.append("how long refusals take")
    else:
        wrong.append("nothing was refused, so this was no overload")
    settled = memory[SETTLING : SETTLING + max(len(memory) // 4, 1)]
    grown = statistics.median(memory[-len(settled) :]) - statistics.median(settled)
    print(f"memory: {statistics.median(settled):.1f} MiB once it had settled, {grown:+.1f} at the end")
    if grown > GROWTH:
        wrong.append("memory")
    print(f"one caller alone: {1000 * before:.1f} ms before, {1000 * after:.1f} after, {back:.1f} s after the load had ended")
    if back > BACK:
        wrong.append("how long it takes to be back")
    for what, count in load.odd.items():
        wrong.append(f"{count} answers were {what}")
    for fault in wrong:
        print(f"WRONG: {fault}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
