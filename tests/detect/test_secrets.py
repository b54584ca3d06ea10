"""Secrets are found where they stand, and what only looks like one is not."""

from __future__ import annotations

import time
from random import Random

import pytest
import re2

from bench.privacy import vendor_keys
from bench.privacy.generators import each_vendor_key
from llmproxyd.detect.detector import Detector
from llmproxyd.detect.secrets import SECRETS, stands_alone
from llmproxyd.detect.secrets_assigned import ASSIGNED
from llmproxyd.detect.secrets_formats import FORMATS, Format
from llmproxyd.values.privacy import Finding

# RE2's own cache is smaller than the table.
MARKS = [(detector, re2.compile("|".join(detector.prefilter))) for detector in SECRETS]


def found(text: str) -> list[Finding]:
    """What the detectors whose prefilter occurs in the text find."""
    return [finding for detector, mark in MARKS if mark.search(text) for finding in detector.find(text)]


def kinds(text: str) -> set[str]:
    return {finding.kind for finding in found(text)}


def test_there_are_at_least_150_vendors_formats() -> None:
    assert len({form.name for form in FORMATS}) >= 150


@pytest.mark.parametrize("detector", SECRETS, ids=lambda d: d.name)
def test_every_detector_has_a_mark_and_names_its_kind(detector: Detector) -> None:
    assert detector.prefilter
    assert all(kind.startswith("secret.") for kind in detector.kinds)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.pattern[:24])
def test_every_pattern_is_one_that_re2_takes(form: Format) -> None:
    assert re2.compile(form.pattern) is not None


def test_a_key_of_every_vendor_is_found_exactly_where_it_stands() -> None:
    missed = []
    for name, value in each_vendor_key(seed=5, per_format=3):
        lead = f"{value.words[0]}=" if value.words else "see "
        text = f"{lead}{value.text} there"
        if not any(
            f.start <= len(lead) + 12 and f.end >= len(lead) + len(value.text) - 12 for f in found(text)
        ):
            missed.append((name, text))
    assert missed == []


@pytest.mark.parametrize(
    "text",
    [
        "OPENAI_API_KEY=sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "export API_KEY=YOUR_API_KEY_GOES_HERE_1",
        "AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        'client_secret: "<your client secret>"',
        "token = ${GITHUB_TOKEN}",
        "postgresql://user:password@localhost/db",
        "mysql://root:${DB_PASSWORD}@db:3306/app",
        "https://github.com/org/repo@v1.2.3:path",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "eyJmb28iOiJiYXIifQ.eyJmb28iOiJiYXIifQ.c2ln",
        "max_tokens: number_of_tokens_in_the_answer",
        "the key is a3 and the token is at position twelve of the list",
        "fc-list and pa-system, re_compile_patterns, sk-learn, sdk-tools",
        "git commit 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        'password = "password123"  # hunter2',
    ],
)
def test_stand_ins_and_ordinary_words_are_no_findings(text: str) -> None:
    assert kinds(text) == set()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("postgres://svc:kT9$vv2x@db.internal:5432/app", "secret.connection_string"),
        ("Server=db1;User Id=app;Password=kT9vv2x!q;", "secret.connection_string"),
        ('DB_PASSWORD = "kT9!vv2x"', "secret.password"),
        ('{"apiKey": "f3Kq9ZpL0vXw2RtY7sNb"}', "secret.assigned"),
        ("DD_API_KEY\n  value: 9f86d081884c7d659a2feaa0c55ad015", "secret.assigned"),
        ('<add key="ApiSecret" value="f3Kq9ZpL0vXw2RtY7sNb" />', "secret.assigned"),
        ("Authorization: Bearer f3Kq9ZpL0vXw2RtY7sNb", "secret.assigned"),
        ("curl -u deploy:kT9-vv2x-Qq https://ci.internal", "secret.password"),
        ("machine ci.internal login deploy password kT9-vv2x-Qq", "secret.password"),
        ("Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l", "secret.http_basic_authorization"),
    ],
)
def test_a_secret_known_by_its_place_is_found(text: str, kind: str) -> None:
    assert kind in kinds(text)


def test_an_address_is_found_up_to_its_password_so_that_its_host_stays_readable() -> None:
    text = "use postgres://svc:kT9vv2x@db.internal:5432/app now"
    [finding] = found(text)
    assert text[finding.start : finding.end] == "postgres://svc:kT9vv2x"


def test_a_private_key_is_found_whole_and_as_far_as_it_goes_when_cut_off() -> None:
    key = vendor_keys.private_key(Random(3))
    text = f"before\n{key}\nafter"
    [finding] = found(text)
    assert text[finding.start : finding.end] == key
    cut = text[: text.index("-----END")]
    [finding] = found(cut)
    assert cut[finding.start : finding.end].rstrip() == cut[len("before\n") :].rstrip()


def test_a_private_key_in_an_escaped_string_is_found() -> None:
    key = vendor_keys.private_key(Random(4)).replace("\n", "\\n")
    assert kinds(f'{{"private_key": "{key}"}}') >= {"secret.private_key"}


def test_a_putty_key_is_found() -> None:
    text = "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nPrivate-Lines: 1\nAAAAgQC1\n"
    assert kinds(text) == {"secret.private_key"}


@pytest.mark.parametrize(
    ("before", "after", "alone"),
    [
        ("", "", True),
        ("=", "&", True),
        ("x", "", False),
        ("", "x", False),
        ("\\n", "", True),
        ("\\x", "", False),
        ("密", "钥", True),
    ],
)
def test_a_key_stands_alone_unless_letters_or_digits_go_on(before: str, after: str, alone: bool) -> None:
    assert stands_alone(f"{before}key{after}", len(before), len(before) + 3) is alone


@pytest.mark.parametrize(
    "unit",
    [
        "token=",
        "password=",
        "A_KEY ",
        "://a:",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "sk-",
        "EAA",
        "Maaaa.",
        "key(",
        "pat",
        "secret \n",
        "key=Token",
        "key=tokena1",
        "-u a:",
    ],
)
def test_time_grows_with_the_text_and_no_faster(unit: str) -> None:
    def seconds(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        start = time.process_time()
        found(text)
        return time.process_time() - start

    seconds(1000)
    small, large = min(seconds(20_000) for _ in range(3)), seconds(160_000)
    assert large < 20 * small + 0.05


def test_every_detector_of_assigned_secrets_is_in_the_table() -> None:
    assert set(ASSIGNED) <= set(SECRETS)
