"""Points the libraries that people build on at a running daemon, unmodified, and says what does not hold.

    pip install openai anthropic langchain-openai llama-index-llms-openai-like litellm "lm-eval[api]"
    adapterd serve &
    python frameworks_check.py --base-url http://127.0.0.1:8080 --adapter legal

What is not installed is skipped by name. Exits with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Literal

QUESTION = "Copy the name.\nThe clerk is Ada."


def expect(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def of_openai(base: str, adapter: str, key: str) -> None:
    """Answers that follow a class, embeddings, and the responses API."""
    import openai
    from pydantic import BaseModel

    class Clerk(BaseModel):
        name: Literal["Ada", "Tom"]
        present: bool

    client = openai.OpenAI(base_url=f"{base}/v1", api_key=key)
    said = client.chat.completions.parse(
        model=adapter, messages=[{"role": "user", "content": QUESTION}], response_format=Clerk, max_tokens=200, temperature=0
    )
    expect(isinstance(said.choices[0].message.parsed, Clerk), "the answer is not parsed")
    vectors = client.embeddings.create(model=adapter, input=["a clerk", "a judge"])
    expect(len(vectors.data) == 2 and abs(sum(x * x for x in vectors.data[0].embedding) - 1) < 1e-3, "no unit vectors")
    short = client.embeddings.create(model=adapter, input="a clerk", dimensions=8)
    expect(len(short.data[0].embedding) == 8, "dimensions are not kept to")
    answer = client.responses.create(model=adapter, input=QUESTION, max_output_tokens=128, temperature=0)
    expect(answer.status in ("completed", "incomplete") and answer.output_text, "the response says nothing")
    text = ""
    with client.responses.stream(model=adapter, input=QUESTION, max_output_tokens=128, temperature=0) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
        expect(stream.get_final_response().output_text == text, "the stream says something else than its end")
    expect(text == answer.output_text, f"streamed {text!r}, whole {answer.output_text!r}")


def of_anthropic(base: str, adapter: str, key: str) -> None:
    import anthropic

    client = anthropic.Anthropic(base_url=base, api_key=key)
    # Newer clients have no argument for the temperature.
    asked = {
        "model": adapter,
        "max_tokens": 16,
        "messages": [{"role": "user", "content": QUESTION}],
        "extra_body": {"temperature": 0},
    }
    whole = client.messages.create(**asked)
    expect(whole.content[0].type == "text" and whole.usage.output_tokens > 0, "no text or no usage")
    with client.messages.stream(**asked) as stream:
        streamed = "".join(stream.text_stream)
    expect(streamed == whole.content[0].text, f"streamed {streamed!r}, whole {whole.content[0].text!r}")
    try:
        client.messages.create(**{**asked, "model": "no-such-name"})
    except anthropic.NotFoundError as fault:
        expect("no-such-name" in str(fault), "the error does not name the model")
    else:
        raise AssertionError("an unknown model is answered")
    expect(client.messages.count_tokens(model=adapter, messages=asked["messages"]).input_tokens > 0, "no tokens are counted")


def of_langchain(base: str, adapter: str, key: str) -> None:
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    chat = ChatOpenAI(base_url=f"{base}/v1", api_key=key, model=adapter, temperature=0, max_tokens=16)
    whole = chat.invoke(QUESTION).content
    streamed = "".join(chunk.content for chunk in chat.stream(QUESTION))
    expect(whole and whole == streamed, f"streamed {streamed!r}, whole {whole!r}")
    # Its own tokenizer is OpenAI's: texts are sent as they are.
    embed = OpenAIEmbeddings(base_url=f"{base}/v1", api_key=key, model=adapter, check_embedding_ctx_length=False)
    expect(len(embed.embed_documents(["a", "b"])) == 2, "no vectors")


def of_llama_index(base: str, adapter: str, key: str) -> None:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    chat = OpenAILike(api_base=f"{base}/v1", api_key=key, model=adapter, is_chat_model=True, temperature=0, max_tokens=16)
    whole = chat.chat([ChatMessage(role="user", content=QUESTION)]).message.content
    streamed = [part.message.content for part in chat.stream_chat([ChatMessage(role="user", content=QUESTION)])]
    expect(whole and streamed[-1] == whole, f"streamed {streamed[-1]!r}, whole {whole!r}")


def of_litellm(base: str, adapter: str, key: str) -> None:
    import litellm

    asked = {"model": f"openai/{adapter}", "api_base": f"{base}/v1", "api_key": key, "temperature": 0, "max_tokens": 16}
    said = litellm.completion(messages=[{"role": "user", "content": QUESTION}], **asked)
    expect(said.choices[0].message.content, "no answer")
    parts = litellm.completion(messages=[{"role": "user", "content": QUESTION}], stream=True, **asked)
    streamed = "".join(part.choices[0].delta.content or "" for part in parts)
    expect(streamed == said.choices[0].message.content, f"streamed {streamed!r}")


def of_lm_eval(base: str, adapter: str, key: str) -> None:
    """Tasks of its own, so that nothing is downloaded: completions (scored, where `TOKENIZER` names the folder of a
    tokenizer), then chats that are compared as text."""
    rows = [{"question": f"Copy the name.\nThe clerk is {name}.", "answer": name} for name in ("Ada", "Tom", "Eva", "Max")]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "rows.jsonl")
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        common = (
            f"dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {data}\ntest_split: test\n"
            'doc_to_text: "{{question}}\\n"\ndoc_to_target: "{{answer}}"\n'
        )
        Path(folder, "scored.yaml").write_text(
            "task: scored\noutput_type: multiple_choice\ndoc_to_choice: ['Ada', 'Tom', 'Eva', 'Max']\n"
            + common + "metric_list:\n  - metric: acc\n"
        )
        Path(folder, "written.yaml").write_text(
            "task: written\noutput_type: generate_until\ngeneration_kwargs:\n  until: ['\\n']\n  max_gen_toks: 16\n"
            + common + "metric_list:\n  - metric: exact_match\n"
        )
        # Scores need the model's own tokenizer, as `adapterd adapter merge` writes it.
        tokenizer = os.environ.get("TOKENIZER")
        scored = ("scored", [f"tokenizer={tokenizer}", "tokenized_requests=True"])
        unscored = ("written", ["tokenizer_backend=None", "tokenized_requests=False"])
        task, more = scored if tokenizer else unscored
        for model, task, path, more in (
            ("local-completions", task, "completions", more),
            ("local-chat-completions", "written", "chat/completions", []),
        ):
            given = [f"model={adapter}", f"base_url={base}/v1/{path}", "num_concurrent=4", "max_retries=1", *more]
            command = [sys.executable, "-m", "lm_eval", "--model", model, "--model_args", ",".join(given), "--tasks", task]
            command += ["--include_path", folder, "--output_path", folder]
            command += ["--apply_chat_template"] if "chat" in model else []
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, "OPENAI_API_KEY": key, "HF_HUB_OFFLINE": "1"}
            )
            expect(done.returncode == 0, f"{model}: {done.stderr[-2000:]}")
            expect(task in done.stdout, f"{model} tells no result: {done.stdout[-500:]}")


CHECKS = {
    "openai": of_openai,
    "anthropic": of_anthropic,
    "langchain_openai": of_langchain,
    "llama_index": of_llama_index,
    "litellm": of_litellm,
    "lm_eval": of_lm_eval,
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--base-url", default="http://127.0.0.1:8080")
    arguments.add_argument("--adapter", default="legal")
    arguments.add_argument("--api-key", default="none")
    arguments.add_argument("--only", choices=CHECKS, action="append")
    given = arguments.parse_args()
    failed = 0
    for name, check in CHECKS.items():
        if given.only and name not in given.only:
            continue
        if importlib.util.find_spec(name) is None:
            print(f"skipped  {name}: not installed")
            continue
        try:
            check(given.base_url.rstrip("/"), given.adapter, given.api_key)
            print(f"ok       {name}")
        except Exception:  # noqa: BLE001: each is told, whatever it is
            failed += 1
            print(f"FAILED   {name}")
            traceback.print_exc()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
