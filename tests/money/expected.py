"""What the golden payloads cost, worked out a second time: exact decimals, an own reading of each payload, an own list
of prices copied from the providers' pages. It shares nothing with the program it checks.

    python tests/money/expected.py            say where golden/*.json differs, exit status 1 if anywhere
    python tests/money/expected.py --write    write the nano-dollars into golden/*.json
"""

from __future__ import annotations

import json
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("golden")
Counts = dict[str, int]

# (provider/model, from which day, tier, above how many input tokens): USD per million tokens, in the order
# in out read write5m write1h; further kinds by name. Later days and higher borders come later.
PRICES = """
openai/gpt-6-sol           2000-01-01 -        0       2 10 0.2 2.5 - search=10
openai/gpt-6-sol           2000-01-01 -        272000  4 15 0.4 5 - search=10
openai/gpt-6-sol           2026-10-12 flex     0       1 5 0.1 1.25 - search=10
openai/gpt-6-sol           2026-10-12 flex     272000  2 7.5 0.2 2.5 - search=10
openai/gpt-6-sol           2026-10-12 priority 0       4 20 0.4 5 - search=10
openai/gpt-6-sol           2026-10-12 priority 272000  8 30 0.8 10 - search=10
openai/gpt-6-sol           2026-10-12 fast     0       4 20 0.4 5 - search=10
openai/gpt-6-sol           2026-10-14 batch    0       1 5 0.1 1.25 - search=10
openai/gpt-6-sol           2026-10-14 batch    272000  2 7.5 0.2 2.5 - search=10
openai/gpt-5.6-luna        2000-01-01 -        0       1 6 0.1 1.25 -
openai/gpt-5.6-luna        2026-07-30 -        0       0.2 1.2 0.02 0.25 -
openai/gpt-5.6-luna        2026-07-30 -        272000  0.4 1.8 0.04 0.5 -
openai/gpt-5.6-luna        2026-10-12 flex     0       0.1 0.6 0.01 0.125 -
openai/gpt-4o              2000-01-01 -        0       2.5 10 1.25 - -
openai/gpt-4o              2026-10-12 priority 0       4.25 17 2.125 - -
openai/gpt-4o              2026-10-14 batch    0       1.25 5 1.25 - -
openai/gpt-4o-mini         2000-01-01 -        0       0.15 0.6 0.075 - -
openai/o3                  2000-01-01 -        0       10 40 0.5 - - search=10
openai/o3                  2025-06-10 -        0       2 8 0.5 - - search=10
openai/o3                  2026-10-12 flex     0       1 4 0.25 - - search=10
openai/gpt-audio           2000-01-01 -        0       2.5 10 - - - audio=32 audio_out=64
openai/gpt-5-mini          2000-01-01 -        0       0.25 2 0.025 - -
openai/gpt-5-mini          2026-10-12 flex     0       0.125 1 0.0125 - -
openai/text-embedding-3-small 2000-01-01 -     0       0.02 - - - -
azure/gpt-5.6-sol          2000-01-01 -        0       5 30 0.5 6.25 -
azure/gpt-5.6-sol          2026-08-21 -        0       4 20 0.4 5 -
azure/gpt-5.6-sol          2026-08-21 -        272000  8 30 0.8 10 -
anthropic/claude-opus-5-5  2000-01-01 -        0       4 20 0.2 5 8 search=10
anthropic/claude-opus-5-5  2000-01-01 fast     0       8 40 0.4 10 16 search=10
anthropic/claude-opus-5-5  2026-10-14 batch    0       2 10 0.1 2.5 4 search=10
anthropic/claude-haiku-5-5 2000-01-01 -        0       0.1 0.5 0.01 0.125 0.2
anthropic/claude-haiku-5-5 2000-01-01 -        100000  0.5 2.5 0.05 0.625 1
anthropic/claude-haiku-5-5 2026-10-14 batch    0       0.05 0.25 0.005 0.0625 0.1
anthropic/claude-haiku-5-5 2026-10-14 batch    100000  0.25 1.25 0.025 0.3125 0.5
anthropic/claude-sonnet-4-5 2000-01-01 -       0       3 15 0.3 3.75 6
anthropic/claude-sonnet-4-5 2000-01-01 -       200000  6 22.5 0.6 7.5 12
anthropic/claude-opus-4-6  2000-01-01 -        0       5 25 0.5 6.25 10
anthropic/claude-opus-4-6  2000-01-01 -        200000  10 37.5 1 12.5 20
anthropic/claude-opus-4-6  2026-03-13 -        0       5 25 0.5 6.25 10
gemini/gemini-2.5-pro      2000-01-01 -        0       1.25 10 0.125 - -
gemini/gemini-2.5-pro      2000-01-01 -        200000  2.5 15 0.25 - -
gemini/gemini-2.5-pro      2026-10-14 batch    0       0.625 5 0.125 - -
gemini/gemini-2.5-pro      2026-10-14 batch    200000  1.25 7.5 0.25 - -
gemini/gemini-2.5-flash    2000-01-01 -        0       0.3 2.5 0.03 - - audio=1 audio_read=0.1
gemini/gemini-2.5-flash    2026-10-14 batch    0       0.15 1.25 0.03 - - audio=0.5 audio_read=0.1
gemini/gemini-4-argon      2000-01-01 -        0       2 10 0.1 - -
gemini/gemini-4-argon      2026-10-14 batch    0       1 5 0.05 - -
gemini/gemini-4-argon      2026-12-01 -        0       4 20 0.2 - -
gemini/gemini-4-argon      2026-12-01 batch    0       2 10 0.1 - -
gemini/gemini-3-pro-image-preview 2000-01-01 - 0       2 12 - - - image_out=120
gemini/gemini-embedding-2  2000-01-01 -        0       0.2 - - - - audio=6.5 image=0.45
gemini/gemini-3.8-flash    2000-01-01 -        0       0.75 3.75 0.075 - -
gemini/gemini-3.8-flash    2027-01-01 -        0       1.5 7.5 0.15 - -
xai/grok-4.7               2000-01-01 -        0       2 6 0.5 - -
xai/grok-4.7               2000-01-01 -        199999  4 12 1 - -
xai/grok-4-1-fast-reasoning 2000-01-01 -       0       0.2 0.5 0.05 - -
cohere/command-a           2000-01-01 -        0       2.5 10 - - -
cohere/command-r7b         2000-01-01 -        0       0.0375 0.15 - - -
cohere/embed-v4.0          2000-01-01 -        0       0.12 - - - -
openrouter/anthropic/claude-opus-5.5 2000-01-01 - 0    4 20 0.2 5 -
deepseek/deepseek-v4-pro   2026-08-17 -        0       0.66 1.98 0.022 - -
mistral/mistral-large-4    2000-01-01 -        0       0.68 2.09 0.07 - -
mistral/mistral-large-4    2026-10-20 -        0       1.36 4.18 0.14 - -
mistral/mistral-large-4    2026-10-29 -        0       0.7 2.1 0.07 - -
groq/openai/gpt-oss-120b   2000-01-01 -        0       0.15 0.6 0.075 - -
moonshotai/kimi-k2-thinking 2000-01-01 -       0       0.6 2.5 0.15 - -
aws/anthropic.claude-opus-4-5-v1:0 2000-01-01 - 0      5.5 27.5 0.55 6.875 11
perplexity/sonar-pro       2000-01-01 -        0       3 15 - - - request=14
ollama/llama3              2000-01-01 -        0       0 0 - - -
"""


