"""Values of every hard kind, from each number's public definition, in layouts the first family does not make."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bench.privacy import digits as check

CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NBSP, THIN, NARROW, FIGURE_DASH, NB_DASH, EN_DASH = "\u00a0", "\u2009", "\u202f", "\u2012", "\u2011", "\u2013"


@dataclass(frozen=True, slots=True)
class Number:
    """kind: as a finding names it. named: nobody could tell what it is without a word beside it."""

    kind: str
    text: str
    named: bool = False


def some(rng: Random, form: str) -> str:
    """`form` with # for any digit, ^ for one from 1, and @ for a capital."""
    signs = {"#": "0123456789", "@": CAPITALS, "^": "123456789"}
    return "".join(rng.choice(signs[sign]) if sign in signs else sign for sign in form)


def laid_out(text: str, layout: str) -> str:
    """`text` written as `layout` shows: each x stands for one sign."""
    signs = iter(text)
    return "".join(next(signs) if sign == "x" else sign for sign in layout)


def one_of(rng: Random, *choices: str) -> str:
    return rng.choice(choices)


# --- money ------------------------------------------------------------------------------------------------------

# Leading digits and lengths, as the schemes' own developer pages give them for their test ranges.
SCHEMES = (
    ("4^", 16), ("51", 16), ("52", 16), ("53", 16), ("54", 16), ("55", 16), ("2223", 16), ("2705", 16), ("34", 15), ("37", 15),
    ("6011", 16), ("645", 16), ("65", 16), ("3530", 16), ("3566", 16), ("38", 14), ("36", 14), ("305", 14), ("6240", 16),
    ("6759", 16), ("2201", 16),
)  # fmt: skip
CARD_LAYOUTS = {
    16: ("x" * 16, "xxxx xxxx xxxx xxxx", "xxxx-xxxx-xxxx-xxxx", "xxxx.xxxx.xxxx.xxxx", NBSP.join(["xxxx"] * 4),
         NARROW.join(["xxxx"] * 4), "xxxx  xxxx  xxxx  xxxx", NB_DASH.join(["xxxx"] * 4), "xxxxxxxx xxxxxxxx"),
    15: ("x" * 15, "xxxx xxxxxx xxxxx", "xxxx-xxxxxx-xxxxx", NBSP.join(("xxxx", "xxxxxx", "xxxxx"))),
    14: ("x" * 14, "xxxx xxxxxx xxxx", "xxxx-xxxxxx-xxxx"),
}  # fmt: skip


def payment_card(rng: Random) -> Number:
    lead, size = rng.choice(SCHEMES)
    body = some(rng, lead + "#" * (size - len(lead) - 1))
    return Number("payment_card", laid_out(body + check.luhn_digit(body), rng.choice(CARD_LAYOUTS[size])))


# Examples of the national account structure in the register of IBANs.
ACCOUNTS = {
    "DE": "##################", "AT": "################", "CH": "#################", "FR": "####################" "###",
    "ES": "####################", "IT": "@######################", "NL": "@@@@##########", "BE": "############",
    "PT": "#####################", "PL": "########################", "GB": "@@@@##############", "IE": "@@@@##############",
    "SE": "####################", "DK": "##############", "FI": "##############", "CZ": "####################",
    "HU": "########################", "RO": "@@@@################", "LU": "################", "LV": "@@@@#############",
    "LT": "################", "UA": "#########################", "AE": "###################", "KZ": "################",
    "GE": "@@################", "RS": "##################", "EE": "################", "BG": "@@@@##############",
}  # fmt: skip


def iban(rng: Random) -> Number:
    country = rng.choice(sorted(ACCOUNTS))
    account = some(rng, ACCOUNTS[country])
    number = country + check.iban_check(country, account) + account
    gap = one_of(rng, "", " ", " ", NBSP, "-", THIN)
    text = gap.join(number[at : at + 4] for at in range(0, len(number), 4))
    return Number("iban", text.lower() if rng.random() < 0.1 else text)


# --- ways to reach somebody -------------------------------------------------------------------------------------

