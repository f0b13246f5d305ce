"""Encrypt secrets that have to be read again, which passwords and tokens never are: those of second factors.

The key is not in the catalog, so that a copy of the database alone gives no codes. It is set for all processes
(`ECLUSE_SECRET_KEYS`), or a file of the home. What is encrypted is bound to its owner: put into another's row it is
not read.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ecluse.errors import KeyMissing
from ecluse.sentences import _
from ecluse.settings import AccountsSettings, is_key


def new_key() -> str:
    """Return a new key."""
    return Fernet.generate_key().decode()


class Vault:
    """What encrypts and decrypts, with the keys that are set or in a file; none is read before it is needed."""

    def __init__(self, settings: AccountsSettings) -> None:
        self._settings = settings

    @property
    def place(self) -> str:
        """Return where the key is, as it may be said."""
        return "ECLUSE_SECRET_KEYS" if self._settings.secret_keys else str(self._settings.key_file)

    def close(self, owner: str, secret: str, *, is_first: bool) -> str:
        """Encrypt a secret of an owner. `is_first`: nothing is encrypted yet, and a file may be made.

        Raises:
            KeyMissing: no key is set, and there is no file, or none of which others have the secrets.
        """
        keys = self._keys() or ([self._make_key()] if is_first and self._settings.key_file else [])
        if not keys:
            raise KeyMissing(
                _(
                    "There is no key to encrypt the secret of a second factor with. Whoever runs this Écluse makes one "
                    "with `ecluse secret-key`, and sets it for every process: ECLUSE_SECRET_KEYS. What was encrypted "
                    "before needs the key of then: %(place)s",
                    place=self.place,
                )
                if self._settings.key_file
                else _(
                    "Second factors need a key that all processes have, as the catalog is on another machine. Whoever "
                    "runs this Écluse makes one with `ecluse secret-key`, and sets it for every process: "
                    "ECLUSE_SECRET_KEYS"
                )
            )
        return MultiFernet([Fernet(key) for key in keys]).encrypt(f"{owner}:{secret}".encode()).decode()

    def open(self, owner: str, text: str) -> str:
        """Decrypt a secret of an owner.

        Raises:
            KeyMissing: none of the keys that are here reads it.
        """
        secret = self._opened(owner, text)
        if secret is None:
            raise KeyMissing(
                _(
                    "The second factor cannot be checked: its key is not here. A recovery code lets in. Whoever runs "
                    "this Écluse brings the key back (ECLUSE_SECRET_KEYS, or secret.key of its home), or takes the "
                    "second factor off: ecluse users second-factor EMAIL --remove"
                )
            )
        return secret

    def can_open(self, owner: str, text: str) -> bool:
        """Return whether a key that is here decrypts it."""
        return self._opened(owner, text) is not None

    def _opened(self, owner: str, text: str) -> str | None:
        keys = self._keys()
        if not keys:
            return None
        try:
            of, _divider, secret = (
                MultiFernet([Fernet(key) for key in keys]).decrypt(text.encode()).decode().partition(":")
            )
        except InvalidToken:  # whoever asks says what is to be done
            return None
        return secret if of == owner else None

    def _keys(self) -> list[str]:
        """Return the keys, the one that encrypts first; none where there are none."""
        if self._settings.secret_keys:
            return list(self._settings.secret_keys)
        file = self._settings.key_file
        if file is None:
            return []
        try:
            written = file.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return []  # nothing was encrypted yet; who decrypts says that the key is missing, `_make_key` makes it
        keys = written.split()
        if not keys or not all(map(is_key, keys)):
            raise KeyMissing(
                _(
                    "%(file)s holds no key. Bring it back from a backup; or remove it, and the second factors that it "
                    "was the key of: ecluse users second-factor EMAIL --remove",
                    file=file,
                )
            )
        return keys

    def _make_key(self) -> str:
        """Return the key of the file, made if it is not there; of processes that make it at once one does."""
        assert self._settings.key_file is not None  # noqa: S101 (asked for where there may be a file)
        file: Path = self._settings.key_file
        beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as opened:
                opened.write(f"{new_key()}\n")
                opened.flush()
                os.fsync(opened.fileno())
            file.hardlink_to(beside)
        except FileExistsError:
            pass  # another process has made it, and its key counts
        finally:
            beside.unlink()
        return self._keys()[0]
