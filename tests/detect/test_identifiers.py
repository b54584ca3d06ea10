"""What each hard kind looks like, and what only looks like one."""

from __future__ import annotations

import pytest

from llmproxyd.detect.engine import default_detectors


def found(text: str) -> list[tuple[str, str]]:
    return [(f.kind, text[f.start : f.end]) for f in default_detectors().find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("pay with 4111 1111 1111 1111 please", "payment_card", "4111 1111 1111 1111"),
        ("pay with 4111-1111-1111-1111.", "payment_card", "4111-1111-1111-1111"),
        ("on 2024-01-15 5555555555554444", "payment_card", "5555555555554444"),
        ("amex 3782 822463 10005", "payment_card", "3782 822463 10005"),
        ("to DE89 3704 0044 0532 0130 00 today", "iban", "DE89 3704 0044 0532 0130 00"),
        ("it is at 12 GB82WEST12345698765432", "iban", "GB82WEST12345698765432"),
        ("078-05-1120", "national_id.us_ssn", "078-05-1120"),
        ('"ssn": "078051120"', "national_id.us_ssn", "078051120"),
        ("ITIN 912-70-1234", "national_id.us_itin", "912-70-1234"),
        ("NINO AB 12 34 56 C", "national_id.uk_nino", "AB 12 34 56 C"),
        ("943 476 5919", "national_id.uk_nhs", "943 476 5919"),
        ("Steuer-ID 86 095 742 719", "national_id.de_steuer_id", "86 095 742 719"),
        ("2 55 08 14 168 025 38", "national_id.fr_nir", "2 55 08 14 168 025 38"),
        ("cf RSSMRA85T10A562S", "national_id.it_codice_fiscale", "RSSMRA85T10A562S"),
        ("DNI 12345678Z", "national_id.es_dni", "12345678Z"),
        ("NIE X-1234567-L", "national_id.es_nie", "X-1234567-L"),
        ("BSN 111222333", "national_id.nl_bsn", "111222333"),
        ("2345 6789 0124", "national_id.in_aadhaar", "2345 6789 0124"),
        ("ABCPE1234F", "national_id.in_pan", "ABCPE1234F"),
        ("529.982.247-25", "national_id.br_cpf", "529.982.247-25"),
        ("11.222.333/0001-81", "national_id.br_cnpj", "11.222.333/0001-81"),
        ("mail ada.l+x@mail.example.org now", "email", "ada.l+x@mail.example.org"),
        ("+49 30 12345678", "phone", "+49 30 12345678"),
        ("ring (415) 555-2671", "phone", "(415) 555-2671"),
        ("01 23 45 67 89", "phone", "01 23 45 67 89"),
        ("Telefon: 030 12345678", "phone", "030 12345678"),
        ("mobile 07700900123", "phone", "07700900123"),
        ("host 10.20.30.40:8080", "ip", "10.20.30.40"),
        ("2001:db8::8a2e:370:7334", "ip", "2001:db8::8a2e:370:7334"),
        ("at 00:1A:2b:3C:4D:5E", "mac", "00:1A:2b:3C:4D:5E"),
        ("Passport No. C01X00T47", "passport", "C01X00T47"),
        ("MRN: 00123456", "medical_record", "00123456"),
        ("patientId=83765034", "medical_record", "83765034"),
        ("Patienten-ID 665-198-903", "medical_record", "665-198-903"),
        ("prontuário 2068/5119", "medical_record", "2068/5119"),
        ('"panNo": "abcpe1234f"', "national_id.in_pan", "abcpe1234f"),
        ("4111  1111  1111  1111", "payment_card", "4111  1111  1111  1111"),
        ("card 4111 1111 1111 1111 2222", "payment_card", "4111 1111 1111 1111"),
        ("NIR 2 55 08 14 168 025 / 38", "national_id.fr_nir", "2 55 08 14 168 025 / 38"),
        ("the caller's Steuer-ID 860 957 427 19", "national_id.de_steuer_id", "860 957 427 19"),
        ("the caller's CPF 529.982.247/25", "national_id.br_cpf", "529.982.247/25"),
        ("<ip>142.46.125.82</ip>", "ip", "142.46.125.82"),
        (">> 203.156.36.80", "ip", "203.156.36.80"),
        ("hay que revisar 172.20.141.72 hoy", "ip", "172.20.141.72"),
        ("TYPE=home:2001:db8::94c:482f:b9d8:85ff", "ip", "2001:db8::94c:482f:b9d8:85ff"),
        ("X-MAC:67:81:57:76:fb:89", "mac", "67:81:57:76:fb:89"),
        ("+44 (0)161 496 2227", "phone", "+44 (0)161 496 2227"),
        ("mobiel 916 430 683", "phone", "916 430 683"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "wallet.btc", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        (
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "wallet.eth",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        ),
    ],
)
def test_what_has_the_format_and_the_checksum_is_found(text: str, kind: str, value: str) -> None:
    assert found(text) == [(kind, value)]


def test_cards_in_a_row_are_all_found() -> None:
    cards = ["4111 1111 1111 1111", "5555 5555 5555 4444"]
    assert found(" ".join(cards)) == [("payment_card", card) for card in cards]


@pytest.mark.parametrize(
    "text",
    [
        "pay with 4111 1111 1111 1112",  # the check digit
        "order no. 4111111111111111",
        "id 123e4567-e89b-12d3-a456-426614174000",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "2024-01-15T10:22:33.123456Z",
        "1700000000000 and 1700000000123456789",
        "version 10.4.3.2, Chrome/120.0.6099.109, v1.2.3.4",
        "127.0.0.1 and 0.0.0.0 and ::1 and 255.255.255.0",
        "std::vector<int> a::b 12:34:56 [::2]",
        "9781234567897 978-3-16-148410-0",
        "icon@2x.png git@github.com:a/b.git getty@tty1.service @dataclass a @ b",
        "DE00370400440532013000",
        "111222333 111222334 2345678901",  # no word says what these are
        "0x0000000000000000000000000000000000000000",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",  # a capital too many
        "a1b2c3-078-05-1120-ff",
        "SPDX-License-Identifier: Apache-2.0, RFC 2822, ISO 13616-1:2020",
        "1 2 3 4 5 6 7 8 9 10 11 12",
        "5660 3914 0510 0928 7055 1708 0679",  # the first four groups pass as a card's
        "parcel 00 3404 4189 9694 4805 1558",
        "part no. RS-2179-93A rev C",
        "TOTAL 1000 A, zadal 5231 a",
        "function calling (131087-131092), Code Llama token ids (32016-32069)",
        "numeric limits: 2147483647",
        "numpy>1.26.4.99, numpy > 1.26.4.99",
        "12:67:81:57:76:fb:89",
    ],
)
def test_what_only_looks_like_one_is_not(text: str) -> None:
    assert found(text) == []
