"""Writes `expected/embeddings.json`: vectors of the prompts of `make_models.py` by transformers, and by PEFT with an adapter.

    python make_embeddings.py        # after make_models.py and make_adapters.py

A vector is pooled of `last_hidden_state` (after the final norm): the last token's row, or the mean of all rows, scaled to
a length of 1. `ids` are the tokenizer's, special tokens as it adds them to plain text.
"""

from __future__ import annotations

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerFast

import oracle
from make_models import PROMPTS
from oracle import ADAPTERS, EXPECTED, MODELS, write_json

MADE = [("llama", None), ("llama", "llama-plain"), ("llama", "llama-dora"), ("qwen2", None), ("qwen2", "qwen2-plain")]


def unit(vector: torch.Tensor) -> list[float]:
    return (vector / vector.norm()).tolist()


@torch.no_grad()
def vectors(model: torch.nn.Module, ids: list[int]) -> dict[str, list[float]]:
    states = model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0].double()
    return {"last": unit(states[-1]), "mean": unit(states.mean(dim=0))}


def main() -> None:
    made = []
    for base, adapter in MADE:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(MODELS / base)
        model = oracle.load(MODELS / base)
        if adapter:
            # The model inside, whose layers PEFT has replaced.
            model = PeftModel.from_pretrained(model, ADAPTERS / adapter).eval().base_model.model
        for text in PROMPTS:
            ids = tokenizer(text)["input_ids"]
            made.append({"base": base, "adapter": adapter, "text": text, "ids": ids} | vectors(model.model, ids))
    write_json(EXPECTED / "embeddings.json", {"vectors": made})


if __name__ == "__main__":
    main()
