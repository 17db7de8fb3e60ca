"""Training LoRA beside transformers with PEFT: tokens a second and peak memory, in turns, on the same rows.

    python3 benches/peers/train.py --adapterd target/release/adapterd --python PYTHON_WITH_TORCH_AND_PEFT

Random weights of Qwen2.5-0.5B's shape, rank 16 on all seven linears, AdamW, no dropout. adapterd holds the base in q8_0; PEFT has it in f32, in f32
under bf16 autocast, and in bf16, since nothing quantized of its trains on a CPU. Two files of rows: `full` rows of 512 tokens, and `mixed` ones, whose
lengths are those of instruction files: most short, a few long. PEFT pads a batch to its longest row, sorted by nothing, as the trainer of transformers
does; adapterd packs rows. A token counts if it is of a row.
"""

import argparse
import json
import os
import random
import statistics
import string
import subprocess
import sys
import time
from pathlib import Path

LENGTH = 512
BATCH = {"full": 4, "mixed": 8}


def lengths(kind: str, rng: random.Random) -> list[int]:
    """Tokens of each row. Of instruction files the median is near a hundred and the mean well above it."""
    if kind == "full":
        return [LENGTH] * 64
    return [min(LENGTH, max(16, int(rng.lognormvariate(4.6, 0.8)))) for _ in range(512)]


def make(dir: Path) -> None:
    """The model with a tokenizer of single letters, and both files of rows."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
    import torch

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
        max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=1,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(dir / "model")
    letters = {"<eos>": 0, "<pad>": 1} | {letter: at + 2 for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    spelled = Tokenizer(models.BPE(letters, []))
    spelled.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelled.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=spelled, eos_token="<eos>", pad_token="<pad>")
    fast.save_pretrained(dir / "model")
    rng = random.Random(0)
    for kind in BATCH:
        with open(dir / f"{kind}.jsonl", "w") as file:
            for length in lengths(kind, rng):
                said = "".join(rng.choices(string.ascii_lowercase, k=length - 1))
                row = {"prompt": said[: length // 4], "completion": said[length // 4 :]}
                file.write(json.dumps(row) + "\n")


def peft(dir: Path, kind: str, form: str, steps: int) -> None:
    """One measured run; prints its rate."""
    import resource

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(os.cpu_count() or 1)
    whole = {"f32": torch.float32, "autocast": torch.float32, "bf16": torch.bfloat16}[form]
    model = AutoModelForCausalLM.from_pretrained(dir / "model", dtype=whole)
    linears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=linears, task_type="CAUSAL_LM")).train()
    read = AutoTokenizer.from_pretrained(dir / "model")
    rows = []
    for line in open(dir / f"{kind}.jsonl"):
        row = json.loads(line)
        prompt = read(row["prompt"], add_special_tokens=False)["input_ids"]
        answer = read(row["completion"], add_special_tokens=False)["input_ids"] + [0]
        rows.append((prompt + answer, [-100] * len(prompt) + answer))
    random.Random(1).shuffle(rows)
    learned = [tensor for tensor in model.parameters() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=2e-4)
    rates, batch = [], BATCH[kind]
    for step in range(steps + 1):
        taken = [rows[(step * batch + at) % len(rows)] for at in range(batch)]
        longest = max(len(ids) for ids, _ in taken)
        ids = torch.tensor([row + [1] * (longest - len(row)) for row, _ in taken])
        labels = torch.tensor([row + [-100] * (longest - len(row)) for _, row in taken])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in taken])
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=form == "autocast"):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        # The first step also builds what later ones reuse.
        if step:
            rates.append(int(mask.sum()) / (time.perf_counter() - began))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rate": statistics.median(rates), "peak": peak}))


def ours(program: str, dir: Path, kind: str, precision: str, steps: int) -> dict:
    command = [
        program, "bench", "train", "--json", "--model", str(dir / "model"), "--quant", "q8_0", "--data", str(dir / f"{kind}.jsonl"),
        "--max-seq", str(LENGTH), "--batch-size", str(BATCH[kind]), "--steps", str(steps), "--precision", precision,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    report = json.loads(done.stdout)
    return {"rate": report["tokens_per_second"]["median"], "peak": report["peak_memory_bytes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapterd", default="target/release/adapterd")
    parser.add_argument("--python", default=sys.executable, help="one that has torch, transformers and peft")
    parser.add_argument("--dir", type=Path, default=Path("target/peers/training"))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--kinds", nargs="+", default=list(BATCH))
    parser.add_argument("--forms", nargs="+", default=["f32", "autocast", "bf16"])
    parser.add_argument("--precisions", nargs="+", default=["f32", "bf16"])
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    if args.role == ["make"]:
        return make(args.dir)
    if args.role:
        return peft(args.dir, *args.role, args.steps)
    again = [args.python, __file__, "--dir", str(args.dir), "--steps", str(args.steps), "--role"]
    if not (args.dir / "mixed.jsonl").exists():
        subprocess.run([*again, "make"], check=True)

    def theirs(kind: str, form: str) -> dict:
        done = subprocess.run([*again, kind, form], stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    for kind in args.kinds:
        seen: dict[str, list[dict]] = {}
        for repetition in range(args.repetitions):
            turns = [(f"PEFT {form}", lambda form=form: theirs(kind, form)) for form in args.forms]
            turns += [(f"adapterd {each}", lambda each=each: ours(args.adapterd, args.dir, kind, each, args.steps)) for each in args.precisions]
            for name, turn in turns if repetition % 2 == 0 else reversed(turns):
                seen.setdefault(name, []).append(turn())
                print(kind, name, seen[name][-1], file=sys.stderr, flush=True)
        best = max((name for name in seen if name.startswith("PEFT")), key=lambda name: statistics.median(run["rate"] for run in seen[name]))
        for name, runs in seen.items():
            ratios = [run["rate"] / other["rate"] for run, other in zip(runs, seen[best])]
            rate, peak = (statistics.median(run[field] for run in runs) for field in ("rate", "peak"))
            print(f"{kind}: {name}: {rate:.1f} tokens/s, {peak / 2**20:.0f} MiB; "
                  f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) of {best}, n={len(runs)}")


if __name__ == "__main__":
    main()
