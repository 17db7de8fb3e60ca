"""Asks a running daemon to call functions, whole and streamed, and says what does not hold.

    python tools_check.py --base-url http://127.0.0.1:8080/v1

The daemon needs a model whose chat template knows tools. Whether the model calls is its own decision; with `--must-call`
an answer without a call is a failure. Needs nothing but Python. Exits with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The current weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Name of the city"}},
                "required": ["city"],
            },
        },
    }
]
QUESTION = {"role": "user", "content": "What is the weather in Oslo? Use the function."}


def expect(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


class Door:
    def __init__(self, url: str, key: str | None, adapter: str | None):
        self.url, self.key, self.adapter = url.rstrip("/"), key, adapter

    def open(self, body: dict):
        if self.adapter:
            body = {**body, "adapter": self.adapter}
        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        data = json.dumps({"temperature": 0, "max_tokens": 256, **body}).encode()
        return urllib.request.urlopen(urllib.request.Request(f"{self.url}/chat/completions", data, headers))

    def ask(self, body: dict) -> dict:
        with self.open(body) as answer:
            return json.load(answer)

    def refused(self, body: dict) -> dict:
        try:
            self.ask(body)
        except urllib.error.HTTPError as fault:
            expect(fault.code == 400, f"status {fault.code} instead of 400")
            return json.load(fault)["error"]
        raise AssertionError("was not refused")

    def stream(self, body: dict) -> tuple[dict, str]:
        """The message put together as OpenAI's clients do, and the reason it ended."""
        message, reason = {"content": "", "tool_calls": []}, ""
        with self.open({**body, "stream": True}) as answer:
            for line in answer:
                data = line.decode().strip().removeprefix("data:").strip()
                if not line.startswith(b"data:") or data == "[DONE]":
                    continue
                chunk = json.loads(data)
                expect("error" not in chunk, f"the stream failed: {chunk}")
                for choice in chunk["choices"]:
                    reason = choice["finish_reason"] or reason
                    delta = choice["delta"]
                    message["content"] += delta.get("content") or ""
                    for piece in delta.get("tool_calls", []):
                        calls = message["tool_calls"]
                        if piece["index"] == len(calls):
                            expect(piece.get("id") and piece["function"].get("name"), "a call begins without id or name")
                            calls.append({"id": piece["id"], "type": piece["type"], "function": {"name": piece["function"]["name"], "arguments": ""}})
                        expect(piece["index"] < len(calls), "an index was left out")
                        calls[piece["index"]]["function"]["arguments"] += piece["function"].get("arguments", "")
        return message, reason


def check_calls(message: dict, reason: str) -> list[dict]:
    calls = message.get("tool_calls") or []
    expect((reason == "tool_calls") == bool(calls) or reason == "length", f"{len(calls)} calls, but finish_reason {reason}")
    expect(len({call["id"] for call in calls}) == len(calls), "ids are not unique")
    for call in calls:
        expect(call["id"].startswith("call_") and call["type"] == "function", f"not a call: {call}")
        expect(isinstance(json.loads(call["function"]["arguments"]), dict), "arguments are no object")
    return calls


def run(door: Door, must_call: bool) -> None:
    asked = {"messages": [QUESTION], "tools": TOOLS}
    whole = door.ask(asked)["choices"][0]
    calls = check_calls(whole["message"], whole["finish_reason"])
    print(f"whole: {len(calls)} calls, content {whole['message']['content']!r}")
    message, reason = door.stream(asked)
    streamed = check_calls(message, reason)
    same = [call["function"] for call in streamed] == [call["function"] for call in calls]
    expect(same, "the stream calls otherwise than the whole answer")
    expect(message["content"] == (whole["message"]["content"] or ""), "the stream says otherwise than the whole answer")
    expect(calls or not must_call, "the model called nothing")
    if calls:
        results = [{"role": "tool", "tool_call_id": call["id"], "content": '{"celsius": 3}'} for call in calls]
        after = door.ask({**asked, "messages": [QUESTION, whole["message"], *results]})["choices"][0]
        print(f"after the result: {after['message']['content']!r}")
    none = door.ask({**asked, "tool_choice": "none"})
    plain = door.ask({"messages": [QUESTION]})
    expect("tool_calls" not in none["choices"][0]["message"], "`none` called")
    expect(none["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"], "`none` told the model of the functions")
    twice = door.refused({**asked, "tools": TOOLS * 2})
    expect(twice["param"] == "tools[1].function.name", f"param {twice['param']}")
    unknown = door.refused({**asked, "tool_choice": {"type": "function", "function": {"name": "other"}}})
    expect(unknown["param"].startswith("tool_choice"), f"param {unknown['param']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--adapter")
    parser.add_argument("--must-call", action="store_true")
    options = parser.parse_args()
    try:
        run(Door(options.base_url, os.environ.get("ADAPTERD_API_KEY"), options.adapter), options.must_call)
    except (AssertionError, urllib.error.URLError) as fault:
        print(f"does not hold: {fault}", file=sys.stderr)
        return 1
    print("all holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
