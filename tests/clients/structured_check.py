"""Asks a running daemon for answers of every form, and says which do not have it.

    adapterd serve &
    python structured_check.py --base-url http://127.0.0.1:8080/v1 [--adapter legal]

Needs the standard library alone. Where `jsonschema` is installed, answers are checked by it against their schemas, else
by what is written here. Where `openai` is installed, its client asks too, as `chat.completions.create` does with a
`response_format`. Exits with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.error
import urllib.request

try:
    import jsonschema
except ImportError:
    jsonschema = None

try:
    import openai
except ImportError:
    openai = None

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
# As pydantic writes a model with an enumeration, a list of models and an optional field.
ORDER = {
    "$defs": {
        "Size": {"enum": ["small", "large"], "title": "Size", "type": "string"},
        "Item": {
            "properties": {"size": {"$ref": "#/$defs/Size"}, "count": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["size", "count"],
            "title": "Item",
            "type": "object",
            "additionalProperties": False,
        },
    },
    "properties": {
        "items": {"items": {"$ref": "#/$defs/Item"}, "maxItems": 2, "minItems": 1, "type": "array"},
        "note": {"anyOf": [{"type": "string", "maxLength": 8}, {"type": "null"}], "default": None},
    },
    "required": ["items", "note"],
    "title": "Order",
    "type": "object",
    "additionalProperties": False,
}
SCHEMAS = {
    "person": (PERSON, lambda v: isinstance(v["name"], str) and 0 <= v["age"] <= 120 and len(v) == 2),
    "order": (ORDER, lambda v: 1 <= len(v["items"]) <= 2 and all(i["size"] in ("small", "large") for i in v["items"])),
    "enum": ({"enum": ["red", "green", 7]}, lambda v: v in ("red", "green", 7)),
    "array": ({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}, lambda v: len(v) == 2),
    "date": ({"type": "string", "format": "date"}, lambda v: re.fullmatch(r"\d{4}-\d\d-\d\d", v)),
    "union": ({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 5}, {"type": "null"}]}, lambda v: v is None or 1 <= v <= 5),
}
QUESTION = [{"role": "user", "content": "Who is the clerk?\nThe clerk is Ada."}]


class Daemon:
    def __init__(self, url: str, key: str | None, adapter: str | None) -> None:
        self.url, self.key, self.adapter = url.rstrip("/"), key, adapter

    def post(self, path: str, body: dict) -> tuple[int, str]:
        body = {**body, **({"adapter": self.adapter} if self.adapter else {})}
        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def chat(self, **more: object) -> dict:
        status, text = self.post("/chat/completions", {"messages": QUESTION, "max_tokens": 200, "seed": 3, **more})
        expect(status == 200, f"status {status}: {text}")
        return json.loads(text)

    def said(self, **more: object) -> str:
        choice = self.chat(**more)["choices"][0]
        expect(choice["finish_reason"] == "stop", f"ended by {choice['finish_reason']}: {choice['message']['content']!r}")
        return choice["message"]["content"]


def expect(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def of_schema(schema: object) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def check_value(name: str, text: str) -> None:
    schema, holds = SCHEMAS[name]
    value = json.loads(text)
    if jsonschema is not None:
        jsonschema.validate(value, schema)
    expect(holds(value), f"{name}: {text}")


def schemas(daemon: Daemon) -> None:
    for name, (schema, _) in SCHEMAS.items():
        for temperature in (0, 0.8):
            check_value(name, daemon.said(response_format=of_schema(schema), temperature=temperature))
        check_value(name, daemon.said(guided_json=schema))
        check_value(name, daemon.said(structured_outputs={"json": schema}))


def streamed(daemon: Daemon) -> None:
    body = {"messages": QUESTION, "max_tokens": 200, "temperature": 0, "stream": True, "response_format": of_schema(PERSON)}
    status, text = daemon.post("/chat/completions", body)
    expect(status == 200, text)
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    expect(lines[-1] == "[DONE]", "the stream has no end")
    deltas = [json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines[:-1]]
    check_value("person", "".join(deltas))


def forms(daemon: Daemon) -> None:
    expect(daemon.said(guided_choice=["yes", "no"]) in ("yes", "no"), "guided_choice")
    expect(re.fullmatch(r"[A-Z]{2}-[0-9]{3}", daemon.said(guided_regex=r"[A-Z]{2}-\d{3}")), "guided_regex")
    expect(re.fullmatch(r"a[0-9]b", daemon.said(guided_grammar='start: "a" /[0-9]/ "b"')), "guided_grammar")
    body = daemon.chat(guided_choice=["Ada", "Ben"], n=4)
    expect(all(choice["message"]["content"] in ("Ada", "Ben") for choice in body["choices"]), "n")
    status, text = daemon.post("/completions", {"prompt": ["A", "B"], "max_tokens": 9, "guided_choice": ["x", "y"]})
    expect(status == 200 and all(c["text"] in ("x", "y") for c in json.loads(text)["choices"]), text)
    cut = daemon.chat(response_format=of_schema(PERSON), max_tokens=3)["choices"][0]
    expect(cut["finish_reason"] == "length", "an answer that is cut")


def refusals(daemon: Daemon) -> None:
    deep: object = {"type": "string"}
    for _ in range(100):
        deep = {"items": deep}
    for more, param in [
        ({"response_format": of_schema({"properties": {"a": {"not": {}}}})}, "response_format.json_schema.schema.properties.a.not"),
        ({"response_format": of_schema({"$ref": "#/$defs/none"})}, "response_format.json_schema.schema.$ref"),
        ({"response_format": of_schema({"enum": list(range(9000))})}, "response_format.json_schema.schema.enum"),
        ({"guided_json": deep}, "guided_json.items"),
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_grammar": "start: missing"}, "guided_grammar"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
    ]:
        status, text = daemon.post("/chat/completions", {"messages": QUESTION, **more})
        expect(status == 400, f"{param}: status {status}")
        told = json.loads(text)["error"]["param"]
        expect(told.startswith(param), f"{told} instead of {param}")


def by_openai(daemon: Daemon) -> None:
    if openai is None:
        print("  (openai is not installed)")
        return
    client = openai.OpenAI(base_url=daemon.url, api_key=daemon.key or "none")
    model = client.models.list().data[0].id if daemon.adapter is None else daemon.adapter
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=200, response_format=of_schema(ORDER))
    check_value("order", answer.choices[0].message.content)
    try:
        client.chat.completions.create(model=model, messages=QUESTION, response_format=of_schema({"not": {}}))
    except openai.BadRequestError as refused:
        expect(refused.param == "response_format.json_schema.schema.not", refused.param)
    else:
        raise AssertionError("a schema that cannot be followed was taken")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--adapter")
    parser.add_argument("--api-key", default=os.environ.get("ADAPTERD_API_KEY"))
    args = parser.parse_args()
    daemon = Daemon(args.base_url, args.api_key, args.adapter)
    failed = 0
    for check in (schemas, streamed, forms, refusals, by_openai):
        try:
            check(daemon)
            print(f"ok      {check.__name__}")
        except (AssertionError, ValueError, KeyError) as fault:
            failed += 1
            print(f"FAILED  {check.__name__}: {fault}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
