#!/usr/bin/env python3
"""Drives adapterd and its peers with one load generator, taking turns, and prints the ratios.

Samples are appended to results.json, so a long comparison may be taken in pieces; `--report` only prints."""

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import layout
import load
import report
from servers import Adapterd, LlamaBench, LlamaServer
from static_batch import StaticBatch


@dataclass(frozen=True)
class Case:
    """`adapters`: how many different ones the streams name in turn; 0 for the base."""

    streams: int
    prompt: int
    tokens: int
    adapters: int
    measure: str


CASES = {
    "decode": Case(1, 64, 64, 0, "decode"),
    "prompt": Case(1, 512, 1, 0, "prompt"),
    "base-8": Case(8, 64, 64, 0, "throughput"),
    "one-adapter-8": Case(8, 64, 64, 1, "throughput"),
    "distinct-8": Case(8, 64, 64, 8, "throughput"),
    "context-8k": Case(1, 8128, 64, 0, "decode"),
}
LOADED = 8


def requests(server, case: Case, rng: random.Random) -> list[load.Request]:
    """Prompts that were never sent before, so that nothing can be reused."""
    vocab = layout.SHAPES["1b"].vocab
    prompts = [[rng.randrange(layout.FIRST_WORD, vocab) for _ in range(case.prompt)] for _ in range(case.streams)]
    choice = [stream % case.adapters if case.adapters else None for stream in range(case.streams)]
    return [server.ask(prompt, case.tokens, adapter) for prompt, adapter in zip(prompts, choice)]


def warm(server, adapters: int, rng: random.Random) -> None:
    """Every adapter and the buffers of a full batch, once."""
    for case in [Case(1, 64, 8, 0, ""), Case(8, 64, 8, adapters, "")]:
        load.run(server.port, requests(server, case, rng), server.read)


def measure(server, case: Case, rng: random.Random) -> dict:
    if isinstance(server, LlamaBench):
        return server.measure(case)
    run = load.run(server.port, requests(server, case, rng), server.read)
    return {"value": getattr(run, case.measure)(), "firsts": run.firsts()}


def turns(servers: list, names: list[str], reps: int, rng: random.Random, samples: dict, save) -> None:
    """Each repetition runs every case on every server, which server goes first changing each time."""
    for rep in range(reps):
        for name in names:
            order = servers if rep % 2 == 0 else servers[::-1]
            for server in order:
                if isinstance(server, LlamaBench) and name not in server.cases:
                    continue
                sample = measure(server, CASES[name], rng)
                samples.setdefault(name, {}).setdefault(server.name, []).append(sample)
                print(f"  {name} {server.name}: {sample['value']:.1f}", file=sys.stderr)
            save()


def check(servers: list, rng: random.Random) -> None:
    """Both are to be the same model: greedy tokens of the base and of two adapters, side by side."""
    for adapter in [None, 0, 1]:
        prompt = [rng.randrange(layout.FIRST_WORD, 4000) for _ in range(24)]
        found = []
        for server in servers:
            request = server.ask(prompt, 16, adapter)
            ids = []
            load.run(server.port, [request], lambda event: ids.extend(server.ids(event)) or server.read(event))
            found.append(ids)
        same = sum(a == b for a, b in zip(*found))
        print(f"adapter {adapter}: {same} of 16 tokens agree", *found, sep="\n  ")


def memory(args, shape: str, quant: str, samples: dict) -> None:
    """Peak memory with sixteen adapters in use at once, each server by itself."""
    rng = random.Random(args.seed)
    case = Case(16, 64, 64, layout.ADAPTERS, "throughput")
    for make in [lambda: ours(args, shape, quant, layout.ADAPTERS), lambda: theirs(args, shape, quant, layout.ADAPTERS, 16, 256)]:
        with make() as server:
            measure(server, case, rng)
            sample = {"value": server.memory()}
            samples.setdefault("memory", {}).setdefault(server.name, []).append(sample)
    folder = layout.adapter_folder(args.dir, shape, 0)
    samples["memory"]["needed"] = {
        "weights": layout.model(args.dir, shape, quant).stat().st_size,
        "adapters": layout.ADAPTERS * (folder / "adapter_model.safetensors").stat().st_size,
        "keys and values": case.streams * (case.prompt + case.tokens) * layout.SHAPES[shape].cache_bytes(),
    }


def ours(args, shape: str, quant: str, adapters: int) -> Adapterd:
    return Adapterd(args.adapterd, args.dir, shape, quant, adapters, args.threads)


