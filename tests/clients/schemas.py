"""Schemas of every kind that is met in practice, made from a seed: `made(seed, count)`, and some written by hand.

Each comes as `(name, schema)`. Most can be followed; those that cannot must be refused. `schemas_check.py` asks for them.
"""

from __future__ import annotations

import random

WORDS = ["name", "age", "id", "kind", "tags", "items", "note", "$ref", "price", "on", "größe", "a b", "type", "x/y", "unit"]
TEXTS = ["red", "green", "light blue", "", "Łódź", 'say "hi"', "a\\b", "tab\there", "🙂", "null"]
PATTERNS = [
    "^[a-z]{2,6}$",
    "^\\d{4}-\\d{2}$",
    "^(cat|dog)s?$",
    "^[A-Z][a-z]+( [A-Z][a-z]+)?$",
    "^#[0-9a-f]{6}$",
    "ab+c",
    "^v\\d+\\.\\d+\\.\\d+(-[a-z]+)?$",
    "^\\S{1,8}$",
    "^a|b$",
    "^(?:[01]\\d|2[0-3]):[0-5]\\d$",
    "^[^@\\s]+@[a-z]+\\.(com|org)$",
    "^$|^x$",
    "^.{3}$",
    "^\\w+$",
    "\\.json$",
]
FORMATS = ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]


