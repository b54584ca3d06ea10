"""Values of every hard kind, each made from the public definition of its number: ranges, lengths, check digits.

``HARD`` maps a kind to a function of a seeded random source. Nothing here was derived from a detector's pattern.
"""

import ipaddress
from collections.abc import Callable, Iterator
from random import Random

from bench.privacy import labels, vendor_keys
from bench.privacy.digits import (
    base58check,
    bech32,
    eip55,
    iban_check,
    iso7064_mod11_10,
    luhn_digit,
    verhoeff_digit,
    weighted_sum,
)
from bench.privacy.values import Value

Make = Callable[[Random], Value]

# ISO/IEC 7812 issuer ranges as the card schemes publish them: leading digits and lengths.
CARDS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4000, 4999, (16, 16, 16, 19)),
    (5100, 5599, (16,)),
    (2221, 2720, (16,)),
    (3400, 3499, (15,)),
    (3700, 3799, (15,)),
    (6011, 6011, (16,)),
    (6440, 6599, (16,)),
    (3000, 3059, (14,)),
    (3600, 3699, (14,)),
    (3528, 3589, (16,)),
    (6200, 6299, (16, 17, 18, 19)),
    (2200, 2204, (16,)),
)

# The SWIFT registry's account structures: n digits, a capital letters, c either.
IBANS = {
    "AD": "8n12c", "AE": "19n", "AT": "16n", "BE": "12n", "BG": "4a6n8c", "BR": "23n1a1c", "CH": "5n12c",
    "CY": "8n16c", "CZ": "20n", "DE": "18n", "DK": "14n", "EE": "16n", "ES": "20n", "FI": "14n", "FR": "10n11c2n",
    "GB": "4a14n", "GI": "4a15c", "GR": "7n16c", "HR": "17n", "HU": "24n", "IE": "4a14n", "IL": "19n", "IS": "22n",
    "IT": "1a10n12c", "LI": "5n12c", "LT": "16n", "LU": "3n13c", "LV": "4a13c", "MC": "10n11c2n", "MT": "4a5n18c",
    "NL": "4a10n", "NO": "11n", "PL": "24n", "PT": "21n", "RO": "4a16c", "SA": "2n18c", "SE": "20n", "SI": "15n",
    "SK": "20n", "TR": "6n16c",
}  # fmt: skip

UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"


def digits(rng: Random, count: int) -> str:
    return "".join(rng.choices(DIGITS, k=count))


def letters(rng: Random, count: int, among: str = UPPER) -> str:
    return "".join(rng.choices(among, k=count))


def grouped(text: str, sizes: tuple[int, ...], gap: str) -> str:
    """`text` cut into groups of these sizes (the last repeats) and joined by `gap`."""
    parts, at = [], 0
    for size in [*sizes, *[sizes[-1]] * len(text)]:
        parts.append(text[at : at + size])
        at += size
    return gap.join(part for part in parts if part)


def payment_card(rng: Random) -> Value:
    low, high, lengths = rng.choice(CARDS)
    body = str(rng.randint(low, high))
    length = rng.choice(lengths)
    body += digits(rng, length - len(body) - 1)
    number = body + luhn_digit(body)
    sizes = (4, 6, 5) if length in (14, 15) else (4,)
    return Value("payment_card", grouped(number, sizes, rng.choice(("", " ", "-"))))


def iban(rng: Random) -> Value:
    country = rng.choice(sorted(IBANS))
    account, count = "", ""
    for c in IBANS[country]:
        if c.isdigit():
            count += c
            continue
        account += letters(rng, int(count), {"n": DIGITS, "a": UPPER, "c": DIGITS + UPPER}[c])
        count = ""
    whole = country + iban_check(country, account) + account
    return Value("iban", grouped(whole, (4,), rng.choice(("", " "))))


def email(rng: Random) -> Value:
    first, last = rng.choice(labels.FIRST_NAMES), rng.choice(labels.LAST_NAMES)
    local = rng.choice(("{f}.{l}", "{f}_{l}", "{i}{l}", "{f}+{n}", "{l}{n}", "{f}-{l}")).format(
        f=first, l=last, i=first[0], n=rng.randint(1, 9999)
    )
    host = rng.choice(("mail", "corp", "zentrale", "x1", "my-company", "uni", "kontor24"))
    sub = rng.choice(("", "", "eu.", "post."))
    end = rng.choice(
        ("com", "org", "de", "co.uk", "fr", "com.br", "io", "nl", "it", "es", "in", "health", "museum")
    )
    return Value("email", rng.choice((str.lower, str.title))(local) + f"@{sub}{host}.{end}")