ABROAD = (
    "+43 660 #######", "+43 1 ### ## ##", "+41 44 ^## ## ##", "+41 (0)79 ^## ## ##", "+32 470 ## ## ##", "+32 2 ^## ## ##",
    "+45 2# ## ## ##", "+46 70-^## ## ##", "+47 9## ## ###", "+358 40 #######", "+48 5## ### ###", "+420 6## ### ###",
    "+421 9## ### ###", "+36 30 ### ####", "+40 7## ### ###", "+30 69# ### ####", "+90 532 ### ## ##", "+351 91# ### ###",
    "+353 87 ### ####", "+972-5#-^##-####", "+81 90-####-####", "+82-10-####-####", "+86 138 #### ####", "+65 9### ####",
    "+61 4## ### ###", "+64 21 ### ####", "+27 82 ### ####", "+52 55 #### ####", "+54 9 11 ####-####", "+57 3## #######",
    "+7 916 ###-##-##", "+380 67 ### ## ##", "+971 50 ### ####", "+234 803 ### ####", "0043 660 #######", "0041 79 ^## ## ##",
    "+49 (0)89 ^### ####", "+49/171/^######", "+44 (0)161 496 ####", "+33.6.^#.##.##.##", "+1.415.^##.####", "+1 (646) ^##-####",
)  # fmt: skip
AT_HOME = (
    "0660 #######", "01 ### ## ##", "079 ^## ## ##", "0470 ## ## ##", "2# ## ## ##", "070-^## ## ##", "9## ## ###", "040 #######",
    "5## ### ###", "6## ### ###", "(0)30/^######", "089/^######-##", "0171/^######", "06 ^#-##-##-##", "91# ### ###", "0532 ### ## ##",
    "(212) 555-####", "646/555-####", "1-800-^##-####", "0161 496 ####", "07700 900###", "3#6#######", "98########",
)  # fmt: skip


def phone(rng: Random) -> Number:
    if rng.random() < 0.6:
        return Number("phone", some(rng, rng.choice(ABROAD)))
    return Number("phone", some(rng, rng.choice(AT_HOME)), named=True)


PEOPLE = (
    "lotta.berg",
    "h_novak",
    "tmurphy99",
    "ines-costa",
    "o'neill",
    "x",
    "zoe.k.lind",
    "info+billing",
    "li.wei",
    "müller",
)
HOSTS = ("fastpost.se", "sub.dept.uni-graz.ac.at", "kanzlei-adler.ch", "shop24.online", "gov.uk", "bücher.de", "xn--bcher-kva.ch",
         "a.co", "firma.com.pl", "post.museum", "example-mail.technology")  # fmt: skip


def email(rng: Random) -> Number:
    local = rng.choice(PEOPLE) + one_of(rng, "", "", str(rng.randint(1, 99)))
    address = f"{local}@{rng.choice(HOSTS)}"
    return Number("email", address.upper() if rng.random() < 0.1 else address)


# --- states -----------------------------------------------------------------------------------------------------


def us_ssn(rng: Random) -> Number:
    area = rng.choice([*range(1, 666), *range(667, 900)])
    number = f"{area:03d}{rng.randint(1, 99):02d}{rng.randint(1, 9999):04d}"
    layout, named = rng.choice((("xxx-xx-xxxx", False), ("xxx xx xxxx", True), ("xxxxxxxxx", True), (f"xxx{NB_DASH}xx{NB_DASH}xxxx", False),
                                (f"xxx{EN_DASH}xx{EN_DASH}xxxx", True), ("xxx.xx.xxxx", True)))  # fmt: skip
    return Number("national_id.us_ssn", laid_out(number, layout), named)


def us_itin(rng: Random) -> Number:
    number = (
        "9" + some(rng, "##") + str(rng.choice([*range(70, 89), *range(50, 66), 90, 91, 92, *range(94, 100)]))
    )
    layout = one_of(rng, "xxx-xx-xxxx", "xxxxxxxxx", "xxx xx xxxx")
    return Number("national_id.us_itin", laid_out(number + some(rng, "####"), layout), named=True)


def uk_nino(rng: Random) -> Number:
    prefix = one_of(rng, "AB", "CE", "JX", "NW", "PM", "SK", "TY", "WL", "YE", "ZR", "OA", "HG")
    layout = one_of(
        rng,
        "xx xx xx xx x",
        "xxxxxxxxx",
        "xx xxxxxx x",
        "xx-xx-xx-xx-x",
        f"xx{NBSP}xx{NBSP}xx{NBSP}xx{NBSP}x",
    )
    text = laid_out(prefix + some(rng, "######") + rng.choice("ABCD"), layout)
    return Number("national_id.uk_nino", text, named=layout != "xx xx xx xx x")


def uk_nhs(rng: Random) -> Number:
    while True:
        body = some(rng, "^########")
        digit = -check.weighted_sum(body, range(10, 1, -1)) % 11
        if digit < 10 and len(set(body)) > 2:
            layout = one_of(rng, "xxx xxx xxxx", "xxxxxxxxxx", "xxx-xxx-xxxx", f"xxx{NBSP}xxx{NBSP}xxxx")
            return Number("national_id.uk_nhs", laid_out(body + str(digit), layout), named=True)