def rows() -> list[tuple[str, str, str, int, dict[str, Decimal]]]:
    found = []
    for line in PRICES.split("\n"):
        if not line.strip():
            continue
        name, day, tier, above, *amounts = line.split()
        plain = dict(zip(("in", "out", "read", "write", "write_1h"), amounts, strict=False))
        named = dict(amount.split("=") for amount in amounts if "=" in amount)
        usd = {kind: Decimal(text) for kind, text in (plain | named).items() if text != "-"}
        found.append((name, day, tier, int(above), usd))
    return found


ROWS = rows()


def price_of(case: dict[str, Any], tier: str | None, input_tokens: int) -> dict[str, Decimal]:
    """The dearest border that is passed, in the newest list that had begun, in the tier or else the usual one."""
    mine = [row for row in ROWS if row[0] == f"{case['provider']}/{case['model']}" and row[1] <= case["at"]]
    in_tier = [row for row in mine if row[2] == (tier or "-")] or [row for row in mine if row[2] == "-"]
    newest = max(row[1] for row in in_tier)
    in_force = [row for row in in_tier if row[1] == newest]
    passed = [row for row in in_force if row[3] == 0 or input_tokens > row[3]]
    return max(passed, key=lambda row: row[3])[4]


# --- reading payloads: each returns tokens that do not overlap, plus the tier ------------------------------------------


