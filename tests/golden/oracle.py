"""What every golden file is computed with: full forwards in f32, eager attention, no cache, one thread."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as utils_logging

HERE = Path(__file__).resolve().parent
MODELS, EXPECTED, GGUF, ADAPTERS, TRAINING = (
    HERE / part for part in ("models", "expected", "gguf", "adapters", "training")
)
GREEDY_STEPS = 64

torch.set_num_threads(1)
utils_logging.disable_progress_bar()
torch.use_deterministic_algorithms(True)


def load(folder: Path) -> PreTrainedModel:
    """The folder's weights, widened to f32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


@torch.no_grad()
def logprobs(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    """Natural log of the next token's distribution after every position: f32 [T, vocab]."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return torch.log_softmax(logits.float(), dim=-1).contiguous()


@torch.no_grad()
def greedy_cached(model: torch.nn.Module, ids: list[int], steps: int) -> dict[str, list]:
    """As `greedy`, the prompt at once and then a token at a time over cached keys, as generation does: where rotary scaling
    goes by length, keys keep the rotation they were cached with."""
    out = model(input_ids=torch.tensor([ids]), use_cache=True)
    chosen, scores, gaps = [], [], []
    for _ in range(steps):
        best = torch.log_softmax(out.logits[0, -1].float(), dim=-1).topk(2)
        chosen.append(int(best.indices[0]))
        scores.append(float(best.values[0]))
        gaps.append(float(best.values[0] - best.values[1]))
        out = model(input_ids=torch.tensor([[chosen[-1]]]), past_key_values=out.past_key_values, use_cache=True)
    return {"ids": chosen, "logprobs": scores, "gaps": gaps}


def greedy(model: torch.nn.Module, ids: list[int], steps: int = GREEDY_STEPS) -> dict[str, list]:
    """`steps` likeliest tokens, end tokens ignored; `gaps[i]` is how far token i's log-prob is above the second's."""
    chosen: list[int] = []
    gaps: list[float] = []
    scores: list[float] = []
    for _ in range(steps):
        best = logprobs(model, ids + chosen)[-1].topk(2)
        chosen.append(int(best.indices[0]))
        scores.append(float(best.values[0]))
        gaps.append(float(best.values[0] - best.values[1]))
    return {"ids": chosen, "logprobs": scores, "gaps": gaps}


def write_expected(
    name: str, network: torch.nn.Module, prompts: list[tuple[str, list[int]]], steps: int, **facts) -> None:
    """`expected/NAME.safetensors` with `logprobs.I` [T, vocab] and `expected/NAME.json` with prompts and greedy runs."""
    tensors = {f"logprobs.{i}": logprobs(network, ids) for i, (_, ids) in enumerate(prompts)}
    entries = [
        {"text": text, "ids": ids, "logprobs": f"logprobs.{i}"}
        | ({"greedy": greedy(network, ids, steps)} if steps else {})
        for i, (text, ids) in enumerate(prompts)
    ]
    write_answers(name, tensors, facts | {"prompts": entries})


def write_answers(name: str, tensors: dict[str, torch.Tensor], answers: dict) -> None:
    """`expected/NAME.safetensors` and `expected/NAME.json`."""
    target = EXPECTED / name
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target.with_name(target.name + ".safetensors"))
    write_json(target.with_name(target.name + ".json"), answers)


def write_json(path: Path, value: object) -> None:
    """Indented, with lists of numbers on one line."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    text = re.sub(r"\[\n\s+(-?\d[-\d.e,\s]*)\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    assert json.loads(text) == value, path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def sort_lists(config: dict) -> None:
    """Sorts the lists that PEFT saves from sets."""
    for key in ("target_modules", "feedforward_modules", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key].sort()


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))
