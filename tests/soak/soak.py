#!/usr/bin/env python3
"""Keeps a daemon at saturation while adapters are loaded, replaced and unloaded and clients leave at random.

At the end it asserts that memory is flat, that nothing failed but what the daemon refused with 429 or 503, and that every
block and every lease came back. Python's standard library is all it needs; it stops only the daemon it started."""

import argparse
import collections
import io
import json
import random
import statistics
import sys
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from daemon import BINARY, TIMEOUT, Daemon  # noqa: E402: found beside the tests

ACTS = ["replace", "replace", "unload", "load", "pin", "rollback", "come and go", "list"]
# Each makes a version. A name keeps only its last ones, so memory has no reason to grow with them.
MAKING = {"replace", "rollback", "come and go"}
NAMES = [f"soak-{index}" for index in range(10)]
KEYS = [None, "sk-one", "sk-two", "sk-three"]
# Resident memory for half of the adapters, few rows and a small cache: everything that can run out does.
SETTINGS = {
    "ADAPTERD_ENGINE__ROWS": "12",
    "ADAPTERD_ENGINE__KV_BYTES": str(6 << 20),
    "ADAPTERD_LIMITS__QUEUE": "16",
    "ADAPTERD_ADAPTERS__RESIDENT_BYTES": str(3 << 20),
    "ADAPTERD_AUTH__WEIGHTS": "sk-two=2",
    "ADAPTERD_TELEMETRY__LOG": "warn",
}
# The daemon's word for "come back later".
BUSY = {429, 503}