def phone(rng: Random) -> Value:
    form = rng.choice(labels.PHONES)
    number = "".join(rng.choice("23456789") if c == "N" else digits(rng, 1) if c == "n" else c for c in form)
    return Value("phone", number, () if form.startswith("+") else labels.PHONE)


def us_ssn(rng: Random) -> Value:
    area = rng.choice([n for n in range(1, 900) if n != 666])
    parts = (f"{area:03d}", f"{rng.randint(1, 99):02d}", f"{rng.randint(1, 9999):04d}")
    plain = rng.random() < 0.25
    gap = "" if plain else "-"
    return Value(
        "national_id.us_ssn",
        gap.join(parts),
        labels.SSN if plain else rng.choice(((), labels.SSN)),
        labels.SSN,
    )


def us_itin(rng: Random) -> Value:
    group = rng.choice([*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)])
    return Value("national_id.us_itin", f"9{digits(rng, 2)}-{group}-{digits(rng, 4)}", labels.ITIN)


def uk_nino(rng: Random) -> Value:
    while True:
        prefix = letters(rng, 1, "ABCEGHJKLMNOPRSTWXYZ") + letters(rng, 1, "ABCEGHJKLMNPRSTWXYZ")
        if prefix not in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"}:
            break
    number = prefix + digits(rng, 6) + rng.choice("ABCD")
    return Value(
        "national_id.uk_nino",
        grouped(number, (2,), rng.choice(("", " "))),
        rng.choice(((), labels.NINO)),
        labels.NINO,
    )


def uk_nhs(rng: Random) -> Value:
    while True:
        body = rng.choice("4679") + digits(rng, 8)
        check = 11 - weighted_sum(body, range(10, 1, -1)) % 11
        if check != 10:
            break
    return Value(
        "national_id.uk_nhs", grouped(body + str(check % 11), (3, 3, 4), rng.choice(("", " "))), labels.NHS
    )


def de_steuer_id(rng: Random) -> Value:
    """Ten digits of which one comes twice or three times and the others at most once, then the check digit."""
    while True:
        repeated = rng.choice(DIGITS)
        times = rng.choice((2, 3))
        rest = rng.sample([c for c in DIGITS if c != repeated], 10 - times)
        order = [repeated] * times + rest
        rng.shuffle(order)
        body = "".join(order)
        if body[0] != "0" and repeated * 3 not in body:
            break
    number = body + iso7064_mod11_10(body)
    gap = rng.choice(("", " "))
    return Value("national_id.de_steuer_id", grouped(number, (2, 3, 3, 3), gap), labels.STEUER_ID)


def fr_nir(rng: Random) -> Value:
    department = rng.choice([f"{n:02d}" for n in range(1, 96) if n != 20] + ["2A", "2B"])
    born = f"{rng.randint(0, 99):02d}{rng.randint(1, 12):02d}"
    body = rng.choice("12") + born + department + f"{rng.randint(1, 990):03d}{rng.randint(1, 999):03d}"
    key = 97 - int(body.replace("2A", "19").replace("2B", "18") if department in ("2A", "2B") else body) % 97
    text = grouped(f"{body}{key:02d}", (1, 2, 2, 2, 3, 3, 2), rng.choice(("", " ")))
    return Value("national_id.fr_nir", text, rng.choice(((), labels.NIR)), labels.NIR)


