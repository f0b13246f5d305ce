"""Keep objects in a folder, in memory or in S3 behind one set of verbs: put, get, stream, list, scope."""

from ecluse.storage.areas import OWNED, Located, Stores, area_of
from ecluse.storage.backend import Capabilities, ObjectInfo
from ecluse.storage.cache import Cache, Cleared, Entry, Fetched, Verified
from ecluse.storage.digests import Digest, Stored
from ecluse.storage.keys import checked_key, is_within, join_key, safe_filename, timestamp
from ecluse.storage.opening import LONG_PATIENCE, PATIENCE, ensure_bucket, lacks_folder, open_store
from ecluse.storage.store import ObjectStore, Page, Progress, read_chunks

__all__ = [
    "LONG_PATIENCE",
    "OWNED",
    "PATIENCE",
    "Cache",
    "Capabilities",
    "Cleared",
    "Digest",
    "Entry",
    "Fetched",
    "Located",
    "ObjectInfo",
    "ObjectStore",
    "Page",
    "Progress",
    "Stored",
    "Stores",
    "Verified",
    "area_of",
    "checked_key",
    "ensure_bucket",
    "is_within",
    "join_key",
    "lacks_folder",
    "open_store",
    "read_chunks",
    "safe_filename",
    "timestamp",
]
