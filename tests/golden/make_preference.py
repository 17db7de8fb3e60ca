"""Writes a run of direct preference optimization (Rafailov et al., 2023) by PEFT and torch: `training/preference/`.

    python make_preference.py        # after make_training.py, whose conventions hold here

Base `models/llama` in f32 with the LoRA of `training/initial/`, which is the reference too. `rows.jsonl` has rows as TRL
takes them: `prompt` (turns), `chosen`, `rejected`. An answer's log-probability is the sum over its tokens and the
end-of-turn token. A step's loss is the mean over its pairs of -ln sigmoid(beta * (chosen - its reference - rejected + its
reference)), before the update.

`expected.json`: for every step of run `constant` its losses, grad_norms (before clipping), rewards of both answers (beta
times the difference to the reference), margins and accuracies, all means over the step's pairs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import torch
from transformers import PreTrainedTokenizerFast

import make_training as made
from oracle import TRAINING, write_json

BETA = 0.2
RUN = replace(made.RUNS["constant"], batch_size=3, learning_rate=2e-3)
FOLDER = TRAINING / "preference"


def records() -> list[dict]:
    rows = made.records()
    pairs = []
    for at, row in enumerate(rows):
        other = rows[(at + 5) % len(rows)]["output"] + "!"
        given = row.get("input", "")
        asked = row["instruction"] + ("\n" + given if given else "")
        pairs.append({
            "prompt": [{"role": "user", "content": asked}],
            "chosen": [{"role": "assistant", "content": row["output"]}],
            "rejected": [{"role": "assistant", "content": other}],
        })
    return pairs


def both(tokenizer: PreTrainedTokenizerFast, pair: dict) -> tuple[made.Row, made.Row]:
    def one(key: str) -> made.Row:
        return made.row(tokenizer, {"instruction": pair["prompt"][0]["content"], "output": pair[key][0]["content"]})

    return one("chosen"), one("rejected")


def train(model: torch.nn.Module, pairs: list[tuple[made.Row, made.Row]], run: made.Run) -> dict[str, list]:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=run.learning_rate, betas=(run.beta1, run.beta2), eps=run.epsilon, weight_decay=run.weight_decay
    )
    with torch.no_grad():
        reference = [[-made.loss_sum(model, one) for one in pair] for pair in pairs]
    seen: dict[str, list] = {key: [] for key in ("losses", "grad_norms", "chosen", "rejected", "margins", "accuracies")}
    for step in range(run.steps):
        numbers = [(step * run.batch_size + i) % len(pairs) for i in range(run.batch_size)]
        rewards = torch.stack([
            torch.stack([BETA * (-made.loss_sum(model, one) - before) for one, before in zip(pairs[n], reference[n])])
            for n in numbers
        ])
        margins = rewards[:, 0] - rewards[:, 1]
        loss = -torch.nn.functional.logsigmoid(margins).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, run.max_grad_norm)
        seen["losses"].append(loss.item())
        seen["grad_norms"].append(norm.item())
        seen["chosen"].append(rewards[:, 0].mean().item())
        seen["rejected"].append(rewards[:, 1].mean().item())
        seen["margins"].append(margins.mean().item())
        seen["accuracies"].append((margins > 0).double().mean().item())
        optimizer.step()
        optimizer.zero_grad()
    return seen


def main() -> None:
    one = made.SETS["lora"]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(one.model)
    pairs = [both(tokenizer, pair) for pair in records()]
    seen = train(made.start(one), pairs, RUN)
    exact = train(made.start(one, torch.float64), pairs, RUN)
    drift = max(abs(a - b) / b for a, b in zip(seen["losses"], exact["losses"]))
    print(f"loss {seen['losses'][0]:.4f} to {seen['losses'][-1]:.4f}, at most {drift:.1e} from float64")
    FOLDER.mkdir(exist_ok=True)
    lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in records()]
    (FOLDER / "rows.jsonl").write_text("".join(lines))
    write_json(FOLDER / "expected.json", {"beta": BETA, "run": asdict(RUN) | seen})


if __name__ == "__main__":
    main()
