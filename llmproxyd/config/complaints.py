"""What a validator found -> problems in words: what is wrong, what was expected, what to write instead.

A table from JSON Schema keyword to the function that finds the words. No value that may be a credential is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from llmproxyd.config.document import Document
from llmproxyd.config.mask import redact
from llmproxyd.config.mismatch import Fault, Mismatch, fits_pattern, known_keys
from llmproxyd.config.phrases import (
    clip,
    counted,
    expected_kind,
    expected_number,
    first_sentence,
    how_to_write,
    inline,
    json_types,
    kind_of,
    listed,
    with_article,
)
from llmproxyd.config.places import Path, describe, look_up
from llmproxyd.config.problem import Problem, Severity, Span
from llmproxyd.config.suggest import closest, meant_key

_MAX_LISTED_KEYS: Final = 20
_MAX_LISTED_VALUES: Final = 8


def find_words(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    """The problems that one mismatch amounts to: one for each unknown or missing key, else just one."""
    if mismatch.choice is not None:
        yield _no_branch(mismatch, document)
        return
    if mismatch.about_key:
        yield _bad_name(mismatch, document)
        return
    found = list(_KEYWORDS.get(mismatch.keyword, _out_of_form)(mismatch, document))
    # Whatever the words, a document that the validator refuses never passes without a problem.
    yield from found or _out_of_form(mismatch, document)


def _unknown_keys(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    known = known_keys(mismatch)
    for key in mismatch.value:
        if key not in known and not fits_pattern(key, mismatch):
            yield _unknown_key((*mismatch.path, key), known, document)


def _unknown_key(path: Path, known: Sequence[str], document: Document) -> Fault:
    key, where = str(path[-1]), describe(path[:-1], document.data)
    taken = look_up(path[:-1], document.data)
    meant = meant_key(key, [name for name in known if name not in taken])
    already = None if meant else meant_key(key, known)
    if meant:
        label, help_ = f"did you mean `{meant}`?", f"rename it to `{meant}`"
    elif already:
        label, help_ = f"looks like `{already}`", f"delete it: `{already}` is there already"
    else:
        label, help_ = "not known here", _list_of_keys(known, where)
    span = document.key_span(path).labelled(label)
    return Fault(path, _problem("LP101", f"unknown key `{key}` in {where}", span, help_), suggested=meant)


def _forbidden_keys(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    """The key exists, but not in this company."""
    there = look_up(mismatch.path, document.data)
    for key in mismatch.expected:
        if isinstance(there, dict) and key in there:
            path = (*mismatch.path, key)
            message = f"`{key}` cannot be used in {describe(mismatch.path, document.data)}"
            span = document.key_span(path).labelled("does not fit here")
            yield Fault(path, _problem("LP101", message, span, _why(mismatch), note=mismatch.note))


def _wrong_type(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    kinds = mismatch.expected if isinstance(mismatch.expected, list) else [mismatch.expected]
    yield _other_kind(mismatch, document, expected_kind(mismatch.schema), kinds)


def _no_branch(mismatch: Mismatch, document: Document) -> Fault:
    assert mismatch.choice is not None
    words, schemas = mismatch.choice.words, [mismatch.resolve(schema) for schema in mismatch.choice.kinds]
    kinds = [kind for schema in schemas for kind in json_types(schema)]
    if words and isinstance(mismatch.value, str):
        return _not_among(mismatch, document, words, [expected_kind(schema) for schema in schemas])
    expected = listed([*(f"`{inline(word)}`" for word in words), *map(expected_kind, schemas)], "or")
    return _other_kind(mismatch, document, expected, kinds)


def _other_kind(mismatch: Mismatch, document: Document, expected: str, kinds: Sequence[str]) -> Fault:
    found = kind_of(mismatch.value)
    if mismatch.value is None:
        span = document.key_span(mismatch.path).labelled("has no value")
    else:
        span = document.value_span(mismatch.path).labelled(_shown(mismatch, document, with_kind=True))
    help_ = _instead(mismatch, document, kinds) or _example(mismatch)
    return Fault(
        mismatch.path,
        _problem("LP102", f"expected {expected}, found {found}", span, help_, note=mismatch.note),
    )


def _instead(mismatch: Mismatch, document: Document, kinds: Sequence[str]) -> str:
    if _is_secret(mismatch, document) or not mismatch.path or isinstance(mismatch.path[-1], int):
        return ""
    quoted = document.is_quoted(mismatch.path)
    return how_to_write(str(mismatch.path[-1]), mismatch.value, kinds, quoted=quoted)


def _missing_keys(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    for key in mismatch.expected:
        if key not in mismatch.value:
            yield _missing_key(mismatch, document, key, mismatch.path)


def _missing_companions(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    for present, companions in mismatch.expected.items():
        for key in companions if present in mismatch.value else ():
            if key not in mismatch.value:
                yield _missing_key(
                    mismatch, document, key, (*mismatch.path, present), f"`{present}` needs `{key}`"
                )


def _missing_key(
    mismatch: Mismatch, document: Document, key: str, at: Path, message: str | None = None
) -> Fault:
    where = describe(mismatch.path, document.data)
    span = document.key_span(at).labelled(f"`{key}` is missing")
    schema = next(
        (mismatch.resolve(each["properties"][key]) for each in mismatch.around if _has(each, key)), {}
    )
    examples = schema.get("examples", ())
    advice = f"add it, for example `{key}: {inline(examples[0])}`" if examples else f"add `{key}: ...`"
    about = f" ({first_sentence(schema['description'])})" if schema.get("description") else ""
    problem = _problem("LP103", message or f"missing key `{key}` in {where}", span, advice + about)
    return Fault(mismatch.path, problem, missing=key)


def _not_allowed(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    if mismatch.path == ("version",):
        yield _other_version(mismatch, document)
        return
    words = mismatch.expected if mismatch.keyword == "enum" else [mismatch.expected]
    # A word that one branch of an if/then wants; the type beside it says what else may stand here.
    kinds = {kind for schema in mismatch.around for kind in json_types(schema)} & {"array", "object"}
    yield _not_among(mismatch, document, words, [expected_kind({"type": kind}) for kind in sorted(kinds)])


def _other_version(mismatch: Mismatch, document: Document) -> Fault:
    span = document.value_span(mismatch.path).labelled("not known to this release")
    help_ = f"write `version: {inline(mismatch.expected)}`, or use a release that knows this version"
    return Fault(mismatch.path, _problem("LP702", "unsupported version of the file", span, help_))


def _not_among(mismatch: Mismatch, document: Document, words: Sequence[Any], others: Sequence[str]) -> Fault:
    secret = _is_secret(mismatch, document)
    texts = [inline(word) for word in words]
    meant = None if secret else _meant_word(mismatch.value, words)
    label = f"did you mean `{meant}`?" if meant else "not one of the allowed values"
    shown = "" if secret else f" `{clip(redact(inline(mismatch.value)))}`"
    allowed = [*(f"`{text}`" for text in texts), *map(with_article, others)]
    helps = (
        [f"allowed: {listed(allowed, 'or')}"] if len(allowed) <= _MAX_LISTED_VALUES else [_example(mismatch)]
    )
    message = f"unknown value{shown} for {describe(mismatch.path, document.data)}"
    span = document.value_span(mismatch.path).labelled(label)
    return Fault(mismatch.path, _problem("LP104", message, span, *helps, note=mismatch.note))


def _meant_word(value: object, words: Sequence[Any]) -> str | None:
    """`True` for true, `Local` for local, `lokal` for local."""
    texts = [inline(word) for word in words]
    written = value if isinstance(value, str) else inline(value)
    same = next((text for text in texts if text.casefold() == written.casefold()), None)
    return same or closest(written, texts)


def _out_of_range(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    shown = _shown(mismatch, document, with_kind=False)
    span = document.value_span(mismatch.path).labelled(f"expected {expected_number(mismatch.schema)}")
    message = f"{describe(mismatch.path, document.data)} is out of range: {shown}"
    yield Fault(mismatch.path, _problem("LP105", message, span, _why(mismatch), note=mismatch.note))


def _bad_length(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    bound, noun = _LENGTHS[mismatch.keyword]
    where = describe(mismatch.path, document.data)
    size = counted(len(mismatch.value), noun) if mismatch.value else "nothing in it"
    if _is_secret(mismatch, document):
        size = "the wrong length"
    span = document.value_span(mismatch.path).labelled(f"expected {bound} {counted(mismatch.expected, noun)}")
    problem = _problem("LP105", f"{where} has {size}", span, _example(mismatch), note=mismatch.note)
    yield Fault(mismatch.path, problem)


def _repeated(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    seen: list[Any] = []
    for index, item in enumerate(mismatch.value):
        if item in seen:
            path = (*mismatch.path, index)
            first = document.value_span((*mismatch.path, seen.index(item))).labelled("first here")
            span = document.value_span(path).labelled("the same again")
            message = f"an entry of {describe(mismatch.path, document.data)} is repeated"
            problem = Problem(
                "LP105", Severity.ERROR, message, span, (first,), ("delete one of the two",), (mismatch.note,)
            )
            yield Fault(path, problem)
        seen.append(item)


def _out_of_form(mismatch: Mismatch, document: Document) -> Iterator[Fault]:
    """A pattern, or any keyword without words of its own: the schema's description says what is wanted."""
    where = describe(mismatch.path, document.data)
    if isinstance(mismatch.value, dict | list):
        span = document.key_span(mismatch.path).labelled("do not fit together")
        message = f"the contents of {where} do not fit together"
    else:
        span = document.value_span(mismatch.path).labelled(_shown(mismatch, document, with_kind=False))
        message = f"{where} is not written as expected"
    helps = [_why(mismatch), "" if "such as" in _why(mismatch) else _example(mismatch)]
    yield Fault(mismatch.path, _problem("LP105", message, span, *helps, note=mismatch.note))


