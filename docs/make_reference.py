"""Writes docs/reference/{providers,routing}.md from the schemas; ``--check`` only says whether they are current.

    python docs/make_reference.py [--check]

A section for the file itself and one for each definition in its schema; a table row for every property, those of
nested objects included (``timeouts.connect``, ``models[].to``, ``headers.NAME``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
FILES: Final = ("providers", "routing")
HEAD: Final = """\
# {name}.yaml: every setting

*Made from `schemas/{name}.v1.json` by `docs/make_reference.py`; edit the schema, not this page.*
An unknown key is an error, with a suggestion. [configuration.md](../configuration.md) says how the files work
together; an editor that reads JSON Schema takes `llmproxyd config schema {name}`.
"""

Schema: TypeAlias = Mapping[str, Any]
_BOUNDS: Final[Mapping[str, str]] = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minProperties": "at least {} keys",
}
_TRIVIAL: Final = frozenset({("minLength", 1), ("minItems", 1), ("minProperties", 1)})
"""Limits that say no more than `not empty`."""


def format_reference(name: str, schema: Schema) -> str:
    """The page for one file, as Markdown."""
    sections = [HEAD.format(name=name), _section(f"The file {name}.yaml", schema)]
    sections += [_section(title, definition) for title, definition in schema["$defs"].items()]
    return "\n".join(sections)


def _section(title: str, schema: Schema) -> str:
    rows = [_row(path, detail, required=required) for path, detail, required in _properties("", schema)]
    lines = [f"## {title}\n", f"{_sentence(schema.get('description', ''))}\n"]
    lines.append(f"*{_type(schema)}*{_more(schema)}\n")
    if rows:
        lines += ["| key | takes | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _properties(prefix: str, schema: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """(path, schema, required) of everything below ``schema``, without following references."""
    required = frozenset(schema.get("required", ()))
    for key, detail in schema.get("properties", {}).items():
        path = f"{prefix}.{key}" if prefix else key
        yield path, detail, key in required
        yield from _properties(path, detail)
    for keyword, mark in (("additionalProperties", ".NAME"), ("items", "[]")):
        detail = schema.get(keyword)
        if isinstance(detail, dict):
            path = (prefix + mark).lstrip(".")
            if "description" in detail:
                yield path, detail, False
            yield from _properties(path, detail)


def _row(path: str, schema: Schema, *, required: bool) -> str:
    text = _sentence(schema.get("description", ""))
    word = " **Required.**" if required else ""
    cells = (f"`{path}`", _type(schema), f"{text}{word}{_more(schema)}")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "const" in schema:
        return f"`{schema['const']}`"
    words = schema.get("type", ())
    words = [words] if isinstance(words, str) else [word for word in words if word != "null"]
    return " or ".join(_type_word(word, schema) for word in words) or "any value"


def _type_word(word: str, schema: Schema) -> str:
    """``array`` and its like as people say them; texts with the few words they may be."""
    choices = schema.get("enum") or (schema["then"].get("enum") if "then" in schema else None)
    if word == "string" and choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if word == "string" and "$ref" in schema.get("then", {}):
        return _type(schema["then"])
    if word == "array":
        entries = _type(schema["items"]) if "items" in schema else ""
        return f"list of ({entries})" if " or " in entries else f"list of {entries}".removesuffix(" of ")
    if word == "object" and "$ref" in (schema.get("additionalProperties") or {}):
        return f"mapping to {_type(schema['additionalProperties'])}"
    return {"string": "text", "object": "mapping", "boolean": "true or false"}.get(word, word)


def _more(schema: Schema) -> str:
    """Limits and examples, as a continuation of the meaning."""
    limits = [
        text.format(schema[key])
        for key, text in _BOUNDS.items()
        if key in schema and (key, schema[key]) not in _TRIVIAL
    ]
    names = schema.get("propertyNames", {}).get("description")
    told = f" Names: {names}." if names else ""
    told += f" {', '.join(limits).capitalize()}." if limits else ""
    examples = schema.get("examples", ())
    return told + (f" Example: {' · '.join(map(_example, examples))}" if examples else "")


def _example(value: Any) -> str:
    """As it would stand in the file."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _sentence(text: str) -> str:
    """Descriptions of values are phrases; in a table they stand as sentences."""
    if not text.startswith(("true:", "false:")):
        text = text[:1].upper() + text[1:]
    return text if not text or text.endswith(".") else text + "."


def main() -> int:
    """0: written, or current; 1: ``--check`` found a page that is not."""
    parser = argparse.ArgumentParser(description="Write the reference pages from the schemas.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page is not current")
    check = parser.parse_args().check
    stale = 0
    for name in FILES:
        schema = json.loads((ROOT / "schemas" / f"{name}.v1.json").read_text(encoding="utf-8"))
        page, text = ROOT / "docs" / "reference" / f"{name}.md", format_reference(name, schema)
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            sys.stderr.write(f"{page} is not current: run python docs/make_reference.py\n")
        else:
            page.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {page}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