def de_steuer_id(rng: Random) -> Number:
    """Nine different digits and one of them again, in any order."""
    pool = rng.sample("0123456789", 9)
    body = [*pool, rng.choice(pool)]
    rng.shuffle(body)
    if body[0] == "0":
        body.reverse()
    if body[0] == "0":
        return de_steuer_id(rng)
    number = "".join(body) + check.iso7064_mod11_10("".join(body))
    layout = one_of(
        rng,
        "xx xxx xxx xxx",
        "xxxxxxxxxxx",
        "xx/xxx/xxx/xxx",
        "xxx xxx xxx xx",
        f"xx{NBSP}xxx{NBSP}xxx{NBSP}xxx",
    )
    return Number("national_id.de_steuer_id", laid_out(number, layout), named=True)


def fr_nir(rng: Random) -> Number:
    place = one_of(rng, "75", "13", "69", "33", "59", "971", "974", "99")
    place += "".join(rng.choices("0123456789", k=4 - len(place))) + one_of(rng, "1", "4", "7")
    body = rng.choice("12") + f"{rng.randint(40, 99)}{rng.randint(1, 12):02d}{place}{rng.randint(1, 700):03d}"
    number = body + f"{97 - int(body) % 97:02d}"
    layout = one_of(rng, "x xx xx xx xxx xxx xx", "xxxxxxxxxxxxxxx", "xxxxxxxxxxxxx xx", "x.xx.xx.xx.xxx.xxx.xx",
                    NBSP.join(("x", "xx", "xx", "xx", "xxx", "xxx", "xx")), "x xx xx xx xxx xxx / xx")  # fmt: skip
    return Number("national_id.fr_nir", laid_out(number, layout), named=True)


def it_codice_fiscale(rng: Random) -> Number:
    body = "".join(rng.choices("BCDFGLMNPRSTVZAEIOU", k=6)) + some(rng, "##") + rng.choice("ABCDEHLMPRST")
    body += (
        one_of(rng, "01", "14", "29", "31", "45", "58", "71") + rng.choice("ABCDEFGHILMZ") + some(rng, "###")
    )
    text = body + _fiscal_letter(body)
    return Number(
        "national_id.it_codice_fiscale",
        one_of(rng, text, text, text.lower(), laid_out(text, "xxx xxx xxxxx xxxxx")),
    )


def _fiscal_letter(body: str) -> str:
    """Decree of 23 December 1976: odd places by a table, even places by their value, modulo 26."""
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    even = [int(sign) if sign.isdigit() else CAPITALS.index(sign) for sign in body]
    return CAPITALS[sum(odd[value] if at % 2 == 0 else value for at, value in enumerate(even)) % 26]


CONTROL = "TRWAGMYFPDXBNJZSQVHLCKE"


def es_dni(rng: Random) -> Number:
    number = rng.randint(10_000_000, 99_999_999)
    layout = one_of(rng, "xxxxxxxxx", "xxxxxxxx-x", "xxxxxxxx x", "xx.xxx.xxx-x", "xx.xxx.xxx x")
    return Number("national_id.es_dni", laid_out(f"{number}{CONTROL[number % 23]}", layout), named=True)


def es_nie(rng: Random) -> Number:
    lead, number = rng.randint(0, 2), rng.randint(0, 9_999_999)
    letter = CONTROL[(lead * 10_000_000 + number) % 23]
    layout = one_of(rng, "xxxxxxxxx", "x-xxxxxxx-x", "x xxxxxxx x", "x-xxxxxxxx")
    return Number("national_id.es_nie", laid_out(f"{'XYZ'[lead]}{number:07d}{letter}", layout), named=True)


def nl_bsn(rng: Random) -> Number:
    while True:
        body = some(rng, "^#######")
        digit = check.weighted_sum(body, range(9, 1, -1)) % 11
        if digit < 10:
            layout = one_of(rng, "xxxxxxxxx", "xxxx.xx.xxx", "xxx xxx xxx", "xxxx xx xxx")
            return Number("national_id.nl_bsn", laid_out(body + str(digit), layout), named=True)


def in_aadhaar(rng: Random) -> Number:
    body = rng.choice("23456789") + some(rng, "##########")
    layout = one_of(rng, "xxxx xxxx xxxx", "xxxxxxxxxxxx", "xxxx-xxxx-xxxx", NBSP.join(["xxxx"] * 3))
    return Number("national_id.in_aadhaar", laid_out(body + check.verhoeff_digit(body), layout), named=True)


def in_pan(rng: Random) -> Number:
    text = some(rng, "@@@") + rng.choice("PCHFATBLJG") + some(rng, "@####@")
    return Number("national_id.in_pan", one_of(rng, text, text, text.lower()), named=True)