@dataclass
class Tally:
    """What happened, counted by everyone."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: collections.Counter = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)

    def add(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def fail(self, what: str) -> None:
        with self.lock:
            self.counts["WRONG"] += 1
            if len(self.wrong) < 20:
                self.wrong.append(what)

    def first(self, seconds: float) -> None:
        with self.lock:
            self.firsts.append(seconds)


def versions(original: bytes, rng: random.Random):
    """Adapters unlike each other: the tar of one, with numbers changed in their last bits."""
    with tarfile.open(fileobj=io.BytesIO(original)) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    weights = next(name for name in files if name.endswith(".safetensors"))
    while True:
        changed = bytearray(files[weights])
        begin = 8 + int.from_bytes(changed[:8], "little")
        for at in range(begin, len(changed) - 4, 4096):
            changed[at] = rng.randrange(256)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, data in files.items():
                # What was recorded of the original is not true of this one.
                if name.endswith("adapterd.json"):
                    continue
                info = tarfile.TarInfo(name)
                info.size = len(changed) if name == weights else len(data)
                tar.addfile(info, io.BytesIO(changed if name == weights else data))
        yield out.getvalue()


class Client(threading.Thread):
    """Asks one thing after the other, in every way there is."""

    def __init__(self, daemon: Daemon, tally: Tally, stop: threading.Event, seed: int):
        super().__init__(daemon=True)
        self.to, self.tally, self.stop, self.rng = daemon, tally, stop, random.Random(seed)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.ask()
            except Exception as error:  # noqa: BLE001: whatever it is, it is counted, and the soak goes on
                self.tally.fail(f"{type(error).__name__}: {error}")

    def body(self) -> tuple[str, dict]:
        rng = self.rng
        adapter = rng.choice([None, "legal", "medical", *NAMES, *NAMES])
        words = [f"w{rng.randrange(50)}" for _ in range(rng.choice([1, 5, 30, 90]))]
        # Half of them begin alike, so that prefixes are found.
        text = ("Write the clinical note as a plain sentence. " if rng.random() < 0.5 else "") + " ".join(words)
        body = {"max_tokens": rng.choice([1, 8, 40, 120]), "temperature": rng.choice([0, 1]), "stream": rng.random() < 0.6}
        if adapter:
            body["adapter"] = adapter
        if rng.random() < 0.3:
            body |= {"n": rng.randint(1, 4), "logprobs": True if rng.random() < 0.5 else None}
        if rng.random() < 0.2:
            body["priority"] = rng.randint(-2, 2)
        if rng.random() < 0.1:
            body["timeout"] = rng.choice([0.05, 0.5, 5])
        if rng.random() < 0.5:
            body["ignore_eos"] = True
        if rng.random() < 0.5:
            return "/v1/chat/completions", body | {"messages": [{"role": "user", "content": text}]}
        if body.get("logprobs"):
            body["logprobs"] = 2
        return "/v1/completions", body | {"prompt": text, "echo": rng.random() < 0.1}

    def ask(self) -> None:
        path, body = self.body()
        headers = {"content-type": "application/json"}
        key = self.rng.choice(KEYS)
        if key:
            headers["authorization"] = f"Bearer {key}"
        began = time.monotonic()
        connection = self.to.connect()
        try:
            connection.request("POST", path, json.dumps(body), headers)
            if self.rng.random() < 0.05:
                self.tally.add("left before the answer")
                time.sleep(self.rng.random() * 0.2)
                return
            response = connection.getresponse()
            if response.status != 200:
                return self.refused(response, body)
            if not body["stream"]:
                self.whole(response, body)
            else:
                self.read_stream(response, body, began)
        finally:
            connection.close()

    def refused(self, response, body: dict) -> None:
        text = response.read().decode(errors="replace")
        if response.status in BUSY and response.getheader("retry-after"):
            self.tally.add(f"refused {response.status}")
            time.sleep(self.rng.random() * 0.3)
        elif response.status == 504 and "timeout" in body and "deadline_exceeded" in text:
            self.tally.add("deadline before a token")
        else:
            self.tally.fail(f"{response.status} {text[:300]} for {json.dumps(body)[:200]}")

    def whole(self, response, body: dict) -> None:
        answer = json.loads(response.read())
        ends = [choice["finish_reason"] for choice in answer["choices"]]
        if len(ends) != body.get("n", 1) or not all(end in ("stop", "length") for end in ends):
            self.tally.fail(f"an answer with {ends}")
        self.tally.add("answered whole")

    def read_stream(self, response, body: dict, began: float) -> None:
        leaves = self.rng.choice([None, None, None, 1, 5, 20])
        events, generation, ended = 0, None, 0
        for line in response:
            if not line.startswith(b"data: "):
                continue
            data = line[6:].strip()
            if data == b"[DONE]":
                if ended != body.get("n", 1):
                    self.tally.fail(f"{ended} answers ended of {body.get('n', 1)}")
                return self.tally.add("answered as a stream")
            chunk = json.loads(data)
            if "error" in chunk:
                code = chunk["error"]["code"]
                expected = code == "deadline_exceeded" and "timeout" in body and not ended
                if not expected:
                    self.tally.fail(f"a stream failed: {chunk}")
                return self.tally.add(f"stream ended by {code}")
            if events == 0:
                generation = chunk["adapter_generation"]
                self.tally.first(time.monotonic() - began)
            elif chunk["adapter_generation"] != generation:
                self.tally.fail("one answer of two generations")
            ended += sum(1 for choice in chunk["choices"] if choice.get("finish_reason"))
            events += 1
            if events == leaves:
                return self.tally.add("left within the answer")
        self.tally.fail("a stream broke off")


class Changer(threading.Thread):
    """Loads, replaces, unloads, pins and rolls back adapters; each has names of its own, so no other changes them."""

    def __init__(self, daemon: Daemon, tally: Tally, stop: threading.Event, names: list[str], tars, acts: list[str], seed: int):
        super().__init__(daemon=True)
        self.to, self.tally, self.stop, self.names, self.tars, self.acts = daemon, tally, stop, names, tars, acts
        self.rng = random.Random(seed)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.change()
            except Exception as error:  # noqa: BLE001
                self.tally.fail(f"{type(error).__name__}: {error}")
            time.sleep(self.rng.random() * 0.4)

    def tell(self, what: str, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bool:
        status, text = self.to.call(method, path, body or None, kind)
        if status in BUSY:
            self.tally.add(f"{what}: refused {status}")
        elif status in (200, 201, 204):
            self.tally.add(what)
        else:
            self.tally.fail(f"{what}: {status} {text[:300]}")
        return status in (200, 201, 204)

    def put(self, name: str, what: str) -> bool:
        return self.tell(what, "PUT", f"/v1/adapters/{name}", next(self.tars), "application/x-tar")

    def change(self) -> None:
        name = self.rng.choice(self.names)
        act = self.rng.choice(self.acts)
        if act == "replace":
            self.put(name, act)
        elif act == "pin":
            if self.tell("pin", "POST", f"/v1/adapters/{name}/pin"):
                time.sleep(self.rng.random())
                while not self.tell("unpin", "POST", f"/v1/adapters/{name}/unpin"):
                    time.sleep(0.1)
        elif act == "come and go":
            passing = f"passing-{self.names[0]}"
            if self.put(passing, "register"):
                while not self.tell("delete", "DELETE", f"/v1/adapters/{passing}"):
                    time.sleep(0.1)
        elif act == "rollback":
            # So that there is a version to go back to.
            if self.put(name, "replace"):
                self.tell(act, "POST", f"/v1/adapters/{name}/rollback")
        elif act == "list":
            self.tell("list", "GET", "/v1/adapters")
        else:
            self.tell(act, "POST", f"/v1/adapters/{name}/{act}")


def start(daemon: Daemon, tally: Tally, args, stop: threading.Event) -> list[threading.Thread]:
    status, original = daemon.call("GET", "/v1/adapters/legal/content")
    if status != 200:
        raise SystemExit("this base has no adapter `legal` to make others of")
    tars = versions(original, random.Random(args.seed))
    for name in NAMES:
        status, text = daemon.call("PUT", f"/v1/adapters/{name}", next(tars), "application/x-tar")
        if status not in (200, 201):
            raise SystemExit(f"{name}: {status} {text.decode()}")
    acts = [act for act in ACTS if not (args.no_new_versions and act in MAKING)]
    threads: list[threading.Thread] = [Client(daemon, tally, stop, args.seed + index) for index in range(args.clients)]
    for at, names in enumerate([NAMES[::2], NAMES[1::2]]):
        made = versions(original, random.Random(args.seed + 1 + at))
        threads.append(Changer(daemon, tally, stop, names, made, acts, at))
    for thread in threads:
        thread.start()
    return threads


def watch(daemon: Daemon, tally: Tally, minutes: float) -> list[float]:
    """Resident memory, sampled evenly over the time; prints a line a minute."""
    samples, began, told = [], time.monotonic(), 0
    while (passed := time.monotonic() - began) < minutes * 60:
        if daemon.process.poll() is not None:
            raise SystemExit(f"the daemon died after {passed:.0f} s:\n{daemon.said()}")
        samples.append(daemon.memory())
        if passed // 60 >= told:
            told += 1
            with tally.lock:
                counts = dict(tally.counts)
            done = sum(count for what, count in counts.items() if what.startswith("answered"))
            print(f"{passed / 60:5.1f} min  {samples[-1]:7.1f} MiB  {done} answered  {counts.get('WRONG', 0)} wrong", flush=True)
        time.sleep(1)
    return samples


def settle(daemon: Daemon) -> list[str]:
    """What has not come back, once there are no more requests."""
    for name in [*NAMES, "legal", "medical"]:
        daemon.call("POST", f"/v1/adapters/{name}/unload")
    held = {
        'adapterd_kv_blocks{state="used"}': "blocks",
        "adapterd_queue_depth": "requests waiting",
        "vllm:num_requests_running": "requests running",
        'adapterd_memory_bytes{part="adapters"}': "bytes of adapters, which leases hold",
    }
    end = time.monotonic() + 20
    while True:
        metrics = daemon.metrics()
        left = [f"{metrics[name]:.0f} {what}" for name, what in held.items() if metrics[name] != 0]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.2)


def growth(samples: list[float]) -> float:
    """MiB from the second quarter of the time to the last."""
    quarter = max(1, len(samples) // 4)
    return statistics.median(samples[-quarter:]) - statistics.median(samples[quarter : 2 * quarter])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapterd", type=Path, default=BINARY)
    parser.add_argument("--model", help="another base than the embedded one; it needs an adapter named `legal`")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=40, help="who ask at once")
    parser.add_argument("--growth", type=float, default=8, help="MiB that memory may grow after it has settled")
    parser.add_argument("--no-new-versions", action="store_true", help="load and unload only, to tell which of the two memory grows with")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder = tempfile.TemporaryDirectory()
    model = ["--model", args.model] if args.model else []
    daemon, tally, stop = Daemon(args.adapterd, folder.name, *model, settings=SETTINGS), Tally(), threading.Event()
    try:
        threads = start(daemon, tally, args, stop)
        samples = watch(daemon, tally, args.minutes)
        before = daemon.metrics()
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT)
        problems = [f"{sum(t.is_alive() for t in threads)} calls never ended"] if any(t.is_alive() for t in threads) else []
        problems += [f"left over: {what}" for what in settle(daemon)]
        grown = growth(samples)
        if grown > args.growth:
            problems.append(f"memory grew by {grown:.1f} MiB")
        problems += tally.wrong
        code = daemon.stop()
        if code != 0:
            problems.append(f"the daemon ended with {code}:\n{daemon.said()}")
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
    for what, count in sorted(tally.counts.items()):
        print(f"{count:9}  {what}")
    firsts = sorted(tally.firsts)
    if firsts:
        print(f"first event: median {firsts[len(firsts) // 2]:.3f} s, p99 {firsts[int(len(firsts) * 0.99)]:.3f} s, longest {firsts[-1]:.3f} s")
    steps = before.get("adapterd_step_seconds_count", 0)
    print(f"{steps:.0f} steps, memory {min(samples):.1f} to {max(samples):.1f} MiB, {growth(samples):+.1f} after it had settled")
    for problem in problems:
        print(f"WRONG: {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
