#!/usr/bin/env python3
"""Asks names so many times while versions of them are published, promoted, rolled back and canaried.

What each version says to each prompt is known before. Every answer must be one version's word for word, under that version's
generation wherever it is told, and that version one which the name had at some time between the question and the answer: a
change that was acknowledged holds for every later question. At the end, and after a start on the same directory, every name is
what was acknowledged last, and the audit has each acknowledged change once, in order. Python's standard library is all it needs;
it stops only the daemons it started."""

import argparse
import collections
import itertools
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from daemon import BINARY, TIMEOUT, Daemon  # noqa: E402: found beside the tests

SETTINGS = {"ADAPTERD_TELEMETRY__LOG": "warn"}
NAMES = ["red", "green", "blue"]
VERSIONS = 6
TOKENS = 4
PROMPTS = ["Write the clinical note as a plain sentence.", "Explain the clause in plain words.", "RTC 27 wk, ECG.", "The clerk", "Hello"]
# The daemon's word for "come back later".
BUSY = {429, 503}


class Wrong(Exception):
    pass


class Connection:
    """One that is kept open, and reads no more of HTTP than this daemon sends."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def more(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise Wrong("a connection ended within an answer")
        self.buffer += piece

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self.more()
        taken, self.buffer = self.buffer.split(mark, 1)
        return taken

    def take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.more()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self.socket.sendall(request)
        first, *lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "content-length" in headers:
            return int(first.split()[1]), headers, self.take(int(headers["content-length"]))
        pieces = []
        while size := int(self.until(b"\r\n"), 16):
            pieces.append(self.take(size))
            self.until(b"\r\n")
        self.until(b"\r\n")
        return int(first.split()[1]), headers, b"".join(pieces)


def question(model: str, prompt: str, streamed: bool) -> bytes:
    body = {"model": model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, "stream": streamed}
    text = json.dumps(body).encode()
    return b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text)


def answer(connection: Connection, request: bytes) -> tuple[str, str] | None:
    """The generation that is told everywhere in the answer, and the text; `None` where the daemon is busy."""
    status, headers, body = connection.ask(request)
    if status in BUSY:
        return None
    if status != 200:
        raise Wrong(f"{status}: {body.decode(errors='replace')[:300]}")
    if headers["content-type"].startswith("text/event-stream"):
        lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
        if lines[-1] != b"[DONE]":
            raise Wrong(f"a stream broke off: {body[-300:]}")
        chunks = [json.loads(line) for line in lines[:-1]]
    else:
        chunks = [json.loads(body)]
    told = {chunk.get("adapter_generation") for chunk in chunks} | {headers.get("adapter-generation")}
    if len(told) != 1:
        raise Wrong(f"one answer of several generations: {told}")
    return told.pop(), "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])


class Api:
    def __init__(self, daemon: Daemon):
        self.daemon = daemon

    def call(self, method: str, path: str, body: dict | bytes | None = None) -> dict:
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        while True:
            status, answer = self.daemon.call(method, path, data, kind)
            if status not in BUSY:
                break
            time.sleep(0.05)
        if status not in (200, 201):
            raise Wrong(f"{method} {path}: {status} {answer.decode(errors='replace')[:300]}")
        return json.loads(answer)

    def audit(self, name: str) -> list[tuple[str, str]]:
        """What was done to a name and what came of it, the oldest first."""
        rows, after = [], ""
        while True:
            page = self.call("GET", f"/v1/audit?object={name}&limit=1000{after}")
            rows += [(row["action"], row["after"]) for row in page["data"]]
            if not page["has_more"]:
                return rows[::-1]
            after = f"&after={page['data'][-1]['id']}"


def versions(daemon: Daemon) -> tuple[dict[str, bytes], dict[tuple[str, str], str]]:
    """Archives of versions by generation, and what each says to each prompt: never the same as another."""
    api, rng, connection = Api(daemon), random.Random(7), Connection(daemon.port)
    archives, says = {}, {}
    for at in range(200):
        parts = {"legal": round(rng.uniform(-2, 2), 3), "medical": round(rng.uniform(-2, 2), 3)}
        api.call("POST", "/v1/adapters/maker/blend", {"from": parts})
        said = [answer(connection, question("maker", prompt, False)) for prompt in PROMPTS]
        generation = said[0][0]
        if generation in archives or any(says[other, prompt] == text for other in archives for prompt, (_, text) in zip(PROMPTS, said)):
            continue
        status, archive = daemon.call("GET", "/v1/adapters/maker/content")
        if status != 200:
            raise Wrong(f"a version cannot be read: {status}")
        archives[generation] = archive
        says |= {(generation, prompt): text for prompt, (_, text) in zip(PROMPTS, said)}
        if len(archives) == VERSIONS:
            api.call("DELETE", "/v1/adapters/maker")
            return archives, says
    raise Wrong("this base's blends do not differ enough to be told apart by their answers")


class Name:
    """A name, and who changes it. `may` holds which versions may answer, one entry for each moment at which that changed."""

    def __init__(self, name: str, archives: dict[str, bytes], seed: int):
        self.name, self.archives, self.rng = name, archives, random.Random(seed)
        self.view, self.may, self.done, self.acknowledged = None, [], collections.Counter(), []

    def path(self, rest: str = "") -> str:
        return f"/v1/adapters/{self.name}{rest}"

    def canary(self) -> str | None:
        return (self.view["route"].get("canary") or {}).get("generation")

    def state(self) -> tuple:
        canary = self.view["route"].get("canary") or {}
        return self.view["generation"], self.view["previous_generation"], canary.get("generation"), canary.get("percent")

    def answering(self) -> set[str]:
        return {self.view["generation"], self.canary()} - {None}

    def change(self, api: Api) -> None:
        acts = ["publish", "promote"]
        if self.view:
            acts += ["alter", "abort", "take over"] if self.canary() else ["begin", "begin", "by policy"]
            acts += ["rollback"] if self.view["previous_generation"] else []
        act = self.rng.choice(acts) if self.view else "publish"
        taken = self.answering() if self.view else set()
        other = self.rng.choice([one for one in self.archives if one not in taken])
        held = [one for one in self.view["generations"] if one not in taken] if self.view else []
        if act in ("promote", "begin", "by policy") and not held:
            act = "publish"
        stable, action = self.view and self.view["generation"], None
        if act == "publish":
            stable, action = other, "adapter.publish"
            ask = ("PUT", self.path(), self.archives[other])
        elif act == "promote":
            stable, action = self.rng.choice(held), "adapter.promote"
            ask = ("POST", self.path("/promote"), {"generation": stable})
        elif act == "rollback":
            stable, action = self.view["previous_generation"], "adapter.rollback"
            ask = ("POST", self.path("/rollback"), {})
        elif act in ("begin", "alter", "by policy"):
            canary, action = self.canary() or self.rng.choice(held), "adapter.canary"
            body = {"generation": canary, "percent": self.rng.randrange(1, 100), "sticky": self.rng.choice(["request", "caller"])}
            if act == "by policy":
                body["policy"] = {"min_requests": 20, "max_error_rate": 0.0, "promote_after": 0}
            ask = ("POST", self.path("/canary"), body)
            taken = taken | {canary}
        elif act == "abort":
            action, ask = "adapter.canary_abort", ("POST", self.path("/canary/abort"), {})
        else:
            stable, action = self.canary(), "adapter.canary_promote"
            ask = ("POST", self.path("/canary/promote"), {})
        # Until it is answered both may be.
        self.may.append(taken | {stable})
        # The audit has the canary of what is done to one.
        about = canary if action == "adapter.canary" else self.canary() if action == "adapter.canary_abort" else None
        self.take(api.call(*ask), stable, action, about)
        self.done[act] += 1
        if act == "by policy":
            self.wait(api, canary)

    def take(self, view: dict, stable: str, action: str, about: str | None = None) -> None:
        if view["generation"] != stable:
            raise Wrong(f"{action} of {self.name} to {stable} is answered with {view}")
        self.view = view
        self.may.append(self.answering())
        self.acknowledged.append((action, about or stable))

    def wait(self, api: Api, canary: str) -> None:
        """Until the policy has promoted the canary."""
        until = time.monotonic() + TIMEOUT
        while (view := api.call("GET", self.path()))["route"].get("canary"):
            if time.monotonic() > until:
                raise Wrong(f"no policy has decided about the canary of {self.name}: {view['route']}")
            time.sleep(0.02)
        self.take(view, canary, "adapter.canary_promote")

    def check(self, api: Api) -> None:
        """Whether it is what was acknowledged last, and the audit tells all of it."""
        known = self.state()
        self.view = api.call("GET", self.path())
        if self.state() != known:
            raise Wrong(f"{self.name} is {self.state()}, and {known} was acknowledged")
        audit = api.audit(self.name)
        if audit != self.acknowledged:
            at = next(at for at, (one, other) in enumerate(itertools.zip_longest(audit, self.acknowledged)) if one != other)
            raise Wrong(f"line {at} of {len(audit)} about {self.name} is {audit[at : at + 1]}, and {self.acknowledged[at : at + 1]} was acknowledged")


class Run:
    def __init__(self, daemon: Daemon, args, names: list[Name], says: dict[tuple[str, str], str]):
        self.daemon, self.args, self.names, self.says = daemon, args, names, says
        self.left, self.wrong, self.lock = args.requests, [], threading.Lock()
        self.counts, self.by, self.stop = collections.Counter(), collections.Counter(), threading.Event()
        self.questions = {
            (name.name, prompt, streamed): question(name.name, prompt, streamed)
            for name in names
            for prompt in PROMPTS
            for streamed in (False, True)
        }

    def take(self) -> bool:
        with self.lock:
            self.left -= 1
            return self.left >= 0 and not self.wrong

    def fail(self, fault: BaseException) -> None:
        with self.lock:
            self.wrong.append(f"{type(fault).__name__}: {fault}")
        self.stop.set()

    def client(self, seed: int) -> None:
        rng, counts, by = random.Random(seed), collections.Counter(), collections.Counter()
        try:
            connection = Connection(self.daemon.port)
            while self.take():
                name, prompt, streamed = rng.choice(self.names), rng.choice(PROMPTS), rng.random() < 0.3
                request = self.questions[name.name, prompt, streamed]
                while True:
                    since = len(name.may) - 1
                    answered = answer(connection, request)
                    if answered is not None:
                        break
                    counts["refused, and asked again"] += 1
                    time.sleep(0.05)
                generation, text = answered
                if not any(generation in may for may in name.may[since:]):
                    raise Wrong(f"{generation} answers for {name.name}, which had {name.may[since:]}")
                if text != self.says[generation, prompt]:
                    owners = [other for (other, asked), said in self.says.items() if asked == prompt and said == text]
                    raise Wrong(f"{generation} says {text!r} to {prompt!r}, and {self.says[generation, prompt]!r} before; that is said by {owners}")
                counts["streamed" if streamed else "whole"] += 1
                by[generation] += 1
        except Exception as fault:  # noqa: BLE001: whatever it is, the run has failed
            self.fail(fault)
        with self.lock:
            self.counts += counts
            self.by += by

    def changer(self, name: Name) -> None:
        api = Api(self.daemon)
        try:
            while not self.stop.is_set():
                name.change(api)
                self.stop.wait(name.rng.random() * 2 * self.args.pause)
        except Exception as fault:  # noqa: BLE001
            self.fail(fault)

    def whole(self) -> None:
        began = time.monotonic()
        changers = [threading.Thread(target=self.changer, args=(name,)) for name in self.names]
        clients = [threading.Thread(target=self.client, args=(self.args.seed + at,)) for at in range(self.args.clients)]
        for thread in changers + clients:
            thread.start()
        told = began
        while any(thread.is_alive() for thread in clients):
            time.sleep(0.2)
            if time.monotonic() - told > 60:
                told = time.monotonic()
                asked, changed = self.args.requests - self.left, sum(sum(name.done.values()) for name in self.names)
                print(f"{told - began:6.0f} s  {asked} asked  {changed} changes  {self.daemon.memory():.1f} MiB", flush=True)
        seconds = time.monotonic() - began
        # A policy needs answers to decide by; those who wait for one are asked on until it has.
        self.stop.set()
        while any(thread.is_alive() for thread in changers) and not self.wrong:
            self.left = 100
            self.client(self.args.seed)
        for thread in changers:
            thread.join(TIMEOUT)
        self.counts["seconds"] = round(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapterd", type=Path, default=BINARY)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two changes of a name, on average")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(args.adapterd, folder, settings=SETTINGS)
        archives, says = versions(daemon)
        names = [Name(name, archives, args.seed + at) for at, name in enumerate(NAMES)]
        for name in names:
            name.change(Api(daemon))
        run = Run(daemon, args, names, says)
        run.whole()
        wrong, start = run.wrong, daemon
        try:
            for again in (False, True):
                if again:
                    start.stop()
                    start = Daemon(args.adapterd, folder, settings=SETTINGS)
                for name in names:
                    name.check(Api(start))
                state = Api(start).call("GET", "/v1/audit/verify")
                if not state["intact"]:
                    raise Wrong(f"the audit is broken: {state}")
        except Wrong as fault:
            wrong.append(str(fault))
        start.stop()
        offline = subprocess.run([str(args.adapterd), "audit", "verify", "--data-dir", folder], capture_output=True, text=True)
        if offline.returncode != 0:
            wrong.append(f"audit verify: {offline.stdout}{offline.stderr}")
    for what, count in sorted(run.counts.items()) + sorted(sum((name.done for name in names), collections.Counter()).items()):
        print(f"{count:9}  {what}")
    print(f"answers by version: {sorted(run.by.values())}; {offline.stdout.strip()}")
    for fault in wrong:
        print(f"WRONG: {fault}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
