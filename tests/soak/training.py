#!/usr/bin/env python3
"""Kills a daemon at random moments while it trains, by every method in turn, and looks at what comes out.

Each job is run once undisturbed. Then the same job runs in a directory of its own, whose daemon is killed and started again over and
over, also while it starts: every step must be told once, with the same loss to the last bit, and the adapter must have the same bytes.
Python's standard library is all it needs; it stops only the daemons it started."""

import argparse
import hashlib
import json
import random
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from daemon import BINARY, ROOT, TIMEOUT, Daemon, cut_short  # noqa: E402: found beside the tests

BOUNDARY = "----training"
SETTINGS = {"ADAPTERD_TELEMETRY__LOG": "warn"}
# What all jobs have in common: rates of their own apart, whatever may differ between two runs is in use.
COMMON = {"max_seq": 256, "batch_size": 4, "save_every": 4, "eval_every": 10, "eval_split": 8, "schedule": "cosine", "seed": 5, "neftune_alpha": 5}
LONG = json.dumps([{"modules": "ffn", "layers": "1", "steps": 12}, {"modules": "attention,ffn", "steps": 12, "lr": 5e-4}])
JOBS: dict[str, dict] = {
    "lora": {"method": "lora", "rank": 8, "dropout": 0.1, "lr": 3e-3, "steps": 30, "keep": "best"},
    "lora in f16": {"method": "lora", "rank": 8, "lr": 3e-3, "steps": 30, "precision": "f16"},
    "dora": {"method": "dora", "rank": 8, "lr": 3e-3, "steps": 30, "micro_batch": 2},
    "ia3": {"method": "ia3", "lr": 1e-2, "steps": 30},
    "bottleneck": {"method": "bottleneck", "lr": 3e-3, "steps": 30, "gradient_checkpointing": "on"},
    "prefix": {"method": "prefix", "lr": 1e-2, "steps": 30, "prefix_projection": True},
    "prompt": {"method": "prompt", "lr": 1e-2, "steps": 30},
    "modules": {"method": "modules", "train_modules": "attention,norms", "lr": 1e-3, "steps": 24},
    "staged": {"method": "staged", "stages": LONG, "lr": 1e-3, "lr_decay_per_layer": 0.9},
    "full": {"method": "full", "lr": 1e-3, "steps": 20, "optimizer": "adamw8bit", "offload_optimizer": "disk", "precision": "bf16"},
    "full in f32": {"method": "full", "lr": 1e-3, "steps": 20},
    "dpo": {"method": "lora", "objective": "dpo", "rank": 8, "lr": 1e-3, "steps": 24},
}


class Wrong(Exception):
    pass


@dataclass
class Outcome:
    """What a job leaves: the loss of each step as the daemon writes it, and the digest of each file of its adapter."""

    losses: dict[int, str]
    files: dict[str, str]


class Trainer(Daemon):
    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> dict:
        status, answer = self.call(method, path, body, kind)
        if status not in (200, 201):
            raise Wrong(f"{method} {path}: {status} {answer[:300]!r}")
        # Numbers as they are written: equal texts are equal bits.
        return json.loads(answer, parse_float=str)

    def create(self, rows: bytes, settings: dict) -> str:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--{BOUNDARY}\r\n'
        head += 'Content-Disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n'
        body = head.encode() + rows + f"\r\n--{BOUNDARY}--\r\n".encode()
        file = self.ask("POST", "/v1/files", body, f"multipart/form-data; boundary={BOUNDARY}")["id"]
        base = next(model["id"] for model in self.ask("GET", "/v1/models")["data"] if not model.get("parent"))
        job = {"model": base, "training_file": file, "suffix": "killed", "adapterd": settings}
        return self.ask("POST", "/v1/fine_tuning/jobs", json.dumps(job).encode())["id"]

    def state(self, job: str) -> dict:
        return self.ask("GET", f"/v1/fine_tuning/jobs/{job}")

    def outcome(self, job: str) -> Outcome:
        losses, after = {}, ""
        while True:
            page = self.ask("GET", f"/v1/fine_tuning/jobs/{job}/events?limit=100{after}")
            for event in page["data"]:
                if event["type"] != "metrics":
                    continue
                step = event["data"]["step"]
                if step in losses:
                    raise Wrong(f"step {step} is told twice")
                losses[step] = event["data"]["train_loss"]
            if not page["has_more"]:
                break
            after = "&after=" + page["data"][-1]["id"]
        status, content = self.call("GET", "/v1/adapters/killed/content")
        if status != 200:
            raise Wrong(f"the adapter's content: {status} {content[:300]!r}")
        with tarfile.open(fileobj=BytesIO(content)) as tar:
            files = {member.name: hashlib.sha256(tar.extractfile(member).read()).hexdigest() for member in tar if member.isfile()}
        return Outcome(losses, files)


