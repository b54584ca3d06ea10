"""Does a document have the right shape: JSON Schema decides, ``complaints`` finds the words.

Owns where the schema files lie, which of a validator's many errors is the one that matters, and the notes that lead
from a problem to the schema. Schemas are written with if/then on the presence of keys, so that an error names a key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path as FilePath
from typing import Any, Final, Literal, TypeAlias

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from llmproxyd.config.complaints import find_words
from llmproxyd.config.document import Document
from llmproxyd.config.mismatch import Choice, Fault, Mismatch
from llmproxyd.config.places import Path
from llmproxyd.config.problem import Problem, cap_problems

SchemaName: TypeAlias = Literal["providers", "routing"]

_CHOICES: Final = frozenset({"anyOf", "oneOf"})
_WORDS: Final = frozenset({"const", "enum"})
_SAME_PLACE_ORDER: Final = ("LP102", "LP104", "LP105")
"""Of several problems with one value, the first of these says it best."""


def schema_bytes(name: SchemaName) -> bytes:
    """The schema file as shipped, for editors and for ``config schema``."""
    return _schema_file(name).read_bytes()


def validate(document: Document, name: SchemaName) -> list[Problem]:
    """All that is wrong with the document's shape, in reading order, at most ``MAX_PROBLEMS``.

    Values that the schema calls secret are masked in ``document.sources`` from here on.
    """
    return shipped_schema(name).validate(document)


def fault_paths(data: Any, name: SchemaName) -> Iterator[Path]:
    """Where ``data`` offends its schema: the path of each unknown key, and of each value that is wrong or lacks one."""
    for error in shipped_schema(name).errors(data):
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties" and isinstance(error.instance, dict):
            known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
            yield from ((*path, key) for key in error.instance if key not in known)
        else:
            yield path


@cache
def shipped_schema(name: SchemaName) -> Schema:
    file = _schema_file(name)
    return Schema(json.loads(file.read_bytes()), file.name)


class Schema:
    """One JSON Schema (draft 2020-12, local references only), ready to use again and again; ``file`` for notes."""

    def __init__(self, body: Mapping[str, Any], file: str) -> None:
        self.body = body
        self.file = file
        # All references are local, so following one is a look-up; the validator's own way takes a third of its time.
        self._targets: dict[str, Any] = {}
        kind = extend(Draft202012Validator, {"$ref": self._follow})  # type: ignore[no-untyped-call]
        # A schema that names its dialect would be given back to the dialect's own validator.
        self._validator = kind({key: part for key, part in body.items() if key != "$schema"})

    def validate(self, document: Document) -> list[Problem]:
        """See ``validate``."""
        secrets = _SecretCollector()
        errors = list(self._validator.evolve(format_checker=secrets).iter_errors(document.data))
        document.hide_values(secrets.found)
        if not errors:
            return []
        found = [mismatch for error in errors for mismatch in self._mismatches(error)]
        for mismatch in found:
            if mismatch.schema.get("format") == "secret":
                document.hide(mismatch.path)
        faults = [fault for mismatch in found for fault in find_words(mismatch, document)]
        known = [fault for fault in faults if not document.is_broken(fault.path)]
        return cap_problems([fault.problem for fault in _without_cascades(known)])

    def errors(self, data: Any) -> Iterator[ValidationError]:
        """What the validator itself says of ``data``."""
        yield from self._validator.iter_errors(data)

    def _mismatches(self, error: ValidationError) -> Iterator[Mismatch]:
        if error.validator in _CHOICES and error.context:
            branches = _branches(error)
            chosen = _best_branch(branches, error)
            if chosen is None:
                yield self._mismatch(error, _choice_of(branches))
                return
            for inner in chosen:
                yield from self._mismatches(inner)
            return
        yield self._mismatch(error, None)

    def _mismatch(self, error: ValidationError, choice: Choice | None) -> Mismatch:
        steps = list(error.absolute_schema_path)
        if error.schema is False:
            return self._forbidden(error, steps)
        return Mismatch(
            keyword=str(error.validator),
            path=tuple(error.absolute_path),
            value=error.instance,
            expected=error.validator_value,
            schema=error.schema if isinstance(error.schema, dict) else {},
            around=self._around(steps),
            note=f"schema: {self.file}#{self._pointer(steps[:-1])}",
            about_key="propertyNames" in error.relative_schema_path or _is_below_names(error),
            choice=choice,
            resolve=self.resolve,
        )

    def _forbidden(self, error: ValidationError, steps: list[Any]) -> Mismatch:
        """A key whose schema is ``false``. The validator stops one step early and does not say which key it was."""
        path = tuple(error.absolute_path)
        if not steps or steps[-1] != "properties":
            steps, path = steps[:-1], path[:-1]
        pointer = self._pointer(steps)
        properties = self._at(_split(pointer))
        keys = [key for key, schema in properties.items() if schema is False] if steps else []
        return Mismatch(
            keyword="forbidden",
            path=path,
            value=error.instance,
            expected=keys,
            schema={},
            around=self._around([*steps[:-1], ""]),
            note=f"schema: {self.file}#{pointer}",
            about_key=False,
            choice=None,
            resolve=self.resolve,
        )

    def _follow(
        self, validator: Any, reference: str, instance: object, _: object
    ) -> Iterator[ValidationError]:
        if reference not in self._targets:
            self._targets[reference] = self._at(_split(reference))
        yield from validator.descend(instance, self._targets[reference])

    def resolve(self, schema: object) -> Mapping[str, Any]:
        """A subschema with its local reference followed; keys beside ``$ref`` win."""
        if not isinstance(schema, Mapping):
            return {}
        target = schema.get("$ref")
        if not isinstance(target, str):
            return schema
        return {**self.resolve(self._at(_split(target))), **{k: v for k, v in schema.items() if k != "$ref"}}

    def _pointer(self, steps: Iterable[Any]) -> str:
        """Where a schema path ends, as a JSON pointer; a validator's path does not say where it followed ``$ref``."""
        node: Any = self.body
        pointer: list[str] = []
        for step in steps:
            while isinstance(node, Mapping) and step not in node and isinstance(node.get("$ref"), str):
                pointer = _split(node["$ref"])
                node = self._at(pointer)
            node = node[step]
            pointer.append(str(step))
        return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in pointer)

    def _around(self, steps: list[Any]) -> tuple[Mapping[str, Any], ...]:
        """The schemas that speak of the same value, innermost first: an ``if`` and what is around it."""
        schemas: list[Mapping[str, Any]] = []
        node: Any = self.body
        for step in steps:
            while isinstance(node, Mapping) and step not in node and isinstance(node.get("$ref"), str):
                schemas.append(node)
                node = self._at(_split(node["$ref"]))
            if step in ("properties", "patternProperties", "additionalProperties", "items", "prefixItems"):
                schemas = []
            elif isinstance(node, Mapping):
                schemas.append(node)
            node = node.get(step) if isinstance(node, Mapping) else node[step]
        return tuple(reversed(schemas))

    def _at(self, pointer: Iterable[str]) -> Any:
        node: Any = self.body
        for step in pointer:
            node = node[int(step)] if isinstance(node, list) else node[step]
        return node


