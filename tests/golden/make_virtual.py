"""Writes what PEFT makes of virtual tokens: prefix-tuning and prompt-tuning, served and trained.

    python make_virtual.py           # after make_models.py and make_training.py

`adapters/NAME/` and `expected/adapters/NAME.*`: folders and answers as those of `make_adapters.py`, all numbers random.
`training/virtual/NAME/`: runs as those of `make_training.py`, over the same `training/rows.jsonl`. `initial/` is what PEFT
saves before the first step. Of a prefix with a projection it saves only what the projection makes, from which PEFT cannot go
on; so `initial/prefix_encoder.safetensors` has the weights of its `PrefixEncoder`, under its own names. Logits of virtual
tokens, which prompt-tuning has in front, are left out everywhere.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace

import torch
from peft import PeftConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

import oracle
from make_models import PROMPTS
from make_training import CONSTANT_AND_DECAY, Row, Run, records, row, train
from oracle import ADAPTERS, MODELS, TRAINING, write_json

TEXT = "Write the name of the clerk in brackets."
ENCODER = "prefix_encoder.safetensors"


class WithoutVirtual(torch.nn.Module):
    """A model whose logits are those of the tokens it is given."""

    def __init__(self, model: PeftModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, **kwargs):
        out = self.model(input_ids=input_ids, **kwargs)
        out.logits = out.logits[:, -input_ids.shape[1]:]
        return out


def config(base: str, kind: type[PeftConfig], given: dict) -> PeftConfig:
    if given.get("prompt_tuning_init") == PromptTuningInit.TEXT:
        given = given | {"tokenizer_name_or_path": str(MODELS / base)}
    return kind(task_type=TaskType.CAUSAL_LM, **given)


def save(model: PeftModel, base: str, folder) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    saved = model.peft_config["default"]
    saved.base_model_name_or_path = base
    if getattr(saved, "tokenizer_name_or_path", None):
        saved.tokenizer_name_or_path = base
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    write_json(folder / "adapter_config.json", oracle.read_json(folder / "adapter_config.json"))


# Served.

MADE = {
    "llama-prefix": ("llama", PrefixTuningConfig, dict(num_virtual_tokens=5)),
    # More virtual tokens than a block of the cache has positions.
    "qwen2-prefix": ("qwen2", PrefixTuningConfig, dict(num_virtual_tokens=20, prefix_projection=True, encoder_hidden_size=24)),
    # The prefix leaves the window of 16 as a text goes on.
    "mistral-prefix": ("mistral", PrefixTuningConfig, dict(num_virtual_tokens=6)),
    # Heads are wider than hidden / heads, and keys are normalised, which those of a prefix are not.
    "qwen3-prefix": ("qwen3", PrefixTuningConfig, dict(num_virtual_tokens=4)),
    "llama-prompt": ("llama", PromptTuningConfig, dict(num_virtual_tokens=7)),
    "mistral-prompt": ("mistral", PromptTuningConfig, dict(num_virtual_tokens=6)),
    "qwen2-prompt-text": ("qwen2", PromptTuningConfig, dict(
        num_virtual_tokens=20, prompt_tuning_init=PromptTuningInit.TEXT, prompt_tuning_init_text=TEXT,
    )),
}


def make(name: str, seed: int) -> None:
    base, kind, given = MADE[name]
    torch.manual_seed(seed)
    model = get_peft_model(oracle.load(MODELS / base), config(base, kind, given))
    folder = ADAPTERS / name
    save(model, base, folder)
    again = WithoutVirtual(PeftModel.from_pretrained(oracle.load(MODELS / base), folder).eval())
    ids = PreTrainedTokenizerFast.from_pretrained(MODELS / base)(PROMPTS[0])["input_ids"]
    oracle.write_expected(f"adapters/{name}", again, [(PROMPTS[0], ids)], oracle.GREEDY_STEPS, base=base, adapter=name)
    ours, before = oracle.logprobs(again, ids), oracle.logprobs(oracle.load(MODELS / base), ids)
    print(f"made {name}: log-probabilities move by {(ours - before).abs().mean():.2f} on average")


# Trained.

RUNS = {name: replace(run, learning_rate=1e-2) for name, run in CONSTANT_AND_DECAY.items()}
SETS = {
    "prefix": ("llama", PrefixTuningConfig, dict(num_virtual_tokens=5)),
    "prefix-projection": ("llama", PrefixTuningConfig, dict(num_virtual_tokens=5, prefix_projection=True, encoder_hidden_size=24)),
    "qwen2-prefix": ("qwen2", PrefixTuningConfig, dict(num_virtual_tokens=3)),
    "prompt": ("llama", PromptTuningConfig, dict(num_virtual_tokens=6)),
    "prompt-text": ("qwen2", PromptTuningConfig, dict(
        num_virtual_tokens=20, prompt_tuning_init=PromptTuningInit.TEXT, prompt_tuning_init_text=TEXT,
    )),
}


def write_initial(base: str, kind: type[PeftConfig], given: dict, folder) -> None:
    torch.manual_seed(61)
    model = get_peft_model(oracle.load(MODELS / base), config(base, kind, given))
    save(model, base, folder)
    if given.get("prefix_projection"):
        save_file(model.prompt_encoder["default"].state_dict(), folder / ENCODER)


def start(base: str, kind: type[PeftConfig], given: dict, folder, dtype: torch.dtype = torch.float32) -> WithoutVirtual:
    model = get_peft_model(oracle.load(MODELS / base), config(base, kind, given))
    encoder = model.prompt_encoder["default"]
    if given.get("prefix_projection"):
        encoder.load_state_dict(load_file(folder / ENCODER))
    else:
        saved = load_file(folder / "adapter_model.safetensors")
        encoder.embedding.load_state_dict({"weight": saved["prompt_embeddings"]})
    return WithoutVirtual(model.to(dtype).eval())


def runs(name: str) -> None:
    base, kind, given = SETS[name]
    folder = TRAINING / "virtual" / name
    write_initial(base, kind, given, folder / "initial")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MODELS / base)
    rows: list[Row] = [row(tokenizer, record) for record in records()]
    ids = tokenizer(PROMPTS[0])["input_ids"]
    made = (base, kind, given, folder / "initial")
    logprobs = {"logprobs.initial": oracle.logprobs(start(*made), ids)}
    seen: dict[str, dict] = {}
    for run_name, run in RUNS.items():
        run: Run
        model = start(*made)
        found = train(model, rows, run)
        exact = train(start(*made, torch.float64), rows, run)
        drift = max(abs(a - b) / b for a, b in zip(found["losses"], exact["losses"]))
        print(f"{name} {run_name}: loss {found['losses'][0]:.4f} to {found['losses'][-1]:.4f}, at most {drift:.1e} from float64")
        seen[run_name] = asdict(run) | found
        logprobs[f"logprobs.{run_name}"] = oracle.logprobs(model, ids)
    save_file(logprobs, folder / "expected.safetensors")
    write_json(folder / "expected.json", {"base": base, "prompt": {"text": PROMPTS[0], "ids": ids}, "runs": seen})


def main() -> None:
    for seed, name in enumerate(MADE):
        make(name, 71 + seed)
    for name in SETS:
        runs(name)


if __name__ == "__main__":
    main()