def ended(daemon: Trainer, job: str, seconds: float) -> bool:
    """Whether the job ends within so many seconds."""
    end = time.monotonic() + seconds
    while True:
        state = daemon.state(job)
        if state["status"] in ("failed", "cancelled"):
            raise Wrong(f"the job is {state['status']}: {state.get('error')}")
        left = end - time.monotonic()
        if state["status"] == "succeeded" or left <= 0:
            return state["status"] == "succeeded"
        time.sleep(min(0.02, left))


def undisturbed(binary: Path, rows: bytes, settings: dict) -> tuple[Outcome, float]:
    """And how many seconds it trains."""
    with tempfile.TemporaryDirectory() as folder:
        daemon = Trainer(binary, folder, settings=SETTINGS)
        job, began = daemon.create(rows, settings), time.monotonic()
        if not ended(daemon, job, 3 * TIMEOUT):
            raise Wrong("the job does not end")
        took, outcome = time.monotonic() - began, daemon.outcome(job)
        daemon.stop()
        return outcome, took


def killed(binary: Path, rows: bytes, settings: dict, most: int, longest: float, rng: random.Random) -> tuple[Outcome, int]:
    """With at most so many kills, each within `longest` seconds of a start; and how many there were."""
    kills, job = 0, None
    with tempfile.TemporaryDirectory() as folder:
        while True:
            if job is not None and kills < most and rng.random() < 0.1:
                cut_short(binary, folder, rng.random() * 0.3, SETTINGS)
                kills += 1
            daemon = Trainer(binary, folder, settings=SETTINGS)
            try:
                job = job or daemon.create(rows, settings)
                life = rng.random() * longest if kills < most else 3 * TIMEOUT
                if ended(daemon, job, life):
                    return daemon.outcome(job), kills
                if kills == most:
                    raise Wrong("the job does not end")
                kills += 1
            finally:
                daemon.process.kill()
                daemon.process.wait()


def compare(found: Outcome, expected: Outcome) -> None:
    if sorted(found.losses) != sorted(expected.losses):
        raise Wrong(f"steps {sorted(found.losses)} are told, not {sorted(expected.losses)}")
    other = [step for step, loss in found.losses.items() if loss != expected.losses[step]]
    if other:
        step = min(other)
        raise Wrong(f"the losses of {len(other)} steps differ, first that of step {step}: {found.losses[step]}, not {expected.losses[step]}")
    if found.files != expected.files:
        names = sorted(name for name in found.files.keys() | expected.files.keys() if found.files.get(name) != expected.files.get(name))
        raise Wrong(f"the adapter's files differ: {', '.join(names)}")


def preferences(rows: bytes) -> bytes:
    """Each answer against that of the row behind it."""
    parsed = [json.loads(row) for row in rows.splitlines()]
    pairs = zip(parsed, parsed[1:])
    said = [{"prompt": f"{a['instruction']}\n{a['input']}", "chosen": a["output"], "rejected": b["output"]} for a, b in pairs]
    return "\n".join(json.dumps(row) for row in said).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapterd", type=Path, default=BINARY)
    parser.add_argument("--kills", type=int, default=120, help="over all jobs")
    parser.add_argument("--jobs", default=",".join(JOBS), help="some of: " + ", ".join(JOBS))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng, jobs = random.Random(args.seed), args.jobs.split(",")
    rows = b"\n".join((ROOT / "adapters/legal/train.jsonl").read_bytes().splitlines()[:100])
    wrong, total = 0, 0
    for place, name in enumerate(jobs):
        settings = COMMON | JOBS[name]
        data = preferences(rows) if settings.get("objective") == "dpo" else rows
        wanted = (args.kills - total) // (len(jobs) - place)
        kills, runs = 0, 0
        try:
            expected, took = undisturbed(args.adapterd, data, settings)
            while kills < wanted:
                outcome, more = killed(args.adapterd, data, settings, wanted - kills, took * 0.7, rng)
                kills, runs = kills + more, runs + 1
                compare(outcome, expected)
            print(f"{name:12} {len(expected.losses):3} steps in {took:5.1f} s  {kills:3} kills in {runs} runs  equal", flush=True)
        except Wrong as fault:
            wrong += 1
            print(f"{name:12} WRONG: {fault}", flush=True)
        total += kills
    print(f"{total} kills")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
