"""Compares log-probabilities an adapterd gave with those of transformers and PEFT, from folders on disk.

    curl -s $SERVER/v1/completions -d '{"model": "legal", "prompt": "Some text", "max_tokens": 8, "temperature": 0,
        "echo": true, "logprobs": 1, "return_token_ids": true}' -H 'content-type: application/json' > answer.json
    adapterd adapter export legal ./legal
    python check_peft.py --base MODEL_FOLDER --adapter ./legal answer.json

Each file is such an answer, or `{"ids": […], "token_logprobs": […]}` with one log-probability a token (null for the
first), or with `"logprobs"`, a whole distribution after each token; or a list of these. Exits with 1 when one is off by
more than `--tolerance`, or when PEFT does not find exactly its own tensors in the adapter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file

import oracle


def scored(value) -> Iterator[dict]:
    """Every scored sequence in a file, as `ids` with `token_logprobs` or `logprobs`."""
    if isinstance(value, list):
        for one in value:
            yield from scored(one)
    elif "choices" in value:
        for choice in value["choices"]:
            prompt = choice.get("prompt_token_ids") or value["prompt_token_ids"]
            numbers = choice["logprobs"]["token_logprobs"]
            echoed = numbers and numbers[0] is None
            yield {
                "ids": prompt + choice["token_ids"],
                "token_logprobs": numbers if echoed else [None] * len(prompt) + numbers,
            }
    else:
        yield value


def worst(model: torch.nn.Module, given: dict) -> tuple[float, float, int]:
    """The largest and the mean difference, and the position of the largest."""
    ids = given["ids"]
    ours = oracle.logprobs(model, ids)
    if "logprobs" in given:
        off = (torch.tensor(given["logprobs"]) - ours).abs().amax(dim=1)
    else:
        numbers = given["token_logprobs"]
        if len(numbers) != len(ids):
            raise SystemExit(f"{len(numbers)} log-probabilities for {len(ids)} tokens")
        off = torch.tensor([
            0.0 if number is None else abs(number - float(ours[i - 1, ids[i]])) for i, number in enumerate(numbers)
        ])
    return float(off.max()), float(off.mean()), int(off.argmax())


def with_adapter(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Loads the adapter; every tensor of the file must be one that PEFT would save, and the reverse."""
    tuned = PeftModel.from_pretrained(model, folder).eval()
    stored = load_file(folder / "adapter_model.safetensors")
    loaded = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    if stored.keys() != loaded.keys():
        raise SystemExit(f"tensors PEFT does not share with the file: {sorted(stored.keys() ^ loaded.keys())}")
    for name, tensor in stored.items():
        if not torch.equal(tensor.float(), loaded[name].float()):
            raise SystemExit(f"PEFT read {name} differently")
    return tuned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of the base model")
    parser.add_argument("--adapter", type=Path, help="PEFT folder; without it the base alone is compared")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest difference allowed (%(default)s)")
    parser.add_argument("answers", type=Path, nargs="*", help="files with token ids and log-probabilities")
    arguments = parser.parse_args()
    model = oracle.load(arguments.base)
    if arguments.adapter:
        model = with_adapter(model, arguments.adapter)
        print(f"{arguments.adapter}: PEFT loads it")
    failed = False
    for file in arguments.answers:
        for i, given in enumerate(scored(oracle.read_json(file))):
            largest, mean, at = worst(model, given)
            failed |= not largest <= arguments.tolerance
            print(f"{file}[{i}]: {len(given['ids'])} tokens, largest difference {largest:.2e} at {at}, mean {mean:.2e}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
