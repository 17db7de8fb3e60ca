"""Writes GGUF twins of folders under `models/` to `gguf/`, laid out as llama.cpp's converter lays them out.

    python make_gguf.py              # after make_models.py

Llama-architecture files (Mistral's too) hold q and k rows in interleaved order; Llama 3 scaling is a `rope_freqs.weight`
tensor; a sliding window is not recorded. `kquants.gguf` has no folder: its blocks are random bytes under sane scales.
`expected/gguf/NAME.{json,safetensors}` holds what transformers answers with the dequantized weights of the file: the
first prompt of `make_models.py`, and 64 greedy tokens. Every file is read back, mapped to transformers' names and order,
and compared with the weights it was made from before anything is written there.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gguf import (
    GGMLQuantizationType as Type, GGUFReader, GGUFWriter, LlamaFileType, MODEL_ARCH, MODEL_ARCH_NAMES,
    RopeScalingType, SpecialVocab, TokenType, get_tensor_name_map, quants,
)
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerFast

import oracle
from make_models import PROMPTS, medium, rope
from oracle import GGUF, MODELS, read_json

# name: (folder, type of the matrices)
FILES = {
    "llama-f32": ("llama", Type.F32),
    "llama-q8_0": ("llama", Type.Q8_0),
    "llama-llama3-bf16": ("llama-llama3", Type.BF16),
    "llama-yarn-q8_0": ("llama-yarn", Type.Q8_0),
    "mistral-q8_0": ("mistral", Type.Q8_0),
    "qwen2-f16": ("qwen2", Type.F16),
    "qwen2-q8_0": ("qwen2", Type.Q8_0),
    "qwen3-q8_0": ("qwen3", Type.Q8_0),
}
FILE_TYPE = {Type.F32: LlamaFileType.ALL_F32, Type.F16: LlamaFileType.MOSTLY_F16, Type.BF16: LlamaFileType.MOSTLY_BF16,
             Type.Q8_0: LlamaFileType.MOSTLY_Q8_0, Type.Q4_K: LlamaFileType.MOSTLY_Q4_K_M}
ARCH = {"llama": MODEL_ARCH.LLAMA, "mistral": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2, "qwen3": MODEL_ARCH.QWEN3}
BLOCKS = {"self_attn.q_proj": Type.Q4_K, "self_attn.k_proj": Type.Q5_K, "self_attn.v_proj": Type.Q6_K,
          "self_attn.o_proj": Type.Q3_K, "mlp.gate_proj": Type.Q2_K, "mlp.up_proj": Type.Q4_K,
          "mlp.down_proj": Type.Q5_0, "embed_tokens": Type.Q6_K}

Tensors = dict[str, tuple[np.ndarray, Type]]

logging.getLogger("gguf.vocab").setLevel(logging.ERROR)  # remarks on templates for text pairs


def heads_of(name: str, config: PreTrainedConfig) -> int | None:
    """How many heads the rows of this tensor are split into, where the order of rows differs between the formats."""
    if ARCH[config.model_type] is not MODEL_ARCH.LLAMA:
        return None
    part = name.rsplit(".", 2)[-2]
    return {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(part)


def interleave(rows: np.ndarray, heads: int) -> np.ndarray:
    """Row i and row i + half of each head become neighbours."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def separate(rows: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of `interleave`."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def of_folder(folder: str, matrices: Type) -> Tensors:
    model = oracle.load(MODELS / folder)
    tensors: Tensors = {}
    for name, parameter in model.named_parameters():
        rows = parameter.detach().numpy()
        if heads := heads_of(name, model.config):
            rows = interleave(rows, heads)
        kind = matrices if rows.ndim == 2 else Type.F32
        tensors[name] = (rows if kind in (Type.F32, Type.F16) else quants.quantize(np.ascontiguousarray(rows), kind), kind)
        if kind is Type.F16:
            tensors[name] = (rows.astype(np.float16), kind)
    return tensors


