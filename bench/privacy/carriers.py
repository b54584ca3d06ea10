"""What a value stands in: prose of eight languages, JSON, YAML, .env files, code, logs, chat turns, tool arguments.

A carrier takes the words before the value (or none) and the value, and gives the whole text.
"""

import json
from collections.abc import Callable
from random import Random

from bench.privacy.values import Value

PROSE = (
    "Could you check this for me? {} — thanks, I need it before Friday.",
    "Hello, I filled in the form with {} and got an error.",
    "Please rewrite this politely: the customer gave {}.",
    "Bitte prüfe das für mich: {}. Danke!",
    "Im Formular steht {}, stimmt das so?",
    "Peux-tu vérifier {} avant demain ? Merci.",
    "Le client a indiqué {}, que dois-je répondre ?",
    "¿Puedes revisar esto? {}. Gracias.",
    "El cliente escribió {} en el formulario.",
    "Potresti controllare {}? Grazie mille.",
    "Kun je dit nakijken: {}? Alvast bedankt.",
    "Pode verificar {} para mim, por favor?",
    "Proszę sprawdzić: {}. Dziękuję.",
    "Summarise: ticket opened ({}), customer waits.",
)


def phrase(words: str, text: str, rng: Random) -> str:
    return f"{words}{rng.choice((': ', ' ', ' is ', ' = '))}{text}" if words else text


def prose(words: str, text: str, rng: Random) -> str:
    return rng.choice(PROSE).format(phrase(words, text, rng))


def json_object(words: str, text: str, rng: Random) -> str:
    return json.dumps(
        {"id": rng.randint(1, 999), words or "value": text, "ok": True}, ensure_ascii=rng.random() < 0.5
    )


def yaml_lines(words: str, text: str, rng: Random) -> str:
    if "\n" in text:
        body = "\n".join("    " + line for line in text.splitlines())
        return f"entry:\n  {words or 'value'}: |\n{body}\n"
    return f"entry:\n  name: item-{rng.randint(1, 99)}\n  {words or 'value'}: {json.dumps(text)}\n"


def env_file(words: str, text: str, rng: Random) -> str:
    name = "".join(c if c.isalnum() else "_" for c in words.upper()) or "VALUE"
    body = json.dumps(text) if "\n" in text else text
    return f"# settings\nDEBUG=1\n{name}={body}\nPORT={rng.randint(1024, 9999)}\n"


def code(words: str, text: str, rng: Random) -> str:
    comment = f"  # {words}" if words else ""
    lead = f"def load():{comment}\n    "
    return lead + rng.choice((f"row = lookup({json.dumps(text)})\n", f"const value = '{text}';\n"))


def log_line(words: str, text: str, rng: Random) -> str:
    return f"2025-03-1{rng.randint(0, 9)}T10:42:0{rng.randint(0, 9)}Z INFO worker[{rng.randint(100, 999)}]: got {phrase(words, text, rng)} done"


def chat(words: str, text: str, rng: Random) -> str:
    question = words or "What did they send"
    return f"User: {question}?\nAssistant: One moment.\nUser: {phrase(words, text, rng)}\nAssistant: Noted."


def tool_arguments(words: str, text: str, rng: Random) -> str:
    inner = {"query": phrase(words, text, rng), "limit": rng.randint(1, 50)}
    return json.dumps(inner, separators=(",", ":"))


CARRIERS: dict[str, Callable[[str, str, Random], str]] = {
    "prose": prose,
    "json": json_object,
    "yaml": yaml_lines,
    "env": env_file,
    "code": code,
    "log": log_line,
    "chat": chat,
    "tool arguments": tool_arguments,
}


def carried(value: Value, rng: Random, text: str | None = None) -> str:
    """A prompt that holds `value` (or `text` in its stead) in a random carrier."""
    words = rng.choice(value.words) if value.words else ""
    carrier = rng.choice(sorted(CARRIERS))
    return CARRIERS[carrier](words, value.text if text is None else text, rng)
