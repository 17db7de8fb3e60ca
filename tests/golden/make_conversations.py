"""What transformers renders of made conversations with tools by each template of templates/tools, of at least 200 each:
templates/conversations.json.gz. Messages are as clients send them; make_tools.py tells how transformers is given them.
"""

import gzip
import json
import random

from make_tools import HERE, TOKENS, Stopped, for_transformers, reference, said

COUNT = 200
# Llama 3.2 is written one call at a time.
SINGLE = 120
# Of one question and the calls that answer it, by functions whose schemas have lists of types: by several, and by one.
CALLED_SEVERAL = 20
CALLED_ONCE = 140
WORDS = ["Łódź", "New York", "a \"quoted\" word", "back\\slash", "<b>&amp;</b>", "it's", "日本", "🙂", "two\nlines", "", "tab\there", "/etc/hosts"]
NUMBERS = [0, 7, -3, 2.5, 0.1, -0.0, 1e-7, 1e16, 1e21, 123456789012, 1.0, 3.141592653589793]


LISTS = [
    {"type": ["string", "null"], "description": "Or nothing"},
    {"type": ["integer", "string"], "enum": [1, "all"]},
    {"type": "array", "items": {"type": ["number", "boolean"]}},
]


def tool(random, at, more=[]):
    of = lambda: random.choice(  # noqa: E731
        [
            {"type": "string", "description": random.choice(WORDS)},
            {"type": "string", "enum": random.sample(WORDS, 2)},
            {"type": "integer", "minimum": -1, "default": 3},
            {"type": "number"},
            {"type": "boolean", "description": "Whether"},
            {"type": "array", "items": {"type": "number"}, "description": "Some"},
            {"type": "object", "properties": {"deep": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "description": "More"},
            *more,
        ]
    )
    names = random.sample(["city", "unit", "days", "größe", "path", "query", "limit", "flags"], random.randint(0, 4))
    parameters = {"type": "object", "properties": {name: of() for name in names}}
    if random.random() < 0.8:
        parameters["required"] = [name for name in names if random.random() < 0.5]
    function = {"name": f"{random.choice(['get', 'set', 'find'])}_{random.choice(['weather', 'file', 'time'])}{at}"}
    function["description"] = f"Does {random.choice(WORDS)} well."
    return {"type": "function", "function": {**function, "parameters": parameters}}


def value(random, depth):
    kind = random.randint(0, 5 if depth else 3)
    if kind < 2:
        return " ".join(random.sample(WORDS, random.randint(1, 2)))
    if kind == 2:
        return random.choice(NUMBERS)
    if kind == 3:
        return random.choice([True, False, None])
    if kind == 4:
        return [value(random, depth - 1) for _ in range(random.randint(0, 3))]
    return {key: value(random, depth - 1) for key in random.sample(["a", "b\"", "ключ", "d e"], random.randint(0, 2))}


def conversation(random, parallel):
    tools = [tool(random, at) for at in range(random.randint(1, 3))]
    messages = [said("system", f"Be brief. {random.choice(WORDS)}")] if random.random() < 0.5 else []
    text = lambda: f"{random.choice(['Say', 'Well,', 'Look:'])} {random.choice(WORDS)}"  # noqa: E731

    def call():
        function = random.choice(tools)["function"]
        given = {name: value(random, 2) for name in function["parameters"]["properties"] if random.random() < 0.8}
        id = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9))
        return {"id": id, "type": "function", "function": {"name": function["name"], "arguments": json.dumps(given, ensure_ascii=random.random() < 0.3)}}

    rounds = random.randint(1, 3)
    for at in range(rounds):
        messages.append(said("user", text()))
        last = at + 1 == rounds
        if random.random() < 0.15:
            messages += [] if last else [said("assistant", text())]
            continue
        calls = [call() for _ in range(random.choice([1, 1, 1, 2, 3]) if parallel else 1)]
        messages.append(said("assistant", text() if random.random() < 0.2 else None, tool_calls=calls))
        if last and random.random() < 0.5:
            break
        for one in calls:
            result = json.dumps(value(random, 1), ensure_ascii=False)
            messages.append(said("tool", result, tool_call_id=one["id"], name=one["function"]["name"]))
        if not last or random.random() < 0.5:
            messages.append(said("assistant", text()))
    return {"tools": tools, "messages": messages}


def called(random, parallel):
    """A question, and nothing but calls for an answer, or calls behind a text."""
    tools = [tool(random, at, LISTS) for at in range(random.randint(1, 2))]

    def call(at):
        function = random.choice(tools)["function"]
        names = function["parameters"]["properties"]
        given = {name: value(random, 2) for name in names if random.random() < 0.8}
        id = f"call{at:05}"
        return {"id": id, "type": "function", "function": {"name": function["name"], "arguments": json.dumps(given, ensure_ascii=False)}}

    calls = [call(at) for at in range(random.randint(2, 4) if parallel else 1)]
    text = random.choice([None, None, f"Look: {random.choice(WORDS)}"])
    return {"tools": tools, "messages": [said("user", random.choice(WORDS)), said("assistant", text, tool_calls=calls)]}


def rendered(template, case, messages, prompt):
    return reference.render_jinja_template(
        [for_transformers(messages)], tools=case["tools"], chat_template=template, add_generation_prompt=prompt, **TOKENS
    )[0][0]


def main():
    cases = [conversation(random.Random(f"conversation {at}"), at < COUNT) for at in range(COUNT + SINGLE)]
    cases += [called(random.Random(f"called {at}"), at < CALLED_SEVERAL) for at in range(CALLED_SEVERAL + CALLED_ONCE)]
    templates = {}
    for path in sorted((HERE / "tools").glob("*.jinja")):
        expected, why = [], set()
        for case in cases:
            calls = case["messages"][-1].get("tool_calls")
            try:
                expected.append(rendered(path.read_text(), case, case["messages"], not calls))
            except Exception as error:
                expected.append(None)
                why.add(str(error))
        templates[path.name] = expected
        print(path.name, len(expected), "renderings,", expected.count(None), "of which raise:", *why)
    out = {"tokens": TOKENS, "time": int(Stopped.now().timestamp()), "conversations": cases, "templates": templates}
    data = json.dumps(out, ensure_ascii=False, separators=(",", ":")).encode()
    (HERE / "conversations.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


main()
