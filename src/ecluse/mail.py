"""Send one mail by a server that speaks SMTP."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, Final

from ecluse.errors import MailNotSent, MailRefused
from ecluse.settings import MailSettings

#: Seconds that a server may take to answer.
PATIENCE: Final = 20
#: Seconds that a whole mail may take: a server that answers letter by letter answers for ever.
LONGEST: Final = 120.0


def send(settings: MailSettings, recipient: str, subject: str, text: str) -> None:
    """Send a mail of plain text to one address.

    Raises:
        MailRefused: no server takes it, whenever it is sent again.
        MailNotSent: the server does not answer, or not now.
    """
    message = _message(settings, recipient, subject, text)
    try:
        with _connected(settings) as server:
            server.send_message(message, settings.sender, [recipient])
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        raise (MailRefused if code >= 500 else MailNotSent)(
            f"the server refused the address ({code})"
        ) from error
    except (smtplib.SMTPNotSupportedError, UnicodeError) as error:
        raise MailRefused(f"the server does not take it: {type(error).__name__}") from error
    except (
        smtplib.SMTPException,
        OSError,
    ) as error:  # what a server says may hold the address; its kind does not
        answer = f" {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
        raise MailNotSent(f"{type(error).__name__}{answer}") from error


def _message(settings: MailSettings, recipient: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    try:
        message["From"] = Address("Écluse", addr_spec=settings.sender)
        message["To"] = Address(addr_spec=recipient)
        message["Subject"] = subject
    except (MessageError, ValueError, IndexError) as error:
        raise MailRefused("the address or the subject is none") from error
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # so that no one who is away answers (RFC 3834)
    message.set_content(text)
    return message


@contextmanager
def _connected(settings: MailSettings) -> Iterator[smtplib.SMTP]:
    """Yield the server, encrypted as it is set, and signed in to where there is a name."""
    if settings.security == "tls":
        server: smtplib.SMTP = _EncryptedServer(
            settings.host, settings.port, timeout=PATIENCE, context=ssl.create_default_context()
        )
    else:
        server = _Server(settings.host, settings.port, timeout=PATIENCE)
    with server:
        if settings.security == "starttls":
            server.starttls(context=ssl.create_default_context())  # raises where it is not offered
        if settings.user is not None:
            server.login(settings.user, settings.password or "")
        yield server


class _Ending(smtplib.SMTP):
    """A connection that is cut after `LONGEST` seconds: what waits for it ends with an error."""

    def connect(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        self._timer = threading.Timer(LONGEST, self._cut)
        self._timer.daemon = True
        self._timer.start()
        try:
            return super().connect(*args, **kwargs)
        except BaseException:
            self._timer.cancel()
            raise

    def close(self) -> None:
        self._timer.cancel()
        super().close()

    def _cut(self) -> None:
        if self.sock is not None:
            with suppress(OSError):  # it has just been closed
                self.sock.shutdown(socket.SHUT_RDWR)


class _Server(_Ending):
    """A server that is spoken to as it is, or encrypted from `STARTTLS` on."""


class _EncryptedServer(_Ending, smtplib.SMTP_SSL):
    """A server that is spoken to encrypted from the beginning."""
