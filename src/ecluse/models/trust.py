"""Load a .skops file by our list of types, and those that a person has trusted in this very file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ecluse.catalog import trust as trusts
from ecluse.errors import ModelUnreadable
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.skops_files import SAFE_TYPES, load_types, types_outside


def load_skops(runtime: Runtime, file: Path) -> Any:
    """Return what a .skops holds.

    Raises:
        ModelUnreadable: it is none, or names types that neither the list nor the catalog trusts in this very file.
    """
    content = file.read_bytes()
    outside = types_outside(content, file.name)
    with runtime.catalog.read() as transaction:
        trusted = trusts.types_of(transaction, hashlib.sha256(content).hexdigest()) or frozenset()
    if unknown := outside - trusted:
        raise ModelUnreadable(
            _(
                "%(file)s holds types that no one has trusted: %(values)s. If you trust its maker, "
                "import the pickle it came from as an administrator: ecluse models import DIR --trust",
                file=file.name,
                values=", ".join(sorted(unknown)),
            )
        )
    return load_types(content, file.name, SAFE_TYPES | trusted)
