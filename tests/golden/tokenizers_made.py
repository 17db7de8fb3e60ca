"""Three small tokenizers of the kinds the supported families use, with their chat templates.

`llama`    byte-level BPE, Llama 3 splitting, a beginning token added by the post-processor
`qwen`     byte-level BPE, NFC normalization, Qwen splitting, no beginning token, ChatML
`mistral`  BPE over `▁`-marked text with byte fallback, a beginning token, `[INST]` turns
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import product

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

LLAMA_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_SPLIT = LLAMA_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")

LLAMA_CHAT = """{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

QWEN_CHAT = """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou answer in one line.<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last_user=0) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if message.role == 'user' and ns.last_user == 0 %}{% set ns.last_user = index %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- if '</think>' in content and loop.index0 < ns.last_user %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}
    {%- elif not loop.first %}
        {{- raise_exception('Unexpected role: ' + message.role) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

MISTRAL_CHAT = (
    "{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set turns = messages[1:] %}"
    "{%- else %}{% set system = none %}{% set turns = messages %}{% endif %}"
    "{{- bos_token }}"
    "{%- for m in turns %}"
    "{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{%- if m['role'] == 'user' %}"
    "{{- '[INST] ' + (system + '\\n\\n' if loop.first and system is not none else '') + m['content'] + ' [/INST]' }}"
    "{%- elif m['role'] == 'assistant' %}{{- ' ' + m['content'] | trim + eos_token }}"
    "{%- else %}{{- raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{%- endfor %}"
)

LLAMA_SPECIAL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|finetune_right_pad_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]


def lines() -> list[str]:
    """A few hundred lines, enough for a few dozen merges."""
    who = ["The tenant", "A patient", "The clerk", "Our landlord", "The doctor", "Every reader", "No supplier"]
    does = ["shall pay", "reports", "must return", "writes down", "can copy", "has sent", "does not accept"]
    what = ["the rent of 1,250 euros", "pain in the left knee", "the answer", "two tablets daily", "an invoice",
            "this agreement", "the field `name`"]
    other = [
        "Übermäßige Größe, naïve café, señor, œuvre, Þórr.", "Привет, мир! Как дела?", "日本語の文章と漢字。",
        "def main():\n    return {'a': 1, 'b': [2, 3]}", "x = (y + z) * 100 / 7  # comment", "😀 🎉 👩‍👩‍👧‍👦",
        "I'm sure they've said it's what we'd do, won't you?", "\ttabbed\n\n\nthree newlines   three spaces",
    ]
    made = [f"{a} {b} {c}." for a, b, c in product(who, does, what)]
    return [text for i, text in enumerate(made) for text in ([text] + ([other[i % len(other)]] if i % 3 == 0 else []))]


def byte_level(split: str, normalizer: normalizers.Normalizer | None, size: int) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(split), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(lines(), BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def llama() -> PreTrainedTokenizerFast:
    """352 ids, all of them used."""
    tokenizer = byte_level(LLAMA_SPLIT, None, 352 - len(LLAMA_SPECIAL))
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in LLAMA_SPECIAL])
    bos = LLAMA_SPECIAL[0]
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        ),
    ])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token="<|eot_id|>", pad_token=LLAMA_SPECIAL[2],
        chat_template=LLAMA_CHAT, clean_up_tokenization_spaces=False, model_max_length=512,
    )


def qwen() -> PreTrainedTokenizerFast:
    """351 ids; `<think>` and `</think>` are added tokens but not special ones."""
    tokenizer = byte_level(QWEN_SPLIT, normalizers.NFC(), 346)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in ["<think>", "</think>"]])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=QWEN_CHAT,
        clean_up_tokenization_spaces=False, model_max_length=512,
    )


def mistral() -> PreTrainedTokenizerFast:
    """352 ids: three special ones, 256 bytes, the commonest characters, merges of these."""
    fixed = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    marked = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained = Tokenizer(BPE(unk_token="<unk>"))
    trained.normalizer = marked
    counts = Counter("".join(lines()).replace(" ", "▁"))
    common = [c for c, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:45]]
    trained.train_from_iterator(lines(), BpeTrainer(
        vocab_size=352, special_tokens=fixed, initial_alphabet=common, limit_alphabet=len(common), show_progress=False
    ))
    model = json.loads(trained.to_str())["model"]
    tokenizer = Tokenizer(BPE(
        vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]], unk_token="<unk>", fuse_unk=True,
        byte_fallback=True,
    ))
    tokenizer.normalizer = marked
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
    ])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in fixed[:3]])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=MISTRAL_CHAT,
        clean_up_tokenization_spaces=False, model_max_length=512,
    )


MAKERS = {"llama": llama, "qwen": qwen, "mistral": mistral}
EOS = {"llama": ["<|end_of_text|>", "<|eot_id|>"], "qwen": ["<|im_end|>", "<|endoftext|>"], "mistral": ["</s>"]}
