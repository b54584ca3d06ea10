"""Words that say what the number beside them is, in the languages of the countries whose numbers are known.

A context is looked for in the sixty characters before a number and in a few behind it: far enough for a form's label or a
JSON key, too near for another sentence. All contexts are one set of RE2 patterns, so that a look costs the same for one
context as for all of them, and no more than reading the text once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import re2

BEFORE_CHARS = 60
BEHIND_CHARS = 24
_ANYWHERE_CHARS = 5
"""Words at least as long count inside other words too: people write `Mobiltelefon` and `userPhone`."""

_NO_WORD = r"[\x00-/:-@\[-`{-\x7f]"
_PART = re.compile(r"[^\x00-/:-@\[-`{-\x7f]+")
_SET_BYTES = 64 << 20
_ALL: list[Context] = []


class Context:
    """Words, or the beginnings of words, in any case; all of ASCII that is no letter or digit counts as a blank, and so
    does the step from a small letter to a capital in `patientId`. A word whose last sign is no letter or digit is one only
    as a whole. Contexts are made once, when the program starts: all of them are sought together."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        _ALL.append(self)

    @property
    def pattern(self) -> str:
        """RE2: any of the words."""
        return "|".join(dict.fromkeys(_pattern(word) for word in self.words))

    def beside(self, text: str, start: int, end: int) -> bool:
        """Whether one of the words stands just before or just behind ``text[start:end]``."""
        return self.before(text, start) or self.occurs(text[end : end + BEHIND_CHARS])

    def before(self, text: str, start: int) -> bool:
        # One sign more, to tell a word from the end of a longer one.
        return self.occurs(text[max(0, start - BEFORE_CHARS - 1) : start])

    def occurs(self, text: str) -> bool:
        """Whether one of the words stands anywhere in the text."""
        return self in contexts_in(text)


def contexts_in(text: str) -> frozenset[Context]:
    """Every context of which a word stands anywhere in the text."""
    return frozenset(_ALL[number] for number in _all_patterns().Match(text.encode()) or ())


@cache
def _all_patterns() -> re2.Set:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _SET_BYTES
    patterns = re2.Set.SearchSet(options)
    for context in _ALL:
        patterns.Add(context.pattern)
    patterns.Compile()
    return patterns


def _pattern(word: str) -> str:
    parts = _PART.findall(word.lower())
    free = sum(map(len, parts)) + len(parts) > _ANYWHERE_CHARS or not word.isascii()
    end = "" if word[-1].isalnum() else rf"(?:$|{_NO_WORD})"
    apart = rf"{_NO_WORD}+".join(f"(?i:{re2.escape(part)})" for part in parts)
    joined = "".join(re2.escape(part.capitalize()) for part in parts)
    return "|".join(
        (f"{'' if free else f'(?:^|{_NO_WORD})'}{apart}{end}", *_in_camel_case(parts, joined, free, end))
    )


def _in_camel_case(parts: list[str], joined: str, free: bool, end: str) -> Iterator[str]:
    """`userTel`, `telHome`, `patientId`: how programs join what people write apart."""
    if not joined.isascii() or len(joined) < 2:
        return  # a letter alone before a capital is the beginning of a word in capitals
    stop = f"(?:$|{_NO_WORD}|[A-Z])" if end else ""
    small = re2.escape(parts[0]) + joined[len(parts[0]) :]
    before = "" if free else f"(?:^|{_NO_WORD})"
    if not free or len(parts) > 1:
        yield f"[a-z]{joined}{stop}"
    if end or len(parts) > 1:
        yield f"{before}(?:{small}|{joined}){stop}"