# Values of characters in odd places, as the Italian revenue agency tables them.
_ODD_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_ODD_LETTERS = (*_ODD_DIGITS, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
CF_ODD = dict(zip(DIGITS + UPPER, _ODD_DIGITS + _ODD_LETTERS, strict=True))


def it_codice_fiscale(rng: Random) -> Value:
    day = rng.randint(1, 28) + rng.choice((0, 40))
    body = letters(rng, 6, "BCDFGLMNPRSTVZ") + digits(rng, 2) + rng.choice("ABCDEHLMPRST") + f"{day:02d}"
    body += rng.choice("ABCDEFGHILMZ") + digits(rng, 3)
    total = sum(CF_ODD[c] if i % 2 == 0 else int(c, 36) - 10 * (not c.isdigit()) for i, c in enumerate(body))
    return Value("national_id.it_codice_fiscale", body + UPPER[total % 26])


DNI = "TRWAGMYFPDXBNJZSQVHLCKE"


def es_dni(rng: Random) -> Value:
    number = rng.randint(1, 99_999_999)
    return Value("national_id.es_dni", f"{number:08d}{rng.choice(('', '-'))}{DNI[number % 23]}", labels.DNI)


def es_nie(rng: Random) -> Value:
    lead, number = rng.randint(0, 2), rng.randint(0, 9_999_999)
    check = DNI[int(f"{lead}{number:07d}") % 23]
    gap = rng.choice(("", "-"))
    return Value("national_id.es_nie", f"{'XYZ'[lead]}{gap}{number:07d}{gap}{check}", labels.NIE)


def nl_bsn(rng: Random) -> Value:
    while True:
        body = rng.choice("123456789") + digits(rng, 7)
        check = weighted_sum(body, range(9, 1, -1)) % 11
        if check != 10:
            return Value("national_id.nl_bsn", body + str(check), labels.BSN)


def in_aadhaar(rng: Random) -> Value:
    body = rng.choice("23456789") + digits(rng, 10)
    gap = rng.choice(("", " ", "-"))
    return Value("national_id.in_aadhaar", grouped(body + verhoeff_digit(body), (4,), gap), labels.AADHAAR)


def in_pan(rng: Random) -> Value:
    text = letters(rng, 3) + rng.choice("PCHFATBLJG") + letters(rng, 1) + digits(rng, 4) + letters(rng, 1)
    return Value("national_id.in_pan", text, labels.PAN)


def br_cpf(rng: Random) -> Value:
    body = digits(rng, 9)
    for start in (10, 11):
        body += str(weighted_sum(body, range(start, 1, -1)) * 10 % 11 % 10)
    pretty = f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"
    return rng.choice(
        (Value("national_id.br_cpf", pretty, names=labels.CPF), Value("national_id.br_cpf", body, labels.CPF))
    )


def br_cnpj(rng: Random) -> Value:
    body = digits(rng, 8) + f"{rng.randint(1, 20):04d}"
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    for start in (1, 0):
        rest = weighted_sum(body, weights[start:]) % 11
        body += "0" if rest < 2 else str(11 - rest)
    pretty = f"{body[:2]}.{body[2:5]}.{body[5:8]}/{body[8:12]}-{body[12:]}"
    return rng.choice(
        (
            Value("national_id.br_cnpj", pretty, names=labels.CNPJ),
            Value("national_id.br_cnpj", body, labels.CNPJ),
        )
    )


def ip(rng: Random) -> Value:
    if rng.random() < 0.6:
        address = rng.choice(
            (f"{rng.randint(11, 99)}", "10", "192.168", "172.20", f"{rng.randint(128, 171)}")
        )
        while address.count(".") < 3:
            address += f".{rng.randint(1, 254)}"
        return Value("ip", address)
    bits = rng.choice((0x2001 << 112, 0x2A02 << 112, 0xFD00 << 112)) | rng.getrandbits(
        rng.choice((16, 64, 112))
    )
    return Value("ip", str(ipaddress.IPv6Address(bits)))


def mac(rng: Random) -> Value:
    octets = rng.randbytes(6).hex()
    text = rng.choice((grouped(octets, (2,), ":"), grouped(octets, (2,), "-"), grouped(octets, (4,), ".")))
    return Value("mac", rng.choice((text, text.upper())))


def passport(rng: Random) -> Value:
    text = rng.choice((
        lambda: digits(rng, 9),
        lambda: letters(rng, 1) + digits(rng, 8),
        lambda: letters(rng, 1, "CFGHJK") + letters(rng, 8, "CFGHJKLMNPRTVWXYZ0123456789"),
        lambda: digits(rng, 2) + letters(rng, 2) + digits(rng, 5),
        lambda: letters(rng, 2) + digits(rng, 7),
        lambda: letters(rng, 1) + digits(rng, 7),
    ))()  # fmt: skip
    return Value("passport", text, labels.PASSPORT)


def medical_record(rng: Random) -> Value:
    text = rng.choice(("{}", "{}", "MR{}", "H-{}")).format(digits(rng, rng.randint(6, 10)))
    return Value("medical_record", text, labels.MEDICAL_RECORD)


def wallet_btc(rng: Random) -> Value:
    forms: tuple[Callable[[], str], ...] = (
        lambda: base58check(b"\x00" + rng.randbytes(20)),
        lambda: base58check(b"\x05" + rng.randbytes(20)),
        lambda: bech32("bc", 0, rng.randbytes(20)),
        lambda: bech32("bc", 0, rng.randbytes(32)),
        lambda: bech32("bc", 1, rng.randbytes(32)),
    )
    return Value("wallet.btc", rng.choice(forms)())


def wallet_eth(rng: Random) -> Value:
    address = rng.randbytes(20)
    return Value("wallet.eth", rng.choice((eip55(address), "0x" + address.hex())))


def wallet_ltc(rng: Random) -> Value:
    return Value(
        "wallet.ltc",
        rng.choice((base58check(b"\x30" + rng.randbytes(20)), bech32("ltc", 0, rng.randbytes(20)))),
    )


def wallet_doge(rng: Random) -> Value:
    return Value("wallet.doge", base58check(b"\x1e" + rng.randbytes(20)))


def wallet_trx(rng: Random) -> Value:
    return Value("wallet.trx", base58check(b"\x41" + rng.randbytes(20)))


HARD: dict[str, Make] = {
    "email": email,
    "phone": phone,
    "payment_card": payment_card,
    "iban": iban,
    "national_id.us_ssn": us_ssn,
    "national_id.us_itin": us_itin,
    "national_id.uk_nino": uk_nino,
    "national_id.uk_nhs": uk_nhs,
    "national_id.de_steuer_id": de_steuer_id,
    "national_id.fr_nir": fr_nir,
    "national_id.it_codice_fiscale": it_codice_fiscale,
    "national_id.es_dni": es_dni,
    "national_id.es_nie": es_nie,
    "national_id.nl_bsn": nl_bsn,
    "national_id.in_aadhaar": in_aadhaar,
    "national_id.in_pan": in_pan,
    "national_id.br_cpf": br_cpf,
    "national_id.br_cnpj": br_cnpj,
    "ip": ip,
    "mac": mac,
    "passport": passport,
    "medical_record": medical_record,
    "wallet.btc": wallet_btc,
    "wallet.eth": wallet_eth,
    "wallet.ltc": wallet_ltc,
    "wallet.doge": wallet_doge,
    "wallet.trx": wallet_trx,
}


def marked_key(rng: Random) -> Value:
    return Value("secret", vendor_keys.fill(rng.choice(sorted(vendor_keys.MARKED.values())), rng))


def named_key(rng: Random) -> Value:
    name, template = rng.choice(sorted(vendor_keys.NAMED.values()))
    return Value("secret", vendor_keys.fill(template, rng), (name,))


SECRETS: dict[str, Make] = {
    "secret: vendor key": marked_key,
    "secret: named key": named_key,
    "secret: private key": lambda rng: Value("secret", vendor_keys.private_key(rng)),
    "secret: jwt": lambda rng: Value("secret", vendor_keys.jwt(rng)),
    "secret: connection string": lambda rng: Value("secret", vendor_keys.connection_string(rng)),
    "secret: assignment": lambda rng: Value("secret", vendor_keys.assignment(rng)),
}


def values(make: Make, count: int, seed: int) -> Iterator[Value]:
    """`count` values of one kind; the same seed gives the same values."""
    rng = Random(seed)
    return (make(rng) for _ in range(count))


def each_vendor_key(seed: int, per_format: int) -> Iterator[tuple[str, Value]]:
    """Every vendor format by name, `per_format` values of each."""
    rng = Random(seed)
    for name, template in vendor_keys.MARKED.items():
        for _ in range(per_format):
            yield name, Value("secret", vendor_keys.fill(template, rng))
    for name, (word, template) in vendor_keys.NAMED.items():
        for _ in range(per_format):
            yield name, Value("secret", vendor_keys.fill(template, rng), (word,))
