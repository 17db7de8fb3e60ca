"""The ratio table, as Markdown."""

from statistics import median

# number of the target, case, what is shown, unit, target
ROWS = [
    ("1", "decode", "decode, base, 1 stream", "tokens/s"),
    ("2", "prompt", "prompt of 512", "tokens/s"),
    ("", "base-8", "8 streams, base", "tokens/s"),
    ("3", "one-adapter-8", "8 streams, one adapter", "tokens/s"),
    ("4", "distinct-8", "8 streams, 8 different adapters", "tokens/s"),
    ("5", "distinct-8", "the same, time to first token p99", "ms"),
    ("6", "static-batch", "8 different adapters, PEFT's static batch", "tokens/s"),
    ("13", "context-8k", "decode after 8,128 tokens, 1 stream", "tokens/s"),
]
TARGETS = {
    "1": {"Q8_0": "≥ 1.3", "Q4_K_M": "≥ 1.1"},
    "2": "≥ 1.3",
    "3": "≥ 1.8",
    "4": "≥ 4.5",
    "5": "≤ 0.1",
    "6": "≥ 4",
    "13": "≥ 1.3",
}
MIB = 1 << 20


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def markdown(results: dict) -> str:
    machine = results.get("machine", {})
    lines = [
        f"{results.get('adapterd', 'adapterd')} on {machine.get('cores')} cores of {machine.get('processor')} "
        f"({', '.join(machine.get('instructions', []))}), {results.get('threads')} threads",
        "",
        "| # | Measure | Model | adapterd | peer | ratio (min–max) | target |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, case, title, unit in ROWS:
        for shape, quants in results["samples"].items():
            for quant, samples in quants.items():
                for peer in [name for name in samples.get(case, {}) if name != "adapterd"]:
                    lines.append(row(number, title, unit, shape, quant, samples[case], peer))
    for shape, quants in results["samples"].items():
        for quant, samples in quants.items():
            if "memory" in samples:
                lines.append(memory(shape, quant, samples["memory"]))
    return "\n".join(lines)


def row(number: str, title: str, unit: str, shape: str, quant: str, case: dict, peer: str) -> str:
    if unit == "ms":
        of = [1e3 * percentile([first for sample in case[name] for first in sample["firsts"]], 0.99) for name in ("adapterd", peer)]
        ratio = f"**{of[0] / of[1]:.2f}**"
    else:
        values = [[sample["value"] for sample in case[name]] for name in ("adapterd", peer)]
        of = [median(each) for each in values]
        # Pairs are of one repetition; a peer added later has fewer.
        ratios = sorted(a / b for a, b in zip(*(each[::-1] for each in values)))
        ratio = f"**{median(ratios):.2f}** ({ratios[0]:.2f}–{ratios[-1]:.2f}, n={len(ratios)})"
    target = TARGETS.get(number, "")
    target = target.get(quant, "") if isinstance(target, dict) else target
    return f"| {number} | {title} | {shape} {quant} | {of[0]:.1f} {unit} | {of[1]:.1f} ({peer}) | {ratio} | {target} |"


def memory(shape: str, quant: str, case: dict) -> str:
    """Peak memory, and what it is over the weights, the adapters and the cached tokens."""
    ours, theirs = (max(sample["value"] for sample in case[name]) / MIB for name in ("adapterd", "llama.cpp"))
    needed = sum(case["needed"].values()) / MIB
    return (
        f"| 14 | peak memory, 16 adapters in use | {shape} {quant} | {ours:.0f} MiB | {theirs:.0f} (llama.cpp) "
        f"| weights, adapters and cache {needed:.0f} MiB, **{ours - needed:.0f}** over them | ≤ 143 over (150 MB) |"
    )