def theirs(args, shape: str, quant: str, adapters: int, slots: int, context: int) -> LlamaServer:
    # Its flash attention is the faster one on short contexts and three times slower after thousands of tokens.
    flash = "on" if context <= 2048 else "off"
    return LlamaServer(args.dir, shape, quant, adapters, args.threads, slots, context, flash)


def compare(args, shape: str, quant: str, names: list[str], samples: dict, save) -> None:
    # Pieces of one comparison ask with prompts of their own.
    rng = random.Random(f"{args.seed} {samples}")
    short = [name for name in names if name in CASES and name != "context-8k"]
    if short or "check" in names:
        with ours(args, shape, quant, LOADED) as us, theirs(args, shape, quant, LOADED, 8, 1024) as peer:
            for server in (us, peer):
                warm(server, LOADED, rng)
            if "check" in names:
                check([us, peer], rng)
            alone = LlamaBench(args.dir, shape, quant, args.threads)
            turns([us, peer, alone], short, args.reps, rng, samples, save)
    if "context-8k" in names:
        with ours(args, shape, quant, 0) as us, theirs(args, shape, quant, 0, 1, 8448) as peer:
            for server in (us, peer):
                load.run(server.port, requests(server, Case(1, 64, 8, 0, ""), rng), server.read)
            turns([us, peer], ["context-8k"], args.reps, rng, samples, save)
    if "static-batch" in names:
        static_batch(args, shape, quant, rng, samples)
    if "memory" in names:
        memory(args, shape, quant, samples)


def static_batch(args, shape: str, quant: str, rng: random.Random, samples: dict) -> None:
    """Eight different adapters against transformers with PEFT's `adapter_names`, whose batch cannot change while it runs."""
    case = CASES["distinct-8"]
    with ExitStack() as stack:
        us = stack.enter_context(ours(args, shape, quant, LOADED))
        peers = [
            stack.enter_context(StaticBatch(args.python, args.dir, shape, dtype, LOADED, args.threads)) for dtype in args.dtypes
        ]
        warm(us, LOADED, rng)
        kept = samples.setdefault("static-batch", {})
        for rep in range(args.reps):
            for one in [us, *peers] if rep % 2 == 0 else [*peers, us]:
                sample = measure(us, case, rng) if one is us else one.measure(case.prompt, case.tokens)
                kept.setdefault(one.name, []).append(sample)
                print(f"  static-batch {one.name}: {sample['value']:.1f}", file=sys.stderr)


def machine() -> dict:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    of = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in info if ":" in line}
    wanted = ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"]
    flags = of.get("flags", "").split()
    return {
        "processor": of.get("model name", platform.processor()), "cores": os.cpu_count(),
        "instructions": [flag for flag in wanted if flag in flags],
    }


def main() -> None:
    known = [*CASES, "static-batch", "memory", "check"]
    args = argparse.ArgumentParser(description=__doc__)
    layout.add_argument(args)
    args.add_argument("--adapterd", type=Path, default=layout.ROOT / "target" / "release" / "adapterd", help="the binary to measure")
    args.add_argument("--shapes", nargs="+", default=list(layout.SHAPES), choices=list(layout.SHAPES))
    args.add_argument("--quants", nargs="+", default=layout.QUANTS, choices=layout.QUANTS)
    args.add_argument("--cases", nargs="+", default=list(CASES), choices=known, help=f"of {', '.join(known)}")
    args.add_argument("--reps", type=int, default=5, help="repetitions, after a warm-up that does not count")
    args.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="compute threads of each server")
    args.add_argument("--results", type=Path, help="where samples are kept (default results.json in --dir)")
    args.add_argument("--python", default=sys.executable, help="a Python with torch, transformers and peft, for static-batch")
    args.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], help="of the static batch")
    args.add_argument("--seed", type=int, default=0, help="of prompts")
    args.add_argument("--report", action="store_true", help="measure nothing, print what was kept")
    args = args.parse_args()
    # On a signal to end, the servers end first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    path = args.results or args.dir / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {"samples": {}}
    if not args.report:
        version = subprocess.run([args.adapterd, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        results |= {"machine": machine(), "threads": args.threads, "adapterd": version}
        for shape in args.shapes:
            for quant in args.quants:
                samples = results["samples"].setdefault(shape, {}).setdefault(quant, {})
                print(f"{shape} {quant}", file=sys.stderr)
                save = lambda: path.write_text(json.dumps(results, indent=1))  # noqa: E731
                compare(args, shape, quant, args.cases, samples, save)
                save()
    print(report.markdown(results))


if __name__ == "__main__":
    main()