def br_cpf(rng: Random) -> Number:
    body = some(rng, "#########")
    for _ in range(2):
        body += str(check.weighted_sum(body, range(len(body) + 1, 1, -1)) * 10 % 11 % 10)
    layout = one_of(rng, "xxx.xxx.xxx-xx", "xxxxxxxxxxx", "xxx.xxx.xxx/xx", "xxx xxx xxx xx", "xxxxxxxxx-xx")
    return Number("national_id.br_cpf", laid_out(body, layout), named=layout != "xxx.xxx.xxx-xx")


def br_cnpj(rng: Random) -> Number:
    body = some(rng, "########") + "000" + one_of(rng, "1", "2", "5")
    for _ in range(2):
        weights = [at % 8 + 2 for at in range(len(body))][::-1]
        rest = check.weighted_sum(body, weights) % 11
        body += "0" if rest < 2 else str(11 - rest)
    layout = one_of(rng, "xx.xxx.xxx/xxxx-xx", "xxxxxxxxxxxxxx", "xxxxxxxx/xxxx-xx", "xx xxx xxx/xxxx-xx")
    return Number("national_id.br_cnpj", laid_out(body, layout), named=layout != "xx.xxx.xxx/xxxx-xx")


def passport(rng: Random) -> Number:
    # United States, United Kingdom, Germany, France, Italy, Spain, Netherlands, Poland, India, Japan, Australia, Canada.
    form = one_of(rng, "#########", "@########", "C4VX@####", "##@@#####", "@@#######", "@@@######", "@@^@####^", "@@ #######",
                  "@#######", "@@#######", "@@######")  # fmt: skip
    return Number("passport", some(rng, form), named=True)


def medical_record(rng: Random) -> Number:
    form = one_of(
        rng,
        "########",
        "^######",
        "##-##-##",
        "@######",
        "###-###-###",
        "20##/####",
        "P-#######",
        "########-#",
    )
    return Number("medical_record", some(rng, form), named=True)


# --- machines ---------------------------------------------------------------------------------------------------


def ip(rng: Random) -> Number:
    bits = rng.choice(
        ((0x2001_0DB8 << 96), (0x2A01_04F8 << 96), (0xFE80 << 112), (0xFD12 << 112))
    ) | rng.getrandbits(60)
    six = ipaddress.IPv6Address(bits)
    four = f"{rng.choice((10, 23, 34, 52, 77, 88, 91, 104, 142, 178, 185, 193, 203, 212))}.{rng.randint(0, 255)}.{rng.randint(31, 255)}.{rng.randint(1, 254)}"
    forms: tuple[Callable[[], str], ...] = (
        lambda: four, lambda: four, lambda: four, lambda: str(six), lambda: six.exploded, lambda: str(six).upper(),
    )  # fmt: skip
    return Number("ip", rng.choice(forms)())


def mac(rng: Random) -> Number:
    text = rng.randbytes(6).hex()
    text = laid_out(text, one_of(rng, "xx:xx:xx:xx:xx:xx", "xx-xx-xx-xx-xx-xx", "xxxx.xxxx.xxxx"))
    return Number("mac", one_of(rng, text, text.upper()))


def wallet(rng: Random) -> Number:
    twenty = rng.randbytes(20)
    return rng.choice(
        (
            Number("wallet.btc", check.base58check(b"\x00" + twenty)),
            Number("wallet.btc", check.base58check(b"\x05" + twenty)),
            Number("wallet.btc", check.bech32("bc", 0, twenty)),
            Number("wallet.btc", check.bech32("bc", 0, twenty).upper()),
            Number("wallet.btc", check.bech32("bc", 1, rng.randbytes(32))),
            Number("wallet.eth", check.eip55(twenty)),
            Number("wallet.eth", "0x" + twenty.hex()),
            Number("wallet.ltc", check.bech32("ltc", 0, twenty)),
            Number("wallet.trx", check.base58check(b"\x41" + twenty)),
        )
    )


NUMBERS: dict[str, Callable[[Random], Number]] = {
    "email": email, "phone": phone, "payment_card": payment_card, "iban": iban, "us_ssn": us_ssn, "us_itin": us_itin,
    "uk_nino": uk_nino, "uk_nhs": uk_nhs, "de_steuer_id": de_steuer_id, "fr_nir": fr_nir, "it_codice_fiscale": it_codice_fiscale,
    "es_dni": es_dni, "es_nie": es_nie, "nl_bsn": nl_bsn, "in_aadhaar": in_aadhaar, "in_pan": in_pan, "br_cpf": br_cpf,
    "br_cnpj": br_cnpj, "passport": passport, "medical_record": medical_record, "ip": ip, "mac": mac, "wallet": wallet,
}  # fmt: skip