def _bad_name(mismatch: Mismatch, document: Document) -> Fault:
    path = (*mismatch.path, str(mismatch.value))
    if mismatch.keyword == "enum":
        return _unknown_key(path, [str(word) for word in mismatch.expected], document)
    where = describe(mismatch.path, document.data)
    span = document.key_span(path).labelled("cannot be a name here")
    message = f"`{clip(redact(str(mismatch.value)))}` in {where} is not a valid name"
    return Fault(path, _problem("LP105", message, span, _why(mismatch), note=mismatch.note))


def _list_of_keys(known: Sequence[str], where: str) -> str:
    if not known:
        return f"delete it: {where} takes no keys"
    if len(known) > _MAX_LISTED_KEYS:
        return "delete it, or check where it belongs"
    return f"known keys of {where}: {', '.join(known)}"


def _has(schema: Mapping[str, Any], key: str) -> bool:
    return isinstance(schema.get("properties", {}).get(key), Mapping)


def _why(mismatch: Mismatch) -> str:
    """The description nearest to the rule that was broken."""
    inner = mismatch.expected if isinstance(mismatch.expected, Mapping) else {}
    texts = (each.get("description") for each in (inner, mismatch.schema, *mismatch.around))
    text = next((text for text in texts if isinstance(text, str)), "")
    return first_sentence(text)


