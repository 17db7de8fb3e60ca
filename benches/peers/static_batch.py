"""transformers with PEFT as a peer: a process that answers each line on its input with one measured batch."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import layout


class StaticBatch:
    """The process, from the side that asks."""

    def __init__(self, python: str, dir: Path, shape: str, dtype: str, adapters: int, threads: int):
        self.name = f"PEFT {dtype}"
        command = [python, __file__, str(dir), shape, dtype, str(adapters), str(threads)]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.measure(16, 4)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)

    def measure(self, prompt: int, tokens: int) -> dict:
        self.process.stdin.write(f"{prompt} {tokens}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}")
        return json.loads(line)


def serve(dir: Path, name: str, dtype: str, adapters: int, threads: int) -> None:
    import torch
    from peft import PeftModel
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(threads)
    shape = layout.SHAPES[name]
    config = LlamaConfig(
        vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.intermediate, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim, rms_norm_eps=shape.epsilon,
        max_position_embeddings=shape.context, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )
    torch.set_default_dtype(getattr(torch, dtype))
    model = LlamaForCausalLM(config)
    names = [f"a{index}" for index in range(adapters)]
    wrapped = PeftModel.from_pretrained(model, layout.adapter_folder(dir, name, 0), adapter_name=names[0])
    for index, adapter in enumerate(names[1:], 1):
        wrapped.load_adapter(layout.adapter_folder(dir, name, index), adapter_name=adapter)
    wrapped.to(getattr(torch, dtype)).eval()
    for line in sys.stdin:
        prompt, tokens = map(int, line.split())
        ids = torch.randint(layout.FIRST_WORD, shape.vocab, (adapters, prompt))
        began = time.perf_counter()
        with torch.inference_mode():
            out = wrapped.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), adapter_names=names, do_sample=False, min_new_tokens=tokens,
                max_new_tokens=tokens,
            )
        seconds = time.perf_counter() - began
        made = (out.shape[1] - prompt) * adapters
        if made != adapters * tokens:
            sys.exit(f"{made} tokens came, {adapters * tokens} were asked for")
        print(json.dumps({"value": made / seconds, "firsts": []}), flush=True)


if __name__ == "__main__":
    sys.stdout, answers = sys.stderr, sys.stdout
    print = __import__("functools").partial(print, file=answers)
    parser = argparse.ArgumentParser()
    for argument, kind in [("dir", Path), ("shape", str), ("dtype", str), ("adapters", int), ("threads", int)]:
        parser.add_argument(argument, type=kind)
    parsed = parser.parse_args()
    serve(parsed.dir, parsed.shape, parsed.dtype, parsed.adapters, parsed.threads)
