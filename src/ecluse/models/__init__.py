"""A user's models: rows of the catalog and versions of the registry, kept in step."""

import sys

from ecluse import ListingPackage
from ecluse.conditions import GRAMMAR, Query, parse_condition
from ecluse.models.conditions import search, unknown_keys
from ecluse.models.folders import Imported, import_folder
from ecluse.models.garbage import Garbage, gc
from ecluse.models.links import SignedLink, signed_link
from ecluse.models.places import (
    Place,
    address_of,
    page_of,
    place_of,
    place_to_change,
    place_to_make,
    resolve_changeable,
    resolve_readable,
    segment_of,
)
from ecluse.models.sharing import SharedModel, list_shared, share, shares, unshare
from ecluse.models.signatures import sign, verify_signature
from ecluse.models.trust import load_skops
from ecluse.models.uploads import clean_uploads, own_metadata
from ecluse.models.versions import (
    CheckedOut,
    Origin,
    aliases,
    announce,
    artifacts_of,
    check_intact,
    checkout,
    commit,
    download,
    manifest_of,
    publish,
    reconcile,
    record,
    remove,
    remove_alias,
    resolve,
    set_alias,
    settle,
    settle_ended,
    settle_job,
    upload_claimed,
    verify,
)
from ecluse.registry import LATEST, checked_alias, gathered
from ecluse.shares import Reader, Shown

__all__ = [
    "GRAMMAR",
    "LATEST",
    "CheckedOut",
    "Garbage",
    "Imported",
    "Origin",
    "Place",
    "Query",
    "Reader",
    "SharedModel",
    "Shown",
    "SignedLink",
    "address_of",
    "aliases",
    "announce",
    "artifacts_of",
    "check_intact",
    "checked_alias",
    "checkout",
    "clean_uploads",
    "commit",
    "download",
    "gathered",
    "gc",
    "import_folder",
    "list_shared",
    "load_skops",
    "manifest_of",
    "own_metadata",
    "page_of",
    "parse_condition",
    "place_of",
    "place_to_change",
    "place_to_make",
    "publish",
    "reconcile",
    "record",
    "remove",
    "remove_alias",
    "resolve",
    "resolve_changeable",
    "resolve_readable",
    "search",
    "segment_of",
    "set_alias",
    "settle",
    "settle_ended",
    "settle_job",
    "share",
    "shares",
    "sign",
    "signed_link",
    "unknown_keys",
    "unshare",
    "upload_claimed",
    "verify",
    "verify_signature",
]

sys.modules[__name__].__class__ = ListingPackage