def _example(mismatch: Mismatch) -> str:
    examples = next(
        (each["examples"] for each in (mismatch.schema, *mismatch.around) if each.get("examples")), ()
    )
    return f"for example `{_pair(mismatch.path, inline(examples[0]))}`" if examples else ""


def _pair(path: Path, value: str) -> str:
    """As it would be written: an item of a list has no key."""
    return f"{path[-1]}: {value}" if path and isinstance(path[-1], str) else f"- {value}"


def _is_secret(mismatch: Mismatch, document: Document) -> bool:
    return mismatch.schema.get("format") == "secret" or document.is_secret(mismatch.path)


def _shown(mismatch: Mismatch, document: Document, *, with_kind: bool) -> str:
    """The value as far as it may be shown: `string "8"`, or only its kind."""
    kind = kind_of(mismatch.value)
    if _is_secret(mismatch, document) or isinstance(mismatch.value, dict | list):
        return kind
    text = clip(redact(json.dumps(mismatch.value, ensure_ascii=False)))
    return f"{kind} {text}" if with_kind else text


def _problem(code: str, message: str, span: Span, *helps: str, note: str = "") -> Problem:
    notes = (note,) if note else ()
    return Problem(code, Severity.ERROR, message, span, (), tuple(text for text in helps if text), notes)


_KEYWORDS: Final[Mapping[str, Callable[[Mismatch, Document], Iterator[Fault]]]] = {
    "additionalProperties": _unknown_keys,
    "unevaluatedProperties": _unknown_keys,
    "forbidden": _forbidden_keys,
    "type": _wrong_type,
    "required": _missing_keys,
    "dependentRequired": _missing_companions,
    "enum": _not_allowed,
    "const": _not_allowed,
    "minimum": _out_of_range,
    "maximum": _out_of_range,
    "exclusiveMinimum": _out_of_range,
    "exclusiveMaximum": _out_of_range,
    "minLength": _bad_length,
    "maxLength": _bad_length,
    "minItems": _bad_length,
    "maxItems": _bad_length,
    "minProperties": _bad_length,
    "maxProperties": _bad_length,
    "uniqueItems": _repeated,
}

_LENGTHS: Final = {
    "minLength": ("at least", "character"),
    "maxLength": ("at most", "character"),
    "minItems": ("at least", "entry"),
    "maxItems": ("at most", "entry"),
    "minProperties": ("at least", "key"),
    "maxProperties": ("at most", "key"),
}
