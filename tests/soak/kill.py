#!/usr/bin/env python3
"""Kills a daemon at random moments while keys, versions, canaries and feedback change, and looks at what is left of them.

Four clients each change what is theirs, one thing after the other. After every kill the daemon starts again on the same directory:
what was acknowledged must be there, the one change of each client that was not answered is whole or absent, with its line in the
audit or without, and the audit is one chain. Python's standard library is all it needs; it stops only the daemons it started."""

import argparse
import collections
import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from daemon import BINARY, TIMEOUT, Daemon, cut_short  # noqa: E402: found beside the tests

SETTINGS = {"ADAPTERD_AUTH__MODE": "keys", "ADAPTERD_FEEDBACK__CAPTURE": "true", "ADAPTERD_TELEMETRY__LOG": "warn"}
GONE = (OSError, http.client.HTTPException)
# Of a route, what somebody has asked for; the rest is counted.
ROUTE = ("stable", "canary", "shadow")


class Wrong(Exception):
    pass


class Api:
    """One connection at a time, kept open: a kill shows as one that breaks."""

    def __init__(self, key: str):
        self.key, self.daemon, self.connection = key, None, None

    def to(self, daemon: Daemon) -> "Api":
        self.daemon, self.connection = daemon, daemon.connect()
        return self

    def send(self, method: str, path: str, body: dict | None = None, key: str | None = None) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {key or self.key}"}
        if body is not None:
            headers["content-type"] = "application/json"
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = self.connection.getresponse()
        return response.status, response.read()

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        status, answer = self.send(method, path, body)
        if status != 200:
            raise Wrong(f"{method} {path} {body}: {status} {answer.decode(errors='replace')[:300]}")
        return json.loads(answer)


class Client:
    """Changes what is its own. `pending` is the change that was asked for and not answered yet: what it changes, and what it would be."""

    def __init__(self, key: str, seed: int):
        self.api, self.rng, self.pending, self.done = Api(key), random.Random(seed), None, collections.Counter()

    def run(self, stop: threading.Event, wrong: list[str]) -> None:
        try:
            while not stop.is_set():
                self.change()
        except GONE:
            return
        except Wrong as fault:
            wrong.append(str(fault))

    def change(self) -> None:
        raise NotImplementedError

    def check(self) -> None:
        """Whether what is there is what was acknowledged; settles the pending change."""
        raise NotImplementedError

    def audited(self, action: str, thing: str) -> int:
        """Lines of the audit about it."""
        return len(self.api.call("GET", f"/v1/audit?action={action}&object={thing}&limit=1000")["data"])


class Keys(Client):
    """Makes, rotates and revokes keys; knows of each its secret, the one before, and whether it has ended."""

    def __init__(self, key: str, seed: int):
        super().__init__(key, seed)
        self.keys, self.rotations, self.unsure, self.made = {}, collections.Counter(), None, 0

    def change(self) -> None:
        alive = [id for id, (_, ended) in self.keys.items() if not ended]
        act = self.rng.choice(["make", "rotate", "revoke"]) if len(alive) > 3 else "make"
        if act == "make":
            name = f"k{self.made}"
            self.made, self.pending = self.made + 1, ("make", name)
            answer = self.api.call("POST", "/v1/keys", {"name": name, "scopes": ["infer"]})
            self.keys[answer["id"]] = (answer["secret"], False)
        elif act == "rotate":
            id = self.rng.choice(alive)
            self.pending = ("rotate", id)
            answer = self.api.call("POST", f"/v1/keys/{id}/rotate", {"overlap": 0})
            self.keys[id] = (answer["secret"], False)
            self.rotations[id] += 1
        else:
            id = self.rng.choice(alive)
            self.pending = ("revoke", id)
            self.api.call("DELETE", f"/v1/keys/{id}")
            self.keys[id] = (self.keys[id][0], True)
        self.pending = None
        self.done[act] += 1

    def opens(self, secret: str) -> bool:
        status, _ = self.api.send("GET", "/v1/models", key=secret)
        if status not in (200, 401):
            raise Wrong(f"a key gets {status}")
        return status == 200

    def check(self) -> None:
        listed = {key["id"]: key for key in self.api.call("GET", "/v1/keys")["data"]}
        act, of = self.pending or (None, None)
        named = {key["name"]: id for id, key in listed.items()}
        if act == "make" and of in named:
            # Its secret was told to nobody: it is ended, as an administrator would.
            id = named[of]
            if self.audited("key.create", id) != 1:
                raise Wrong(f"key {id} is there and has no line in the audit")
            self.keys[id] = ("", True)
            self.api.call("DELETE", f"/v1/keys/{id}")
            listed[id]["revoked_at"] = 1
        for id, (_, ended) in self.keys.items():
            if id not in listed:
                raise Wrong(f"key {id} is lost")
            is_ended = listed[id]["revoked_at"] is not None
            if is_ended != ended and (act, of) == ("revoke", id):
                self.keys[id] = (self.keys[id][0], is_ended)
            elif is_ended != ended:
                raise Wrong(f"key {id}: ended is {is_ended}, and {ended} was acknowledged")
        # Secrets of some, and of what was changed last.
        for id in {*self.rng.sample(sorted(self.keys), min(5, len(self.keys))), *([of] if of in self.keys else [])}:
            secret, ended = self.keys[id]
            if not secret:
                continue
            opens = self.opens(secret)
            rotated = (act, of) == ("rotate", id) and self.audited("key.rotate", id) == self.rotations[id] + 1
            if opens == (ended or rotated):
                raise Wrong(f"key {id}: its secret opens: {opens}, ended: {ended}, rotated: {rotated}")
            if rotated:
                # The new secret was told to nobody.
                self.rotations[id] += 1
                self.keys[id] = (self.api.call("POST", f"/v1/keys/{id}/rotate", {"overlap": 0})["secret"], False)
                self.rotations[id] += 1
            elif self.audited("key.rotate", id) != self.rotations[id]:
                raise Wrong(f"key {id} has not the lines of its rotations")
        self.pending = None


