"""Certificates made on the spot: an authority of our own, and what it vouches for."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass
class Authority:
    """Files go to ``directory``. ``trust`` is what a client needs to believe it."""

    directory: Path
    name: str = "Test Authority"
    _key: ec.EllipticCurvePrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def trust(self) -> ssl.SSLContext:
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        signed = self._sign(self.name, self._key, -DAY, DAY, constraints)
        return ssl.create_default_context(cadata=signed.decode())

    def server(
        self, host: str = "localhost", *, begins: timedelta = -DAY, ends: timedelta = DAY
    ) -> ssl.SSLContext:
        """What a server called ``host`` shows; valid from and until so long after now."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self._sign(host, key, begins, ends, x509.SubjectAlternativeName([x509.DNSName(host)]))
        path = self.directory / f"{host}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(private + signed)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        begins: timedelta,
        ends: timedelta,
        extension: x509.ExtensionType,
    ) -> bytes:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)