def number(holder: Any, *path: str) -> int:
    for name in path:
        holder = holder.get(name) if isinstance(holder, dict) else None
    return int(holder) if isinstance(holder, (int, float)) and not isinstance(holder, bool) else 0


def read_anthropic(payload: dict[str, Any]) -> tuple[Counts, str | None]:
    batch = False
    if "result" in payload:
        payload, batch = payload["result"]["message"], True
    if payload.get("type") == "message_start":
        payload = payload["message"]
    usage = payload.get("usage", payload)
    hour = number(usage, "cache_creation", "ephemeral_1h_input_tokens")
    five = number(usage, "cache_creation", "ephemeral_5m_input_tokens")
    written = max(number(usage, "cache_creation_input_tokens"), hour + five)
    tier = (
        "fast"
        if usage.get("speed") == "fast"
        else "batch"
        if batch or usage.get("service_tier") == "batch"
        else None
    )
    return {
        "in": number(usage, "input_tokens"),
        "read": number(usage, "cache_read_input_tokens"),
        "write": written - hour,
        "write_1h": hour,
        "out": number(usage, "output_tokens"),
        "searches": number(usage, "server_tool_use", "web_search_requests"),
    }, tier


def read_chat(payload: dict[str, Any], *, apart: bool = False) -> tuple[Counts, str | None]:
    tier = None
    if "response" in payload:
        payload, tier = payload["response"]["body"], "batch"
    usage = payload.get("usage") or payload.get("x_groq", {}).get("usage") or payload
    read = (
        number(usage, "prompt_tokens_details", "cached_tokens")
        or number(usage, "prompt_cache_hit_tokens")
        or number(usage, "cached_tokens")
    )
    write = number(usage, "prompt_tokens_details", "cache_write_tokens")
    audio = number(usage, "prompt_tokens_details", "audio_tokens")
    audio_out = number(usage, "completion_tokens_details", "audio_tokens")
    thought = number(usage, "completion_tokens_details", "reasoning_tokens")
    return {
        "in": number(usage, "prompt_tokens") - read - write - audio,
        "read": read,
        "write": write,
        "audio": audio,
        "out": number(usage, "completion_tokens") - audio_out + (thought if apart else 0),
        "audio_out": audio_out,
    }, payload.get("service_tier", tier)


def read_responses(payload: dict[str, Any]) -> tuple[Counts, str | None]:
    payload = payload.get("response", payload)
    usage = payload.get("usage", payload)
    read = number(usage, "input_tokens_details", "cached_tokens")
    write = number(usage, "input_tokens_details", "cache_write_tokens")
    searches = [
        item
        for item in payload.get("output", [])
        if item["type"] == "web_search_call" and item.get("action", {}).get("type", "search") == "search"
    ]
    return {
        "in": number(usage, "input_tokens") - read - write,
        "read": read,
        "write": write,
        "out": number(usage, "output_tokens"),
        "searches": len(searches),
    }, payload.get("service_tier")


def read_gemini(payload: dict[str, Any]) -> tuple[Counts, str | None]:
    tier = None
    if "response" in payload:
        payload, tier = payload["response"], "batch"
    usage = payload.get("usageMetadata", payload)

    def of(kinds: tuple[str, ...], name: str) -> int:
        return sum(e.get("tokenCount", 0) for e in usage.get(name) or [] if e.get("modality") in kinds)

    audio_read = of(("AUDIO",), "cacheTokensDetails")
    read = number(usage, "cachedContentTokenCount") - audio_read
    audio = of(("AUDIO",), "promptTokensDetails") + of(("AUDIO",), "toolUsePromptTokensDetails") - audio_read
    image = of(("IMAGE", "DOCUMENT"), "promptTokensDetails")
    image_out = of(("IMAGE",), "candidatesTokensDetails")
    prompt = number(usage, "promptTokenCount") + number(usage, "toolUsePromptTokenCount")
    return {
        "in": prompt - read - audio_read - audio - image,
        "read": read,
        "audio_read": audio_read,
        "audio": audio,
        "image": image,
        "out": number(usage, "candidatesTokenCount") - image_out + number(usage, "thoughtsTokenCount"),
        "image_out": image_out,
    }, tier