class Versions(Client):
    """Makes versions of a name, rolls it back, and begins, changes, promotes and aborts canaries of it."""

    def __init__(self, key: str, seed: int, name: str):
        super().__init__(key, seed)
        self.name, self.known, self.weight = name, None, seed

    def path(self, rest: str = "") -> str:
        return f"/v1/adapters/{self.name}{rest}"

    @staticmethod
    def state(view: dict) -> dict:
        route = {part: dict(view["route"][part]) if part != "stable" else view["route"][part] for part in ROUTE if part in view["route"]}
        # Times are the daemon's.
        for part in route.values():
            if isinstance(part, dict):
                part.pop("since")
        return {"generation": view["generation"], "previous": view["previous_generation"], "generations": view["generations"], "route": route}

    def change(self) -> None:
        known = self.known
        acts = ["publish"]
        if known is not None:
            others = [one for one in known["generations"] if one != known["generation"]]
            if "canary" in known["route"]:
                acts += ["alter", "abort", "promote"]
            elif others:
                acts += ["begin", "begin"]
            if known["previous"]:
                acts += ["rollback"]
        act = self.rng.choice(acts)
        body, path = {}, self.path()
        if act == "publish":
            self.weight += 1
            path, body = self.path("/blend"), {"from": {"legal": 0.5 + self.weight % 9973 / 10000, "medical": 0.25}}
        elif act in ("begin", "alter"):
            of = self.rng.choice(others) if act == "begin" else known["route"]["canary"]["generation"]
            path = self.path("/canary")
            body = {"generation": of, "percent": self.rng.randrange(1, 100), "sticky": self.rng.choice(["request", "caller"])}
        elif act in ("abort", "promote"):
            path = self.path(f"/canary/{act}")
        else:
            path = self.path("/rollback")
        self.pending = (act, body)
        self.known = self.state(self.api.call("POST", path, body))
        self.pending = None
        self.done[act] += 1

    def whole(self, now: dict) -> bool:
        """Whether this is what the pending change makes of what was known."""
        act, body = self.pending or (None, {})
        known = self.known
        canary = known["route"].get("canary") if known else None
        of = now["route"].get("canary")
        if act == "publish":
            before = known["generations"] if known else []
            # The names of what is kept are bounded: those of before are where they were, but the oldest.
            kept = [one for one in now["generations"][1:] if one in before]
            return now["generation"] == now["generations"][0] and len(kept) == len(now["generations"]) - 1 and of == canary
        if act in ("begin", "alter"):
            return now["generation"] == known["generation"] and of == {"policy": {}} | (canary or {}) | body
        if act == "abort":
            return now["generation"] == known["generation"] and of is None
        if act == "promote":
            return now["generation"] == canary["generation"] and of is None
        if act == "rollback":
            return now["generation"] == known["previous"]
        return False

    def check(self) -> None:
        status, answer = self.api.send("GET", self.path())
        if status == 404 and self.known is None:
            self.pending = None
            return
        if status != 200:
            raise Wrong(f"{self.name}: {status} {answer.decode()[:200]}")
        now = self.state(json.loads(answer))
        if now != self.known and not self.whole(now):
            raise Wrong(f"{self.name} is {now}, and {self.known} was acknowledged, {self.pending} was not")
        self.known, self.pending = now, None
        # Every generation's files answer.
        model = self.name if self.rng.random() < 0.5 else f"{self.name}@{self.rng.choice(now['generations'])}"
        self.api.call("POST", "/v1/completions", {"model": model, "prompt": "Hello", "max_tokens": 1})


