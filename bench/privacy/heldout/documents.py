"""What a number stands in: letters in seventeen languages, mails, tables, markup, programs, logs, records of meetings."""

import json
from collections.abc import Callable
from html import escape
from random import Random

from bench.privacy.heldout.numbers import Number
from bench.privacy.heldout.words import CALLED, FIELDS, LANGUAGES, SENTENCES

Write = Callable[[Number, str, Random], str]
_SECRET_NAMES = ("api_key", "apiToken", "access_token", "client_secret")
_SECRET_WORDS = ("our API key", "the access token", "token", "API secret")


def field_of(number: Number, rng: Random) -> str:
    if number.kind == "secret":
        return rng.choice(_SECRET_NAMES) if number.named else "note"
    group = number.kind.partition(".")[0]
    return rng.choice(FIELDS.get(number.kind) or FIELDS.get(group) or FIELDS[""])


def called(number: Number, language: str, rng: Random) -> str:
    """What stands before the number in a sentence: nothing unless it needs that."""
    if not number.named:
        return ""
    if number.kind == "secret":
        return rng.choice(_SECRET_WORDS)
    return rng.choice(CALLED[number.kind].get(language) or CALLED[number.kind]["en"])


def language_of(number: Number, rng: Random) -> str:
    return (
        rng.choice(sorted(CALLED[number.kind]))
        if number.named and number.kind in CALLED
        else rng.choice(LANGUAGES)
    )


# --- prose ------------------------------------------------------------------------------------------------------


def _said(number: Number, text: str, language: str, rng: Random) -> str:
    words = called(number, language, rng)
    if not words:
        return text
    return (
        words
        + ("：" if language in ("ja", "zh") and rng.random() < 0.5 else rng.choice((" ", ": ", " – ", "\n")))
        + text
    )


def letter(number: Number, text: str, rng: Random) -> str:
    language = language_of(number, rng)
    return rng.choice(SENTENCES[language]).format(_said(number, text, language, rng))


def mail_thread(number: Number, text: str, rng: Random) -> str:
    language = language_of(number, rng)
    return (
        f"Subject: RE: FW: open points ({rng.randint(2, 30)})\nDate: Tue, 4 Mar 2025 09:1{rng.randint(0, 9)}:00 +0100\n\n"
        f"Thanks, noted.\n\n> On Monday the colleague wrote:\n>> {_said(number, text, language, rng)}\n>> best wishes\n"
    )


def minutes(number: Number, text: str, rng: Random) -> str:
    language = language_of(number, rng)
    return (
        f"WEBVTT\n\n00:0{rng.randint(1, 9)}:12.000 --> 00:09:15.500\n<v Agent>And what should I note down?\n\n"
        f"00:09:16.000 --> 00:09:21.250\n<v Caller>{_said(number, text, language, rng)}\n"
    )


def bullets(number: Number, text: str, rng: Random) -> str:
    language = language_of(number, rng)
    return (
        f"# Handover\n\n* printer repaired\n* {_said(number, text, language, rng)}\n* keys with reception\n"
    )


# --- tables and markup ------------------------------------------------------------------------------------------


def comma_table(number: Number, text: str, rng: Random) -> str:
    mark = rng.choice((",", ";", "\t"))
    head, row = (
        ["id", "city", field_of(number, rng), "since"],
        [str(rng.randint(10, 99)), "Graz", text, "2021"],
    )
    return "\n".join(mark.join(cells) for cells in (head, row)) + "\n"


def markdown_table(number: Number, text: str, rng: Random) -> str:
    return f"| item | {field_of(number, rng)} |\n|---|---|\n| {rng.randint(10, 99)} | {text} |\n| 11 | – |\n"


def web_form(number: Number, text: str, rng: Random) -> str:
    name = field_of(number, rng)
    return f'<label for="f">{name}</label>\n<input id="f" name="{name}" value="{escape(text)}" required>\n'


def markup(number: Number, text: str, rng: Random) -> str:
    name = field_of(number, rng)
    return f'<?xml version="1.0"?>\n<record seq="{rng.randint(10, 99)}"><{name}>{escape(text)}</{name}></record>\n'


def json_list(number: Number, text: str, rng: Random) -> str:
    rows = [{"seq": 1, field_of(number, rng): text, "tags": ["new"]}, {"seq": 2}]
    return json.dumps({"rows": rows}, indent=2, ensure_ascii=False)


def toml(number: Number, text: str, rng: Random) -> str:
    return f"[section.{rng.randint(1, 9)}]\nenabled = true\n{field_of(number, rng)} = {json.dumps(text, ensure_ascii=False)}\n"


def vcard(number: Number, text: str, rng: Random) -> str:
    return f"BEGIN:VCARD\nVERSION:3.0\nX-{field_of(number, rng).upper()};TYPE=home:{text}\nEND:VCARD\n"


# --- programs ---------------------------------------------------------------------------------------------------


def insert(number: Number, text: str, rng: Random) -> str:
    quoted = text.replace("'", "''")
    return f"INSERT INTO people (id, {field_of(number, rng)}, active) VALUES ({rng.randint(10, 99)}, '{quoted}', true);\n"


def keyword(number: Number, text: str, rng: Random) -> str:
    return f"def test_save(db):\n    row = Person({field_of(number, rng)}={text!r}, active=True)\n    assert row.save()\n"


def patch(number: Number, text: str, rng: Random) -> str:
    return f"@@ -1{rng.randint(0, 9)},3 +1{rng.randint(0, 9)},3 @@\n   retries: 3\n-  {field_of(number, rng)}: null\n+  {field_of(number, rng)}: {text}\n"


def query(number: Number, text: str, rng: Random) -> str:
    body = json.dumps({field_of(number, rng): text}, ensure_ascii=False)
    return (
        f"curl -sS -X POST https://crm.corp.test/v2/people -H 'content-type: application/json' -d '{body}'\n"
    )


def trace(number: Number, text: str, rng: Random) -> str:
    return f'Traceback (most recent call last):\n  File "import.py", line {rng.randint(10, 99)}, in load\nValueError: bad {field_of(number, rng)}: {text!r}\n'


def log_fields(number: Number, text: str, rng: Random) -> str:
    return f'ts=2025-02-0{rng.randint(1, 9)}T08:00:00Z level=warn msg="rejected" {field_of(number, rng)}="{text}" took=1{rng.randint(0, 9)}ms\n'


PROSE: tuple[Write, ...] = (letter, mail_thread, minutes, bullets)
PROGRAMS: tuple[Write, ...] = (
    comma_table,
    markdown_table,
    web_form,
    markup,
    json_list,
    toml,
    vcard,
    insert,
    keyword,
    patch,
    query,
    trace,
    log_fields,
)


def document(number: Number, rng: Random, text: str | None = None) -> tuple[str, str]:
    """(name of the kind of document, the document) that holds the number, or `text` in its stead."""
    write = rng.choice(PROSE if rng.random() < 0.5 else PROGRAMS)
    return str(getattr(write, "__name__", "")), write(number, number.text if text is None else text, rng)


def pasted(number: Number, rng: Random) -> tuple[str, str]:
    """Lines that bring their own place, in a question about them."""
    question = rng.choice(
        ("Why does this fail?", "Was ist daran falsch?", "¿Por qué falla esto?", "Explain:")
    )
    return "pasted", f"{question}\n\n```\n# part {rng.randint(1, 9)}\n{number.text}\n```\n"
