"""A real server of mail that keeps what it is sent; it may be encrypted, ask for a name, or refuse for a while."""

from __future__ import annotations

import datetime
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME, PASSWORD = "ecluse", "the password of the mail server"


@dataclass
class Mailbox:
    """What came, in its order. `refusals`: answers to the next mails, after which they are taken again."""

    letters: list[EmailMessage] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    address: str = ""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd asks for it)
        if self.refusals:
            return self.refusals.pop(0)
        self.recipients += envelope.rcpt_tos
        letter = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(letter, EmailMessage)
        self.letters.append(letter)
        return "250 taken"

    def authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        self.names.append(data.login.decode())
        right = (data.login, data.password) == (NAME.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=right)

    def link(self, number: int = -1) -> str:
        """The path of the link in a letter."""
        found = re.search(r"https://ecluse\.example\.org(/\S+)", text_of(self.letters[number]))
        assert found
        return found[1]


def text_of(letter: EmailMessage) -> str:
    return str(letter.get_content())


class _AtAnyPort(Controller):
    """Port 0 is any; which it became, the socket knows."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def served(mailbox: Mailbox, **options: Any) -> Iterator[Mailbox]:
    """The server of a mailbox, at a free port of 127.0.0.1."""
    controller = _AtAnyPort(mailbox, hostname="127.0.0.1", port=0, ready_timeout=60, **options)
    controller.start()
    try:
        mailbox.address = f"127.0.0.1:{controller.port}"
        yield mailbox
    finally:
        controller.stop()


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A context of a server called localhost, and the file by which a client trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "certificate.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(trusted, private)
    return context, trusted