class Feedback(Client):
    """Asks, and says what answers were worth, again for some."""

    def __init__(self, key: str, seed: int):
        super().__init__(key, seed)
        self.given = {}

    def change(self) -> None:
        if self.given and self.rng.random() < 0.3:
            id = self.rng.choice(list(self.given)[-20:])
        else:
            id = self.api.call("POST", "/v1/completions", {"model": "legal", "prompt": "Hello", "max_tokens": 1})["id"].split("-", 1)[1]
        said = {"score": self.rng.randrange(-10, 11) / 10, "label": f"l{self.rng.randrange(1000)}"}
        if self.rng.random() < 0.5:
            said["correction"] = f"word {self.rng.randrange(1000)}"
        self.pending = (id, said)
        self.api.call("POST", "/v1/feedback", {"id": id} | said)
        self.given[id], self.pending = said, None
        self.done["feedback"] += 1

    def check(self) -> None:
        id, said = self.pending or (None, None)
        for one in {*list(self.given)[-20:], *self.rng.sample(sorted(self.given), min(10, len(self.given))), *([id] if id else [])}:
            status, answer = self.api.send("GET", f"/v1/feedback/{one}")
            if status == 404 and one == id and one not in self.given:
                continue
            if status != 200:
                raise Wrong(f"feedback {one}: {status} {answer.decode()[:200]}")
            read = json.loads(answer)
            now = {field: read[field] for field in ("score", "label", "correction") if read[field] is not None}
            if one == id and now == said:
                self.given[one] = said
            if now != self.given.get(one):
                raise Wrong(f"feedback {one} is {now}, and {self.given.get(one)} was acknowledged, {said} was not")
            if not read["captured"] or "Hello" not in json.dumps(read["input"]):
                raise Wrong(f"feedback {one} has lost its prompt")
        self.pending = None


def verified(api: Api, before: tuple[int, str]) -> tuple[int, str]:
    """The audit is whole, and has what it had."""
    state = api.call("GET", "/v1/audit/verify")
    if not state["intact"]:
        raise Wrong(f"the audit is broken: {state}")
    rows, digest = before
    if state["rows"] < rows:
        raise Wrong(f"the audit had {rows} lines, and has {state['rows']}")
    if rows:
        line = api.call("GET", f"/v1/audit?limit=1&after={rows + 1}")["data"]
        if not line or line[0]["digest"] != digest:
            raise Wrong(f"line {rows} of the audit is not {digest}: {line}")
    return state["rows"], state["digest"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapterd", type=Path, default=BINARY)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=1e9, help="end earlier, after so many")
    parser.add_argument("--longest", type=float, default=0.6, help="seconds that a daemon lives at most")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    wrong, kills, told, early, began, audit = [], 0, 0, 0, time.monotonic(), (0, "")
    with tempfile.TemporaryDirectory() as folder:
        making = [str(args.adapterd), "key", "create", "--name", "root", "--scopes", "admin", "--data-dir", folder]
        key = subprocess.run(making, capture_output=True, text=True, check=True).stdout.strip()
        clients = [Keys(key, args.seed), Versions(key, args.seed + 1, "one"), Versions(key, args.seed + 5000, "two"), Feedback(key, args.seed + 3)]
        reader = Api(key)
        while not wrong and kills < args.kills and time.monotonic() - began < args.minutes * 60:
            if rng.random() < 0.1:
                cut_short(args.adapterd, folder, rng.random() * 0.3, SETTINGS)
                kills += 1
            daemon = Daemon(args.adapterd, folder, settings=SETTINGS)
            try:
                for client in clients:
                    client.api.to(daemon)
                    client.check()
                audit = verified(reader.to(daemon), audit)
                stop = threading.Event()
                threads = [threading.Thread(target=client.run, args=(stop, wrong)) for client in clients]
                for thread in threads:
                    thread.start()
                # The moment of the kill is what is drawn; nothing waits for it.
                time.sleep(rng.random() * args.longest)
                daemon.process.kill()
                daemon.process.wait()
                stop.set()
                for thread in threads:
                    thread.join(TIMEOUT)
                kills += 1
                early += sum(client.pending is not None for client in clients)
            except Wrong as fault:
                wrong.append(str(fault))
            finally:
                daemon.process.kill()
                daemon.process.wait()
            if kills // 100 > told:
                told = kills // 100
                print(f"{time.monotonic() - began:6.0f} s  {kills} kills  {audit[0]} lines of audit", flush=True)
        offline = subprocess.run([str(args.adapterd), "audit", "verify", "--data-dir", folder], capture_output=True, text=True)
        if offline.returncode != 0:
            wrong.append(f"audit verify: {offline.stdout}{offline.stderr}")
    done = sum((client.done for client in clients), collections.Counter())
    for what, count in sorted(done.items()):
        print(f"{count:9}  {what}")
    print(f"{kills} kills, {early} changes were under way at one, {offline.stdout.strip()}")
    for fault in wrong:
        print(f"WRONG: {fault}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
