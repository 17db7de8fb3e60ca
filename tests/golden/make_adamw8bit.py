"""Writes updates by 8-bit AdamW, to be repeated: `training/adamw8bit.safetensors`.

    python make_adamw8bit.py         # needs numpy and safetensors only

Written from the papers and from what bitsandbytes documents, not from the Rust code: a block of 256 numbers has one scale,
its largest magnitude; codes are the nearest values of a dynamic tree (signed for first moments, unsigned for second ones).
Every update unpacks both moments, does what torch's AdamW does in f32, and packs them again. A second moment above 0 is not
rounded to 0. `gradients` [updates, n] go in, `values` [updates, n] are the weights after each update, which began at
`start`; `first.codes`, `first.scales`, `second.codes` and `second.scales` are what is left after the last.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

TRAINING = Path(__file__).resolve().parent / "training"
BLOCK = 256
RATE, BETAS, EPSILON, DECAY = 1e-2, (0.9, 0.99), 1e-8, 0.01
F = np.float32


def tree(signed: bool) -> np.ndarray:
    """The 256 values of a dynamic tree: an exponent in tens by unary zeros, a linear fraction in the bits that are left."""
    values = [0.0, 1.0]
    for exponent in range(7):
        items = 2 ** (exponent + (0 if signed else 1))
        edges = np.linspace(0.1, 1.0, items + 1)
        means = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (exponent - 6)
        values += means.tolist() + ((-means).tolist() if signed else [])
    assert len(values) == 256
    return np.sort(np.array(values)).astype(F)


def pack(numbers: np.ndarray, values: np.ndarray, keeps_above_zero: bool) -> tuple[np.ndarray, np.ndarray]:
    bounds = ((values[:-1] + values[1:]) / F(2)).astype(F)
    codes, scales = [], []
    for start in range(0, len(numbers), BLOCK):
        block = numbers[start : start + BLOCK]
        scale = np.abs(block).max()
        shares = (block / scale).astype(F) if scale > 0 else np.zeros_like(block)
        found = np.searchsorted(bounds, shares, side="left")
        if keeps_above_zero:
            found = np.where(shares > 0, np.maximum(found, 1), found)
        codes.append(found.astype(np.uint8))
        scales.append(scale)
    return np.concatenate(codes), np.array(scales, dtype=F)


def unpack(codes: np.ndarray, scales: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values[codes] * np.repeat(scales, BLOCK)[: len(codes)]


def main() -> None:
    draw = np.random.default_rng(7)
    n, updates = 700, 8
    # Blocks of very different sizes, and numbers within them over many decades.
    spread = 10.0 ** draw.uniform(-5, 0, n) * np.repeat(10.0 ** draw.uniform(-3, 1, n // BLOCK + 1), BLOCK)[:n]
    gradients = (draw.standard_normal((updates, n)) * spread).astype(F)
    gradients[:, 100:120] = 0.0
    gradients[:3, 256:512] = 0.0
    start = draw.standard_normal(n).astype(F)
    signed, unsigned = tree(True), tree(False)
    first = pack(np.zeros(n, F), signed, False)
    second = pack(np.zeros(n, F), unsigned, True)
    weights, seen = start.copy(), []
    for update, g in enumerate(gradients, 1):
        m, v = unpack(*first, signed), unpack(*second, unsigned)
        m = m + (g - m) * F(1 - BETAS[0])
        v = v * F(BETAS[1]) + F(1 - BETAS[1]) * g * g
        root = np.sqrt(v) / F(np.sqrt(1 - BETAS[1] ** update)) + F(EPSILON)
        weights = weights * F(1 - RATE * DECAY) - F(RATE / (1 - BETAS[0] ** update)) * (m / root)
        first, second = pack(m, signed, False), pack(v, unsigned, True)
        seen.append(weights)
    tensors = {
        "start": start, "gradients": gradients, "values": np.stack(seen),
        "first.codes": first[0], "first.scales": first[1], "second.codes": second[0], "second.scales": second[1],
    }
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, TRAINING / "adamw8bit.safetensors")


if __name__ == "__main__":
    main()
