"""
Makes test/goldens/json-schemas.json: schemas, documents, and for each document whether the schema allows it, by the Python
package jsonschema. Members of documents stand in the order of the schema, and numbers have no exponents.

    pip install jsonschema
    python3 tools/json-schema-cases.py > test/goldens/json-schemas.json
"""

import json
import random
import sys

import jsonschema

random.seed(20)
STRING = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}

POOL = [
    None, True, False, 0, 1, -1, 2, 3, 7, 10, 42, 99, 100, 101, 1000, -5, -100, 1.5, 0.5, -0.25, 2.75, 3.125, 1000.5,
    "", "a", "ab", "abc", "abcd", "hello", "red", "green", "A1", "é", "日本", "a b", "\n", "\"", "\\", "x\ty", "\u0001", "😀",
    "2024-02-29", "not a date", "1", "b", "key",
    [], [1], [1, 2], [1, 2, 3], ["a"], ["a", 1], [None], [[1], [2]], [1, "a", True], [{"a": 1}],
    {}, {"a": 1}, {"a": "x"}, {"b": 1}, {"a": 1, "b": "x"}, {"a": 1, "b": 2, "c": 3}, {"a": {"a": 1}}, {"c": True},
    {"kind": "x", "value": 1}, {"kind": "y", "value": "s"}, {"name": "n", "age": 5}, {"name": "n"}, {"value": None},
    {"left": None, "right": None, "value": 1}, {"next": {"next": None}}, {"next": None}, {"items": [1, 2]}, {"é": 1},
]

SCHEMAS = [True, False, {}, {"title": "anything"}]
SCHEMAS += [{"type": t} for t in ["null", "boolean", "integer", "number", "string", "array", "object"]]
SCHEMAS += [{"type": ["string", "null"]}, {"type": ["integer", "string"]}, {"type": ["number", "integer", "boolean"]}, {"type": ["array", "object"]}]
SCHEMAS += [{"const": value} for value in [None, 1, 1.5, "x", "é\n\"", [], [1, {"a": 2}], {"a": 1, "b": [True]}]]
SCHEMAS += [{"enum": values} for values in [[1, 2, 3], ["red", "green"], [None, "a", 1], [{"a": 1}, [1]], [True], [1, "1"]]]
SCHEMAS += [{"type": "string", "enum": ["red", 1]}, {"type": "integer", "enum": [1, 2.5, 3]}, {"const": 1, "enum": [1, 2]}, {"const": 3, "enum": [1, 2]}]
for low in [None, 0, 1, -5, 7, -100, 10, 99]:
    for high in [None, 0, 9, 10, 100, 42, 1000]:
        if low is None and high is None:
            continue
        schema = {"type": "integer"}
        if low is not None:
            schema["minimum"] = low
        if high is not None:
            schema["maximum"] = high
        SCHEMAS.append(schema)
for bounds in [{"minimum": 0}, {"minimum": 1.5}, {"maximum": 2.75}, {"minimum": -0.25, "maximum": 0.5}, {"exclusiveMinimum": 0}, {"exclusiveMaximum": 3},
               {"exclusiveMinimum": -1, "exclusiveMaximum": 1}, {"minimum": 0.125, "maximum": 0.126}, {"minimum": 99.95, "maximum": 1000.05},
               {"exclusiveMinimum": 1.5, "maximum": 1.5}, {"minimum": 1e-7, "maximum": 1}, {"minimum": -100, "exclusiveMaximum": -99.5}, {"minimum": 3, "maximum": 2},
               {"minimum": 1e21}, {"maximum": 10, "exclusiveMaximum": 10}, {"minimum": 0.5, "exclusiveMinimum": 0.25}]:
    SCHEMAS += [{"type": "number", **bounds}, {"type": "integer", **bounds}]
for low in [None, 0, 1, 3]:
    for high in [None, 0, 2, 4]:
        size = {k: v for k, v in [("min", low), ("max", high)] if v is not None}
        SCHEMAS.append({"type": "string", **{f"{k}Length": v for k, v in size.items()}})
        SCHEMAS.append({"type": "array", **{f"{k}Items": v for k, v in size.items()}})
        SCHEMAS.append({"type": "array", "items": INTEGER, **{f"{k}Items": v for k, v in size.items()}})
        SCHEMAS.append({"type": "array", "prefixItems": [INTEGER, STRING], "items": {"type": "boolean"}, **{f"{k}Items": v for k, v in size.items()}})
        SCHEMAS.append({"type": "array", "prefixItems": [INTEGER, INTEGER], "items": False, **{f"{k}Items": v for k, v in size.items()}})
