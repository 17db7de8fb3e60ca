"""Writes the tiny Hugging Face folders under `models/` and what transformers answers for them under `expected/models/`.

    python make_models.py            # all
    python make_models.py --only llama qwen3

Weights are random (one fixed seed a model) and large enough that the outputs are far from uniform; norms vary around 1.
Folders are written by `save_pretrained`, except `llama-linear-old`, which is `llama-linear` in the layout of earlier
transformers versions and must give the same results.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM, GenerationConfig, LlamaConfig, MistralConfig, PreTrainedConfig, PreTrainedModel,
    PreTrainedTokenizerFast, Qwen2Config, Qwen3Config,
)

import oracle
import tokenizers_made
from oracle import MODELS, read_json, write_json

PROMPTS = [
    "The tenant shall pay the rent.",
    "The doctor writes down two tablets; naïve 😀.\n\n  Every reader must return this agreement, and I'm 125.",
]


@dataclass(frozen=True)
class Tiny:
    """One folder. `template`: where the chat template goes, a file of its own or `tokenizer_config.json`."""

    config: type[PreTrainedConfig]
    seed: int
    tokenizer: str
    sizes: dict
    dtype: torch.dtype = torch.float32
    shard: str = "50MB"
    template: str = "file"


def medium(**more) -> dict:
    return dict(
        vocab_size=352, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=False,
    ) | more


def small(**more) -> dict:
    return medium(hidden_size=32, num_attention_heads=2, num_key_value_heads=1) | more


def rope(kind: str, theta: float = 10_000.0, **more) -> dict:
    return {"rope_type": kind, "rope_theta": theta} | more


TINY: dict[str, Tiny] = {
    "llama": Tiny(LlamaConfig, 11, "llama", medium(intermediate_size=96, rope_parameters=rope("default", 500_000.0))),
    "mistral": Tiny(
        MistralConfig, 12, "mistral",
        medium(sliding_window=16, head_dim=16, rope_parameters=rope("default", 10_000.0)),
        dtype=torch.bfloat16, shard="80KB",
    ),
    "qwen2": Tiny(
        Qwen2Config, 13, "qwen",
        medium(vocab_size=368, rms_norm_eps=1e-6, rope_parameters=rope("default", 1_000_000.0)),
        template="tokenizer_config",
    ),
    "qwen3": Tiny(
        Qwen3Config, 24, "qwen",
        medium(head_dim=32, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope("default", 1_000_000.0)),
    ),
    "qwen2-window": Tiny(
        Qwen2Config, 15, "qwen",
        small(use_sliding_window=True, sliding_window=16, max_window_layers=1, rope_parameters=rope("default")),
        dtype=torch.float16, shard="25KB",
    ),
    "llama-llama3": Tiny(
        LlamaConfig, 16, "llama",
        small(rope_parameters=rope("llama3", 500_000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                   original_max_position_embeddings=64)),
        dtype=torch.bfloat16,
    ),
    "llama-linear": Tiny(
        LlamaConfig, 17, "llama", small(rope_parameters=rope("linear", factor=2.5)), dtype=torch.float16,
    ),
    "llama-yarn": Tiny(
        LlamaConfig, 18, "llama",
        small(attention_bias=True, mlp_bias=True,
              rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=128)),
        dtype=torch.bfloat16,
    ),
    "llama-dynamic": Tiny(
        LlamaConfig, 19, "llama", small(tie_word_embeddings=True, rope_parameters=rope("dynamic", factor=2.0)),
        dtype=torch.float16,
    ),
}


# A model made for 24 positions, and how its folder could say that it is good for more. The weights are the same.
BEYOND = Tiny(
    LlamaConfig, 20, "llama",
    small(max_position_embeddings=24, rope_parameters=rope("default")), dtype=torch.float16,
)
SCALINGS: dict[str, dict] = {
    "dynamic": {"rope_parameters": rope("dynamic", factor=4.0)},
    "linear": {"rope_parameters": rope("linear", factor=4.0)},
    "yarn": {"rope_parameters": rope("yarn", factor=4.0, original_max_position_embeddings=24)},
    "longrope": {
        "max_position_embeddings": 96,
        "rope_parameters": rope(
            "longrope", original_max_position_embeddings=24,
            short_factor=[1.0, 1.0, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5], long_factor=[1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0],
        ),
    },
}
# Within 24 positions to beyond them, and beyond them from the beginning.
BEYOND_LENGTHS = [17, 41]


def fill(model: PreTrainedModel, seed: int) -> None:
    """Random weights in name order: unit-gain linears with some excess, norms and biases that are not trivial."""
    source = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=source)
        if "norm" in name:
            value = 1 + 0.2 * noise
        elif name.endswith("bias"):
            value = 0.3 * noise
        elif "embed_tokens" in name:
            value = noise * (0.15 if model.config.tie_word_embeddings else 0.7)
        elif "lm_head" in name:
            value = 0.15 * noise
        else:
            value = 1.2 * noise / parameter.shape[1] ** 0.5
        with torch.no_grad():
            parameter.copy_(value)


def make(name: str, tiny: Tiny) -> None:
    make_folder(name, tiny)
    expect(name)


def make_folder(name: str, tiny: Tiny) -> None:
    folder = MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = tokenizers_made.MAKERS[tiny.tokenizer]()
    ends = [tokenizer.convert_tokens_to_ids(t) for t in tokenizers_made.EOS[tiny.tokenizer]]
    config = tiny.config(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id, **tiny.sizes,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    fill(model, tiny.seed)
    model = model.to(tiny.dtype)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    model.save_pretrained(folder, max_shard_size=tiny.shard)
    tokenizer.save_pretrained(folder)
    if tiny.template == "tokenizer_config":
        file = folder / "chat_template.jinja"
        settings = read_json(folder / "tokenizer_config.json") | {"chat_template": file.read_text(encoding="utf-8")}
        write_json(folder / "tokenizer_config.json", settings)
        file.unlink()


def expect(name: str) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MODELS / name)
    prompts = [(text, tokenizer(text)["input_ids"]) for text in PROMPTS]
    oracle.write_expected(f"models/{name}", oracle.load(MODELS / name), prompts, oracle.GREEDY_STEPS, model=name)


def make_beyond(name: str) -> None:
    """One folder of weights, its scalings beside it, and the answers with each."""
    make_folder(name, BEYOND)
    folder = MODELS / name
    plain = read_json(folder / "config.json")
    write_json(folder / "scalings.json", SCALINGS)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    ids = (tokenizer(PROMPTS[0])["input_ids"] + tokenizer(PROMPTS[1])["input_ids"]) * 2
    for scaling, change in SCALINGS.items():
        tensors, entries = {}, []
        for at, length in enumerate(BEYOND_LENGTHS):
            prompt = ids[:length]
            with tempfile.TemporaryDirectory() as changed:
                shutil.copytree(folder, changed, dirs_exist_ok=True)
                write_json(Path(changed) / "config.json", plain | change)
                # Anew for each: frequencies by length stay with a model that has seen a longer text.
                tensors[f"logprobs.{at}"] = oracle.logprobs(oracle.load(Path(changed)), prompt)
                run = oracle.greedy_cached(oracle.load(Path(changed)), prompt, 24)
            entries.append({"ids": prompt, "logprobs": f"logprobs.{at}", "greedy": run})
        oracle.write_answers(f"models/{name}-{scaling}", tensors, {"model": name, "scaling": scaling, "prompts": entries})


def make_old(name: str, source: str) -> None:
    """The same model as transformers 4.3x would have written it."""
    folder = MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(MODELS / source, folder)
    config = read_json(folder / "config.json")
    parameters = config.pop("rope_parameters")
    config |= {
        "rope_theta": parameters.pop("rope_theta"),
        "rope_scaling": {"type": parameters.pop("rope_type")} | parameters,
        "torch_dtype": config.pop("dtype"),
        "transformers_version": "4.37.2",
    }
    write_json(folder / "config.json", {k: v for k, v in sorted(config.items()) if k not in ("head_dim", "pad_token_id")})

    template = folder / "chat_template.jinja"
    added = read_json(folder / "tokenizer.json")["added_tokens"]
    settings = read_json(folder / "tokenizer_config.json")
    special = {key: settings[key] for key in ("bos_token", "eos_token", "pad_token")}
    old = {
        "added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added},
        "chat_template": template.read_text(encoding="utf-8"),
        "clean_up_tokenization_spaces": True,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 512,
        "tokenizer_class": "PreTrainedTokenizerFast",
    } | special
    as_object = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    write_json(folder / "tokenizer_config.json", old)
    write_json(
        folder / "special_tokens_map.json",
        {key: as_object | {"content": value} if key == "bos_token" else value for key, value in special.items()},
    )
    template.unlink()
    new, again = (oracle.load(MODELS / n) for n in (source, name))
    ids = list(range(20))
    assert torch.equal(oracle.logprobs(new, ids), oracle.logprobs(again, ids)), "the old layout reads differently"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=sorted([*TINY, "llama-beyond"]), help="make only these")
    wanted = parser.parse_args().only or [*TINY, "llama-beyond"]
    for name in wanted:
        if name == "llama-beyond":
            make_beyond(name)
        else:
            make(name, TINY[name])
        print("made", name)
    if "llama-linear" in wanted:
        make_old("llama-linear-old", "llama-linear")


if __name__ == "__main__":
    main()