def read_cohere(payload: dict[str, Any]) -> tuple[Counts, str | None]:
    payload = payload.get("delta", payload)
    usage = payload.get("usage") or payload.get("meta") or payload
    billed = usage.get("billed_units") or usage.get("tokens")
    return {"in": number(billed, "input_tokens"), "out": number(billed, "output_tokens")}, None


def read_ollama(payload: dict[str, Any]) -> tuple[Counts, str | None]:
    return {"in": number(payload, "prompt_eval_count"), "out": number(payload, "eval_count")}, None


def read_aws(payload: dict[str, Any]) -> tuple[Counts, str | None]:
    usage = payload["usage"]
    hour = sum(entry["inputTokens"] for entry in usage.get("cacheDetails", []) if entry["ttl"] == "1h")
    return {
        "in": number(usage, "inputTokens"),
        "read": number(usage, "cacheReadInputTokens"),
        "write": number(usage, "cacheWriteInputTokens") - hour,
        "write_1h": hour,
        "out": number(usage, "outputTokens"),
    }, None


READERS = {
    "anthropic": read_anthropic,
    "chat": read_chat,
    "chat-apart": lambda payload: read_chat(payload, apart=True),
    "responses": read_responses,
    "gemini": read_gemini,
    "cohere": read_cohere,
    "ollama": read_ollama,
    "aws": read_aws,
}
INPUT = ("in", "read", "audio_read", "write", "write_1h", "audio", "image")
AS = {"audio_read": "read", "write_1h": "write", "audio_out": "out", "image_out": "out"}


def charged_usd(usage: dict[str, Any]) -> Decimal | None:
    """What the provider says it took."""
    if "cost_in_usd_ticks" in usage:
        return Decimal(usage["cost_in_usd_ticks"]) / Decimal(10) ** 10
    cost = usage.get("cost")
    if isinstance(cost, dict):
        cost = cost["total_cost"]
    if cost is None:
        return None
    usd = Decimal(str(cost))
    return (
        usd + Decimal(str(usage["cost_details"]["upstream_inference_cost"])) if usage.get("is_byok") else usd
    )


def expected_nanos(case: dict[str, Any]) -> int:
    payload = case["payload"]
    inner = payload.get("response", payload)
    usage = inner.get("usage") if isinstance(inner, dict) else None
    usd = charged_usd(usage) if isinstance(usage, dict) else charged_usd(payload)
    if usd is None:
        counts, tier = READERS[case["shape"]](payload)
        price = price_of(case, case.get("tier") or tier, sum(counts.get(kind, 0) for kind in INPUT))
        usd = price.get("request", Decimal(0)) / 1000
        usd += counts.pop("searches", 0) * price.get("search", Decimal(0)) / 1000
        for kind, tokens in counts.items():
            fallback = "out" if kind == "out" or kind.endswith("_out") else "in"
            rate = price.get(kind, price.get(AS.get(kind, fallback), price.get(fallback, Decimal(0))))
            usd += tokens * rate / 1_000_000
    return int((usd * 10**9).to_integral_value(ROUND_HALF_UP))


def main() -> int:
    status = 0
    for path in sorted(GOLDEN.glob("*.json")):
        cases = json.loads(path.read_text())
        for case in cases:
            nanos = expected_nanos(case)
            if case.get("nanos") != nanos:
                status = 1
                print(f"{path.name}: {case['name']}: {case.get('nanos')} should be {nanos}")
                case["nanos"] = nanos
        if "--write" in sys.argv:
            lines = ",\n".join(json.dumps(case) for case in cases)
            path.write_text(f"[\n{lines}\n]\n")
            status = 0
    return status


if __name__ == "__main__":
    sys.exit(main())
