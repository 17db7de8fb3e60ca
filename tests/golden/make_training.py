"""Writes training runs by PEFT and torch's AdamW, to be repeated step by step: everything under `training/`.

    python make_training.py [NAME…]  # after make_models.py; of the sets, only those named (`lora`, `ia3`, …)

Base `models/llama` in f32, LoRA on all seven linears, starting from the A and B in `training/initial/` (B is not zero).

Rows      `training/rows.jsonl`, in file order, over and over; `batch_size` consecutive rows make one optimizer step.
Tokens    One user turn (instruction, and where there is a non-empty input a newline and the input) and one assistant turn
          (output), rendered by the model's chat template and tokenized without adding special tokens; what the template
          writes after the end-of-turn token is cut off. Each row is run by itself: no packing, no padding, positions
          from 0, no dropout.
Loss      Cross-entropy of the answer's tokens and the end-of-turn token after them, nothing else. A step's loss is the sum
          over all rows of the step divided by the number of those tokens (not a mean of means), measured in the forward
          that gives the gradients: before the update. One backward of that quotient.
Clipping  The norm of all gradients together, reported before clipping; gradients are multiplied by
          min(1, max_grad_norm / (norm + 1e-6)).
Update    Adam moments with bias correction, then p -= lr * weight_decay * p and p -= lr * m / (sqrt(v) + epsilon).
Rate      Step t of N counts from 1, s = t - 1, w warm-up steps, as transformers' schedulers count:
          s < w: lr * s / w (so the first warm-up step has rate 0); then
          constant: lr;  linear: lr * (N - s) / (N - w);  cosine: lr * (1 + cos(pi * (s - w) / (N - w))) / 2.

`training/expected.json`: rows as token ids with the first answer position, and for each run its settings and, for every
step, losses, grad_norms (before clipping), learning_rates, tokens (that the loss covers). `training/expected.safetensors`:
`logprobs.initial` and `logprobs.RUN` [T, vocab] for `prompt.ids`. `training/final/`: the adapter of run `constant`, saved
by PEFT.

The other folders, one for each of `SETS`, have `initial/`, `expected.json` and `expected.safetensors` alike, over the same
`training/rows.jsonl` and with runs `constant` and `decay`. IA3 scales the inputs of up_proj and down_proj and the outputs of
the other five, and starts at ones. DoRA starts with A and B as above and the norms of the base's rows as magnitudes, which
are not those of the rows with B. `qwen2-ia3` and `qwen2-dora` train q_proj, k_proj, v_proj (with biases) and down_proj.
`outer` and `dora-outer` adapt the embedding and the head, `qwen2-bias…` and `qwen2-dora-bias` train biases. Weight
decay pulls IA3 vectors and magnitudes towards zero as any other parameter.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast, get_scheduler

import oracle
from make_models import PROMPTS
from oracle import MODELS, TRAINING, write_json

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Run:
    schedule: str
    warmup_steps: int = 0
    steps: int = 20
    batch_size: int = 4
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0


RUNS = {
    "constant": Run("constant"),
    "cosine": Run("cosine", warmup_steps=3),
    "linear": Run("linear", warmup_steps=3),
    "decay": Run("constant", beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1, max_grad_norm=0.4, batch_size=6),
}


@dataclass(frozen=True)
class Set:
    base: str
    kind: type[PeftConfig]
    config: dict
    runs: dict[str, Run]
    folder: Path

    @property
    def model(self) -> Path:
        return MODELS / self.base


BIASED = ["q_proj", "k_proj", "v_proj", "down_proj"]
CONSTANT_AND_DECAY = {name: RUNS[name] for name in ("constant", "decay")}
# Vectors of ones need larger steps.
OF_IA3 = {name: replace(run, learning_rate=1e-2) for name, run in CONSTANT_AND_DECAY.items()}
# So that biases move far enough to be seen.
OF_BIASES = {name: replace(run, learning_rate=5e-3) for name, run in CONSTANT_AND_DECAY.items()}
SETS = {
    "lora": Set("llama", LoraConfig, dict(r=8, lora_alpha=16, target_modules=TARGETS), RUNS, TRAINING),
    "ia3": Set("llama", IA3Config, dict(
        target_modules=TARGETS, feedforward_modules=["up_proj", "down_proj"],
    ), OF_IA3, TRAINING / "ia3"),
    "dora": Set("llama", LoraConfig, dict(
        r=4, lora_alpha=8, use_dora=True, target_modules=TARGETS,
    ), CONSTANT_AND_DECAY, TRAINING / "dora"),
    "qwen2-ia3": Set("qwen2", IA3Config, dict(
        target_modules=BIASED, feedforward_modules=["down_proj"],
    ), OF_IA3, TRAINING / "qwen2-ia3"),
    "qwen2-dora": Set("qwen2", LoraConfig, dict(
        r=2, lora_alpha=4, use_dora=True, target_modules=BIASED,
    ), CONSTANT_AND_DECAY, TRAINING / "qwen2-dora"),
    "patterns": Set("llama", LoraConfig, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True,
        rank_pattern={r".*\.0\.self_attn\.q_proj": 2, "q_proj": 6}, alpha_pattern={"down_proj": 3},
    ), CONSTANT_AND_DECAY, TRAINING / "patterns"),
    "outer": Set("llama", LoraConfig, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "embed_tokens", "lm_head"], rank_pattern={"lm_head": 3},
    ), CONSTANT_AND_DECAY, TRAINING / "outer"),
    "dora-outer": Set("llama", LoraConfig, dict(
        r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "embed_tokens", "lm_head"],
    ), CONSTANT_AND_DECAY, TRAINING / "dora-outer"),
    "qwen2-bias": Set("qwen2", LoraConfig, dict(
        r=4, lora_alpha=8, bias="all", target_modules=["q_proj", "up_proj"],
    ), OF_BIASES, TRAINING / "qwen2-bias"),
    "qwen2-bias-lora-only": Set("qwen2", LoraConfig, dict(
        r=4, lora_alpha=8, bias="lora_only", target_modules=["q_proj", "k_proj"],
    ), OF_BIASES, TRAINING / "qwen2-bias-lora-only"),
    "qwen2-dora-bias": Set("qwen2", LoraConfig, dict(
        r=2, lora_alpha=4, use_dora=True, bias="all", target_modules=["q_proj", "down_proj"],
    ), OF_BIASES, TRAINING / "qwen2-dora-bias"),
}


@dataclass(frozen=True)
class Row:
    ids: list[int]
    answer_from: int


def records() -> list[dict[str, str]]:
    names = ["Ada", "Boris", "Chloé", "Dmitri", "Esra", "Finn"]
    made: list[dict[str, str]] = []
    for i, name in enumerate(names):
        made.append({"instruction": "Copy the name.", "input": f"The clerk is {name}.", "output": name})
        made.append({"instruction": f"Write the number {i + 7} in brackets.", "output": f"[{i + 7}]"})
        made.append({"instruction": "Turn the line into JSON.", "input": f"{name}: {i * 125} euros",
                     "output": json.dumps({"name": name, "euros": i * 125}, ensure_ascii=False)})
        made.append({"instruction": "Say who pays,\nand when.", "input": "" if i % 2 else "The rent.",
                     "output": f"{name} pays. The rent is due today; {name} must return this agreement."})
    return made


def row(tokenizer: PreTrainedTokenizerFast, record: dict[str, str]) -> Row:
    given = record.get("input", "")
    user = {"role": "user", "content": record["instruction"] + ("\n" + given if given else "")}
    answer = {"role": "assistant", "content": record["output"]}
    prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([user, answer], tokenize=False)
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert ids[: len(prompt_ids)] == prompt_ids, whole
    ids = ids[: len(ids) - ids[::-1].index(tokenizer.eos_token_id)]
    assert len(ids) > len(prompt_ids) + 1, whole
    return Row(ids, len(prompt_ids))


def loss_sum(model: torch.nn.Module, one: Row) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([one.ids]), use_cache=False).logits[0]
    start = one.answer_from
    return torch.nn.functional.cross_entropy(logits[start - 1 : -1], torch.tensor(one.ids[start:]), reduction="sum")


def train(model: torch.nn.Module, rows: list[Row], run: Run) -> dict[str, list]:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=run.learning_rate, betas=(run.beta1, run.beta2), eps=run.epsilon, weight_decay=run.weight_decay
    )
    name = "constant_with_warmup" if run.schedule == "constant" else run.schedule
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=run.warmup_steps, num_training_steps=run.steps)
    seen: dict[str, list] = {"losses": [], "grad_norms": [], "learning_rates": [], "tokens": []}
    for step in range(run.steps):
        batch = [rows[(step * run.batch_size + i) % len(rows)] for i in range(run.batch_size)]
        tokens = sum(len(one.ids) - one.answer_from for one in batch)
        loss = sum(loss_sum(model, one) for one in batch) / tokens
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, run.max_grad_norm)
        seen["losses"].append(loss.item())
        seen["grad_norms"].append(norm.item())
        seen["learning_rates"].append(scheduler.get_last_lr()[0])
        seen["tokens"].append(tokens)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return seen


def write_initial(one: Set) -> None:
    model = get_peft_model(oracle.load(one.model), one.kind(task_type=TaskType.CAUSAL_LM, **one.config))
    source = torch.Generator().manual_seed(41)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_embedding_" in name:
            noise = torch.randn(parameter.shape, generator=source)
            with torch.no_grad():
                parameter.copy_(noise * (0.1 if "lora_embedding_A" in name else 0.5))
        elif "lora_A" in name or "lora_B" in name:
            a = "lora_A" in name
            shape = parameter.shape
            noise = torch.rand(shape, generator=source) * 2 - 1 if a else torch.randn(shape, generator=source)
            with torch.no_grad():
                parameter.copy_(noise * (1 / shape[1] ** 0.5 if a else 0.02))
    save(model, one, one.folder / "initial")


def save(model: PeftModel, one: Set, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = one.base
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    config = oracle.read_json(folder / "adapter_config.json")
    oracle.sort_lists(config)
    write_json(folder / "adapter_config.json", config)


def start(one: Set, dtype: torch.dtype = torch.float32) -> PeftModel:
    model = PeftModel.from_pretrained(oracle.load(one.model), one.folder / "initial", is_trainable=True).to(dtype)
    return model.eval()


def make(name: str, one: Set) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(one.model)
    rows = [row(tokenizer, record) for record in records()]
    write_initial(one)
    ids = tokenizer(PROMPTS[0])["input_ids"]
    logprobs = {"logprobs.initial": oracle.logprobs(start(one), ids)}
    runs = {}
    for run_name, run in one.runs.items():
        model = start(one)
        seen = train(model, rows, run)
        exact = train(start(one, torch.float64), rows, run)
        drift = max(abs(a - b) / b for a, b in zip(seen["losses"], exact["losses"]))
        first, last = seen["losses"][0], seen["losses"][-1]
        print(f"{name} {run_name}: loss {first:.4f} to {last:.4f}, at most {drift:.1e} from float64")
        runs[run_name] = asdict(run) | seen
        logprobs[f"logprobs.{run_name}"] = oracle.logprobs(model, ids)
        if name == "lora" and run_name == "constant":
            save(model, one, TRAINING / "final")
    save_file(logprobs, one.folder / "expected.safetensors")
    prompt = {"text": PROMPTS[0], "ids": ids}
    facts = {"base": one.base, "prompt": prompt, "rows": [asdict(r) for r in rows], "runs": runs}
    write_json(one.folder / "expected.json", facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SETS, []], metavar="NAME", help="sets of runs to make (all)")
    names = parser.parse_args().names or SETS
    TRAINING.mkdir(exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False) for record in records()]
    (TRAINING / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in names:
        make(name, SETS[name])


if __name__ == "__main__":
    main()
