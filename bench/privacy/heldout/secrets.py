"""Secrets in the places where they are pasted from: shells, files of tools, headers, manifests, remotes."""

import base64
import json
from collections.abc import Callable
from random import Random

from bench.privacy.heldout.numbers import Number

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ALNUM = LETTERS + LETTERS.upper() + "0123456789"


def word(rng: Random, size: int, among: str = ALNUM) -> str:
    return "".join(rng.choices(among, k=size))


def hexadecimal(rng: Random, size: int) -> str:
    return word(rng, size, "0123456789abcdef")


# From the vendors' pages about their own keys.
KEYS: tuple[Callable[[Random], str], ...] = (
    lambda rng: "AKIA" + word(rng, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    lambda rng: "AIza" + word(rng, 35, ALNUM + "-_"),
    lambda rng: "ghp_" + word(rng, 36),
    lambda rng: "github_pat_" + word(rng, 22) + "_" + word(rng, 59),
    lambda rng: "glpat-" + word(rng, 20, ALNUM + "-_"),
    lambda rng: f"xoxb-{word(rng, 12, '0123456789')}-{word(rng, 13, '0123456789')}-{word(rng, 24)}",
    lambda rng: "sk_live_" + word(rng, 24),
    lambda rng: "rk_live_" + word(rng, 24),
    lambda rng: "whsec_" + word(rng, 32),
    lambda rng: "sk-proj-" + word(rng, 74, ALNUM + "-_") + "T3BlbkFJ" + word(rng, 74, ALNUM + "-_"),
    lambda rng: "sk-ant-api03-" + word(rng, 93, ALNUM + "-_") + "AA",
    lambda rng: "hf_" + word(rng, 34, LETTERS + LETTERS.upper()),
    lambda rng: "npm_" + word(rng, 36),
    lambda rng: "pypi-AgEIcHlwaS5vcmc" + word(rng, 120, ALNUM + "-_"),
    lambda rng: f"SG.{word(rng, 22, ALNUM + '-_')}.{word(rng, 43, ALNUM + '-_')}",
    lambda rng: "key-" + hexadecimal(rng, 32),
    lambda rng: "SK" + hexadecimal(rng, 32),
    lambda rng: "shpat_" + hexadecimal(rng, 32),
    lambda rng: "dop_v1_" + hexadecimal(rng, 64),
    lambda rng: f"{word(rng, 10, '0123456789')}:AA{word(rng, 33, ALNUM + '-_')}",
    lambda rng: "hvs." + word(rng, 95, ALNUM + "-_"),
    lambda rng: "dckr_pat_" + word(rng, 27, ALNUM + "-_"),
    lambda rng: "EAAA" + word(rng, 60, ALNUM + "-_"),
    lambda rng: "glsa_" + word(rng, 32) + "_" + hexadecimal(rng, 8),
    lambda rng: "lin_api_" + word(rng, 40),
    lambda rng: "ntn_" + word(rng, 46),
    lambda rng: "figd_" + word(rng, 40, ALNUM + "-_"),
    lambda rng: "PMAK-" + hexadecimal(rng, 24) + "-" + hexadecimal(rng, 34),
    lambda rng: "NRAK-" + word(rng, 27, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
    lambda rng: "gsk_" + word(rng, 52),
    lambda rng: "AGE-SECRET-KEY-1" + word(rng, 58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"),
    lambda rng: "tskey-auth-" + word(rng, 16) + "-" + word(rng, 32),
)


def vendor_key(rng: Random) -> Number:
    key = rng.choice(KEYS)(rng)
    # A telegram bot's token and a mail service's key are plain to nobody without a word.
    return Number("secret", key, named=key.startswith(("key-", "SK", "EAAA")) or ":AA" in key)


def token(rng: Random) -> str:
    head = {"alg": rng.choice(("HS256", "RS256", "EdDSA")), "kid": word(rng, 6), "typ": "JWT"}
    claims = {
        "iss": "https://id.corp.test",
        "sub": word(rng, 12),
        "exp": rng.randint(1_700_000_000, 1_900_000_000),
    }
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (head, claims)] + [
        rng.randbytes(32)
    ]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def web_token(rng: Random) -> Number:
    return Number("secret", token(rng))


def key_file(rng: Random) -> Number:
    name = rng.choice(
        ("EC PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY")
    )
    body = base64.encodebytes(rng.randbytes(rng.choice((118, 600)))).decode()
    text = f"-----BEGIN {name}-----\n{body}-----END {name}-----"
    return Number("secret", rng.choice((text, text.replace("\n", "\\n"), text.replace("\n", "\r\n"))))


PASSWORDS = (
    "Tr0ub4dor&3",
    "gH7!kq29Lz",
    "m4rigold-Fence-88",
    "c0ld#Brew_Friday",
    "Zx81spectrum!",
    "nB5$wq9tPz1",
)


def address(rng: Random) -> Number:
    scheme = rng.choice(
        (
            "postgresql",
            "mysql+pymysql",
            "mongodb+srv",
            "redis",
            "rediss",
            "amqps",
            "ftp",
            "smtp",
            "https",
            "ldap",
        )
    )
    user = rng.choice(("svc_report", "app-rw", "deploy", "reader01"))
    password = rng.choice(PASSWORDS).replace("#", "%23") + str(rng.randint(1, 99))
    host = rng.choice(("db-7.internal", "10.2.0.9:5432", "cluster0.ab12c.mongodb.net", "[fd12::7]:6380"))
    return Number("secret", f"{scheme}://{user}:{password}@{host}/main")


def in_a_file(rng: Random) -> Number:
    """The whole line is the value: what counts is that something in it is found."""
    made, password = word(rng, rng.choice((24, 32, 40))), rng.choice(PASSWORDS) + str(rng.randint(10, 99))
    return Number("secret", rng.choice((
        f"export PAYMENTS_API_TOKEN={made}",
        f"set AZURE_CLIENT_SECRET={made}",
        f"//npm.example.com/:_authToken={made}",
        f"machine api.corp.test login deploy password {made}",
        f"      - ADMIN_PASSWORD={made}",
        f"spring.datasource.password={made}",
        f'"clientSecret": "{made}",',
        f"client_secret: '{made}'",
        f"Authorization: Bearer {made}",
        f"X-Api-Key: {made}",
        f"Authorization: Basic {base64.b64encode(f'svc:{made}'.encode()).decode()}",
        f'auth_token = "{made}"',
        f"const apiKey = `{made}`;",
        f'password: "{password}"',
        f"DB_PASSWORD='{password}'",
        f"<add key=\"ApiSecret\" value=\"{made}\" />",
        f"Data Source=sql7;Initial Catalog=crm;User ID=svc;Password={password};Encrypt=True",
        f"  encryption-key = {hexadecimal(rng, 64)}",
        f"curl -u deploy:{made} https://nexus.corp.test/upload",
        f"  data:\n    token: {base64.b64encode(made.encode()).decode()}",
    )))  # fmt: skip


SECRETS: dict[str, Callable[[Random], Number]] = {
    "secret: vendor key": vendor_key,
    "secret: web token": web_token,
    "secret: key file": key_file,
    "secret: address": address,
    "secret: line of a file": in_a_file,
}
