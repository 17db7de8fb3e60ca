"""Writes bottleneck adapters by AdapterHub's library (`adapters`), its answers with them, and training runs by it and torch.

    python make_bottleneck.py [NAME…]    # after make_models.py and make_training.py; of the adapters and runs, only those named

Needs an environment of its own: the library wants an older transformers (see README.md). That one does not know the newer
layout of rotary settings, so `load` states the base frequency again; nothing else differs.

`adapters/NAME-bottleneck…/` are folders as the library saves them with safetensors, all numbers random and far enough from
neutral to change every answer; `expected/adapters/NAME.*` are answers as in `make_adapters.py`. Llama is one of the models the
library has wired itself; Qwen2 goes through its hooks, which take the residual elsewhere and come to the same.

`training/bottleneck/` and `training/qwen2-bottleneck/` have `initial/`, `expected.json` and `expected.safetensors` as described in
`make_training.py`, over the same rows.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import adapters
import torch
from adapters import BnConfig, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

import oracle
from oracle import ADAPTERS, MODELS, TRAINING, read_json, write_json

NAME = "golden"


@dataclass(frozen=True)
class Made:
    base: str
    seed: int
    config: BnConfig


MADE = {
    "llama-bottleneck-double": Made("llama", 71, DoubleSeqBnConfig()),
    "llama-bottleneck-sequential": Made("llama", 72, SeqBnConfig(
        reduction_factor={"1": 8.0, "default": 4.0}, non_linearity="gelu",
    )),
    "llama-bottleneck-parallel": Made("llama", 73, ParBnConfig(reduction_factor=10)),
    # The same sums by other keys, in one layer.
    "llama-bottleneck-other": Made("llama", 74, BnConfig(
        mh_adapter=True, output_adapter=True, reduction_factor=8, non_linearity="gelu_new", original_ln_before=True,
        original_ln_after=False, residual_before_ln=False, leave_out=[0], scaling=0.5, dropout=0.1,
    )),
    "qwen2-bottleneck-sequential": Made("qwen2", 75, SeqBnConfig(reduction_factor=8, non_linearity="tanh")),
    "qwen2-bottleneck-parallel": Made("qwen2", 76, ParBnConfig(mh_adapter=True, reduction_factor=16)),
}


@dataclass(frozen=True)
class Set:
    made: Made
    # Whose rows, prompt and runs these are.
    like: str


SETS = {
    "bottleneck": Set(Made("llama", 77, DoubleSeqBnConfig()), "dora"),
    "qwen2-bottleneck": Set(Made("qwen2", 78, ParBnConfig(reduction_factor=8)), "qwen2-dora"),
}


def load(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(folder)
    config.rope_theta = read_json(folder / "config.json")["rope_parameters"]["rope_theta"]
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager")
    adapters.init(model)
    return model.to(dtype).eval()


def write_folder(made: Made, folder: Path, scale: float) -> None:
    model = load(MODELS / made.base)
    model.add_adapter(NAME, config=made.config)
    source = torch.Generator().manual_seed(made.seed)
    for name, parameter in sorted(model.named_parameters()):
        if f".adapters.{NAME}." in name:
            with torch.no_grad():
                parameter.copy_(scale * torch.randn(parameter.shape, generator=source))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.save_adapter(folder, NAME, use_safetensors=True)
    config = read_json(folder / "adapter_config.json")
    config["model_name"] = made.base
    write_json(folder / "adapter_config.json", config)
    for path in folder.iterdir():
        if path.name not in ("adapter_config.json", "adapter.safetensors"):
            path.unlink()


def with_adapter(base: str, folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    model = load(MODELS / base, dtype)
    found: dict = {}
    model.load_adapter(str(folder), use_safetensors=True, set_active=True, loading_info=found)
    assert not found["missing_keys"] and not found["unexpected_keys"], found
    return model.to(dtype).eval()


def rows_of(expected: dict) -> list[tuple[torch.Tensor, int]]:
    return [(torch.tensor(one["ids"]), one["answer_from"]) for one in expected["rows"]]


def train(one: Set, like: dict, run: dict, dtype: torch.dtype) -> tuple[PreTrainedModel, dict[str, list]]:
    """As `make_training.train`."""
    model = with_adapter(one.made.base, TRAINING / folder_of(one) / "initial", dtype)
    model.train_adapter(NAME)
    model.eval()
    assert run["schedule"] == "constant" and run["warmup_steps"] == 0
    rows, size = rows_of(like), run["batch_size"]
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=run["learning_rate"], betas=(run["beta1"], run["beta2"]), eps=run["epsilon"],
        weight_decay=run["weight_decay"],
    )
    seen: dict[str, list] = {"losses": [], "grad_norms": [], "learning_rates": [], "tokens": []}
    for step in range(run["steps"]):
        batch = [rows[(step * size + i) % len(rows)] for i in range(size)]
        tokens = sum(len(ids) - start for ids, start in batch)
        loss = 0
        for ids, start in batch:
            logits = model(input_ids=ids[None], use_cache=False).logits[0]
            loss = loss + torch.nn.functional.cross_entropy(logits[start - 1 : -1], ids[start:], reduction="sum")
        loss = loss / tokens
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, run["max_grad_norm"])
        seen["losses"].append(loss.item())
        seen["grad_norms"].append(norm.item())
        seen["learning_rates"].append(run["learning_rate"])
        seen["tokens"].append(tokens)
        optimizer.step()
        optimizer.zero_grad()
    return model, seen


def folder_of(one: Set) -> str:
    return next(name for name, known in SETS.items() if known is one)


def write_runs(one: Set) -> None:
    like = read_json(TRAINING / one.like / "expected.json")
    folder = TRAINING / folder_of(one)
    write_folder(one.made, folder / "initial", 0.05)
    ids = like["prompt"]["ids"]
    tensors = {"logprobs.initial": oracle.logprobs(with_adapter(one.made.base, folder / "initial"), ids)}
    runs = {}
    for name, settings in like["runs"].items():
        settings = {key: value for key, value in settings.items() if not isinstance(value, list)}
        model, seen = train(one, like, settings, torch.float32)
        _, exact = train(one, like, settings, torch.float64)
        drift = max(abs(a - b) / b for a, b in zip(seen["losses"], exact["losses"]))
        print(f"{folder.name} {name}: loss {seen['losses'][0]:.4f} to {seen['losses'][-1]:.4f}, {drift:.1e} from float64")
        tensors[f"logprobs.{name}"] = oracle.logprobs(model, ids)
        runs[name] = settings | seen
    save_file(tensors, folder / "expected.safetensors")
    write_json(folder / "expected.json", {"base": one.made.base, "prompt": like["prompt"], "runs": runs})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    for name, made in MADE.items():
        if names and name not in names:
            continue
        write_folder(made, ADAPTERS / name, 0.3)
        like = read_json(oracle.EXPECTED / "adapters" / f"{made.base}-plain.json")["prompts"][0]
        model, bare = with_adapter(made.base, ADAPTERS / name), load(MODELS / made.base)
        moved = (oracle.logprobs(model, like["ids"]) - oracle.logprobs(bare, like["ids"])).abs().max()
        print(f"{name}: log-probabilities move by up to {moved:.2f}")
        oracle.write_expected(f"adapters/{name}", model, [(like["text"], like["ids"])], oracle.GREEDY_STEPS)
    for name, one in SETS.items():
        if not names or name in names:
            write_runs(one)


if __name__ == "__main__":
    main()
