"""Fill a runtime with tables, results and models, and check that every row leads to what it says it does."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ecluse.apps.fraud.rows import datasets, predictions
from ecluse.apps.fraud.rows.tables import Dataset, Prediction, ReferenceModel
from ecluse.catalog import files, models, runs
from ecluse.catalog.tables import File, ModelVersion, Run, new_id
from ecluse.errors import EcluseError
from ecluse.runtime import Runtime, predictions_prefix, uploads_prefix
from ecluse.storage import ObjectStore, join_key

#: Every table whose rows point at objects.
TABLES = ("datasets", "predictions", "model_versions", "runs", "reference_models")


@dataclass(frozen=True)
class Sizes:
    """How much to put in: models with files of so many bytes each, and tables."""

    models: int = 3
    files: int = 3
    file_bytes: int = 20_000
    tables: int = 3


def fill(runtime: Runtime, sizes: Sizes = Sizes(), seed: int = 1) -> str:
    """Make a user with tables, results, published models and one of the shared library; the user's id."""
    user_id = runtime.accounts.add(f"{new_id()}@example.org", admin=True).id
    draw = random.Random(seed)
    for number in range(sizes.tables):
        add_table(runtime, user_id, draw.randbytes(5_000 + number))
    with tempfile.TemporaryDirectory() as name:
        for number in range(sizes.models):
            folder = Path(name) / f"model{number}"
            write_files(folder, sizes.files, sizes.file_bytes, draw)
            publish(runtime, user_id, f"model_{number}", folder)
    add_reference(runtime, draw.randbytes(3_000))
    return user_id


def write_files(folder: Path, count: int, size: int, draw: random.Random) -> None:
    (folder / "parts").mkdir(parents=True)
    for number in range(count):
        (folder / "parts" / f"é {number}.bin").write_bytes(draw.randbytes(size + number))


def add_table(runtime: Runtime, user_id: str, data: bytes) -> Dataset:
    """A table with a result made from it."""
    store, name = runtime.data, new_id()
    stored = store.put(join_key(uploads_prefix(user_id), f"{name}.csv"), data)
    result = store.put(join_key(predictions_prefix(user_id), f"{name}.csv"), data[::-1])
    dataset = Dataset(
        user_id=user_id,
        filename="t.csv",
        key=stored.key,
        url=store.url_of(stored.key),
        size_bytes=stored.size,
        sha256=stored.sha256,
        state="ready",
    )
    with runtime.catalog.write() as transaction:
        datasets.add_dataset(transaction, dataset)
        predictions.add_prediction(
            transaction,
            Prediction(
                user_id=user_id,
                dataset_id=dataset.id,
                model_name="model_0",
                version="v20251101_000000",
                status="done",
                key=result.key,
                url=store.url_of(result.key),
                size_bytes=result.size,
                sha256=result.sha256,
            ),
        )
    return dataset


def publish(runtime: Runtime, user_id: str, name: str, folder: Path) -> ModelVersion:
    """A version with its rows: the version itself, and the training it came from."""
    registry = runtime.registry(user_id)
    manifest = registry.publish(name, folder, created_by=user_id, nonce=new_id(), metadata={})
    url = registry.url_of(name, manifest.version)
    row = ModelVersion(
        user_id=user_id,
        name=name,
        version=manifest.version,
        prefix=join_key("user_models", user_id, name, manifest.version),
        url=url,
        size_bytes=manifest.size,
        manifest_digest=hashlib.sha256(manifest.to_json()).hexdigest(),
    )
    run = Run(
        user_id=user_id,
        application="fraud",
        kind="search",
        name=name,
        version=manifest.version,
        status="done",
        url=url,
    )
    with runtime.catalog.write() as transaction:
        models.add_version(transaction, row)
        runs.add_run(transaction, run)
    return row


def add_reference(runtime: Runtime, data: bytes) -> None:
    """A model of the shared library."""
    registry, name = runtime.registry_in("automl_models"), new_id()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.skops").write_bytes(data)
        manifest = registry.publish(name, Path(folder), created_by="", nonce=new_id(), metadata={})
    with runtime.catalog.write() as transaction:
        transaction.add(
            ReferenceModel(
                name=name,
                domain="cards",
                columns=[],
                performance={},
                prefix=f"automl_models/{name}/{manifest.version}",
                url=registry.url_of(name, manifest.version),
            )
        )


def check_rows(runtime: Runtime, gone: Collection[str] = ()) -> dict[str, int]:
    """Read all that every row points at, and compare it with what the row knows; rows by the root they point to.

    A row that was switched while it was looked at is looked at again. Nothing lies where those point that are `gone`.

    Raises:
        EcluseError, AssertionError: a row leads to nothing, or to something else.
    """
    roots: dict[str, int] = {}
    for file in all_files(runtime):
        if file.row in gone:
            continue
        address = file.url
        while True:
            try:
                check_file(runtime, file, address)
            except (EcluseError, AssertionError):
                with runtime.catalog.read() as transaction:
                    now = files.find(transaction, files.key_of(file))
                if now is None or now.url == address:
                    raise
                address = now.url
            else:
                break
        scheme = address.partition(":")[0]
        roots[scheme] = roots.get(scheme, 0) + 1
    return roots


def check_file(runtime: Runtime, file: File, address: str) -> None:
    if file.is_version:
        _, name, version = address.rsplit("/", 2)
        manifest = runtime.registry_at(address).verify(name, version)
        digest = hashlib.sha256(manifest.to_json()).hexdigest()
        assert file.sha256 in (None, digest), file.row
    elif file.form == "folder":
        located = runtime.stores.locate(address)
        assert any(located.store.list(located.key)), file.row
    else:
        located = runtime.stores.locate(address)
        assert hashlib.sha256(located.store.get(located.key)).hexdigest() == file.sha256, file.row


def all_files(runtime: Runtime) -> list[File]:
    with runtime.catalog.read() as transaction:
        return list(files.files(transaction))


@dataclass(frozen=True)
class Pointer:
    """Where a file of a row lies, to be compared with where it lay before."""

    table: str
    row_id: str
    url: str
    sha256: str | None
    size: int | None


def all_pointers(runtime: Runtime) -> list[Pointer]:
    return [
        Pointer(file.table_name, file.row_id, file.url, file.sha256, file.size_bytes)
        for file in all_files(runtime)
    ]


def contents(store: ObjectStore, prefix: str = "") -> dict[str, str]:
    """Key → SHA-256 of everything that lies there."""
    return {
        info.key: hashlib.sha256(b"".join(store.stream(info.key))).hexdigest() for info in store.list(prefix)
    }
