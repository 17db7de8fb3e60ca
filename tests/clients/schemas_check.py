"""Asks a running daemon for answers of many schemas, and says which break them.

    pip install 'jsonschema[format-nongpl]'
    adapterd serve &
    python schemas_check.py --base-url http://127.0.0.1:8080/v1 [--made 300] [--seed 1] [--refusals] [--hostile]

Schemas come from `schemas.py`: made from a seed, and written by hand. Every answer that comes to its end must be valid by
`jsonschema` in the draft that the schema names, formats included and `multipleOf` by its digits; what is refused must be a 400
that names a keyword of it.
Exits with 1 when something does not hold.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import decimal
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request

import jsonschema
from jsonschema.validators import extend, validator_for

from schemas import REFUSED, WRITTEN, made


def multiple(_: object, of: float, value: object, __: object):
    """By the digits: doubles divided by one another say that 0.07 is no multiple of 0.01."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if decimal.Context(prec=400).remainder(decimal.Decimal(repr(value)), decimal.Decimal(repr(of))):
            yield jsonschema.ValidationError(f"{value} is not a multiple of {of}")


PROMPTS = ["Write JSON.", "Answer with a short example.", "A record of a person:", "[1, 2"]


class Daemon:
    def __init__(self, url: str, key: str | None, adapter: str | None) -> None:
        self.url, self.key, self.adapter = url.rstrip("/"), key, adapter

    def post(self, path: str, body: dict | bytes, timeout: float = 300) -> tuple[int, str]:
        if isinstance(body, dict):
            body = json.dumps({**body, **({"adapter": self.adapter} if self.adapter else {})}).encode()
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {self.key}"} if self.key else {})}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(self.url + path, body, headers), timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()


def asked(schema: object, **more: object) -> dict:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}, **more}


def words(schema: object) -> set[str]:
    """All keys of a schema."""
    if isinstance(schema, dict):
        return set(schema).union(*(words(value) for value in schema.values()))
    return set().union(*(words(value) for value in schema)) if isinstance(schema, list) else set()


def ask(daemon: Daemon, name: str, schema: object, given: argparse.Namespace) -> list[tuple[str, str]]:
    """What became of each answer: `valid`, `cut`, `refused`, `failed` or `WRONG`, and what there is to say of it."""
    found = []
    for at, temperature in enumerate(given.temperature):
        prompt = random.Random(name).choice(PROMPTS)
        body = asked(schema, messages=[{"role": "user", "content": prompt}], max_tokens=given.max_tokens, temperature=temperature, seed=at, n=given.n)
        status, text = daemon.post("/chat/completions", body)
        if status != 200:
            error = json.loads(text)["error"]
            told = f"{error.get('param')}: {error.get('message')}"
            if status == 500 or error.get("code") == "grammar_unsatisfiable":
                return [("WRONG", f"status {status} {told}")]
            # A schema that takes long on a machine that has much else to do says nothing of the schema.
            if status != 400 or "to compile" in told:
                found.append(("failed", f"status {status} {told}"))
                continue
            named = any(word in told for word in words(schema)) or not isinstance(schema, dict)
            return [("refused" if named else "WRONG", told)]
        for choice in json.loads(text)["choices"]:
            said = choice["message"]["content"]
            if choice["finish_reason"] != "stop":
                found.append(("cut", said))
                continue
            try:
                value = json.loads(said)
                kind = validator_for(schema, default=jsonschema.Draft202012Validator)
                kind = extend(kind, {"multipleOf": multiple})
                kind(schema, format_checker=kind.FORMAT_CHECKER).validate(value)
                found.append(("valid", said))
            except (ValueError, jsonschema.ValidationError) as fault:
                found.append(("WRONG", f"{str(fault).splitlines()[0]} in {said}"))
    return found


def answers(daemon: Daemon, schemas: list, given: argparse.Namespace) -> int:
    counts: collections.Counter = collections.Counter()
    why: collections.Counter = collections.Counter()
    finished = wrong = 0
    with concurrent.futures.ThreadPoolExecutor(given.at_once) as pool:
        waiting = [(name, schema, pool.submit(ask, daemon, name, schema, given)) for name, schema in schemas]
        for name, schema, answer in waiting:
            found = answer.result()
            kinds = collections.Counter(kind for kind, _ in found)
            counts.update(kinds)
            finished += kinds["valid"] > 0
            wrong += kinds["WRONG"] > 0
            for kind, told in found:
                if kind == "refused":
                    why[told.split(": ", 1)[1][:90]] += 1
                if kind in ("WRONG", "failed") or given.verbose:
                    print(f"  {kind:8} {name}: {told[:400]}\n           {json.dumps(schema, ensure_ascii=False)[:600]}", flush=True)
    print(f"{len(schemas)} schemas, of {finished} an answer came to its end; answers: {dict(counts)}")
    for told, count in why.most_common():
        print(f"  refused {count:3}  {told}")
    return wrong


