"""What transformers renders of conversations with tools: templates/tools/*.jinja to templates/tools.json.

Each conversation is written as clients send it (arguments as text, content null where only calls are made) and, for
transformers, as its documentation wants it: arguments as objects, content empty. Templates that raise are recorded too.
"""

import copy
import datetime
import json
import pathlib

from transformers.utils import chat_template_utils as reference


class Stopped(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 6, 9, 5, 3)


reference.datetime = Stopped
HERE = pathlib.Path(__file__).parent / "templates"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def tool(name, description, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    tool(
        "get_weather",
        "The weather of a city, e.g. \"Łódź\" <now>",
        {
            "city": {"type": "string", "description": "Name & country"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "Unit"},
            "days": {"type": "integer", "description": "How many"},
        },
        ["city"],
    ),
    tool("now", "The time.", {"zone": {"type": "string", "description": "Zone"}}, []),
]


def call(id, name, arguments):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}


def said(role, content, **more):
    return {"role": role, "content": content, **more}


ASKED = said("user", "What is the weather in Łódź, and what time is it?")
ONE = call("abcDEF123", "get_weather", {"city": "Łódź", "days": 2, "nested": {"a": [1.5, None, True]}})
TWO = call("ghiJKL456", "now", {})
FIRST = said("tool", '{"sky": "clear"}', tool_call_id="abcDEF123", name="get_weather")
SECOND = said("tool", "12:00", tool_call_id="ghiJKL456", name="now")
CONVERSATIONS = {
    "asked": [ASKED],
    "asked with a system turn": [said("system", "Be brief."), ASKED],
    "one call": [ASKED, said("assistant", None, tool_calls=[ONE])],
    "one result": [ASKED, said("assistant", None, tool_calls=[ONE]), FIRST],
    "text beside a call": [ASKED, said("assistant", "Let me look.", tool_calls=[ONE]), FIRST],
    "parallel calls": [ASKED, said("assistant", None, tool_calls=[ONE, TWO]), FIRST, SECOND],
    "answered and asked again": [
        said("system", "Be brief."),
        ASKED,
        said("assistant", None, tool_calls=[ONE]),
        FIRST,
        said("assistant", "It is clear."),
        said("user", "And now?"),
    ],
}


def for_transformers(messages):
    messages = copy.deepcopy(messages)
    for message in messages:
        if message["content"] is None:
            message["content"] = ""
        for one in message.get("tool_calls", []):
            one["function"]["arguments"] = json.loads(one["function"]["arguments"])
    return messages


def main():
    made = []
    for path in sorted((HERE / "tools").glob("*.jinja")):
        cases = []
        for name, messages in CONVERSATIONS.items():
            for tools, prompt in [(TOOLS, True), (TOOLS, False), (None, True)]:
                case = {"name": name, "messages": messages, "tools": tools is not None, "add_generation_prompt": prompt}
                try:
                    case["expected"] = reference.render_jinja_template(
                        [for_transformers(messages)],
                        tools=tools,
                        chat_template=path.read_text(),
                        add_generation_prompt=prompt,
                        **TOKENS,
                    )[0][0]
                except Exception as error:
                    case["expected"] = None
                    print(path.name, name, tools is not None, prompt, type(error).__name__, error)
                cases.append(case)
        made.append({"template": path.name, "cases": cases})
    out = {"tokens": TOKENS, "time": int(Stopped.now().timestamp()), "tools": TOOLS, "templates": made}
    (HERE / "tools.json").write_text(json.dumps(out, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
