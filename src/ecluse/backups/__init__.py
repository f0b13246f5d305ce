"""Back a whole home up and restore it: its rows at one moment, its documents, and of its objects digests and bytes.

A backup is made while everything goes on, to a folder of this machine or any store. It exists from the moment its
`backup.json` does, which is written last. Bytes of objects lie beside the backups by their SHA-256, each once for all
backups. With a public key of age (https://age-encryption.org) whoever makes a backup cannot read it.
"""

from ecluse.backups.creating import create
from ecluse.backups.ownership import Owner, choose, owner_of
from ecluse.backups.places import Backup, Damaged, Keys, Listed, Place, Unfinished, new_identity, open_place
from ecluse.backups.pruning import Pruned, prune
from ecluse.backups.restoring import Restored, restore
from ecluse.backups.verifying import Verification, verify

__all__ = [
    "Backup",
    "Damaged",
    "Keys",
    "Listed",
    "Owner",
    "Place",
    "Pruned",
    "Restored",
    "Unfinished",
    "Verification",
    "choose",
    "create",
    "new_identity",
    "open_place",
    "owner_of",
    "prune",
    "restore",
    "verify",
]