class _SecretCollector(FormatChecker):
    """Rides along with a validation and remembers every text that the schema calls secret."""

    def __init__(self) -> None:
        super().__init__(formats=())
        self.found: set[str] = set()

    def check(self, instance: object, format: str) -> None:  # noqa: A002 - the parent's name for it
        if format == "secret" and isinstance(instance, str):
            self.found.add(instance)


def _branches(error: ValidationError) -> list[list[ValidationError]]:
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    return list(branches.values())


def _best_branch(
    branches: list[list[ValidationError]], error: ValidationError
) -> list[ValidationError] | None:
    """The branch that the author most likely meant; None if the value is of no branch's kind, or a word of none."""
    meant = [branch for branch in branches if not any(_is_of_other_kind(inner) for inner in branch)]
    if not meant:
        return None
    return min(meant, key=_distance_to)


def _is_of_other_kind(error: ValidationError) -> bool:
    """A wrong type, or a word that is not the one, of the value as a whole."""
    return not error.relative_path and (error.validator == "type" or error.validator in _WORDS)


def _distance_to(branch: list[ValidationError]) -> tuple[int, int, int]:
    shallow = [error for error in branch if not error.relative_path]
    deepest = max(len(error.relative_path) for error in branch)
    return len(shallow), -deepest, len(branch)


def _choice_of(branches: list[list[ValidationError]]) -> Choice:
    """All that the branches would have taken: words, and schemas of other kinds of value."""
    words: list[Any] = []
    kinds: list[Mapping[str, Any]] = []
    for error in (inner for branch in branches for inner in branch if _is_of_other_kind(inner)):
        if error.validator == "const":
            words.append(error.validator_value)
        elif isinstance(error.validator_value, list) and error.validator == "enum":
            words.extend(error.validator_value)
        elif isinstance(error.schema, dict):
            kinds.append(error.schema)
    return Choice(tuple(dict.fromkeys(words)), tuple(kinds))


def _is_below_names(error: ValidationError) -> bool:
    parent = error.parent
    return parent is not None and "propertyNames" in parent.relative_schema_path


def _without_cascades(faults: list[Fault]) -> list[Fault]:
    """Leave out what would vanish by itself once another fault is mended."""
    wrong_kind = {fault.path for fault in faults if fault.problem.code == "LP102"}
    renamed = {(fault.path[:-1], fault.suggested) for fault in faults if fault.suggested}
    best: dict[Any, int] = {}
    for fault in faults:
        rank = _rank(fault)
        best[fault.path] = min(best.get(fault.path, rank), rank)
    return [
        fault
        for fault in faults
        if not any(fault.path[:end] in wrong_kind for end in range(len(fault.path)))
        and (fault.path, fault.missing) not in renamed
        and (_rank(fault) == best[fault.path] or fault.problem.code not in _SAME_PLACE_ORDER)
    ]


def _rank(fault: Fault) -> int:
    code = fault.problem.code
    return _SAME_PLACE_ORDER.index(code) if code in _SAME_PLACE_ORDER else len(_SAME_PLACE_ORDER)


def _split(reference: str) -> list[str]:
    steps = reference.removeprefix("#").split("/")[1:]
    return [step.replace("~1", "/").replace("~0", "~") for step in steps]


def _schema_file(name: SchemaName) -> Traversable:
    """In a wheel beside the code, in a checkout beside the package."""
    file = f"{name}.v1.json"
    packaged = files("llmproxyd") / "schemas" / file
    return packaged if packaged.is_file() else FilePath(__file__).parents[2] / "schemas" / file
