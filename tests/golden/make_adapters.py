"""Writes PEFT folders (LoRA, DoRA, IA3) for the models under `models/` to `adapters/`, and what PEFT answers with them.

    python make_adapters.py [NAME…]  # after make_models.py; of the adapters, only those named

A, B, magnitudes and IA3 vectors are random and far enough from neutral to change every answer.
`expected/adapters/NAME.{json,safetensors}`: the first prompt of `make_models.py`, log-probabilities at every position and
64 greedy tokens, computed by PEFT from the folder on disk.
`adapters/refused.json` and `adapters/accepted.json` change single keys of `adapters/llama-plain/adapter_config.json`: the
first list must be refused for the named field, the second must load and give the same answers. `refused_ia3.json` and
`accepted_ia3.json` do so for `adapters/llama-ia3`, `refused_dora.json` and `accepted_dora.json` for `adapters/llama-dora`.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from transformers import PreTrainedTokenizerFast

import oracle
from make_models import PROMPTS
from oracle import ADAPTERS, MODELS, read_json, write_json


@dataclass(frozen=True)
class Made:
    base: str
    seed: int
    config: dict
    # Keys of the written config to restore, where PEFT resolves them before saving.
    as_given: tuple[str, ...] = ()
    kind: type[PeftConfig] = LoraConfig
    # As PEFT does when it is not told otherwise: with the base's embeddings where they are targets.
    embeddings: bool | str = False


MADE = {
    "llama-plain": Made("llama", 31, dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"])),
    "llama-rslora": Made("llama", 32, dict(
        r=16, lora_alpha=6, use_rslora=True, target_modules=["k_proj", "self_attn.o_proj"], lora_dropout=0.1,
    )),
    # Two keys fit layer 0's q_proj and its gate_proj: the first in the file decides, where PEFT sorts all keys.
    "llama-patterns": Made("llama", 33, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "gate_proj", "down_proj"],
        rank_pattern={r".*\.0\.mlp\.gate_proj": 3, "gate_proj": 5, "layers.0.self_attn.q_proj": 6, "q_proj": 10},
        alpha_pattern={"down_proj": 20, "model.layers.1.self_attn.q_proj": 1, "0.self_attn.v_proj": 2.5},
    )),
    "llama-rslora-patterns": Made("llama", 34, dict(
        r=4, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 9},
        alpha_pattern={"layers.1.self_attn.q_proj": 12},
    )),
    "llama-regex": Made("llama", 35, dict(
        r=5, lora_alpha=7, target_modules=r".*\.layers\.(0\.self_attn\.(q|v)_proj|1\.mlp\.(up|down)_proj)",
    )),
    "llama-all-linear": Made("llama", 36, dict(r=4, lora_alpha=8, target_modules="all-linear"), ("target_modules",)),
    "llama-layers": Made("llama", 37, dict(
        r=64, lora_alpha=32, target_modules=["q_proj"], layers_to_transform=[1], layers_pattern="layers",
    )),
    "llama-excluding": Made("llama", 38, dict(
        r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "up_proj"], exclude_modules=["layers.0.mlp.up_proj"],
    )),
    "qwen2-plain": Made("qwen2", 39, dict(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "up_proj"])),
    "llama-ia3": Made("llama", 51, dict(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"],
    ), kind=IA3Config),
    "llama-ia3-ffn": Made("llama", 52, dict(
        target_modules=r".*\.(self_attn\.[qo]_proj|mlp\.(gate|up|down)_proj)",
        feedforward_modules=r".*\.mlp\.(up|down)_proj",
    ), kind=IA3Config),
    # q_proj, k_proj and v_proj have biases in this base: IA3 scales them too, DoRA does not.
    "qwen2-ia3": Made("qwen2", 53, dict(
        target_modules=["q_proj", "k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj", "k_proj"],
    ), kind=IA3Config),
    "llama-dora": Made("llama", 54, dict(
        r=4, lora_alpha=8, use_dora=True, target_modules="all-linear",
    ), ("target_modules",)),
    "llama-dora-rslora-patterns": Made("llama", 55, dict(
        r=4, lora_alpha=4, use_dora=True, use_rslora=True, lora_dropout=0.1,
        target_modules=["q_proj", "v_proj", "down_proj"], rank_pattern={"v_proj": 9},
        alpha_pattern={"layers.1.self_attn.q_proj": 12},
    )),
    "qwen2-dora": Made("qwen2", 56, dict(
        r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "k_proj", "v_proj", "up_proj"],
    )),
    # k_proj and v_proj are trained by their biases alone, up_proj has none.
    "qwen2-bias-all": Made("qwen2", 57, dict(r=4, lora_alpha=8, bias="all", target_modules=["q_proj", "up_proj"])),
    "qwen2-bias-lora-only": Made("qwen2", 58, dict(
        r=4, lora_alpha=8, bias="lora_only", target_modules=["q_proj", "k_proj", "down_proj"],
    )),
    "qwen2-lora-bias": Made("qwen2", 59, dict(
        r=4, lora_alpha=8, lora_bias=True, bias="all", target_modules=["q_proj", "down_proj", "lm_head"],
    )),
    "qwen2-dora-bias": Made("qwen2", 60, dict(
        r=4, lora_alpha=8, use_dora=True, bias="all", target_modules=["q_proj", "k_proj", "up_proj"],
    )),
    "llama-outer": Made("llama", 61, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "embed_tokens", "lm_head"], rank_pattern={"lm_head": 3},
        alpha_pattern={"embed_tokens": 2},
    ), embeddings="auto"),
    "llama-dora-outer": Made("llama", 62, dict(
        r=4, lora_alpha=8, use_dora=True, target_modules=r"model\.embed_tokens|lm_head|.*\.0\.mlp\.up_proj",
    )),
    "llama-modules": Made("llama", 63, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"],
        modules_to_save=["embed_tokens", "lm_head", "norm", "0.mlp"],
    )),
    "qwen2-bias-modules": Made("qwen2", 71, dict(
        r=4, lora_alpha=8, bias="all", target_modules=["k_proj"], modules_to_save=["0.self_attn.q_proj"],
    )),
    "llama-ia3-modules": Made("llama", 72, dict(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"],
        modules_to_save=["lm_head", "input_layernorm"],
    ), kind=IA3Config),
    "llama-tokens": Made("llama", 64, dict(
        r=4, lora_alpha=8, target_modules=["q_proj"], trainable_token_indices={
            "embed_tokens": [70, 3, 81, 101], "lm_head": [5, 101],
        },
    )),
    # The base's head is its embedding.
    "qwen3-outer": Made("qwen3", 65, dict(r=4, lora_alpha=8, target_modules=["q_proj", "embed_tokens"])),
    "qwen3-outer-tied": Made("qwen3", 66, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "lm_head"], ensure_weight_tying=True,
    )),
    "qwen3-modules": Made("qwen3", 67, dict(
        r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["embed_tokens", "q_norm"],
    )),
    "qwen3-modules-tied": Made("qwen3", 68, dict(
        r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True,
    )),
    "qwen3-tokens": Made("qwen3", 69, dict(
        r=4, lora_alpha=8, target_modules=["q_proj"], trainable_token_indices=[101, 70, 81],
    )),
    "qwen3-tokens-apart": Made("qwen3", 70, dict(
        r=4, lora_alpha=8, target_modules=["q_proj"],
        trainable_token_indices={"embed_tokens": [101, 70], "lm_head": [81, 70, 3]},
    )),
}

REFUSED: list[tuple[str, dict]] = [
    ("use_dora", {"use_dora": True}),
    ("modules_to_save", {"modules_to_save": ["lm_head"]}),
    ("bias", {"bias": "some"}),
    ("bias", {"bias": 7}),
    # These want tensors that the file does not have.
    ("lora_bias", {"lora_bias": True}),
    ("lora_bias", {"lora_bias": 1}),
    ("modules_to_save", {"modules_to_save": ["input_layernorm", "gate_proj"]}),
    ("modules_to_save", {"modules_to_save": "lm_head"}),
    ("trainable_token_indices", {"trainable_token_indices": [1, 2]}),
    ("trainable_token_indices", {"trainable_token_indices": {"lm_head": [1, 2]}}),
    ("trainable_token_indices", {"trainable_token_indices": {"q_proj": [1, 2]}}),
    ("trainable_token_indices", {"trainable_token_indices": [1, -2]}),
    ("target_modules", {"target_modules": ["q_proj", "v_proj", "down_proj", "lm_head"]}),
    ("target_modules", {"target_modules": ["q_proj", "v_proj", "down_proj", "embed_tokens"]}),
    ("fan_in_fan_out", {"fan_in_fan_out": True}),
    ("layer_replication", {"layer_replication": [[0, 2], [0, 2]]}),
    ("target_parameters", {"target_parameters": ["mlp.experts.gate_up_proj"]}),
    ("use_qalora", {"use_qalora": True}),
    ("use_bdlora", {"use_bdlora": {"target_modules_bd_a": ["q_proj"]}}),
    ("alora_invocation_tokens", {"alora_invocation_tokens": [5, 6]}),
    ("arrow_config", {"arrow_config": {"top_k": 2}}),
    # These initializations change the base weights while training.
    ("init_lora_weights", {"init_lora_weights": "pissa"}),
    ("init_lora_weights", {"init_lora_weights": "olora"}),
    ("brand_new_scaling", {"brand_new_scaling": 2}),
    ("peft_type", {"peft_type": "LOHA"}),
    ("peft_type", {"peft_type": None}),
    ("r", {"r": 0}),
    ("r", {"r": -8}),
    ("r", {"r": "8"}),
    ("r", {"r": 16}),
    ("r", {"r": 1e30}),
    ("lora_alpha", {"lora_alpha": "16"}),
    ("lora_alpha", {"lora_alpha": None}),
    ("rank_pattern", {"rank_pattern": {"q_proj": 0}}),
    ("rank_pattern", {"rank_pattern": {"q_proj": 4}}),
    ("rank_pattern", {"rank_pattern": ["q_proj", 4]}),
    ("alpha_pattern", {"alpha_pattern": {"q_proj": "2"}}),
    ("target_modules", {"target_modules": ["no_such_module"]}),
    ("target_modules", {"target_modules": ["q_proj"]}),
    ("target_modules", {"target_modules": ["q_proj", "v_proj", "down_proj", "o_proj"]}),
    ("target_modules", {"target_modules": "(unclosed"}),
    ("target_modules", {"target_modules": None}),
    ("layers_to_transform", {"layers_to_transform": [0]}),
    ("layers_to_transform", {"layers_to_transform": [7]}),
    ("use_rslora", {"use_rslora": "yes"}),
]

ACCEPTED: list[dict] = [
    {"key_of_a_later_version": None},
    {"peft_version": "99.0.0"},
    {"task_type": None, "auto_mapping": None, "revision": "main"},
    {"inference_mode": False},
    {"lora_dropout": 0.25},
    {"init_lora_weights": "gaussian"},
    {"init_lora_weights": False},
    {"loftq_config": {}, "eva_config": None, "corda_config": None},
    {"megatron_config": None, "megatron_core": "megatron.core"},
    {"qalora_group_size": 16, "use_qalora": False},
    {"runtime_config": {"ephemeral_gpu_offload": False}},
    {"target_modules": ["mlp.down_proj", "v_proj", "self_attn.q_proj"]},
    {"target_modules": r"model\.layers\.\d+\.(self_attn\.[qv]_proj|mlp\.down_proj)"},
    # Names of other families' layers, as one list for many bases has them.
    {"target_modules": ["q_proj", "v_proj", "down_proj", "query_key_value", "c_attn"]},
    # Changes nothing where no embedding is adapted.
    {"ensure_weight_tying": True},
    # This base has no biases, no such module, and the list no token.
    {"bias": "all"},
    {"bias": "lora_only"},
    {"modules_to_save": ["score"]},
    {"layers_to_transform": [0, 1], "layers_pattern": None},
    {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"q_proj": 16}},
    {"base_model_name_or_path": "somewhere/else"},
]


REFUSED_IA3: list[tuple[str, dict]] = [
    ("fan_in_fan_out", {"fan_in_fan_out": True}),
    ("modules_to_save", {"modules_to_save": ["lm_head"]}),
    ("task_type", {"task_type": "SEQ_CLS"}),
    ("task_type", {"task_type": "SEQ_2_SEQ_LM"}),
    ("task_type", {"task_type": 1}),
    ("brand_new_scaling", {"brand_new_scaling": 2}),
    # Keys of LoRA that IA3 has not.
    ("bias", {"bias": "all"}),
    ("use_dora", {"use_dora": True}),
    ("layers_to_transform", {"layers_to_transform": [0]}),
    ("target_parameters", {"target_parameters": ["mlp.experts.gate_up_proj"]}),
    ("peft_type", {"peft_type": "LOHA"}),
    ("peft_type", {"peft_type": None}),
    ("target_modules", {"target_modules": ["no_such_module"], "feedforward_modules": []}),
    # These leave tensors of the file over, or want tensors it does not have.
    ("target_modules", {"target_modules": ["k_proj", "down_proj"]}),
    ("target_modules", {"target_modules": ["k_proj", "v_proj", "down_proj", "q_proj"]}),
    ("target_modules", {"target_modules": r".*\.0\.(self_attn\.[kv]_proj|mlp\.down_proj)"}),
    ("target_modules", {"target_modules": "all-linear"}),
    ("target_modules", {"target_modules": "(unclosed"}),
    ("target_modules", {"target_modules": 7}),
    ("exclude_modules", {"exclude_modules": ["v_proj"]}),
    ("exclude_modules", {"exclude_modules": 7}),
    # PEFT wants every name of this list in a list of targets, letter for letter.
    ("feedforward_modules", {"feedforward_modules": ["down_proj", "up_proj"]}),
    ("feedforward_modules", {"feedforward_modules": ["mlp.down_proj"]}),
    # These turn a vector on the input into one on the output, or the reverse: the file has the other shape.
    ("feedforward_modules", {"feedforward_modules": []}),
    ("feedforward_modules", {"feedforward_modules": ["down_proj", "v_proj"]}),
    ("feedforward_modules", {"feedforward_modules": r".*\.(k|down)_proj"}),
    ("feedforward_modules", {"feedforward_modules": "down_proj"}),
    ("feedforward_modules", {"feedforward_modules": "(unclosed"}),
    ("feedforward_modules", {"feedforward_modules": 7}),
]

ACCEPTED_IA3: list[dict] = [
    {"key_of_a_later_version": None},
    {"peft_version": "99.0.0"},
    {"task_type": None, "auto_mapping": None, "revision": "main"},
    {"inference_mode": False},
    {"init_ia3_weights": False},
    {"exclude_modules": []},
    {"exclude_modules": ["q_proj"]},
    {"runtime_config": {"ephemeral_gpu_offload": False}},
    {"base_model_name_or_path": "somewhere/else"},
    {"target_modules": ["self_attn.k_proj", "v_proj", "down_proj"]},
    {"target_modules": ["k_proj", "v_proj", "down_proj", "query_key_value", "c_attn"]},
    {"target_modules": r"model\.layers\.\d+\.(self_attn\.[kv]_proj|mlp\.down_proj)"},
    {"feedforward_modules": r".*\.mlp\.down_proj"},
    # Only what is a target at all is scaled.
    {"feedforward_modules": r".*\.mlp\..*"},
    # A name of this list is the end of a layer's name, not one of its parts.
    {"target_modules": r".*\.([kv]|down)_proj", "feedforward_modules": ["n_proj"]},
    {"target_modules": r".*\.([kv]|down)_proj", "feedforward_modules": ["mlp.down_proj", "up_proj"]},
]

REFUSED_DORA: list[tuple[str, dict]] = [
    # Leaves the magnitudes of the file over.
    ("use_dora", {"use_dora": False}),
    ("use_dora", {"use_dora": None}),
    ("use_dora", {"use_dora": "yes"}),
    ("lora_bias", {"lora_bias": True}),
    ("megatron_config", {"megatron_config": {"tensor_model_parallel_size": 2}}),
    ("alora_invocation_tokens", {"alora_invocation_tokens": [5, 6]}),
    ("use_bdlora", {"use_bdlora": {"target_modules_bd_a": ["q_proj"]}}),
    ("fan_in_fan_out", {"fan_in_fan_out": True}),
    ("modules_to_save", {"modules_to_save": ["lm_head"]}),
    ("init_lora_weights", {"init_lora_weights": "pissa"}),
    ("r", {"r": 8}),
    ("target_modules", {"target_modules": ["q_proj", "v_proj"]}),
]

ACCEPTED_DORA: list[dict] = [
    {"lora_dropout": 0.25},
    {"init_lora_weights": False},
    {"use_rslora": True, "lora_alpha": 4},
    {"runtime_config": {"ephemeral_gpu_offload": True}},
    {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
]

# The adapter they change, what must be refused, what must be accepted.
CHANGED = {
    "": ("llama-plain", REFUSED, ACCEPTED),
    "_ia3": ("llama-ia3", REFUSED_IA3, ACCEPTED_IA3),
    "_dora": ("llama-dora", REFUSED_DORA, ACCEPTED_DORA),
}


@torch.no_grad()
def randomize(model: PeftModel, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    for path, module in sorted(model.named_modules()):
        if "default" in getattr(module, "lora_embedding_A", ()):
            a, b = module.lora_embedding_A["default"], module.lora_embedding_B["default"]
            a.copy_(torch.randn(a.shape, generator=source) * 0.5)
            b.copy_(torch.randn(b.shape, generator=source) * 0.5 / a.shape[0] ** 0.5 / module.scaling["default"])
            if "default" in module.lora_magnitude_vector:
                magnitude = module.lora_magnitude_vector["default"].weight
                magnitude.mul_(torch.rand(magnitude.shape, generator=source) + 0.6)
        elif path.endswith("lm_head") and getattr(model.peft_config["default"], "ensure_weight_tying", False):
            pass  # follows the embedding
        elif "default" in getattr(module, "lora_A", ()):
            a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
            a.copy_(torch.randn(a.shape, generator=source) / a.shape[1] ** 0.5)
            b.copy_(torch.randn(b.shape, generator=source) * 0.5 / a.shape[0] ** 0.5 / module.scaling["default"])
            if "default" in module.lora_magnitude_vector:  # the norms of the base's rows so far
                magnitude = module.lora_magnitude_vector["default"].weight
                magnitude.mul_(torch.rand(magnitude.shape, generator=source) + 0.6)
        elif "default" in getattr(module, "ia3_l", ()):
            vector = module.ia3_l["default"]
            vector.copy_(1 + torch.randn(vector.shape, generator=source) * 0.6)
    # Biases, whole modules and rows of tokens start as the base's.
    for name, parameter in sorted(model.named_parameters()):
        of_adapter = any(part in name for part in ("lora_", "ia3_l")) and not name.endswith(".bias")
        if parameter.requires_grad and not of_adapter:
            spread = parameter.std().clamp(min=0.1)
            parameter.add_(torch.randn(parameter.shape, generator=source) * spread * 0.5)


def make(name: str, made: Made) -> None:
    folder = ADAPTERS / name
    shutil.rmtree(folder, ignore_errors=True)
    model = get_peft_model(oracle.load(MODELS / made.base), made.kind(task_type=TaskType.CAUSAL_LM, **made.config))
    randomize(model, made.seed)
    model.peft_config["default"].base_model_name_or_path = made.base
    model.save_pretrained(folder, save_embedding_layers=made.embeddings)
    (folder / "README.md").unlink()
    config = read_json(folder / "adapter_config.json")
    oracle.sort_lists(config)
    config |= {key: made.config[key] for key in made.as_given}
    write_json(folder / "adapter_config.json", config)

    again = PeftModel.from_pretrained(oracle.load(MODELS / made.base), folder).eval()
    ids = PreTrainedTokenizerFast.from_pretrained(MODELS / made.base)(PROMPTS[0])["input_ids"]
    oracle.write_expected(f"adapters/{name}", again, [(PROMPTS[0], ids)], oracle.GREEDY_STEPS, base=made.base, adapter=name)
    ours, base = oracle.logprobs(again, ids), oracle.logprobs(oracle.load(MODELS / made.base), ids)
    assert torch.equal(ours, oracle.logprobs(model.eval(), ids)), f"{name} is not what was saved"
    print(f"made {name}: log-probabilities move by {(ours - base).abs().mean():.2f} on average")


def accepted_alike(name: str, accepted: list[dict]) -> None:
    """Every accepted variant gives the same answers in PEFT, where PEFT knows its keys."""
    plain = ADAPTERS / name
    expected = oracle.logprobs(PeftModel.from_pretrained(oracle.load(MODELS / "llama"), plain).eval(), list(range(9)))
    for change in accepted:
        folder = ADAPTERS / "variant"
        shutil.copytree(plain, folder)
        write_json(folder / "adapter_config.json", read_json(folder / "adapter_config.json") | change)
        found = oracle.logprobs(PeftModel.from_pretrained(oracle.load(MODELS / "llama"), folder).eval(), list(range(9)))
        shutil.rmtree(folder)
        assert torch.equal(found, expected), change


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*MADE, []], metavar="NAME", help="adapters to make (all)")
    for name in parser.parse_args().names or MADE:
        make(name, MADE[name])
    for suffix, (name, refused, accepted) in CHANGED.items():
        accepted_alike(name, accepted)
        write_json(ADAPTERS / f"refused{suffix}.json", [{"field": field, "set": change} for field, change in refused])
        write_json(ADAPTERS / f"accepted{suffix}.json", [{"set": change} for change in accepted])


if __name__ == "__main__":
    main()
