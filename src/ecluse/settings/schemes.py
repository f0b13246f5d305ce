"""List the schemes of storage addresses, each of which says everything of itself in one file.

A scheme is a value, `SCHEME = Scheme("s3", …)`, in a module of its own: what its stores read of the environment, how
one is opened, whether it signs addresses, which list price applies. Settings, migrations, doctor, prices and the
documentation ask that value. To add a scheme, write such a module and its line in `SCHEMES`.

The table holds references that are imported when they are used, as storage stands above settings.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from ecluse.settings.values import Detected, Section

S = TypeVar("S")
#: What addresses of stores begin with → where the `Scheme` is. The only list of them.
SCHEMES: Final[dict[str, str]] = {
    "file": "ecluse.storage.schemes.file:SCHEME",
    "memory": "ecluse.storage.schemes.memory:SCHEME",
    "s3": "ecluse.storage.schemes.s3:SCHEME",
    "gs": "ecluse.storage.schemes.google:SCHEME",
    "az": "ecluse.storage.schemes.azure:SCHEME",
}


@dataclass(frozen=True)
class Access:
    """Keys and servers of the stores of every scheme: what each has read of the environment, by its type."""

    values: Mapping[type, Any] = field(default_factory=dict)

    @classmethod
    def having(cls, *values: object) -> Access:
        """Return access with these values; a scheme without one is reached as when nothing is set."""
        return cls({type(value): value for value in values})

    def of(self, kind: type[S]) -> S:
        """Return what one scheme has read of the environment: `access.of(AzureSettings)`."""
        value: S = self.values.get(kind) or kind()
        return value


@dataclass(frozen=True)
class Scheme:
    """What the rest of the code asks of the stores of one scheme."""

    name: str
    #: How an address is written, as messages and documentation show it: "s3://bucket/prefix".
    form: str
    #: What keeps the objects.
    title: str
    #: Open the `storage.ObjectStore` at an address. One that does not answer is tried again for the time given.
    open: Callable[[str, Access, timedelta], Any]
    #: What it reads of the environment.
    section: Section | None = None
    #: Say what was read, and from which variables, where a store of this scheme is used.
    detect: Callable[[Access, Mapping[str, str]], Iterable[Detected]] = lambda _access, _env: ()
    #: The variables that hold its keys, as a message names them; empty: it has no keys.
    keys: str = ""
    #: Whether its stores can sign addresses for those who have no keys.
    signs: bool = False
    #: Return the folder of this machine that an address leads to. None: its objects lie elsewhere.
    folder: Callable[[str], Path] | None = None
    #: Whether its objects outlive the process that writes them.
    lasts: bool = True
    #: Whether the first part of an address is the name of a bucket.
    has_buckets: bool = True
    #: Return what tells the server of an address from another server where the same address leads elsewhere.
    server: Callable[[str, Access], object] = lambda _url, _access: None
    #: Return the id of the offer of `storage/prices.json` whose list price applies at an address; None: there is none.
    offer: Callable[[str, Access], str | None] = lambda _url, _access: None


def schemes() -> list[Scheme]:
    """Return every scheme, in the order of the table."""
    return [_load(reference) for reference in SCHEMES.values()]


def scheme_of(url: str) -> Scheme | None:
    """Return the scheme of an address; None where it has none, or one that is not in the table."""
    name, divider, _rest = url.partition("://")
    return _load(SCHEMES[name]) if divider and name in SCHEMES else None


def local_folder(url: str) -> Path | None:
    """Return the folder of this machine that an address leads to; None where objects lie elsewhere."""
    scheme = scheme_of(url)
    return None if scheme is None or scheme.folder is None else scheme.folder(url)


def split_root(url: str) -> tuple[str, str]:
    """Split the full address of an object into that of a store to open and the key in it; empty where one is missing.

    In a folder the store is the folder that holds the object. Elsewhere it is the bucket: s3:///bucket is no second
    name of s3://bucket.
    """
    scheme, divider, rest = url.partition("://")
    if local_folder(url) is not None:
        root, _slash, key = rest.rpartition("/")
    else:
        root, _slash, key = rest.partition("/")
    return f"{scheme}://{root}" if divider and scheme and root else "", key


def signing_forms() -> str:
    """Return how addresses of those stores begin that can sign: "s3://, gs:// or az://"."""
    names = [f"{scheme.name}://" for scheme in schemes() if scheme.signs]
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def address_forms() -> str:
    """Return how the addresses of stores are written that outlive a process: "file:///folder, s3://bucket/prefix …"."""
    return ", ".join(scheme.form for scheme in schemes() if scheme.lasts)


def key_variables(url: str) -> str:
    """Return the variables that hold the keys for an address: those of its scheme, or of any where it has none."""
    scheme = scheme_of(url)
    return scheme.keys if scheme is not None else " or ".join(other.keys for other in schemes() if other.keys)


def read_access(env: Mapping[str, str]) -> Access:
    """Read what every scheme asks of the environment.

    Raises:
        SettingsError: a value cannot be used.
    """
    return Access.having(*(scheme.section.read(env) for scheme in schemes() if scheme.section is not None))


@cache
def _load(reference: str) -> Scheme:
    module, _, attribute = reference.partition(":")
    scheme: Scheme = getattr(importlib.import_module(module), attribute)  # noqa: TID251 (a name of SCHEMES)
    return scheme
