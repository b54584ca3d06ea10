"""A small schema for tests, written as the shipped ones are: closed, described, with if/then on the presence of keys."""

from __future__ import annotations

from typing import Any

from llmproxyd.config.document import Document, parse_document
from llmproxyd.config.problem import Problem
from llmproxyd.config.schema import Schema

BODY: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["providers"],
    "properties": {
        "version": {"type": "integer", "const": 1},
        "providers": {
            "type": "object",
            "propertyNames": {"description": "letters, digits and `-`", "pattern": "^[a-z0-9-]+$"},
            "additionalProperties": {"$ref": "#/$defs/provider"},
        },
        "pipeline": {
            "type": "object",
            "propertyNames": {"enum": ["privacy", "cost"]},
            "additionalProperties": {"type": "array", "items": {"$ref": "#/$defs/rule"}},
        },
        "tasks": {
            "type": "object",
            "minProperties": 1,
            "patternProperties": {"^x-": {"type": "string"}},
            "additionalProperties": False,
        },
    },
    "$defs": {
        "provider": {
            "description": "One account at one endpoint.",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "preset": {"type": "string", "enum": ["openai", "ollama", "mock"]},
                "endpoint": {
                    "description": "URL of the server. It may have a path.",
                    "type": "string",
                    "minLength": 1,
                    "pattern": "^https?://",
                    "examples": ["http://localhost:11434"],
                },
                "zone": {"type": "string", "enum": ["local", "private", "external"]},
                "enabled": {"type": "boolean"},
                "max_concurrency": {"type": "integer", "minimum": 1},
                "share": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                "passphrase": {"type": "string", "format": "secret", "minLength": 8},
                "timeout": {"$ref": "#/$defs/duration"},
                "models": {
                    "anyOf": [
                        {"const": "discover"},
                        {
                            "type": "array",
                            "uniqueItems": True,
                            "maxItems": 3,
                            "items": {"$ref": "#/$defs/model"},
                        },
                    ]
                },
                "mock": {"type": "object"},
            },
            "dependentRequired": {"passphrase": ["endpoint"]},
            "if": {"required": ["preset"], "properties": {"preset": {"const": "ollama"}}},
            "then": {
                "description": "A mock only behaves as told in the mock provider",
                "required": ["endpoint"],
                "properties": {"mock": False},
            },
        },
        "model": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "object",
                    "required": ["id"],
                    "additionalProperties": False,
                    "properties": {
                        "id": {
                            "description": "The model's id.",
                            "type": "string",
                            "examples": ["llama3:70b"],
                        },
                        "price": {"anyOf": [{"enum": ["free", "unknown"]}, {"type": "number", "minimum": 0}]},
                    },
                },
            ]
        },
        "rule": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "rank_by": {"type": "string"}},
            "if": {"required": ["rank_by"]},
            "then": {"properties": {"within": {"type": "number"}}},
            "unevaluatedProperties": False,
        },
        "duration": {
            "description": "a duration such as 250ms or 30s",
            "type": ["string", "number"],
            "minimum": 0,
            "pattern": "^[0-9]+(ms|s)$",
        },
    },
}
SCHEMA = Schema(BODY, "providers.v1.json")


def checked(text: str, schema: Schema = SCHEMA) -> tuple[Document, list[Problem]]:
    """The document, and what is wrong with its shape; it must be readable."""
    document, problems = parse_document(text.encode(), "providers.yaml")
    assert document is not None, problems
    return document, [*problems, *schema.validate(document)]
