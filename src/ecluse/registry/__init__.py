"""Publish, find, verify and download model versions.

A version is a folder `{name}/v{YYYYMMDD_HHMMSS}/` of files under the names a person expects, and
`manifest.json` with the SHA-256 of each. The manifest is written last, by one create-only write: what
has no manifest does not exist, and two publishers never take the same version.

A publisher holds its version by a claim. Who deletes or cleans up a version first overwrites the claim,
and then looks for the manifest; who commits first writes the manifest, and then looks at the claim. So of
the two at least one knows of the other, and what is committed keeps its files.
"""

from ecluse.registry.files import checked_path, expect_apart, files_below, gathered
from ecluse.registry.incoming import PART_BYTES, Arrived, Incoming, media_type_of
from ecluse.registry.manifest import (
    CLAIM,
    FORMAT_VERSION,
    LARGEST_MANIFEST,
    MANIFEST,
    SIGNATURE,
    Manifest,
    ManifestFile,
    manifest_bytes,
)
from ecluse.registry.metadata import LEVELS, METADATA_BYTES, checked_metadata, fits_float
from ecluse.registry.names import (
    LATEST,
    checked_address,
    checked_alias,
    checked_name,
    checked_version,
    is_version,
    split_owner,
)
from ecluse.registry.versions import JITTER, Leftover, Progress, Registry

__all__ = [
    "CLAIM",
    "FORMAT_VERSION",
    "JITTER",
    "LARGEST_MANIFEST",
    "LATEST",
    "LEVELS",
    "MANIFEST",
    "METADATA_BYTES",
    "PART_BYTES",
    "SIGNATURE",
    "Arrived",
    "Incoming",
    "Leftover",
    "Manifest",
    "ManifestFile",
    "Progress",
    "Registry",
    "checked_address",
    "checked_alias",
    "checked_metadata",
    "checked_name",
    "checked_path",
    "checked_version",
    "expect_apart",
    "files_below",
    "fits_float",
    "gathered",
    "is_version",
    "manifest_bytes",
    "media_type_of",
    "split_owner",
]