def random_blocks(kind: Type, rows: int, columns: int, std: float, source: np.random.Generator) -> np.ndarray:
    """Blocks of random bytes whose scales give the wanted deviation and a mean of about zero."""
    size, count = {Type.Q2_K: (84, 256), Type.Q3_K: (110, 256), Type.Q4_K: (144, 256), Type.Q5_K: (176, 256),
                   Type.Q6_K: (210, 256), Type.Q5_0: (22, 32)}[kind]
    # Where the f16 scale is, and how many times it the scale of the minimum behind it is.
    at, minimum = {Type.Q2_K: (80, 1.5), Type.Q3_K: (108, None), Type.Q4_K: (0, 7.5), Type.Q5_K: (0, 15.5),
                   Type.Q6_K: (208, None), Type.Q5_0: (0, None)}[kind]
    blocks = source.integers(0, 256, (rows * columns // count, size), dtype=np.uint8)

    def scaled(unit: float) -> np.ndarray:
        jitter = source.uniform(0.8, 1.2, (len(blocks), 1)) * unit
        scales = jitter if minimum is None else np.concatenate([jitter, jitter * minimum], axis=1)
        blocks[:, at : at + 2 * scales.shape[1]] = scales.astype(np.float16).view(np.uint8)
        return quants.dequantize(blocks.reshape(rows, -1), kind)

    scaled(std / float(scaled(0.01).std()) * 0.01)
    return blocks.reshape(rows, -1)


def k_quants() -> tuple[PreTrainedConfig, Tensors]:
    """One layer, hidden 256, a different format in every matrix."""
    config = LlamaConfig(**medium(hidden_size=256, intermediate_size=128, num_hidden_layers=1, num_attention_heads=8,
                                  num_key_value_heads=2, head_dim=32, tie_word_embeddings=True,
                                  rope_parameters=rope("default", 10_000.0)))
    source = np.random.default_rng(21)
    tensors: Tensors = {}
    for name, parameter in AutoModelForCausalLM.from_config(config).named_parameters():
        kind = next((t for part, t in BLOCKS.items() if part in name), Type.F32)
        if kind is Type.F32:
            tensors[name] = (source.normal(1, 0.2, parameter.shape).astype(np.float32), kind)
        else:
            std = 0.15 if "embed" in name else 1.2 / parameter.shape[1] ** 0.5
            tensors[name] = (random_blocks(kind, *parameter.shape, std, source), kind)
    return config, tensors


def add_settings(writer: GGUFWriter, name: str, config: PreTrainedConfig, kind: Type) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(FILE_TYPE[kind])
    writer.add_quantization_version(2)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if head_dim := getattr(config, "head_dim", None):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if ARCH[config.model_type] is MODEL_ARCH.LLAMA:
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(config.head_dim)
    rope_settings = config.rope_parameters
    writer.add_rope_freq_base(rope_settings["rope_theta"])
    match rope_settings["rope_type"]:
        case "linear":
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope_settings["factor"])
        case "yarn":
            writer.add_rope_scaling_type(RopeScalingType.YARN)
            writer.add_rope_scaling_factor(rope_settings["factor"])
            writer.add_rope_scaling_orig_ctx_len(rope_settings["original_max_position_embeddings"])
        case "llama3":
            writer.add_tensor("rope_freqs.weight", llama3_divisors(config))


def llama3_divisors(config: PreTrainedConfig) -> np.ndarray:
    settings = config.rope_parameters
    divisors = []
    for i in range(0, config.head_dim, 2):
        turns = settings["original_max_position_embeddings"] / (2 * math.pi * settings["rope_theta"] ** (i / config.head_dim))
        low, high = settings["low_freq_factor"], settings["high_freq_factor"]
        keep = min(max((turns - low) / (high - low), 0.0), 1.0)
        divisors.append(1 / ((1 - keep) / settings["factor"] + keep))
    return np.array(divisors, dtype=np.float32)


def add_tokenizer(writer: GGUFWriter, folder: Path, config: PreTrainedConfig) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    added = tokenizer.added_tokens_decoder
    marked = read_json(folder / "tokenizer.json")["model"].get("byte_fallback", False)
    tokens, types, scores = [], [], []
    for i in range(config.vocab_size):
        token = tokenizer.convert_ids_to_tokens(i) if i < len(tokenizer) else f"[PAD{i}]"
        tokens.append(token)
        scores.append(-float(i))
        if i >= len(tokenizer):
            types.append(TokenType.UNUSED)
        elif i in added:
            unknown = marked and token == tokenizer.unk_token
            types.append(TokenType.UNKNOWN if unknown else TokenType.CONTROL if added[i].special else TokenType.USER_DEFINED)
        else:
            types.append(TokenType.BYTE if marked and token.startswith("<0x") else TokenType.NORMAL)
    writer.add_tokenizer_model("llama" if marked else "gpt2")
    writer.add_tokenizer_pre("default" if marked else "llama-bpe" if config.model_type == "llama" else "qwen2")
    writer.add_token_list(tokens)
    if marked:
        writer.add_token_scores(scores)
    writer.add_token_types(types)
    SpecialVocab(folder, load_merges=not marked, n_vocab=config.vocab_size).add_to_gguf(writer, quiet=True)


def read_back(path: Path, config: PreTrainedConfig) -> torch.nn.Module:
    """The file's weights, dequantized, in transformers' names and row order."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    stored = {t.name: quants.dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}
    in_file = namer(config)
    for name, parameter in model.named_parameters():
        rows = stored.pop(in_file(name))
        if heads := heads_of(name, config):
            rows = separate(rows, heads)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.array(rows, dtype=np.float32)))
    assert set(stored) <= {"rope_freqs.weight"}, stored.keys()
    return model


def namer(config: PreTrainedConfig) -> Callable[[str], str]:
    names = get_tensor_name_map(ARCH[config.model_type], config.num_hidden_layers)
    return lambda name: names.get_name(name, try_suffixes=(".weight", ".bias"))


def write(name: str, folder: Path, config: PreTrainedConfig, tensors: Tensors, kind: Type) -> torch.nn.Module:
    path = GGUF / f"{name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, MODEL_ARCH_NAMES[ARCH[config.model_type]])
    add_settings(writer, name, config, kind)
    add_tokenizer(writer, folder, config)
    in_file = namer(config)
    for hf_name, (rows, stored_as) in tensors.items():
        writer.add_tensor(in_file(hf_name), np.ascontiguousarray(rows), raw_dtype=stored_as)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = read_back(path, config)
    ids = PreTrainedTokenizerFast.from_pretrained(folder)(PROMPTS[0])["input_ids"]
    oracle.write_expected(f"gguf/{name}", model, [(PROMPTS[0], ids)], oracle.GREEDY_STEPS, file=path.name, folder=folder.name)
    return model


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name, (folder, kind) in FILES.items():
        config = AutoConfig.from_pretrained(MODELS / folder)
        config.sliding_window = None
        twin = write(name, MODELS / folder, config, of_folder(folder, kind), kind)
        original = dict(oracle.load(MODELS / folder).named_parameters())
        worst = max(float((p - original[n]).detach().abs().max()) for n, p in twin.named_parameters())
        assert worst <= {Type.F32: 0.0, Type.BF16: 0.0, Type.F16: 2e-3, Type.Q8_0: 2e-2}[kind], (name, worst)
        ids = list(range(3, 19))  # within Mistral's window
        drift = (oracle.logprobs(twin, ids) - oracle.logprobs(oracle.load(MODELS / folder), ids)).abs()
        print(f"made {name}: weights off by {worst:.1e}, log-probabilities by {drift.mean():.1e} on average")
    config, tensors = k_quants()
    write("kquants", MODELS / "llama", config, tensors, Type.Q4_K)
    print("made kquants")


if __name__ == "__main__":
    main()
