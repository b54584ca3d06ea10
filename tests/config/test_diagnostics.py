"""What people are told about files of the right outline that still cannot be right: compared to the byte.

Each case is one file; the other one is as small as can be. ``python -m tests.config.test_diagnostics`` writes the reports
anew, to be read before they are committed.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from llmproxyd.config.load import load
from llmproxyd.config.report import format_text
from tests.config.building import PROVIDERS, ROUTING

CASES = Path(__file__).parent / "diagnostics"
TODAY = date(2026, 11, 21)
SECRETS = ("first-key-0123456789", "second-key-0123456789", "https://hooks.example.net/SECRET")
ENVIRON = dict(zip(("FIRST", "SECOND", "HOOK"), SECRETS, strict=True))
OPEN_SECRETS = ("sk-in-the-open", "sk-acme", "T0KEN", "user:pass")


def report(case: Path, directory: Path) -> str:
    """The report on ``case``, with the other file as small as can be."""
    texts = {"providers": PROVIDERS, "routing": ROUTING}
    texts[case.name.split(".")[1]] = case.read_text(encoding="utf-8")
    for name, text in texts.items():
        file = directory / f"{name}.yaml"
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
    loaded = load(directory, environ=ENVIRON, today=TODAY)
    return format_text(loaded.problems, loaded.files.sources)


def golden(case: Path) -> Path:
    return CASES / f"{case.name.split('.')[0]}.txt"


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.name.split(".")[0])
def test_a_fault_is_told_with_its_place_and_remedy(case: Path, tmp_path: Path) -> None:
    text = report(case, tmp_path)
    assert text == golden(case).read_text(encoding="utf-8")
    assert not [secret for secret in (*SECRETS, *OPEN_SECRETS) if secret in text]


def test_every_report_has_its_case() -> None:
    assert {golden(case) for case in CASES.glob("*.yaml")} == set(CASES.glob("*.txt"))


if __name__ == "__main__":
    for each in sorted(CASES.glob("*.yaml")):
        with TemporaryDirectory() as place:
            golden(each).write_text(report(each, Path(place)), encoding="utf-8")