class Maker:
    def __init__(self, random: random.Random) -> None:
        self.random = random

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, *of: object) -> object:
        return self.random.choice(of)

    def any(self, depth: int) -> dict:
        simple = [self.string, self.string, self.number, self.integer, self.choice, self.constant, self.boolean, self.formatted]
        nested = [self.object, self.object, self.array, self.tuple, self.union, self.nullable, self.all_of, self.map]
        return self.random.choice(simple if depth <= 0 else simple + nested * 2)(depth - 1)

    def boolean(self, _: int) -> dict:
        return self.pick({"type": "boolean"}, {"type": "null"}, {"type": ["boolean", "null"]})

    def string(self, _: int) -> dict:
        schema: dict = {"type": "string"}
        if self.chance(0.4):
            schema["pattern"] = self.random.choice(PATTERNS)
        else:
            low = self.random.randint(0, 4)
            if self.chance(0.5):
                schema["minLength"] = low
            schema["maxLength"] = low + self.random.randint(0, 12)
        return schema

    def formatted(self, _: int) -> dict:
        return {"type": "string", "format": self.random.choice(FORMATS)}

    def bounds(self, low: float, high: float) -> dict:
        schema: dict = {}
        if self.chance(0.7):
            schema[self.pick("minimum", "exclusiveMinimum")] = low
        if self.chance(0.7):
            schema[self.pick("maximum", "exclusiveMaximum")] = high
        return schema

    def number(self, _: int) -> dict:
        low = round(self.random.uniform(-100, 100), self.random.randint(0, 3))
        schema = {"type": "number", **self.bounds(low, low + self.pick(0.5, 1, 2.25, 100, 1e6))}
        if self.chance(0.2):
            schema["multipleOf"] = self.pick(0.5, 0.25, 3, 0.01, 0.1)
        return schema

    def integer(self, _: int) -> dict:
        low = self.random.randint(-1000, 1000)
        schema = {"type": "integer", **self.bounds(low, low + self.random.randint(20, 5000))}
        if self.chance(0.2):
            schema["multipleOf"] = self.pick(2, 5, 7)
        return schema

    def choice(self, _: int) -> dict:
        values = self.random.sample([*TEXTS, 1, 2.5, -3, None, True, [1, "a"], {"k": 0}], self.random.randint(1, 6))
        if self.chance(0.5):
            return {"type": "string", "enum": self.random.sample(TEXTS, 3)}
        return {"enum": values}

    def constant(self, _: int) -> dict:
        return {"const": self.random.choice([*TEXTS, 0, -1.5, 1e21, 1e-7, None, False, [], {}, {"a": [1, {"b": None}]}])}

    def object(self, depth: int) -> dict:
        names = self.random.sample(WORDS, self.random.randint(1, 5))
        schema: dict = {"type": "object", "properties": {name: self.any(depth) for name in names}}
        if self.chance(0.8):
            schema["required"] = [name for name in names if self.chance(0.6)]
        if self.chance(0.7):
            schema["additionalProperties"] = self.pick(False, False, False, True, {"type": "integer"}, {"type": "string", "maxLength": 5})
        if self.chance(0.15):
            schema["patternProperties"] = {self.pick("^x-", "^[0-9]+$"): self.any(0)}
        return schema

    def map(self, depth: int) -> dict:
        kind = self.random.randint(0, 3)
        if kind == 0:
            return {"type": "object", "additionalProperties": self.any(depth), "maxProperties": self.random.randint(1, 3)}
        if kind == 1:
            schema = {"type": "object", "patternProperties": {self.pick("^[a-z]+$", "^S_", "id$"): self.any(depth)}}
            return {**schema, "additionalProperties": self.pick(False, {"type": "null"})}
        if kind == 2:
            return {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": self.any(depth)}
        names = self.random.sample(WORDS, 3)
        return {"type": "object", "properties": {n: self.any(0) for n in names}, "additionalProperties": False, "minProperties": 1}

    def array(self, depth: int) -> dict:
        schema: dict = {"type": "array", "items": self.any(depth)}
        low = self.random.randint(0, 2)
        if self.chance(0.6):
            schema["minItems"] = low
        schema["maxItems"] = low + self.random.randint(0, 3)
        return schema

    def tuple(self, depth: int) -> dict:
        schema: dict = {"type": "array", "prefixItems": [self.any(depth) for _ in range(self.random.randint(1, 3))]}
        schema["items"] = self.pick(False, {"type": "integer"})
        schema["maxItems"] = 4
        if self.chance(0.5):
            schema["minItems"] = self.random.randint(1, len(schema["prefixItems"]))
        return schema

    def union(self, depth: int) -> dict:
        if self.chance(0.6):
            return {"anyOf": [self.any(depth) for _ in range(self.random.randint(2, 3))]}
        if self.chance(0.5):
            return {"oneOf": [self.string(0), self.integer(0), {"type": "array", "items": self.any(0), "maxItems": 2}]}
        of_kind = lambda kind: {  # noqa: E731
            "type": "object",
            "properties": {"kind": {"const": kind}, "value": self.any(depth)},
            "required": ["kind", "value"],
            "additionalProperties": False,
        }
        return {"oneOf": [of_kind("first"), of_kind("second")]}

    def nullable(self, depth: int) -> dict:
        return {"anyOf": [self.any(depth), {"type": "null"}]} if self.chance(0.5) else {"type": ["integer", "null"], "minimum": 1, "maximum": 99}

    def all_of(self, depth: int) -> dict:
        part = lambda name: {"type": "object", "properties": {name: self.any(depth)}, "required": [name]}  # noqa: E731
        if self.chance(0.5):
            return {"allOf": [part("left"), part("right")]}
        return {"allOf": [{"type": "integer", "minimum": -5}, {"maximum": 50}, {"multipleOf": 3}]}

    def document(self) -> dict:
        """A root as people write it: an object, sometimes with shared and recursive parts."""
        root = self.object(self.random.randint(0, 3)) if self.chance(0.8) else self.any(2)
        defs = self.pick("$defs", "definitions")
        if self.chance(0.3):
            root = {**root, defs: {"Part": self.any(1), "Other": self.object(1)}}
            root.setdefault("properties", {})["shared"] = {"$ref": f"#/{defs}/Part"}
            root["properties"]["many"] = {"type": "array", "items": {"$ref": f"#/{defs}/Other"}, "maxItems": 2}
            root["type"] = "object"
            root.pop("enum", None), root.pop("const", None)
        elif self.chance(0.2):
            node = {
                "type": "object",
                "properties": {"value": self.any(0), "next": {"anyOf": [{"$ref": f"#/{defs}/Node"}, {"type": "null"}]}},
                "required": ["value", "next"],
                "additionalProperties": False,
            }
            root = {"$ref": f"#/{defs}/Node", defs: {"Node": node}}
        if self.chance(0.2):
            root = {"title": "Made", "description": "A schema.", **root}
        return root


def draft(schema: dict) -> str:
    """What a schema's `$schema` says, and the newest where it says nothing."""
    return schema.get("$schema", "https://json-schema.org/draft/2020-12/schema")


def made(seed: int, count: int) -> list[tuple[str, dict]]:
    return [(f"made-{seed}-{at}", Maker(random.Random(f"{seed}/{at}")).document()) for at in range(count)]


def closed(required: list[str], **properties: object) -> dict:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


DRAFT4, DRAFT7 = "http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema#"
WRITTEN: list[tuple[str, object]] = [
    ("any", {}),
    ("true", True),
    ("free object", {"type": "object"}),
    ("free object with a typed name", {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}),
    ("required without properties", {"type": "object", "required": ["a", "b"], "maxProperties": 3}),
    ("draft 4 bounds", {"$schema": DRAFT4, "type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 5}),
    ("draft 7 tuple", {"$schema": DRAFT7, "type": "array", "items": [{"type": "integer"}, {"type": "string", "maxLength": 3}],
                       "additionalItems": False, "minItems": 2}),
    ("draft 7 siblings of a reference", {"$schema": DRAFT7, "properties": {"a": {"$ref": "#/definitions/n", "description": "x"}},
                                         "type": "object", "required": ["a"], "definitions": {"n": {"type": "integer", "maximum": 9}}}),
    ("draft 7 const", {"$schema": DRAFT7, "const": {"z": 1, "a": [True]}}),
    ("siblings of a reference", {"$ref": "#/$defs/n", "minimum": 3, "$defs": {"n": {"type": "integer", "maximum": 9}}}),
    ("tree", {"$ref": "#/$defs/t", "$defs": {"t": closed(["v"], v={"type": "boolean"}, kids={"type": "array", "maxItems": 2,
                                                                                             "items": {"$ref": "#/$defs/t"}})}}),
    ("two that refer to each other", {"$ref": "#/$defs/a", "$defs": {
        "a": closed([], b={"$ref": "#/$defs/b"}), "b": closed([], a={"$ref": "#/$defs/a"}, n={"type": "null"})}}),
    ("root by itself", closed(["n"], n={"type": "integer"}, next={"anyOf": [{"$ref": "#"}, {"type": "null"}]})),
    ("reference into properties", closed(["a", "b"], a={"enum": ["x", "y"]}, b={"$ref": "#/properties/a"})),
    ("names that are keywords", closed(["$ref", "enum", "const", "items"], **{
        "$ref": {"type": "boolean"}, "enum": {"type": "null"}, "const": {"type": "boolean"}, "items": {"enum": [1]}})),
    ("names with signs", closed(['q"', "b\\", "n\n", "é", ""], **{
        'q"': {"type": "null"}, "b\\": {"type": "null"}, "n\n": {"type": "null"}, "é": {"type": "null"}, "": {"type": "null"}})),
    ("open below one", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
    ("open between", {"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.3}),
    ("open without a type", {"exclusiveMinimum": -2.5, "exclusiveMaximum": -1.25, "type": ["number", "null"]}),
    ("an open integer", {"type": "integer", "exclusiveMinimum": 1.5, "exclusiveMaximum": 3}),
    ("a large integer", {"const": 9007199254740993}),
    ("a large bound", {"type": "integer", "minimum": 9007199254740993, "maximum": 9007199254740999}),
    ("an integer that fits", {"enum": [9007199254740992, -4611686018427387904, 10**15]}),
    ("large numbers", {"enum": [1e22, 1.5e300, -1e-30]}),
    ("halves", {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 10}),
    ("hundredths", {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 10}),
    ("a price", {"type": "number", "multipleOf": 0.01, "exclusiveMinimum": 0, "maximum": 1e6}),
    ("sevenths", {"type": "number", "multipleOf": 0.07, "minimum": -1, "maximum": 10}),
    ("an address of zod's", {"type": "string", "format": "email",
                             "pattern": "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$"}),
    ("a record of zod's", {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "boolean"}, "maxProperties": 2}),
    ("a union of pydantic's", {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
                               "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}},
                               "$defs": {"Cat": closed(["kind", "lives"], kind={"const": "cat", "type": "string"}, lives={"type": "integer"}),
                                         "Dog": closed(["kind"], kind={"const": "dog", "type": "string"}, barks={"type": "boolean"})}}),
    ("three names of a map", {"type": "object", "minProperties": 3, "additionalProperties": {"type": "boolean"}}),
    ("one name of a map", {"type": "object", "minProperties": 1, "additionalProperties": {"type": "boolean"}}),
    ("two names of a pattern", {"type": "object", "minProperties": 2, "patternProperties": {"^[ab]$": {"type": "null"}},
                                "additionalProperties": False}),
    ("at least one of two", {**closed([], a={"type": "null"}, b={"type": "null"}), "minProperties": 1}),
    ("a name of both kinds", {"type": "object", "properties": {"x-a": {"type": "integer"}}, "required": ["x-a"],
                              "patternProperties": {"^x-": {"minimum": 5, "maximum": 7}}, "additionalProperties": False}),
    ("all of objects that are closed", {"allOf": [{"type": "object", "properties": {"a": {"type": "null"}, "b": {}}, "additionalProperties": False},
                                                  {"required": ["a"], "properties": {"c": {"type": "null"}}}]}),
    ("any of and siblings", {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "additionalProperties": False,
                             "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
    ("one of by what is required", {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
                                    "additionalProperties": False, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
    ("one of overlapping", {"oneOf": [{"type": "integer"}, {"minimum": 2}]}),
    ("one of numbers", {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]}),
    ("one of a list", {"oneOf": [{"const": "a"}, {"const": "b"}, {"enum": ["c", 4]}]}),
    ("enum of a type", {"type": "integer", "enum": [1, "a", 2, 3.5]}),
    ("an enum beside a pattern", {"type": "string", "enum": ["ab", "cd"], "pattern": "^a"}),
    ("a pattern and lengths", {"type": "string", "pattern": "^[a-c]+$", "minLength": 2, "maxLength": 4}),
    ("a pattern and a format", {"type": "string", "format": "date", "pattern": "^2024-"}),
    ("anchors in the middle", {"type": "string", "pattern": "(^a$)|(^b$)"}),
    ("anchors of one side", {"type": "string", "pattern": "^ab|cd$", "maxLength": 6}),
    ("a set in a set", {"type": "string", "pattern": "^[^[\\]]{1,3}$"}),
    ("no digits", {"type": "string", "pattern": "^[^\\d]{1,3}$"}),
    ("no blanks", {"type": "string", "pattern": "^[^\\s\"\\\\]{2,5}$"}),
    ("leap days", {"type": "string", "format": "date", "pattern": "-02-29$"}),
    ("items that cannot be", {"type": "array", "items": False}),
    ("a property that cannot be", {"type": "object", "properties": {"a": False, "b": {"type": "null"}}, "additionalProperties": False}),
    ("only a required one", {"type": "object", "properties": {"a": False}, "required": ["a"]}),
    ("characters beyond the plane", {"type": "string", "pattern": "^[🙂🙃]{2}$"}),
    ("control characters", {"const": "a\u0001b\u007f"}),
    ("a nested id", {"properties": {"a": {"$id": "http://x/a", "$ref": "#/$defs/n", "$defs": {"n": {"type": "null"}}}}, "required": ["a"],
                     "type": "object", "$defs": {"n": {"type": "boolean"}}}),
]

# What is no part of the standard's following: each must be refused, and the refusal must name the word.
REFUSED: list[tuple[str, dict]] = [
    ("not", {"not": {"type": "string"}}),
    ("if", {"type": "integer", "if": {"minimum": 3}, "then": {"multipleOf": 2}}),
    ("contains", {"type": "array", "contains": {"const": 1}}),
    ("uniqueItems", {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    ("propertyNames", {"type": "object", "propertyNames": {"pattern": "^a"}}),
    ("dependentRequired", {"type": "object", "dependentRequired": {"a": ["b"]}}),
    ("dependentSchemas", {"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}}),
    ("dependencies", {"$schema": DRAFT7, "type": "object", "dependencies": {"a": ["b"]}}),
    ("unevaluatedProperties", {"type": "object", "unevaluatedProperties": False}),
    ("$dynamicRef", {"$dynamicRef": "#node"}),
    ("$ref", {"properties": {"a": {"$ref": "other.json#/a"}}}),
    ("$ref", {"properties": {"a": {"$ref": "#name"}}, "$defs": {"n": {"$anchor": "name"}}}),
    ("format", {"type": "string", "format": "json-pointer"}),
    ("pattern", {"type": "string", "pattern": "^(?!a)b"}),
    ("pattern", {"type": "string", "pattern": "(a)\\1"}),
    ("type", {"properties": {"a": {"type": "strin"}}}),
    ("type", {"type": 5}),
    ("oneOf", {"oneOf": [{"type": "string"}, {"minLength": 2}]}),
    ("minimum", {"type": "number", "minimum": "1"}),
    ("required", {"type": "object", "required": True}),
    ("minLength", {"type": "string", "minLength": 5, "maxLength": 3}),
    ("patternProperties", {"type": "object", "patternProperties": {"^a": {"type": "null"}, "b$": {"type": "boolean"}}}),
    ("minProperties", {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 2}),
]
