#!/usr/bin/env python3
"""What many registered adapters cost a daemon: its start, its memory, its lists, and a request for one that is not loaded.

Registers small adapters (rank 1 on the query projections) until there are as many as asked for, ends the daemon, and measures starts on
that data directory. Python's standard library is all it needs; it stops only the daemons it started."""

import argparse
import io
import json
import random
import statistics
import struct
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from daemon import BINARY, ROOT, Daemon  # noqa: E402: found beside the tests


def small_adapters(rng: random.Random):
    """Archives of adapters unlike each other, shaped after the legal adapter's query projections."""
    raw = (ROOT / "adapters/legal/adapter_model.safetensors").read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    tensors = json.loads(raw[8 : 8 + size])
    shapes = {name: entry["shape"] for name, entry in tensors.items() if ".q_proj." in name}
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"], "bias": "none", "task_type": "CAUSAL_LM"}
    while True:
        head, data = {}, bytearray()
        for name, shape in shapes.items():
            shape = [1 if "lora_A" in name else shape[0], shape[1] if "lora_A" in name else 1]
            values = [rng.gauss(0, 0.02) for _ in range(shape[0] * shape[1])]
            head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
            data += struct.pack(f"<{len(values)}f", *values)
        text = json.dumps(head).encode()
        files = {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": struct.pack("<Q", len(text)) + text + data}
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        yield out.getvalue()


def timed(work) -> float:
    """Milliseconds, the median of five."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        work()
        times.append(1000 * (time.monotonic() - began))
    return statistics.median(times)


def measure(binary: Path, data: Path, count: int, starts: int) -> dict:
    took, resident = [], []
    for _ in range(starts):
        daemon = Daemon(binary, data)
        took.append(daemon.start)
        resident.append(daemon.memory())
        last = daemon
        if len(took) < starts:
            daemon.stop()
    names = iter(random.Random(2).sample(range(count), min(count, 10)))

    def ask(path: str):
        status, body = last.call("GET", path)
        assert status == 200, body
        return body

    def cold():
        body = {"prompt": "hello", "max_tokens": 1, "adapter": f"many-{next(names):05}"}
        status, answer = last.call("POST", "/v1/completions", json.dumps(body).encode())
        assert status == 200, answer

    row = {
        "registered": count,
        "start_s": statistics.median(took),
        "resident_mib": statistics.median(resident),
        "list_ms": timed(lambda: ask("/v1/adapters")),
        "list_bytes": len(ask("/v1/adapters")),
        "models_ms": timed(lambda: ask("/v1/models")),
        "metrics_ms": timed(lambda: ask("/metrics")),
        "metrics_bytes": len(ask("/metrics")),
        "cold_request_ms": timed(cold) if count else None,
        "resident_after_mib": last.memory(),
    }
    last.stop()
    return row


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--binary", type=Path, default=BINARY)
    options.add_argument("--counts", default="0,1000,10000", help="how many adapters, ascending")
    options.add_argument("--starts", type=int, default=5, help="starts of which the median is told")
    options = options.parse_args()
    adapters, there = small_adapters(random.Random(1)), 0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        for count in map(int, options.counts.split(",")):
            if count > there:
                daemon, began = Daemon(options.binary, data), time.monotonic()

                def put(at: int, body: bytes) -> None:
                    status, answer = daemon.call("PUT", f"/v1/adapters/many-{at:05}", body, "application/x-tar")
                    assert status in (200, 201), answer

                with ThreadPoolExecutor(4) as pool:
                    waiting = [pool.submit(put, at, next(adapters)) for at in range(there, count)]
                    for one in waiting:
                        one.result()
                each = 1000 * (time.monotonic() - began) / (count - there)
                print(f"registered {count - there} more, {each:.1f} ms each", file=sys.stderr)
                there = count
                daemon.stop()
            print(json.dumps(measure(options.binary, data, count, options.starts)), flush=True)


if __name__ == "__main__":
    main()