def refusals(daemon: Daemon) -> int:
    wrong = 0
    for word, schema in REFUSED:
        status, text = daemon.post("/chat/completions", asked(schema, messages=[{"role": "user", "content": "a"}], max_tokens=4))
        error = json.loads(text).get("error", {})
        told = f"{error.get('param')}: {error.get('message')}"
        if status != 400 or word not in told:
            wrong += 1
            print(f"  WRONG    {word}: status {status} {told}")
    print(f"{len(REFUSED)} schemas that cannot be followed, {wrong} of which are not refused by name")
    return wrong


def bombs() -> list[tuple[str, bytes | dict]]:
    deep = b'{"type":"array","items":' * 10_000 + b"{}" + b"}" * 10_000
    body = b'{"messages":[{"role":"user","content":"a"}],"max_tokens":4,"guided_json":'
    many = {f"n{n}": {"type": "string", "pattern": f"^({'x?' * 30}){{1,50}}{n}$"} for n in range(200)}
    ring = {f"d{n}": {"$ref": f"#/$defs/d{(n + 1) % 900}"} for n in range(900)}
    wide = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2, "type": "object"} for n in range(60)}
    simple = lambda schema: {"messages": [{"role": "user", "content": "a"}], "max_tokens": 4, "guided_json": schema}  # noqa: E731
    return [
        ("10,000 deep", body + deep + b"}"),
        ("10,000 deep as text", body + json.dumps(deep.decode()).encode() + b"}"),
        ("110 deep", body + b'{"items":' * 55 + b"{}" + b"}" * 55 + b"}"),
        ("5 MB of description", simple({"type": "object", "description": "x" * (5 << 20)})),
        ("5 MB of properties", simple({"type": "object", "properties": {f"name{n}": {"type": "string"} for n in range(150_000)}})),
        ("5 MB of an enum", simple({"enum": [f"value {n}" for n in range(300_000)]})),
        ("5 MB as text", simple(json.dumps({"description": "x" * (5 << 20)}))),
        ("patterns in patterns", simple({"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"})),
        ("patterns that go back", simple({"type": "string", "pattern": "^(a+)+(b|a*)*c(.*a){25}$"})),
        ("200 patterns", simple({"type": "object", "properties": many, "required": list(many)})),
        ("a ring of references", simple({"$ref": "#/$defs/d0", "$defs": ring})),
        ("a reference to itself", simple({"$ref": "#"})),
        ("allOf that doubles", simple({"$ref": "#/$defs/d0", "$defs": {**wide, "d60": {"type": "object"}}})),
        ("anyOf in anyOf", simple({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"allOf": [{"$ref": "#/$defs/a"}, {}]}]}}, "$ref": "#/$defs/a"})),
        ("lists of lists", simple({"type": "array", "minItems": 9999, "items": {"type": "array", "minItems": 9999, "items": {"minLength": 9999, "type": "string"}}})),
        ("lengths", simple({"type": "string", "pattern": "^(.*a){9}$", "minLength": 9999, "maxLength": 10_000})),
        ("optional properties", simple({"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(999)}})),
    ]


def hostile(daemon: Daemon, within: float) -> int:
    """Each bomb is answered soon, by a refusal or by an answer, and a stream beside them says what it says alone."""
    beside = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 300, "temperature": 0, "ignore_eos": True}
    alone = json.loads(daemon.post("/chat/completions", beside)[1])["choices"][0]["message"]["content"]
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for name, body in bombs():
            stream = pool.submit(daemon.post, "/chat/completions", beside)
            started = time.monotonic()
            status, text = daemon.post("/chat/completions", body)
            took = time.monotonic() - started
            error = json.loads(text).get("error", {})
            told = f"{error.get('code')} {error.get('param')}: {error.get('message')}"[:160]
            same = json.loads(stream.result()[1])["choices"][0]["message"]["content"] == alone
            holds = status in (200, 400, 413) and took < within and same
            wrong += not holds
            print(f"  {'ok      ' if holds else 'WRONG   '} {name}: status {status} after {took:.2f} s {told}{'' if same else ', another stream changed'}", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--adapter")
    parser.add_argument("--api-key", default=os.environ.get("ADAPTERD_API_KEY"))
    parser.add_argument("--made", type=int, default=300, help="schemas made from the seed, beside those written by hand")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=2, help="answers to each schema at each temperature")
    parser.add_argument("--temperature", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--max-tokens", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--refusals", action="store_true", help="also what must be refused")
    parser.add_argument("--hostile", action="store_true", help="also schemas made to do harm")
    parser.add_argument("--within", type=float, default=1.0, help="seconds for an answer to one of those")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    daemon = Daemon(given.base_url, given.api_key, given.adapter)
    wrong = answers(daemon, WRITTEN + made(given.seed, given.made), given)
    if given.refusals:
        wrong += refusals(daemon)
    if given.hostile:
        wrong += hostile(daemon, given.within)
    print("all holds" if not wrong else f"{wrong} do not hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