PHONE = Context(
    (
        "phone", "telephon", "telefon", "teléfon", "téléphon", "telemóvel", "tel:", "tel.", "tel ", "tél", "tlf", "mobile", "mobil", "mobiel",
        "móvil", "cell ", "cell:", "cellphone", "cellular", "celular", "cellulare", "portable", "handy", "rufnummer", "durchwahl", "fax",
        "call ", "call:", "caller", "ring me", "dial ", "text me", "sms", "whatsapp", "signal", "contact number", "contact no",
        "contact", "reach me", "reach us", "anruf", "rückruf", "ruf ", "erreich", "appel", "joindre", "joignable",
        "chiam", "llamar", "llame", "llama al", "llámame", "llámenos", "bel ", "bellen", "telefoonn", "ligue", "ligar", "telefone", "numéro", "msisdn",
        "hotline", "puhelin", "puh ", "puh:", "тел", "telefonas", "cep no", "फ़ोन", "फोन", "मोबाइल", "电话", "手机", "電話", "携帯", "телефон", "номер", "telepon", "ph:", "ph.",
        "mob:", "recapito", "numer ", "numer telefon", "dzwo", "komórk", "fijo", "gsm", "number is", "nummer",
    )
)  # fmt: skip
CARD = Context(
    (
        "card", "credit", "debit", "visa", "mastercard", "amex", "american express", "maestro", "diners", "discover",
        "jcb", "unionpay", "rupay", "pan ", "pan:", "cc ", "cc:", "karte", "carte", "carta", "tarjeta", "kaart",
        "cartão", "cartao", "कार्ड", "卡", "カード", "карт", "payment", "charge", "ccnum", "pan\"",
    )
)  # fmt: skip
SSN = Context(
    (
        "ssn", "social security", "social sec", "soc sec", "itin", "taxpayer id", "tax id", "taxpayer", "tin ", "tin:",
        "us tax", "seguro social", "sozialversicherung", "sécurité sociale", "sicurezza sociale", "national id",
        "social",
    )
)  # fmt: skip
NHS = Context(("nhs", "national health", "patient", "health service", "health number", "chi number"))
STEUER = Context(
    ("steuer", "idnr", "id nr", "tin ", "tax id", "tax number", "steuer id", "identifikationsnummer")
)
NIR = Context(
    (
        "nir ",
        "nir:",
        "insee",
        "sécurité sociale",
        "securite sociale",
        "secu",
        "sécu",
        "social",
        "numéro de sécu",
    )
)
BSN = Context(("bsn", "burgerservice", "sofi", "citizen service", "national id", "burger service"))
AADHAAR = Context(("aadhaar", "aadhar", "adhar", "uidai", "uid ", "uid:", "आधार", "national id"))
PAN = Context(("pan ", "pan:", 'pan"', "permanent account", "income tax", "पैन"))
CPF = Context(("cpf", "cadastro de pessoa", "contribuinte", "pessoa física", "tax id"))
CNPJ = Context(("cnpj", "cadastro nacional", "pessoa jurídica", "pessoa juridica", "empresa", "company id"))
PASSPORT = Context(
    (
        "passport", "reisepass", "passnummer", "pass nr", "passeport", "passaporto", "pasaporte", "paspoort",
        "passaporte", "paszport", "pasaport", "pass no", "pass nr", "passi", "travel document", "पासपोर्ट", "护照", "パスポート", "паспорт", "pasport", "pasnummer", "pașaport", "paşaport", "číslo pasu", "cestovní pas", "passin", "旅券",
    )
)  # fmt: skip
MEDICAL = Context(
    (
        "mrn", "medical record", "med rec", "patient id", "patient no", "patient num", "patient identif", "chart no",
        "chart num", "health record", "hospital no", "hospital num", "patientennummer", "patienten id", "fallnummer",
        "krankenakte", "patientenakte", "dossier médical", "dossier medical", "numéro de patient", "n° patient",
        "identifiant patient", "cartella clinica", "numero paziente", "historia clínica", "historia clinica",
        "número de paciente", "medisch dossier", "patiëntnummer", "patiëntnr", "patientid", "patientnummer", "patiëntendossier", "prontuário",
        "prontuario", "medical rec", "record number", "病历", "numer pacjenta", "pacjent", "patient number", "patient record", "karta pacjenta", "dokumentacji medycznej",
    )
)  # fmt: skip
IP = Context(
    (
        "ip ", "ip:", "ip=", "ip\"", "ipv", "ip-", "ip_", "ips ", "address", "addr", "host", "server", "client", "remote",
        "gateway", "dns", "peer", "router", "network", "subnet", "ping", "ssh", "http", "connect", "login", "adresse",
        "indirizzo", "dirección", "endereço", "adres", "from ", "source", "src", "dst", "listen", "bind",
    )
)  # fmt: skip
VERSION = Context(
    (
        "version",
        "release",
        "ver ",
        "ver.",
        "rev ",
        "revision",
        "build ",
        "builds ",
        "section",
        "chapter",
        "§",
        "oid ",
    )
)

# What a number is called that only looks like one of ours. It counts where nothing but punctuation is between.
_OTHER = re.compile(
    r"(?<![a-z])(?:order|invoice|tracking|shipment|parcel|serial|ticket|case|batch|build|commit|revision|issue|isbn|issn"
    r"|ean|upc|gtin|sku|timestamp|time|epoch|seed|offset|port|bestell|auftrags?|rechnungs?|commande|facture|ordine|fattura"
    r"|pedido|factura|bestelling|factuur|product|artikel|article|item|part|transaction|trace|span|request|session|job|run"
    r"|size|bytes|inode|pid|checksum|crc|hash|sequence|seq|counter|version)"
    r"(?:nummer)?(?:[ _-]?(?:no|nr|number|num|id|code|key|ref|ms|ns|us|#)\b\.?){0,2}['\"]?(?: is| was)?[ \t:=#'\"(\[]{0,4}$",
    re.IGNORECASE,
)
_OTHER_CHARS = 40


def is_called_otherwise(text: str, start: int) -> bool:
    """Whether the number at ``start`` is said to be an order's, a timestamp, a serial number or the like."""
    return _OTHER.search(text[max(0, start - _OTHER_CHARS) : start]) is not None
