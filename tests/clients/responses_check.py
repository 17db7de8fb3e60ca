"""Walks through `/v1/responses` with OpenAI's own Python client and says what does not hold.

    pip install openai
    adapterd serve &
    python responses_check.py --base-url http://127.0.0.1:8080/v1 --adapter legal
    python responses_check.py --samples      # only what unit tests hold answers against; needs no daemon

Checks texts, streams, forms, calls (where the model's chat template knows tools), refusals. Exits with 1 when a check
fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import openai
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

SAMPLES = Path(__file__).parent / "samples"
QUESTION = "Copy the name.\nThe clerk is Ada."
SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "kelvin"]}},
    "required": ["unit"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "name": "weather", "description": "The weather.", "parameters": SCHEMA, "strict": True}


def expect(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def strictly(answer: Response) -> None:
    """The client itself lets much pass; its types do not."""
    Response.model_validate(answer.model_dump(by_alias=True, exclude_unset=True))


def refused(call, param: str) -> None:
    try:
        call()
    except openai.BadRequestError as fault:
        expect(fault.param == param, f"param {fault.param} instead of {param}")
    else:
        raise AssertionError(f"{param} was taken")


def samples() -> None:
    whole = Response.model_validate_json((SAMPLES / "response.json").read_text())
    expect(whole.output_text == "Hm.", f"output_text {whole.output_text!r}")
    expect([item.type for item in whole.output] == ["message", "function_call"], "items")
    events = TypeAdapter(list[ResponseStreamEvent])
    told = events.validate_python(json.loads((SAMPLES / "response_events.json").read_text()))
    text = "".join(event.delta for event in told if event.type == "response.output_text.delta")
    expect(text == whole.output_text, f"the pieces are {text!r}")
    expect(told[-1].type == "response.completed" and told[-1].response == whole, "the last event")


def run(client: OpenAI, model: str) -> None:
    asked = {"model": model, "input": QUESTION, "max_output_tokens": 12, "temperature": 0}
    whole = client.responses.create(**asked)
    strictly(whole)
    expect(whole.model == model and whole.id.startswith("resp_"), "model or id")
    expect(whole.status in ("completed", "incomplete"), f"status {whole.status}")
    expect(whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens, "usage")
    with client.responses.stream(**asked) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        if whole.status == "completed":
            expect(stream.get_final_response().output_text == whole.output_text, "the final response")
    expect("".join(pieces) == whole.output_text, "pieces differ from the whole")
    turns = [{"role": "user", "content": QUESTION}, *whole.output, {"role": "user", "content": "Again."}]
    strictly(client.responses.create(**{**asked, "input": turns, "instructions": "Be brief."}))
    form = {"format": {"type": "json_schema", "name": "unit", "schema": SCHEMA, "strict": True}}
    formed = client.responses.create(**{**asked, "text": form, "max_output_tokens": 200})
    expect(json.loads(formed.output_text)["unit"] in ("celsius", "kelvin"), formed.output_text)
    told = client.responses.create(**asked, include=["message.output_text.logprobs"], top_logprobs=2)
    strictly(told)
    expect(told.output[0].content[0].logprobs, "no log-probabilities")
    refused(lambda: client.responses.create(**asked, previous_response_id="resp_1"), "previous_response_id")
    refused(lambda: client.responses.create(**{**asked, "input": [{"type": "item_reference", "id": "a"}]}), "input[0].type")
    calls(client, asked)


def calls(client: OpenAI, asked: dict) -> None:
    named = {"tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}, "max_output_tokens": 200}
    try:
        called = client.responses.create(**{**asked, **named})
    except openai.BadRequestError as fault:
        expect(fault.param == "tools", f"param {fault.param}")
        print("no calls: the model's chat template knows no tools")
        return
    strictly(called)
    [call] = [item for item in called.output if item.type == "function_call"]
    expect(json.loads(call.arguments)["unit"] in ("celsius", "kelvin"), call.arguments)
    with client.responses.stream(**{**asked, **named}) as stream:
        [again] = [item for item in stream.get_final_response().output if item.type == "function_call"]
    expect(again.arguments == call.arguments, "the streamed call differs")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "3"}
    turns = [{"role": "user", "content": QUESTION}, *called.output, result]
    strictly(client.responses.create(**{**asked, "input": turns, "tools": [TOOL]}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--adapter")
    parser.add_argument("--samples", action="store_true")
    options = parser.parse_args()
    try:
        samples()
        if not options.samples:
            client = OpenAI(base_url=options.base_url, api_key=os.environ.get("ADAPTERD_API_KEY", "none"))
            run(client, options.adapter or client.models.list().data[0].id)
    except (AssertionError, openai.APIError) as fault:
        print(f"does not hold: {fault}", file=sys.stderr)
        return 1
    print("all holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
