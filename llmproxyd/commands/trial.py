"""``llmproxyd providers test NAME``: would this provider answer? The daemon asks it for free; a chat only on demand."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llmproxyd.commands.client import Reply, ask
from llmproxyd.commands.console import CannotGoOn, Console
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit

LIST_PATH = "/admin/v1/providers"
CHAT_PATH = "/v1/chat/completions"
MAX_TOKENS = 16
PROMPT = "Say hello."
TEST_TIMEOUT_S = 30.0
CHAT_TIMEOUT_S = 180.0
"""A local server may have to load the model first."""

_FIRST_WORDS_CHARS = 80
_TIMED_OUT = "timeout"
_GATEWAY_TIMEOUT = 504
_WORDS: Mapping[bool | None, str] = {True: "yes", False: "no", None: "not known"}


def path_of_test(name: str) -> str:
    return f"{LIST_PATH}/{quote(name, safe='')}/test"


def run_test(arguments: Namespace, console: Console) -> int:
    """Test the provider ``arguments.name``. 0: all is well, 1: not, 66: unknown, 69: no daemon, 75: timed out."""
    document = _test(arguments.name, console)
    wants_chat = arguments.chat or arguments.model is not None
    # A list may be shorter than what is served: a missing model is no reason not to try.
    may_chat = document["problem"] in (None, "models_missing")
    if wants_chat and may_chat:
        model = arguments.model or _first_model(arguments.name, console)
        document["chat"] = _chat(_full_name(arguments.name, model), console)
    if console.json:
        console.say_json(document)
    else:
        console.say(format_test(document))
    if wants_chat and not may_chat:
        console.complain("No chat was tried, because the test did not go well.")
    return _status(document)


def _test(name: str, console: Console) -> dict[str, Any]:
    reply = ask(console.settings(), console.environ, "POST", path_of_test(name), {}, timeout_s=TEST_TIMEOUT_S)
    if reply.status == 200 and "ok" in reply.document:
        return reply.document
    error = _error(reply)
    if error.get("code") == "unknown_provider":
        raise CannotGoOn(Exit.MISSING, visible(str(error.get("message"))))
    raise CannotGoOn(Exit.UNAVAILABLE, f"the daemon does not test providers (status {reply.status})")


def _first_model(name: str, console: Console) -> str:
    reply = ask(console.settings(warn=False), console.environ, "GET", LIST_PATH)
    for provider in reply.document.get("providers", ()):
        if provider["name"] == name and provider["models"]:
            return str(provider["models"][0])
    raise CannotGoOn(Exit.ERRORS, f"provider {name} has no model to chat with; name one with --model")


def _full_name(provider: str, model: str) -> str:
    return model if model.startswith(f"{provider}/") else f"{provider}/{model}"


def _chat(model: str, console: Console) -> dict[str, Any]:
    """One short real request through the daemon, as any client sends it.

    ``{"model", "ok", "status", "duration_ms", "provider_model", "tokens_in", "tokens_out", "text", "message"}``.
    """
    body = {
        "model": model,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": PROMPT}],
    }
    began_s = time.monotonic()
    reply = ask(
        console.settings(warn=False), console.environ, "POST", CHAT_PATH, body, timeout_s=CHAT_TIMEOUT_S
    )
    duration_ms = round((time.monotonic() - began_s) * 1000, 1)
    told = {"model": model, "ok": reply.status == 200, "status": reply.status, "duration_ms": duration_ms}
    if reply.status != 200:
        return told | {"message": str(_error(reply).get("message") or "no reason given")}
    usage = reply.document.get("usage") or {}
    return told | {
        "provider_model": reply.document.get("model"),
        "tokens_in": usage.get("prompt_tokens"),
        "tokens_out": usage.get("completion_tokens"),
        "text": _text(reply.document)[:_FIRST_WORDS_CHARS],
    }


def _text(document: dict[str, Any]) -> str:
    try:
        return str(document["choices"][0]["message"]["content"] or "")
    except (KeyError, IndexError, TypeError):
        return ""  # an answer of thoughts alone, cut at the limit, has none


def _error(reply: Reply) -> dict[str, Any]:
    error = reply.document.get("error")
    return error if isinstance(error, dict) else {}


def _status(document: dict[str, Any]) -> Exit:
    chat = document.get("chat", {"ok": True, "status": 200})
    if document["problem"] == _TIMED_OUT or chat["status"] == _GATEWAY_TIMEOUT:
        return Exit.TIMED_OUT
    return Exit.OK if document["ok"] and chat["ok"] else Exit.ERRORS


# --- words ------------------------------------------------------------------------------------------------------


def format_test(document: dict[str, Any]) -> str:
    """What came of the test, line by line: name, what was found, what to do."""
    lines = [f"{visible(document['name'])}: {visible(document['state'])}"]
    lines += [f"  {label:<11} {text}" for label, text in _facts(document) if text]
    return "\n".join(lines)


def _facts(document: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("reachable", _reachable(document)),
        ("authorised", _WORDS[document["authorised"]]),
        ("models", _models(document["models_found"])),
        ("missing", visible(", ".join(document["missing_models"]))),
        ("to do", visible(document["hint"])),
    ]
    return facts + (_chat_facts(document["chat"]) if "chat" in document else [])


def _reachable(document: dict[str, Any]) -> str:
    word = _WORDS[document["reachable"]]
    if document["status"] is None:
        return word
    return f"{word}, status {document['status']} in {document['duration_ms']:.0f} ms"


def _models(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    more = ", …" if found["count"] > len(found["names"]) else ""
    names = f": {visible(', '.join(found['names']))}{more}" if found["names"] else ""
    return f"{found['count']} found{names}"


def _chat_facts(chat: dict[str, Any]) -> list[tuple[str, str]]:
    head = f"{visible(chat['model'])}, status {chat['status']} in {chat['duration_ms']:.0f} ms"
    if not chat["ok"]:
        return [("chat", head), ("said", visible(chat["message"]))]
    return [
        ("chat", head),
        ("answered by", visible(str(chat["provider_model"] or ""))),
        ("tokens", f"{_count(chat['tokens_in'])} in, {_count(chat['tokens_out'])} out"),
        ("said", visible(chat["text"]) or f"(no text within {MAX_TOKENS} tokens)"),
    ]


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)
