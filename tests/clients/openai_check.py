"""Walks through a running daemon with OpenAI's own Python client and says what does not hold.

    pip install openai
    adapterd serve &
    python openai_check.py --base-url http://127.0.0.1:8080/v1 --adapter legal

Checks models, chat (whole, streamed, with adapters), text completions with log-probabilities, errors, files and a
fine-tuning job up to a chat with the tuned model. What it creates it deletes again. Exits with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import openai
from openai import OpenAI

QUESTION = [{"role": "user", "content": "Copy the name.\nThe clerk is Ada."}]
UNKNOWN = "no-such-name"


class Counting(OpenAI):
    """Counts the requests it sends, retries included."""

    sent = 0

    def _prepare_request(self, request) -> None:
        self.sent += 1


@dataclass
class Session:
    client: Counting
    adapter: str
    name: str
    steps: int
    patience: float
    base: str = ""
    file: str = ""
    job: str = ""


def expect(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def refused(kind: type[openai.APIStatusError], call: Callable[[], object], code: str | None = None) -> openai.APIStatusError:
    try:
        call()
    except kind as fault:
        expect(fault.message and fault.type, "the error has no message or type")
        expect(code is None or fault.code == code, f"code {fault.code} instead of {code}")
        return fault
    raise AssertionError(f"{kind.__name__} was expected")


def models(s: Session) -> None:
    listed = list(s.client.models.list())
    bases = [m for m in listed if getattr(m, "parent", None) is None]
    expect(len(bases) == 1, f"{len(bases)} models without a parent")
    s.base = bases[0].id
    adapters = [m for m in listed if m.id == s.adapter]
    expect(len(adapters) == 1, f"{s.adapter} is listed {len(adapters)} times")
    expect(adapters[0].parent == s.base, "the adapter's parent is not the base")
    expect(s.client.models.retrieve(s.adapter).id == s.adapter, "retrieve gave another model")
    expect(s.client.models.retrieve(s.base).created > 0, "created is not a time")


def chat(s: Session) -> None:
    answer = s.client.chat.completions.create(model=s.base, messages=QUESTION, max_tokens=24, temperature=0)
    expect(answer.object == "chat.completion" and answer.choices[0].message.role == "assistant", "wrong shape")
    expect(answer.choices[0].finish_reason in ("stop", "length"), "no reason to finish")
    expect(answer.usage and answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, "usage")
    expect(answer.adapter_generation is None, "the base has a generation")
    twice = s.client.chat.completions.create(
        model=s.base, messages=QUESTION, max_completion_tokens=8, n=2, seed=7, temperature=1.0, logprobs=True, top_logprobs=3
    )
    expect([c.index for c in twice.choices] == [0, 1], "n=2 gave other choices")
    scored = twice.choices[0].logprobs
    expect(scored and scored.content and len(scored.content[0].top_logprobs) == 3, "top_logprobs are missing")


def adapters(s: Session) -> None:
    whole = {"messages": QUESTION, "max_tokens": 24, "temperature": 0}
    raw = s.client.chat.completions.with_raw_response
    ways = [
        raw.create(model=s.adapter, **whole),
        raw.create(model=f"{s.base}:{s.adapter}", **whole),
        raw.create(model=s.base, extra_headers={"adapter": s.adapter}, **whole),
        raw.create(model=s.base, extra_body={"adapter": s.adapter}, **whole),
    ]
    generations = {way.headers.get("adapter-generation") for way in ways} | {w.parse().adapter_generation for w in ways}
    expect(len(generations) == 1 and len(generations.pop() or "") == 64, f"generations: {generations}")
    expect(len({way.parse().choices[0].message.content for way in ways}) == 1, "four ways to name it, different answers")
    base = raw.create(model=s.base, extra_headers={"adapter": "none"}, **whole)
    expect(base.headers.get("adapter-generation") == "none", "`none` is not the base")


def stream(s: Session) -> None:
    ask = {"model": s.adapter, "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    whole = s.client.chat.completions.create(**ask)
    chunks = list(s.client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask))
    expect(len({c.id for c in chunks}) == 1, "chunks have different ids")
    expect(chunks[-1].usage and not chunks[-1].choices, "the last chunk does not hold the usage alone")
    expect(all(c.usage is None for c in chunks[:-1]), "an earlier chunk holds usage")
    expect(chunks[-1].usage.total_tokens == whole.usage.total_tokens, "usage differs from the whole answer's")
    choices = [c.choices[0] for c in chunks[:-1]]
    text = "".join(choice.delta.content or "" for choice in choices)
    expect(text == whole.choices[0].message.content, "streamed text differs from the whole answer's")
    expect([c.finish_reason for c in choices if c.finish_reason] == [whole.choices[0].finish_reason], "finish_reason")
    with s.client.chat.completions.create(stream=True, **(ask | {"max_tokens": 200})) as cut:
        next(iter(cut))  # and leave


def completions(s: Session) -> None:
    text = " The tenant shall pay the rent."
    scored = s.client.completions.create(model=s.base, prompt=text, max_tokens=0, echo=True, logprobs=2)
    choice = scored.choices[0]
    expect(choice.text == text, f"echo gave {choice.text!r}")
    numbers = choice.logprobs.token_logprobs
    expect(len(numbers) == len(choice.logprobs.tokens) == scored.usage.prompt_tokens, "not one number a token")
    expect(numbers[0] is None and all(n <= 0 for n in numbers[1:]), "log-probabilities are not log-probabilities")
    both = s.client.completions.create(
        model=s.adapter, prompt=[text, "x"], max_tokens=4, temperature=0, echo=True, logprobs=1,
        extra_body={"return_token_ids": True},
    )
    expect([c.index for c in both.choices] == [0, 1], "two prompts, other choices")
    ids = both.choices[0].prompt_token_ids
    again = s.client.completions.create(model=s.adapter, prompt=ids, max_tokens=4, temperature=0)
    expect(both.choices[0].text.endswith(again.choices[0].text), "a prompt of ids is answered differently")
    parts = list(s.client.completions.create(model=s.adapter, prompt=ids, max_tokens=4, temperature=0, stream=True))
    expect("".join(p.choices[0].text for p in parts if p.choices) == again.choices[0].text, "streamed differently")


def errors(s: Session) -> None:
    def ask(model: str = s.base, **more) -> Callable[[], object]:
        whole = {"model": model, "messages": QUESTION, "max_tokens": 1} | more
        return lambda: s.client.chat.completions.create(**whole)

    refused(openai.NotFoundError, ask(UNKNOWN), "model_not_found")
    refused(openai.NotFoundError, ask(extra_headers={"adapter": UNKNOWN}), "adapter_not_found")
    refused(openai.NotFoundError, lambda: s.client.models.retrieve(UNKNOWN))
    refused(openai.NotFoundError, lambda: s.client.files.retrieve("file-none"))
    refused(openai.NotFoundError, lambda: s.client.fine_tuning.jobs.retrieve("ftjob-none"))
    refused(openai.BadRequestError, ask(s.adapter, extra_body={"adapter": "none"}), "adapter_conflict")
    for param, wrong in [("temprature", {"extra_body": {"temprature": 1}}), ("temperature", {"temperature": -1}),
                         ("max_tokens", {"max_tokens": "many"}), ("top_p", {"top_p": 7}), ("messages", {"messages": []})]:
        fault = refused(openai.BadRequestError, ask(**wrong))
        expect((fault.param or "").startswith(param), f"{wrong}: the error names {fault.param}")
    before = s.client.sent
    wrong = {"expected_generation": "0" * 64}
    refused(openai.ConflictError, lambda: s.client.post(f"/adapters/{s.adapter}/pin", body=wrong, cast_to=object))
    expect(s.client.sent == before + 1, f"a 409 was sent {s.client.sent - before} times")


def files(s: Session) -> None:
    names = ["Ada", "Boris", "Cleo", "Dmitri", "Esra", "Finn", "Greta", "Hugo"] * 3
    row = {"instruction": "Name the colour of the file.", "output": "blue"}
    data = "".join(json.dumps(row | {"input": f"File {i} of {name}."}) + "\n" for i, name in enumerate(names)).encode()
    made = s.client.files.create(file=("rows.jsonl", data), purpose="fine-tune")
    s.file = made.id
    expect(made.bytes == len(data) and made.filename == "rows.jsonl" and made.purpose == "fine-tune", "file object")
    expect(made.id in [f.id for f in s.client.files.list()], "the file is not listed")
    expect(s.client.files.retrieve(made.id) == made, "retrieve gave another object")
    expect(s.client.files.content(made.id).read() == data, "content differs")
    other = s.client.files.create(file=("bad.jsonl", b'{"instruction": "x"}\nnot json\n'), purpose="fine-tune")
    fault = refused(openai.BadRequestError, lambda: s.client.fine_tuning.jobs.create(model=s.base, training_file=other.id))
    expect("2" in fault.message, f"bad rows are refused without their lines: {fault.message}")
    expect(s.client.files.delete(other.id).deleted, "not deleted")
    refused(openai.NotFoundError, lambda: s.client.files.retrieve(other.id))


def fine_tune(s: Session) -> None:
    jobs = s.client.fine_tuning.jobs
    job = jobs.create(
        model=s.base, training_file=s.file, suffix=s.name, seed=3, metadata={"made": "by a check"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 4}}},
        extra_body={"adapterd": {"steps": s.steps, "rank": 4, "lr": 2e-3, "save_every": max(s.steps // 2, 1)}},
    )
    s.job = job.id
    expect(job.object == "fine_tuning.job" and job.status in ("validating_files", "queued", "running"), job.status)
    deadline = time.monotonic() + s.patience
    while job.status not in ("succeeded", "failed", "cancelled"):
        expect(time.monotonic() < deadline, f"the job is still {job.status} after {s.patience:.0f} s")
        time.sleep(0.5)
        job = jobs.retrieve(job.id)
    expect(job.status == "succeeded", f"the job {job.status}: {job.error}")
    expect(job.fine_tuned_model == s.name and job.trained_tokens and job.finished_at, "the finished job lacks something")
    expect(job.id in [j.id for j in jobs.list(limit=5).data], "the job is not listed")
    events = list(jobs.list_events(job.id, limit=3))  # pages
    metrics = [e.data for e in events if e.type == "metrics" and "train_loss" in (e.data or {})]
    expect(sorted(m["step"] for m in metrics) == list(range(1, s.steps + 1)), f"{len(metrics)} metrics events")
    first, last = (next(m["train_loss"] for m in metrics if m["step"] == n) for n in (1, s.steps))
    expect(last < first, f"the loss went from {first} to {last}")
    checkpoints = list(jobs.checkpoints.list(job.id))
    expect(checkpoints and all(c.fine_tuning_job_id == job.id for c in checkpoints), "no checkpoints")


def tuned(s: Session) -> None:
    expect(s.client.models.retrieve(s.name).parent == s.base, "the tuned model is not listed under the base")
    answer = s.client.chat.completions.create(model=s.name, messages=QUESTION, max_tokens=8, temperature=0)
    expect(len(answer.adapter_generation or "") == 64, "the tuned model has no generation")


def clean_up(s: Session) -> None:
    if s.job:
        s.client.delete(f"/adapters/{s.name}", cast_to=object)
        refused(openai.NotFoundError, lambda: s.client.models.retrieve(s.name))
    if s.file:
        expect(s.client.files.delete(s.file).deleted, "the file is not deleted")


CHECKS = [models, chat, adapters, stream, completions, errors, files, fine_tune, tuned, clean_up]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1", help="(%(default)s)")
    parser.add_argument("--adapter", default="legal", help="a registered adapter (%(default)s)")
    parser.add_argument("--name", default=f"check-{os.getpid()}", help="the name to train (%(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps to train (%(default)s)")
    parser.add_argument("--patience", type=float, default=300, help="seconds the job may take (%(default)s)")
    parser.add_argument("--only", nargs="*", choices=[c.__name__ for c in CHECKS], help="after models, only these")
    a = parser.parse_args()
    client = Counting(base_url=a.base_url, api_key=os.environ.get("ADAPTERD_API_KEY", "none"))
    session = Session(client, a.adapter, a.name, a.steps, a.patience)
    failed = 0
    for check in CHECKS:
        if a.only is not None and check is not models and check.__name__ not in a.only:
            continue
        began = time.monotonic()
        try:
            check(session)
            print(f"ok      {check.__name__} ({time.monotonic() - began:.1f} s)")
        except (AssertionError, openai.OpenAIError, AttributeError, LookupError, TypeError) as fault:
            failed += 1
            line = next(f.lineno for f in traceback.extract_tb(fault.__traceback__) if f.name == check.__name__)
            print(f"FAILED  {check.__name__}, line {line}: {type(fault).__name__}: {fault}")
            if isinstance(fault, openai.APIConnectionError):
                break
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
