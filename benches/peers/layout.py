"""Where things lie, and which sizes the models have."""

from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def add_argument(parser: ArgumentParser) -> None:
    default = ROOT / "target" / "peers"
    parser.add_argument("--dir", type=Path, default=default, help="where builds and models are kept (default target/peers)")


def program(dir: Path, name: str) -> Path:
    return dir / "build" / "bin" / name


@dataclass(frozen=True)
class Shape:
    """A Llama decoder with a tied head."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    head_dim: int = 64
    vocab: int = 32_000
    context: int = 16_384
    theta: float = 500_000.0
    epsilon: float = 1e-5

    def cache_bytes(self) -> int:
        """Of the keys and values of one token, in f16."""
        return self.layers * 2 * self.kv_heads * self.head_dim * 2

    def linears(self) -> dict[str, tuple[int, int]]:
        """(outputs, inputs) of the seven linear layers of a block."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "self_attn.q_proj": (q, self.hidden),
            "self_attn.k_proj": (kv, self.hidden),
            "self_attn.v_proj": (kv, self.hidden),
            "self_attn.o_proj": (self.hidden, q),
            "mlp.gate_proj": (self.intermediate, self.hidden),
            "mlp.up_proj": (self.intermediate, self.hidden),
            "mlp.down_proj": (self.hidden, self.intermediate),
        }


SHAPES = {
    "0.5b": Shape(hidden=896, layers=24, heads=14, kv_heads=2, intermediate=4864),
    "1b": Shape(hidden=2048, layers=16, heads=32, kv_heads=8, intermediate=8192),
}
RANK = 16
ADAPTERS = 16
QUANTS = ["Q8_0", "Q4_K_M"]

# Tokens below this are bytes, the end token and a merge: prompts are made of those from here on, each one made-up word.
FIRST_WORD = 258


def model(dir: Path, shape: str, quant: str) -> Path:
    return dir / shape / f"model-{quant}.gguf"


def adapter_folder(dir: Path, shape: str, index: int) -> Path:
    return dir / shape / f"adapter-{index}"


def adapter_file(dir: Path, shape: str, index: int) -> Path:
    return dir / shape / f"adapter-{index}.gguf"
