"""Writes runs that train whole weights by plain torch, to be repeated step by step: everything under `training/dense/`.

    python make_dense.py             # after make_models.py and make_training.py

Rows, tokens, loss, clipping, update and rates are those of `make_training.py`; each run starts at the base itself, in f32.
`full` trains every weight, `modules` those of some modules, `staged` one set after the other: each stage has an optimizer
and a schedule of its own, and the rate of a weight is the stage's times `decay` for every layer above its own (embeddings
lie below the first). `training/dense/NAME.json` has the settings and, for every step, losses, grad_norms and
learning_rates; `training/dense/NAME.safetensors` the log-probabilities after the last, for `prompt.ids`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast, get_scheduler

import oracle
from make_models import PROMPTS
from make_training import RUNS, Row, Run, loss_sum, records, row
from oracle import MODELS, TRAINING, write_json


@dataclass(frozen=True)
class Stage:
    """Weights whose whole name `pattern` matches learn for `steps` steps."""

    pattern: str
    steps: int
    learning_rate: float


@dataclass(frozen=True)
class Case:
    base: str
    method: str
    wishes: dict
    stages: list[Stage]
    run: Run
    decay: float = 1.0


ATTENTION = r"model\.layers\.\d+\.self_attn\.[qkvo]_proj\.(weight|bias)"
STAGES = [
    {"modules": "head,norms", "steps": 5, "lr": 2e-3},
    {"layers": 1, "steps": 8},
    {"modules": ["attention", "embeddings"], "steps": 7, "lr": 5e-4},
]
CASES = {
    "full": Case("llama", "full", {}, [Stage(".*", 20, 1e-3)], RUNS["cosine"]),
    "full-qwen2": Case("qwen2", "full", {}, [Stage(".*", 20, 1e-3)], RUNS["decay"]),
    "modules": Case(
        "qwen2", "modules", {"train_modules": ["attention", "norms"], "train_layers": "1"},
        [Stage(ATTENTION.replace(r"\d+", "1") + r"|model\.layers\.1\..*norm\.weight", 20, 1e-3)], RUNS["constant"],
    ),
    "staged": Case(
        "llama", "staged", {"stages": STAGES, "lr_decay_per_layer": 0.5},
        [
            Stage(r"lm_head\.weight|.*norm\.weight", 5, 2e-3),
            Stage(r"model\.layers\.1\..*", 8, 1e-3),
            Stage(ATTENTION + r"|model\.embed_tokens\.weight", 7, 5e-4),
        ],
        RUNS["linear"], decay=0.5,
    ),
}


def rate(name: str, layers: int, decay: float) -> float:
    if name == "model.embed_tokens.weight":
        return decay**layers
    found = re.match(r"model\.layers\.(\d+)\.", name)
    return decay ** (layers - 1 - int(found[1])) if found else 1.0


def train(case: Case, rows: list[Row], dtype: torch.dtype) -> tuple[torch.nn.Module, dict[str, list]]:
    model = oracle.load(MODELS / case.base).to(dtype).eval()
    run, done = case.run, 0
    seen: dict[str, list] = {"losses": [], "grad_norms": [], "learning_rates": []}
    for stage in case.stages:
        groups, trained = [], []
        tied = model.config.tie_word_embeddings
        for name, parameter in model.named_parameters():
            chosen = re.fullmatch(stage.pattern, name) or (
                tied and name == "model.embed_tokens.weight" and re.fullmatch(stage.pattern, "lm_head.weight")
            )
            parameter.requires_grad_(bool(chosen))
            parameter.grad = None
            if chosen:
                trained.append(parameter)
                share = rate(name, model.config.num_hidden_layers, case.decay)
                groups.append({"params": [parameter], "lr": stage.learning_rate * share})
        optimizer = torch.optim.AdamW(
            groups, betas=(run.beta1, run.beta2), eps=run.epsilon, weight_decay=run.weight_decay
        )
        kind = "constant_with_warmup" if run.schedule == "constant" else run.schedule
        scheduler = get_scheduler(kind, optimizer, num_warmup_steps=run.warmup_steps, num_training_steps=stage.steps)
        for _ in range(stage.steps):
            batch = [rows[(done * run.batch_size + i) % len(rows)] for i in range(run.batch_size)]
            tokens = sum(len(one.ids) - one.answer_from for one in batch)
            loss = sum(loss_sum(model, one) for one in batch) / tokens
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, run.max_grad_norm)
            share = scheduler.get_last_lr()[0] / groups[0]["initial_lr"]
            seen["losses"].append(loss.item())
            seen["grad_norms"].append(norm.item())
            seen["learning_rates"].append(stage.learning_rate * share)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            done += 1
    return model, seen


def main() -> None:
    folder = TRAINING / "dense"
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(MODELS / case.base)
        rows = [row(tokenizer, record) for record in records()]
        ids = tokenizer(PROMPTS[0])["input_ids"]
        model, seen = train(case, rows, torch.float32)
        _, exact = train(case, rows, torch.float64)
        drift = max(abs(a - b) / b for a, b in zip(seen["losses"], exact["losses"]))
        print(f"{name}: loss {seen['losses'][0]:.4f} to {seen['losses'][-1]:.4f}, at most {drift:.1e} from float64")
        save_file({"logprobs": oracle.logprobs(model, ids)}, folder / f"{name}.safetensors")
        wishes = {"method": case.method} | case.wishes
        facts = {"base": case.base, "wishes": wishes, "prompt": {"ids": ids}, "run": asdict(case.run) | seen}
        write_json(folder / f"{name}.json", facts)


if __name__ == "__main__":
    main()