SCHEMAS += [{"type": "string", "pattern": p} for p in ["^a", "b$", "^[a-z]+$", "[0-9]", "^(red|green)$", "\\n", "\"", "^.$", "^\\S*$", "é", "^[^a]*$", "^\\\\$", "^[A-Z]\\d$", ""]]
SCHEMAS += [
    {"type": "array", "items": {"type": "array", "items": INTEGER}},
    {"type": "array", "prefixItems": [INTEGER]},
    {"type": "array", "items": False},
    {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1},
]
A, B, C = INTEGER, STRING, {"type": "boolean"}
for required in [[], ["a"], ["b"], ["a", "c"], ["a", "b", "c"], ["z"], ["a", "z"]]:
    for others in [None, False, True, INTEGER, STRING]:
        schema = {"type": "object", "properties": {"a": A, "b": B, "c": C}, "required": required}
        if others is not None:
            schema["additionalProperties"] = others
        SCHEMAS.append(schema)
SCHEMAS += [
    {"type": "object", "additionalProperties": INTEGER},
    {"type": "object", "additionalProperties": False},
    {"properties": {"a": A}, "required": ["a"]},
    {"type": "object", "properties": {"a": {}, "ab": {}, "abc": A, "é": A, "\"q\"": A}, "additionalProperties": STRING},
    {"type": "object", "properties": {"a": {"type": "object", "properties": {"a": A}, "required": ["a"], "additionalProperties": False}}, "additionalProperties": False},
    {"type": "object", "properties": {"a": False, "b": A}},
    {"anyOf": [STRING, INTEGER]},
    {"anyOf": [{"type": "object", "properties": {"kind": {"const": "x"}, "value": INTEGER}, "required": ["kind", "value"]},
               {"type": "object", "properties": {"kind": {"const": "y"}, "value": STRING}, "required": ["kind", "value"]}]},
    {"type": "string", "anyOf": [{"minLength": 3}, {"pattern": "^a$"}]},
    {"type": "integer", "anyOf": [{"maximum": 0}, {"minimum": 42}]},
    {"allOf": [{"type": "integer"}, {"minimum": 1}, {"maximum": 10}]},
    {"allOf": [{"type": "number"}, {"type": "integer"}]},
    {"allOf": [{"type": ["string", "integer"]}, {"type": ["integer", "null"]}]},
    {"allOf": [{"properties": {"a": A}, "required": ["a"]}, {"properties": {"b": B}, "required": ["b"]}], "type": "object"},
    {"allOf": [{"anyOf": [STRING, INTEGER]}, {"anyOf": [INTEGER, {"type": "null"}]}]},
    {"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4]}]},
    {"allOf": [True, {"const": 1}]},
    {"allOf": [False, {"const": 1}]},
    {"allOf": [{"type": "object", "properties": {"a": A}, "additionalProperties": False}, {"properties": {"b": B}}]},
    {"allOf": [{"type": "array", "prefixItems": [INTEGER]}, {"items": {"type": ["integer", "string"]}}]},
    {"$defs": {"i": INTEGER}, "$ref": "#/$defs/i"},
    {"$defs": {"i": INTEGER}, "$ref": "#/$defs/i", "minimum": 7},
    {"$defs": {"a/b~c": STRING}, "type": "array", "items": {"$ref": "#/$defs/a~1b~0c"}},
    {"definitions": {"node": {"type": "object", "properties": {"value": INTEGER, "next": {"anyOf": [{"$ref": "#/definitions/node"}, {"type": "null"}]}}, "additionalProperties": False}}, "$ref": "#/definitions/node"},
    {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"], "additionalProperties": False},
    {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}, "right": {"$ref": "#/$defs/tree"}, "value": INTEGER}, "$defs": {"tree": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}},
    {"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"anyOf": [INTEGER, {"type": "array", "items": {"$ref": "#/$defs/x"}}]}}},
    {"oneOf": [STRING, {"type": "null"}]},
    {"type": "object", "properties": {"a": {"description": "text", "default": 3, **INTEGER}}, "required": ["a"], "x-order": 1},
    {"type": ["object", "null"], "properties": {"name": STRING, "age": {"type": "integer", "minimum": 0}}, "required": ["name"], "additionalProperties": False},
    {"type": "object", "properties": {"items": {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2}}, "required": ["items"]},
]


def compose(depth):
    """A schema of small parts, chosen at random."""
    kind = random.choice(["leaf", "leaf", "array", "object", "any", "all"] if depth > 0 else ["leaf"])
    if kind == "leaf":
        return random.choice([s for s in SCHEMAS[:180] if isinstance(s, dict)])
    if kind == "array":
        return {"type": "array", "items": compose(depth - 1)}
    if kind == "object":
        names = random.sample(["a", "b", "c", "kind", "value", "name"], random.randint(1, 3))
        schema = {"type": "object", "properties": {name: compose(depth - 1) for name in names}}
        schema["required"] = [name for name in names if random.random() < 0.5]
        if random.random() < 0.6:
            schema["additionalProperties"] = False
        return schema
    if kind == "any":
        return {"anyOf": [compose(depth - 1) for _ in range(random.randint(1, 3))]}
    return {"allOf": [{"type": random.choice(["integer", "string", "object", "number"])}, compose(0)]}


def instances(schema, root, depth=4):
    """Some documents near the schema, most of them allowed."""
    if depth == 0 or not isinstance(schema, dict):
        return random.sample(POOL, 3)
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].split("/")[1:]:
            target = target[part.replace("~1", "/").replace("~0", "~")]
        return instances(target, root, depth - 1)
    if "anyOf" in schema or "oneOf" in schema:
        return [i for s in schema.get("anyOf", schema.get("oneOf")) for i in instances(s, root, depth - 1)[:3]]
    if "allOf" in schema:
        return [i for s in schema["allOf"] for i in instances(s, root, depth - 1)[:4]]
    if "const" in schema:
        return [schema["const"]]
    if "enum" in schema:
        return list(schema["enum"])
    if schema.get("type") in ("integer", "number"):
        marks = [v for k, v in schema.items() if k in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")]
        near = [m + d for m in marks if abs(m) < 1e15 for d in (-1, -0.5, -0.001, 0, 0.001, 0.5, 1)] or [0, 5]
        return [int(n) if float(n).is_integer() else n for n in (round(n, 4) for n in near)]
    if schema.get("type") == "array" or "prefixItems" in schema:
        heads = [random.choice(instances(s, root, depth - 1) or [None]) for s in schema.get("prefixItems", [])]
        tail = schema.get("items", True)
        rest = instances(tail, root, depth - 1) if tail is not False else [1]
        return [(heads + random.choices(rest or [None], k=4))[:n] for n in range(0, 5)]
    if schema.get("type") == "object" or "properties" in schema:
        found = []
        for _ in range(5):
            value = {}
            for name, sub in schema.get("properties", {}).items():
                if name in schema.get("required", []) or random.random() < 0.5:
                    value[name] = random.choice(instances(sub, root, depth - 1) or [None])
            for name in schema.get("required", []):
                if name not in value:
                    value[name] = random.choice([1, "x"])
            found.append(value)
            if value and random.random() < 0.5:
                fewer = dict(value)
                fewer.pop(random.choice(list(fewer)))
                found.append(fewer)
            found.append({**value, random.choice(["zz", "a2", "extra"]): random.choice([1, "x"])})
        return found
    return random.sample(POOL, 3)


while len(SCHEMAS) < 380:
    SCHEMAS.append(compose(2))

cases = []
for schema in SCHEMAS:
    validator = jsonschema.Draft202012Validator(schema)
    documents = {}
    for value in POOL + [i for _ in range(3) for i in instances(schema, schema)]:
        documents[json.dumps(value, ensure_ascii=False)] = value
    if len(documents) > 40:
        near = [t for t in documents if t not in {json.dumps(p) for p in POOL}]
        kept = near[:30] + random.sample(list(documents), 20)
        documents = {text: documents[text] for text in kept}
    found = []
    for text, value in documents.items():
        found.append([text, validator.is_valid(value)])
    entry = {"schema": schema, "documents": found}
    cases.append(entry)
print(f"{len(cases)} schemas, {sum(len(c['documents']) for c in cases)} documents", file=sys.stderr)
print("[")
print(",\n".join(json.dumps(case, ensure_ascii=False) for case in cases))
print("]")
