"""What a row of a board must hold: `row.schema.json`, and the check of a row against it.

The schema is one of JSON Schema, and other programs can read it. The check here knows the words
that it uses: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
`minItems` and `maxItems`.
"""

import functools
import json
import os

from tfvn import checks

__all__ = ["FORMAT", "FORMATS", "check", "faults", "schema"]

# Of the rows. Another one has other keys.
FORMAT = "tfvn-row-4"
# How all of them begin.
FORMATS = "tfvn-row-"
_PATH = os.path.join(os.path.dirname(__file__), "row.schema.json")
_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


@functools.cache
def schema():
    """The schema of a row, a dict."""
    with open(_PATH, encoding="utf-8") as file:
        return json.load(file)


def check(row, name="the row"):
    """Checks a row.

    Raises:
        ValueError: for one that is not as the schema says; all places are named.
    """
    found = faults(row, schema())
    if found:
        raise ValueError(f"{name} is no row of the format {FORMAT}: {'; '.join(found[:5])}")


def faults(value, rule, place="row"):
    """The places where a value is not as a rule of the schema says, a list of sentences."""
    kinds = rule.get("type", list(_TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(_is(value, kind) for kind in kinds):
        return [f"{place} must be {' or '.join(kinds)}, not {checks.shown(value)}"]
    if "const" in rule and value != rule["const"]:
        return [f"{place} must be {rule['const']!r}, not {checks.shown(value)}"]
    if "enum" in rule and value not in rule["enum"]:
        return [f"{place} must be one of {rule['enum']}, not {checks.shown(value)}"]
    if isinstance(value, dict):
        return _of_object(value, rule, place)
    if isinstance(value, list):
        return _of_array(value, rule, place)
    return []


def _is(value, kind):
    # A truth value is a number to Python, and none to JSON.
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def _of_object(value, rule, place):
    known = rule.get("properties", {})
    found = [f"{place}.{key} is missing" for key in rule.get("required", []) if key not in value]
    for key, item in value.items():
        inner = known.get(key, rule.get("additionalProperties", {}))
        if inner is False:
            found.append(f"{place}.{key} is no key")
        elif inner is not True:
            found.extend(faults(item, inner, f"{place}.{key}"))
    return found


def _of_array(value, rule, place):
    least, most = rule.get("minItems", 0), rule.get("maxItems", len(value))
    if not least <= len(value) <= most:
        return [f"{place} must have {least} to {most} items, not {len(value)}"]
    found = []
    for number, item in enumerate(value):
        found.extend(faults(item, rule.get("items", {}), f"{place}[{number}]"))
    return found
