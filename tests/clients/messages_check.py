"""Walks through `/v1/messages` with Anthropic's own Python client and says what does not hold.

    pip install anthropic
    adapterd serve &
    python messages_check.py --base-url http://127.0.0.1:8080 --adapter legal
    python messages_check.py --samples       # only what unit tests hold answers against; needs no daemon

Checks texts, streams, stop sequences, counts, calls (where the model's chat template knows tools), refusals. Exits with
1 when a check fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import anthropic
from anthropic import Anthropic
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

SAMPLES = Path(__file__).parent / "samples"
QUESTION = [{"role": "user", "content": "Copy the name.\nThe clerk is Ada."}]
SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "kelvin"]}},
    "required": ["unit"],
    "additionalProperties": False,
}
TOOL = {"name": "weather", "description": "The weather.", "input_schema": SCHEMA}


def expect(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def strictly(answer: Message) -> None:
    """The client itself lets much pass; its types do not."""
    Message.model_validate(answer.model_dump(by_alias=True, exclude_unset=True))


def text_of(answer: Message) -> str:
    return "".join(block.text for block in answer.content if block.type == "text")


def refused(kind: type[anthropic.APIStatusError], call, names: str) -> None:
    try:
        call()
    except kind as fault:
        expect(fault.body["type"] == "error" and names in fault.body["error"]["message"], f"{fault.body}")
        expect(fault.request_id == fault.body["request_id"], f"request id {fault.request_id}")
    else:
        raise AssertionError(f"{names} was taken")


def samples() -> None:
    whole = Message.model_validate_json((SAMPLES / "message.json").read_text())
    expect([block.type for block in whole.content] == ["text", "tool_use"], "blocks")
    events = TypeAdapter(list[RawMessageStreamEvent])
    told = events.validate_python(json.loads((SAMPLES / "message_events.json").read_text()))
    deltas = [event.delta for event in told if event.type == "content_block_delta"]
    text = "".join(delta.text for delta in deltas if delta.type == "text_delta")
    called = "".join(delta.partial_json for delta in deltas if delta.type == "input_json_delta")
    expect(text == text_of(whole), f"the pieces are {text!r}")
    expect(json.loads(called) == whole.content[1].input, f"the pieces are {called!r}")
    expect(told[-1].type == "message_stop", "the last event")


def run(client: Anthropic, model: str) -> None:
    asked = {"model": model, "messages": QUESTION, "max_tokens": 12, "temperature": 0}
    whole = client.messages.create(**asked)
    strictly(whole)
    expect(whole.model == model and whole.id.startswith("msg_"), "model or id")
    expect(whole.stop_reason in ("end_turn", "max_tokens"), f"stop_reason {whole.stop_reason}")
    with client.messages.stream(**asked) as stream:
        pieces = "".join(stream.text_stream)
        last = stream.get_final_message()
    expect(pieces == text_of(whole) == text_of(last), "pieces differ from the whole")
    expect(last.stop_reason == whole.stop_reason, f"stop_reason {last.stop_reason}")
    counted = client.messages.count_tokens(model=model, messages=QUESTION).input_tokens
    read = whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    expect(counted == read, f"{counted} tokens counted, {read} read")
    if len(text_of(whole)) > 2:
        stop = text_of(whole)[1:3]
        stopped = client.messages.create(**asked, stop_sequences=["never said", stop])
        expect((stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop), f"{stopped}")
    turns = [*QUESTION, whole.to_param(), {"role": "user", "content": [{"type": "text", "text": "Again."}]}]
    strictly(client.messages.create(**{**asked, "messages": turns}, system=[{"type": "text", "text": "Be brief."}]))
    format = {"format": {"type": "json_schema", "schema": SCHEMA}}
    formed = client.messages.create(**{**asked, "max_tokens": 200}, output_config=format)
    expect(json.loads(text_of(formed))["unit"] in ("celsius", "kelvin"), text_of(formed))
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    pictured = [{"role": "user", "content": [image]}]
    create = client.messages.create
    refused(anthropic.BadRequestError, lambda: create(**{**asked, "messages": pictured}), "messages[0].content[0]")
    refused(anthropic.NotFoundError, lambda: create(**{**asked, "model": "no-such-name"}), "no-such-name")
    calls(client, asked)


def calls(client: Anthropic, asked: dict) -> None:
    named = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}, "max_tokens": 200}
    try:
        called = client.messages.create(**{**asked, **named})
    except anthropic.BadRequestError as fault:
        expect("tools" in fault.body["error"]["message"], f"{fault.body}")
        print("no calls: the model's chat template knows no tools")
        return
    strictly(called)
    expect(called.stop_reason == "tool_use", f"stop_reason {called.stop_reason}")
    [call] = [block for block in called.content if block.type == "tool_use"]
    expect(call.input["unit"] in ("celsius", "kelvin"), f"{call.input}")
    with client.messages.stream(**{**asked, **named}) as stream:
        [again] = [block for block in stream.get_final_message().content if block.type == "tool_use"]
    expect(again.input == call.input, "the streamed call differs")
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "3"}]}
    strictly(client.messages.create(**{**asked, "messages": [*QUESTION, called.to_param(), result]}, tools=[TOOL]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--base-url", default="http://127.0.0.1:8080")
    parser.add_argument("--adapter")
    parser.add_argument("--samples", action="store_true")
    options = parser.parse_args()
    try:
        samples()
        if not options.samples:
            client = Anthropic(base_url=options.base_url, api_key=os.environ.get("ADAPTERD_API_KEY", "none"))
            run(client, options.adapter or "adapterd-base")
    except (AssertionError, anthropic.APIError) as fault:
        print(f"does not hold: {fault}", file=sys.stderr)
        return 1
    print("all holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
