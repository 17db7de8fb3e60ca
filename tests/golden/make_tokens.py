"""Writes what the tokenizers and chat templates of the folders under `models/` must give: `expected/tokens/*.json`.

    python make_tokens.py            # after make_models.py
"""

from __future__ import annotations

import argparse

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from oracle import EXPECTED, MODELS, write_json

# One folder for each tokenizer; the others hold one of these.
FOLDERS = ["llama", "qwen2", "qwen3", "mistral", "llama-linear-old"]

TEXTS = [
    "",
    " ",
    "   ",
    "Hello, world!",
    " leading and trailing ",
    "two  spaces, three   spaces\tand a tab",
    "line one\nline two\r\nline three\n\n\n",
    "I'm sure they've said it's what WE'D do",
    "1234567890 3.14159 1,250,000",
    "naïve café Ångström",
    "nai\u0308ve e\u0301tude",
    "\u00a0non\u2009breaking\u200bspaces\u3000",
    "日本語の文章と漢字。",
    "Привет, мир!",
    "שלום مرحبا",
    "😀🎉 👩‍👩‍👧‍👦 🏳️‍🌈",
    "\U0001f9d1\U0001f3fd\u200d\U0001f680 in space",
    "def f(x):\n\treturn x**2  # square\n",
    "{'a': [1, 2], \"b\": null}",
    "<|eot_id|>",
    "before <|im_end|> after",
    "a<|begin_of_text|>b<|im_start|>c</s>d<s>",
    "<think>\nwhy\n</think>\n\nbecause",
    "<|not_special|> <|im_end",
    "▁already marked▁",
    "<0x41> is not a byte here",
    "\u0000\u0001\u007f",
    "zalgo: z\u0351\u0311a\u0328l\u0321g\u0321o",
    "The tenant shall pay the rent. The tenant shall pay the rent.",
    "end without newline, then spaces   ",
]

USER = {"role": "user", "content": "Copy the name: Zoë"}
ANSWER = {"role": "assistant", "content": "  Zoë  "}
THOUGHT = {"role": "assistant", "content": "<think>\nshort\n</think>\n\nZoë"}
SYSTEM = {"role": "system", "content": "Be brief.\nAnswer once."}
AGAIN = {"role": "user", "content": "Again?\n  {{ no_template }} & <b>\"quotes\"</b>"}
CHATS = [
    [USER],
    [SYSTEM, USER],
    [USER, ANSWER],
    [USER, ANSWER, AGAIN],
    [SYSTEM, USER, THOUGHT, AGAIN],
    [USER, THOUGHT],
    [USER, AGAIN],
    [USER, ANSWER, SYSTEM],
    [USER, {"role": "critic", "content": "hm"}],
    [{"role": "user", "content": ""}],
]


def tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> dict:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with_special = tokenizer(text, add_special_tokens=True)["input_ids"]
    return {
        "text": text,
        "ids": ids,
        "ids_with_special": with_special,
        "decoded": tokenizer.decode(with_special, skip_special_tokens=False, clean_up_tokenization_spaces=False),
        "decoded_without_special": tokenizer.decode(
            with_special, skip_special_tokens=True, clean_up_tokenization_spaces=False
        ),
    }


def chat(tokenizer: PreTrainedTokenizerFast, messages: list[dict], generate: bool) -> dict:
    """The rendered text and its ids (no special tokens added: the template writes its own), or the refusal."""
    case = {"messages": messages, "add_generation_prompt": generate}
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
    except TemplateError as refused:
        return case | {"error": str(refused)}
    return case | {"text": text, "ids": tokenizer(text, add_special_tokens=False)["input_ids"]}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    made = {}
    for folder in FOLDERS:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(MODELS / folder)
        automatic = AutoTokenizer.from_pretrained(MODELS / folder)
        made[folder] = {
            "folder": folder,
            "size": len(tokenizer),
            "bos": tokenizer.bos_token_id,
            "eos": tokenizer.eos_token_id,
            "texts": [tokens(tokenizer, text) for text in TEXTS],
            "chats": [chat(tokenizer, messages, generate) for messages in CHATS for generate in (False, True)],
        }
        for case in made[folder]["texts"]:
            if automatic(case["text"])["input_ids"] != case["ids_with_special"]:
                print(f"{folder}: {type(automatic).__name__} reads {case['text']!r} differently")
    for twin, of in (("llama-linear-old", "llama"), ("qwen3", "qwen2")):
        assert made[twin] == made[of] | {"folder": twin}, f"{twin} is not {of}"
    for folder in ("llama", "qwen2", "mistral"):
        write_json(EXPECTED / "tokens" / f"{folder}.json", made[folder])


if __name__ == "__main__":
    main()
