"""Writes three LoRA folders for `models/llama` to `blends/`, and what PEFT's `add_weighted_adapter` makes of them.

    python make_blends.py  # after make_models.py

`blends/expected.safetensors`: for each case `CASE/PATH` the product s · B A (f32, [out, in]) of some layers. Cases that draw
at random are at density 1, where nothing is drawn.
"""

from __future__ import annotations

import shutil

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import save_file

import oracle
from oracle import MODELS

BLENDS = MODELS.parent / "blends"
PARENTS = {
    "a": (51, dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "b": (52, dict(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"])),
    "c": (53, dict(r=6, lora_alpha=9, target_modules=["q_proj"])),
}
CASES = {
    "linear": ("cat", {"a": 0.7, "b": 0.3, "c": -0.5}, {}),
    "linear-reduced": ("svd", {"a": 0.7, "c": 0.5}, dict(svd_rank=3)),
    "ties": ("ties", {"a": 0.7, "b": 0.6}, dict(density=0.5)),
    "ties-negative": ("ties", {"a": 0.7, "b": -0.4}, dict(density=0.3)),
    "ties-products": ("ties_svd", {"a": 0.7, "c": 0.6}, dict(density=0.4)),
    "ties-reduced": ("ties_svd", {"a": 0.7, "b": 0.6}, dict(density=0.4, svd_rank=2)),
    "dare_linear": ("dare_linear", {"a": 0.7, "b": -0.6}, dict(density=1.0)),
    "dare_ties": ("dare_ties", {"a": 0.7, "b": 0.6}, dict(density=1.0)),
    "dare_linear-products": ("dare_linear_svd", {"a": 0.7, "c": 0.6}, dict(density=1.0)),
    "dare_ties-products": ("dare_ties_svd", {"a": 0.7, "c": 0.6}, dict(density=1.0)),
}
PATHS = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "model.layers.0.self_attn.k_proj"]


def write_parents() -> None:
    for name, (seed, config) in PARENTS.items():
        base = oracle.load(MODELS / "llama")
        model = get_peft_model(base, LoraConfig(task_type=TaskType.CAUSAL_LM, **config))
        generator = torch.Generator().manual_seed(seed)
        for key, weight in model.named_parameters():
            if "lora_" in key:
                weight.data = torch.randn(weight.shape, generator=generator) * 0.1
        folder = BLENDS / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)


def main() -> None:
    BLENDS.mkdir(exist_ok=True)
    write_parents()
    model = PeftModel.from_pretrained(oracle.load(MODELS / "llama"), BLENDS / "a", adapter_name="a")
    for name in ["b", "c"]:
        model.load_adapter(BLENDS / name, adapter_name=name)
    expected = {}
    for case, (kind, weights, more) in CASES.items():
        model.add_weighted_adapter(list(weights), list(weights.values()), case, combination_type=kind, **more)
        layers = dict(model.base_model.model.named_modules())
        for path in PATHS:
            layer = layers[path]
            if case in layer.lora_A:
                expected[f"{case}/{path}"] = layer.get_delta_weight(case).detach().float().contiguous()
    save_file(expected, BLENDS / "expected.safetensors")


if __name__ == "__main__":
    main()
