#!/usr/bin/env python3
"""Makes a random-weight model and adapters, once for adapterd and once for llama.cpp: same numbers, two spellings."""

import argparse
import json
import subprocess
from pathlib import Path

import gguf
import numpy as np

import layout
from layout import ADAPTERS, FIRST_WORD, QUANTS, RANK, SHAPES, Shape

GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def uniform(rng: np.random.Generator, shape: tuple[int, ...], deviation: float = 0.02) -> np.ndarray:
    """f16 values, uniform around 0 with the given deviation."""
    steps = rng.integers(-32_768, 32_768, size=shape, dtype=np.int16)
    return (steps.astype(np.float32) * np.float32(deviation * 3**0.5 / 32_768)).astype(np.float16)


def words(vocab: int) -> list[str]:
    """A byte-level vocabulary: every byte, an end token, one merge, and made-up words."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    spelled = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    tokens = [spelled[byte] for byte in range(256)] + ["<|end|>", "Ġa"]
    for index in range(vocab - FIRST_WORD):
        letters = ""
        while index or len(letters) < 4:
            letters = chr(ord("a") + index % 26) + letters
            index //= 26
        tokens.append("Ġ" + letters)
    return tokens


def write_model(path: Path, shape: Shape, seed: int) -> None:
    """The whole model in f16, as converters leave it before they quantize."""
    rng = np.random.default_rng(seed)
    out = gguf.GGUFWriter(path, "llama")
    out.add_name(path.parent.name)
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    out.add_context_length(shape.context)
    out.add_embedding_length(shape.hidden)
    out.add_block_count(shape.layers)
    out.add_feed_forward_length(shape.intermediate)
    out.add_head_count(shape.heads)
    out.add_head_count_kv(shape.kv_heads)
    out.add_rope_dimension_count(shape.head_dim)
    out.add_rope_freq_base(shape.theta)
    out.add_layer_norm_rms_eps(shape.epsilon)
    out.add_vocab_size(shape.vocab)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(words(shape.vocab))
    out.add_token_types([gguf.TokenType.CONTROL if id == 256 else gguf.TokenType.NORMAL for id in range(shape.vocab)])
    out.add_token_merges(["Ġ a"])
    out.add_eos_token_id(256)
    out.add_add_bos_token(False)
    ones = np.ones(shape.hidden, dtype=np.float32)
    out.add_tensor("token_embd.weight", uniform(rng, (shape.vocab, shape.hidden)))
    out.add_tensor("output_norm.weight", ones)
    for layer in range(shape.layers):
        for name in ["attn_norm", "ffn_norm"]:
            out.add_tensor(f"blk.{layer}.{name}.weight", ones)
        for name, sizes in shape.linears().items():
            out.add_tensor(f"blk.{layer}.{GGUF_NAMES[name]}.weight", uniform(rng, sizes))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection in the order of GGUF's Llama: the two halves of a head take turns."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header, offset = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F16", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values).tobytes())


def write_adapter(dir: Path, name: str, shape: Shape, index: int) -> None:
    """One LoRA on all seven linears, as a PEFT folder and as llama.cpp's file."""
    rng = np.random.default_rng([1, index])
    folder = layout.adapter_folder(dir, name, index)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": RANK, "lora_dropout": 0.0, "bias": "none",
        "target_modules": [linear.split(".")[1] for linear in shape.linears()], "base_model_name_or_path": name,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1))
    tensors = {}
    out = gguf.GGUFWriter(layout.adapter_file(dir, name, index), "llama")
    out.add_type("adapter")
    out.add_string("adapter.type", "lora")
    out.add_float32("adapter.lora.alpha", float(RANK))
    for layer in range(shape.layers):
        for linear, (outputs, inputs) in shape.linears().items():
            a, b = uniform(rng, (RANK, inputs)), uniform(rng, (outputs, RANK))
            prefix = f"base_model.model.model.layers.{layer}.{linear}"
            tensors[f"{prefix}.lora_A.weight"], tensors[f"{prefix}.lora_B.weight"] = a, b
            heads = {"self_attn.q_proj": shape.heads, "self_attn.k_proj": shape.kv_heads}.get(linear)
            prefix = f"blk.{layer}.{GGUF_NAMES[linear]}.weight"
            out.add_tensor(f"{prefix}.lora_a", a)
            out.add_tensor(f"{prefix}.lora_b", interleaved(b, heads) if heads else b)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def make(dir: Path, name: str) -> None:
    shape = SHAPES[name]
    (dir / name).mkdir(parents=True, exist_ok=True)
    for index in range(ADAPTERS):
        if not layout.adapter_file(dir, name, index).exists():
            write_adapter(dir, name, shape, index)
    missing = [quant for quant in QUANTS if not layout.model(dir, name, quant).exists()]
    if not missing:
        return
    whole = layout.model(dir, name, "F16")
    write_model(whole, shape, seed=0)
    for quant in missing:
        path = layout.model(dir, name, quant)
        part = path.with_suffix(".part")
        subprocess.run([layout.program(dir, "llama-quantize"), whole, part, quant], check=True, stdout=subprocess.DEVNULL)
        part.rename(path)
    whole.unlink()


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    layout.add_argument(args)
    args.add_argument("shapes", nargs="*", default=list(SHAPES), help=f"of {', '.join(SHAPES)} (default: all)")
    args = args.parse_args()
    for name in args.shapes:
        make(args.dir, name)
        print(f"{name}: {', '.join(QUANTS)} and {ADAPTERS} adapters in {args.dir / name}")


if __name__ == "__main__":
    main()
