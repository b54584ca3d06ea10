"""Numbers that states give to people and firms, as far as they are digits alone: a table of shapes and checks.

A number whose check lets one in ten pass counts bare only where a word says what it is. What has its usual grouping, or a
check that one in hundreds passes, speaks for itself. Numbers with letters are in ``lettered``.
"""

from __future__ import annotations

from collections import Counter

from llmproxyd.detect.checksums import (
    mod_11_10,
    mod_11_bsn,
    mod_11_cnpj,
    mod_11_cpf,
    mod_11_nhs,
    mod_97_nir,
    verhoeff,
)
from llmproxyd.detect.context import AADHAAR, BSN, CNPJ, CPF, NHS, SSN, STEUER
from llmproxyd.detect.numbers import Row

_ITIN_GROUPS = frozenset((*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)))
_NIR_MONTHS = frozenset((*range(1, 13), *range(20, 43), *range(50, 100)))


def is_ssn(number: str) -> bool:
    """Areas 001-665 and 667-899; no part is all zeros."""
    area = int(number[:3])
    return 0 < area < 900 and area != 666 and number[3:5] != "00" and number[5:] != "0000"


def is_itin(number: str) -> bool:
    return number[0] == "9" and int(number[3:5]) in _ITIN_GROUPS


def is_steuer_id(number: str) -> bool:
    """In the first ten digits exactly one stands twice or three times, and the first is no zero."""
    counts = sorted(Counter(number[:10]).values())
    return number[0] != "0" and counts[-1] in (2, 3) and counts[-2] == 1 and mod_11_10(number)


def is_nir(number: str) -> bool:
    """Sex, year, month (or a code for it), place, order, key."""
    return number[0] in "123478" and int(number[3:5]) in _NIR_MONTHS and mod_97_nir(number)


def is_aadhaar(number: str) -> bool:
    return number[0] not in "01" and verhoeff(number)


def is_nhs(number: str) -> bool:
    return mod_11_nhs(number) and len(set(number)) > 1


ID_ROWS = (
    Row("national_id.us_ssn", ("3-2-4",), is_ssn, weak=False),
    Row("national_id.us_ssn", ("9", "3 2 4", "3.2.4"), is_ssn, SSN),
    Row("national_id.us_itin", ("3-2-4",), is_itin, weak=False),
    Row("national_id.us_itin", ("9", "3 2 4", "3.2.4"), is_itin, SSN),
    Row("national_id.uk_nhs", ("3 3 4",), is_nhs),
    Row("national_id.uk_nhs", ("10", "3-3-4", "3.3.4"), is_nhs, NHS),
    Row("national_id.de_steuer_id", ("2 3 3 3", "2-3-3-3", "2.3.3.3", "2/3/3/3"), is_steuer_id),
    Row("national_id.de_steuer_id", ("11",), is_steuer_id),
    Row("national_id.de_steuer_id", ("11",), is_steuer_id, STEUER),
    Row("national_id.fr_nir", ("1 2 2 2 3 3 2", "1-2-2-2-3-3-2", "1.2.2.2.3.3.2", "15", "13 2"), is_nir),
    Row("national_id.nl_bsn", ("4.2.3",), mod_11_bsn),
    Row("national_id.nl_bsn", ("8", "9", "3 3 3", "3.3.3", "4 2 3", "3-3-3", "4-2-3"), mod_11_bsn, BSN),
    Row("national_id.in_aadhaar", ("4 4 4", "4-4-4"), is_aadhaar),
    Row("national_id.in_aadhaar", ("12", "4 4 4", "4-4-4"), is_aadhaar, AADHAAR),
    Row("national_id.br_cpf", ("3.3.3-2", "3 3 3 2", "3 3 3-2", "3.3.3.2", "3-3-3-2"), mod_11_cpf),
    Row("national_id.br_cpf", ("11", "9-2"), mod_11_cpf, CPF),
    Row("national_id.br_cnpj", ("2.3.3/4-2", "2 3 3 4 2", "2 3 3/4-2", "8/4-2", "2.3.3.4.2"), mod_11_cnpj),
    Row("national_id.br_cnpj", ("14",), mod_11_cnpj, CNPJ),
)

LOOSE_IDS = {
    9: (
        Row("national_id.us_ssn", (), is_ssn, SSN),
        Row("national_id.us_itin", (), is_itin, SSN),
        Row("national_id.nl_bsn", (), mod_11_bsn, BSN),
    ),
    10: (Row("national_id.uk_nhs", (), is_nhs, NHS),),
    11: (
        Row("national_id.de_steuer_id", (), is_steuer_id, STEUER),
        Row("national_id.br_cpf", (), mod_11_cpf, CPF),
    ),
    12: (Row("national_id.in_aadhaar", (), is_aadhaar, AADHAAR),),
    14: (Row("national_id.br_cnpj", (), mod_11_cnpj, CNPJ),),
    15: (Row("national_id.fr_nir", (), is_nir),),
}
"""Numbers that somebody grouped in an unusual way, by how many digits they have."""
