"""Everything that leaves is read, whatever the dialect calls it; what cannot be read is named."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from llmproxyd.surfaces.pieces import MAX_DEPTH, pieces_of
from llmproxyd.values.privacy import Unread
from llmproxyd.values.request import Dialect, Operation, Request

BYTES = base64.b64encode(bytes(range(256)) * 4).decode()


def read(document: dict[str, Any], **more: Any) -> tuple[dict[str, str], frozenset[str]]:
    request = Request(Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "m", False, b"", document, **more)
    pieces, unread = pieces_of(request)
    return {piece.place: piece.text for piece in pieces}, frozenset(each.kind for each in unread)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"messages": [{"role": "user", "content": "SECRET"}]}, "messages[0].content"),
        ({"messages": [{"content": [{"type": "text", "text": "SECRET"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"name": "SECRET"}]}, "messages[0].name"),
        (
            {"messages": [{"tool_calls": [{"function": {"arguments": "SECRET"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {"messages": [{"content": [{"type": "tool_use", "input": {"format": "SECRET"}}]}]},
            "messages[0].content[0].input.format",
        ),
        (
            {
                "messages": [
                    {"content": [{"type": "file", "file": {"filename": "SECRET", "file_data": BYTES}}]}
                ]
            },
            "messages[0].content[0].file.filename",
        ),
        ({"tools": [{"function": {"description": "SECRET"}}]}, "tools[0].function.description"),
        ({"metadata": {"who": "SECRET"}, "user": "u"}, "metadata.who"),
        ({"user": "SECRET"}, "user"),
        ({"instructions": "SECRET", "input": "x"}, "instructions"),
        ({"input": [{"type": "function_call_output", "output": "SECRET"}]}, "input[0].output"),
        (
            {"systemInstruction": {"parts": [{"text": "SECRET"}]}},
            "systemInstruction.parts[0].text",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"response": {"a": ["SECRET"]}}}]}]},
            "contents[0].parts[0].functionResponse.response.a[0]",
        ),
        ({"prompt": ["a", "SECRET"]}, "prompt[1]"),
        ({"a_field_of_tomorrow": {"x": "SECRET"}}, "a_field_of_tomorrow.x"),
        ({"messages": [{"content": [{"signature": "SECRET"}]}]}, "messages[0].content[0].signature"),
    ],
)
def test_a_text_is_read_wherever_it_stands(document: dict[str, Any], place: str) -> None:
    texts, _ = read(document)
    assert texts[place] == "SECRET"


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BYTES}"}}, "image"),
        ({"type": "image_url", "image_url": {"url": "https://pictures.example/1"}}, "image"),
        ({"type": "input_image", "image_url": "https://pictures.example/1"}, "image"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BYTES}}, "image"),
        ({"type": "input_audio", "input_audio": {"data": BYTES, "format": "wav"}}, "audio"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file"),
        ({"type": "input_file", "file_data": BYTES, "filename": "a.pdf"}, "file"),
        ({"type": "document", "source": {"type": "url", "url": "https://d.example"}}, "file"),
        ({"inlineData": {"mimeType": "image/webp", "data": BYTES}}, "image"),
        ({"inline_data": {"mime_type": "audio/mp3", "data": BYTES}}, "audio"),
        ({"fileData": {"mimeType": "application/pdf", "fileUri": "gs://x"}}, "file"),
        ({"images": [BYTES]}, "image"),
        ({"type": "text", "text": BYTES}, "file"),
    ],
)
def test_what_cannot_be_read_is_named_and_its_bytes_are_no_text(block: dict[str, Any], kind: str) -> None:
    texts, unscanned = read({"messages": [{"role": "user", "content": [block]}]})
    assert unscanned == {kind}
    assert not any(BYTES in text for text in texts.values())


def test_text_that_calls_itself_bytes_is_read_all_the_same() -> None:
    told = {"data": "4111 1111 1111 1111", "format": "wav", "media_type": "image/png"}
    packed = base64.b64encode(b"my card is 4111 1111 1111 1111, " * 8).decode()
    texts, _ = read({"messages": [{"content": [told, {"type": "text", "text": packed}]}]})
    assert texts["messages[0].content[0].data"] == told["data"]
    assert texts["messages[0].content[1].text"] == packed


def test_a_document_that_is_text_is_no_file() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "SECRET"}
    texts, unscanned = read({"messages": [{"content": [{"type": "document", "source": source}]}]})
    assert texts["messages[0].content[0].source.data"] == "SECRET"
    assert unscanned == set()


def test_numbers_and_names_that_tell_something_are_texts_too() -> None:
    texts, _ = read({"metadata": {"card": 4111111111111111, "max": 4096, "078-05-1120": True}})
    assert texts["metadata.card"] == "4111111111111111"
    assert texts["metadata (a name in it)"] == "078-05-1120"
    assert "4096" not in texts.values()


def test_no_place_tells_what_was_written_there() -> None:
    texts, _ = read({"metadata": {"jane@example.com": {"note": "SECRET"}}})
    assert texts == {"metadata (a name in it)": "jane@example.com", "metadata.*.note": "SECRET"}


def test_what_is_not_read_has_its_place() -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BYTES}"}}
    document = {
        "messages": [{"content": ["hello", image]}],
        "extra": {"mime_type": "audio/wav", "data": BYTES},
    }
    request = Request(Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "m", False, b"", document)
    assert pieces_of(request)[1] == (Unread("messages[0].content[1]", "image"), Unread("extra.data", "audio"))


def test_headers_that_go_on_are_texts_and_words_of_the_dialect_are_none() -> None:
    texts, _ = read({"messages": [{"role": "user", "content": "x"}]}, headers={"x-note": "SECRET"})
    assert texts == {"messages[0].content": "x", "header x-note": "SECRET"}


def test_token_ids_and_what_lies_too_deep_count_as_unscanned_text() -> None:
    assert read({"input": list(range(100))})[1] == {"text"}
    deep: Any = "SECRET"
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert read({"x": deep}) == ({}, frozenset({"text"}))


def test_only_what_is_said_is_joined() -> None:
    document = {
        "user": "u",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
        ],
    }
    request = Request(Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "m", False, b"", document)
    assert [(piece.text, piece.joined) for piece in pieces_of(request)[0]] == [
        ("u", False),
        ("a", False),
        ("b", True),
    ]
