"""Sign a version with a key of one's own, and check such a signature, in the format of OpenSSF model-signing.

The files need not be downloaded: what is signed are the digests of the manifest. `model_signing verify key`
checks the signature against a downloaded folder without Écluse.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse.catalog import audit
from ecluse.errors import InvalidInput, SettingsError, SignatureInvalid
from ecluse.models.versions import manifest_of
from ecluse.registry import SIGNATURE, Manifest
from ecluse.runtime import Runtime
from ecluse.sentences import _

if TYPE_CHECKING:
    from ecluse.catalog.tables import ModelVersion

#: What model-signing never looks at in a folder; such files cannot be signed.
UNSIGNED: Final = (".git", ".gitattributes", ".github", ".gitignore")


def sign(runtime: Runtime, row: ModelVersion, private_key: Path, password: str | None = None) -> bytes:
    """Sign a version with an elliptic-curve key in PEM and store the signature beside it; the Sigstore bundle.

    Raises:
        InvalidInput: the key cannot be read, or is of another kind.
        SettingsError: model-signing is not installed.
    """
    signing, _rest = _library()
    manifest = manifest_of(runtime, row)
    with _reading(private_key):
        config = signing.Config().use_elliptic_key_signer(private_key=private_key, password=password)
    with runtime.scratch() as folder:
        path = folder / SIGNATURE
        config.set_hashing_config(_digests_of(manifest)).sign(manifest.name, path)
        bundle = path.read_bytes()
    runtime.catalog.expect_open()
    runtime.registry_of(row).keep_signature(row.name, row.version, bundle)
    with runtime.catalog.write() as transaction:
        audit.record(transaction, row.user_id, "model.sign", f"{row.name} {row.version}")
    return bundle


def verify_signature(runtime: Runtime, row: ModelVersion, public_key: Path) -> Manifest:
    """Check that the version's manifest names exactly the files that the owner of this key signed.

    Raises:
        SignatureInvalid: there is no signature, it is of another key, or of other files.
        InvalidInput: the key cannot be read, or is of another kind.
        SettingsError: model-signing is not installed.
    """
    _rest, verifying = _library()
    manifest = manifest_of(runtime, row)
    bundle = runtime.registry_of(row).signature(row.name, row.version)
    if bundle is None:
        raise SignatureInvalid(
            _(
                "%(name)s has no signature. Sign it: ecluse models sign %(model)s --key FILE",
                name=f"{row.name} {row.version}",
                model=f"{row.name}@{row.version}",
            )
        )
    with _reading(public_key):
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    with runtime.scratch() as folder:
        path = folder / SIGNATURE
        path.write_bytes(bundle)
        try:
            config.set_hashing_config(_digests_of(manifest)).verify(manifest.name, path)
        except Exception as error:  # the library raises what its own libraries raise
            raise SignatureInvalid(
                _(
                    "The signature of %(name)s is not one of these files by this key: %(error)s. Do not "
                    "use the version before you know why.",
                    name=f"{row.name} {row.version}",
                    error=_first_line(error),
                )
            ) from error
    return manifest


def _digests_of(manifest: Manifest) -> Any:
    """Return a configuration of model-signing that takes the digests from our manifest and reads no file."""
    from model_signing import hashing
    from model_signing import manifest as signed
    from model_signing._hashing.hashing import Digest

    kind = signed.SerializationType.from_args(
        {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [*UNSIGNED, SIGNATURE],
        }
    )
    items = [
        kind.new_item(file.path, Digest("sha256", bytes.fromhex(file.sha256)))
        for file in manifest.files
        if file.path.split("/")[0] not in UNSIGNED
    ]

    class Recorded(hashing.Config):
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
            return signed.Manifest(manifest.name, items, kind)

    recorded: Any = Recorded
    return recorded()


def _library() -> tuple[Any, Any]:
    try:
        from model_signing import signing, verifying
    except ModuleNotFoundError as error:
        raise SettingsError(_("Signatures need model-signing: pip install 'ecluse[signing]'")) from error
    return signing, verifying


@contextmanager
def _reading(key: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the library raises what its own libraries raise
        raise InvalidInput(
            _(
                "%(file)s cannot be used as a key: %(error)s. Use an elliptic-curve key in PEM "
                "(P-256, P-384 or P-521).",
                file=key,
                error=_first_line(error),
            )
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
