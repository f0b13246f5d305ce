"""Make real things: of every kind one that is the owner's, and one that is the stranger's."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from fastapi import FastAPI
from sklearn.linear_model import LogisticRegression

from ecluse import models, shares
from ecluse.accounts.tokens import NewToken
from ecluse.apps.city import shared_days
from ecluse.apps.fraud.rows import inspections
from ecluse.apps.fraud.rows.tables import Dataset, Inspection, Prediction, ReferenceModel
from ecluse.apps.plants.splits import split_for
from ecluse.apps.plants.tables import Image
from ecluse.catalog.tables import Migration, Run, RunMetric, User, UserTable, new_id, now
from ecluse.client.package import pack
from ecluse.models import Origin, Reader, uploads
from ecluse.models.uploads import AnnouncedFile
from ecluse.runtime import Runtime, predictions_prefix, uploads_prefix
from ecluse.storage import join_key
from tests.apps.city.invented_documents import LAST, invented_city
from tests.apps.plants.sets import add_set
from tests.apps.plants.tiny import publish_tiny
from tests.migrating import add_reference
from tests.web import invented

MATRIX: Final = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
#: In the name of everything that is the owner's: where an answer to someone else has it, it leaked.
WORD: Final = "tarasque"
OTHER: Final = "salamander"
HANDLE: Final = "guild"
#: Things that are a person's or an organisation's, besides those that `made` for each owner.
OF_PERSONS: Final = frozenset(
    {
        "handle",
        "member",
        "invitation",
        "service",
        "service_token",
        "join_secret",
        "share",
        "share_secret",
        "shared",
        "migration_id",
        "email",
    }
)
#: Names that mean the same in the things of everyone.
SAME: Final = frozenset({"alias", "path", "index", "number"})


VERSION: Final = re.compile(r"v\d{8}_\d{6}.*")
SCORED: Final = (
    b"transaction_id,fraud_probability,fraud_prediction,risk_level,anomaly_score\nT1,0.9,1,high,0.5\n"
)


@dataclass(frozen=True)
class Things:
    """Names and ids to ask by, of the owner's things and of the stranger's; `marks` are in no answer to others. `invented` are names and
    ids of the same form that nobody has."""

    theirs: dict[str, str]
    mine: dict[str, str]
    invented: dict[str, str]
    marks: tuple[str, ...]


def make(app: FastAPI, runtime: Runtime, users: Mapping[str, User], folder: Path) -> Things:
    """Fill an installation; `users` are by the letters of who asks."""
    (folder / "packed").mkdir()
    packed = pack(LogisticRegression().fit(MATRIX, [0, 0, 1, 1]), folder / "packed", MATRIX)
    files = list(packed.folder.iterdir())
    owners = {WORD: users["t"].id, OTHER: users["s"].id}
    made = {
        word: _models(runtime, user_id, word, files, packed.metadata, folder)
        for word, user_id in owners.items()
    }
    for word, user_id in owners.items():
        made[word] |= _fraud(runtime, user_id, word, folder) | _images(runtime, user_id, word)
        made[word] |= _shown(runtime, user_id, word)
        made[word] |= _work(runtime, user_id, word) | _access(runtime, user_id)
        made[word] |= {"user_id": user_id}
    common = _of_everyone(runtime, users)
    for word, user_id in owners.items():
        made[word] |= _day_link(runtime, user_id)
    common |= _organisation(runtime, users, made[WORD])
    theirs = common | made[WORD]
    marks = {value for value in made[WORD].values() if len(value) >= 16 and not VERSION.fullmatch(value)} | {
        WORD
    }
    own = made[WORD].keys() - SAME | OF_PERSONS
    invented = {name: _nobodys(value) if name in own else value for name, value in theirs.items()}
    return Things(theirs, common | made[OTHER], invented, tuple(marks))


def _nobodys(value: str) -> str:
    """Return what has the form of an id or a name, and is nobody's."""
    if VERSION.fullmatch(value):
        return f"v2019{value[5:]}"
    return value.replace(WORD, "basilisk").replace(HANDLE, "gild") if WORD in value else f"{value[:-3]}xyz"


def _models(
    runtime: Runtime, user_id: str, word: str, files: list[Path], metadata: dict[str, Any], folder: Path
) -> dict[str, str]:
    first = models.publish(runtime, user_id, f"{word}-plain", files, metadata=metadata)
    second = models.publish(runtime, user_id, f"{word}-plain", files, metadata=metadata)
    models.set_alias(runtime, user_id, f"{word}-plain", "production", first.version)
    shared = models.publish(runtime, user_id, f"{word}-shared", files, metadata=metadata)
    models.set_alias(runtime, user_id, f"{word}-shared", "production", shared.version)
    leaves = publish_tiny(runtime, user_id, folder / f"leaves-{word}", f"{word}-leaves")
    announced = AnnouncedFile("model.onnx", 1, hashlib.sha256(b"a").hexdigest())
    upload = uploads.begin(
        runtime, user_id, f"{word}-plain", uploads.UploadRequest("nonce", (announced,), {}, None, None)
    )
    return {
        "name": f"{word}-plain",
        "version": first.version,
        "newer": second.version,
        "alias": "production",
        "reference": f"{word}-plain@production",
        "path": "ecluse.json",
        "leaves": f"{word}-leaves",
        "leaves_version": leaves.version,
        "shared_name": f"{word}-shared",
        "shared_version": shared.version,
        "upload": upload.id,
        "index": "0",
        "number": "1",
    }


def _fraud(runtime: Runtime, user_id: str, word: str, folder: Path) -> dict[str, str]:
    store = runtime.data
    table = folder / f"{word}.csv"
    table.write_text("a file of a version\n")
    ids = {
        "dataset_id": _table(runtime, user_id, word, invented.profile()),
        "unlabelled": _table(runtime, user_id, word, invented.unlabelled_tables("")[0].profile),
    }
    version = models.publish(
        runtime, user_id, f"{word}-fraud", [table], metadata={},
        origin=Origin(application="fraud", dataset_id=ids["dataset_id"], report=invented.report()),
    )  # fmt: skip
    other = models.publish(
        runtime, user_id, f"{word}-fraud", [table], metadata={},
        origin=Origin(application="fraud", dataset_id=ids["dataset_id"], report=invented.report()),
    )  # fmt: skip
    ensemble = models.publish(
        runtime, user_id, f"{word}-ensemble", [table], metadata={},
        origin=Origin(application="fraud", dataset_id=ids["unlabelled"], report=invented.ensemble_report()),
    )  # fmt: skip
    scored = store.put(join_key(predictions_prefix(user_id), f"{new_id()}.csv"), SCORED)
    values = {"user_id": user_id, "dataset_id": ids["dataset_id"], "model_name": f"{word}-fraud",
              "version": version.version, "status": "done"}  # fmt: skip
    prediction = Prediction(
        id=new_id(), key=scored.key, url=store.url_of(scored.key), size_bytes=scored.size, sha256=scored.sha256,
        rows=40, flagged=3, summary=invented.summary(), finished_at=now(), **values,
    )  # fmt: skip
    looks = [
        Inspection(
            id=new_id(),
            kind=kind,
            other_version=other.version,
            job_id=new_id(),
            **values | {"status": "queued"},
        )
        for kind in ("comparison", "questions")
    ]
    with runtime.catalog.write() as transaction:
        transaction.add(prediction)
        for look in looks:
            inspections.add_inspection(transaction, look)
    return ids | {
        "fraud": f"{word}-fraud",
        "fraud_version": version.version,
        "fraud_newer": other.version,
        "ensemble": f"{word}-ensemble",
        "ensemble_version": ensemble.version,
        "prediction_id": prediction.id,
        "prediction_key": scored.key,
        "inspection": looks[0].id,
        "questions": looks[1].id,
    }


def _images(runtime: Runtime, user_id: str, word: str) -> dict[str, str]:
    images = add_set(runtime, user_id, f"{word}-images", each=6)
    split = split_for(runtime, user_id, images.id)
    with runtime.catalog.read() as transaction:
        image = transaction.query(Image).filter(Image.set_id == images.id).order_by(Image.origin).first()
        assert image is not None
    return {"set_id": images.id, "set_name": images.name, "image_id": image.id, "split_id": split.id}


def _shown(runtime: Runtime, user_id: str, word: str) -> dict[str, str]:
    """Of each kind that applications declare one that is to be shared."""
    images = add_set(runtime, user_id, f"{word}-shown", each=2)
    scored = runtime.data.put(join_key(predictions_prefix(user_id), f"{new_id()}.csv"), SCORED)
    prediction = Prediction(
        id=new_id(), user_id=user_id, model_name=f"{word}-fraud", version="v20250101_000000", status="done",
        key=scored.key, url=runtime.data.url_of(scored.key), size_bytes=scored.size, sha256=scored.sha256,
        rows=40, flagged=3, summary=invented.summary(), finished_at=now(),
    )  # fmt: skip
    with runtime.catalog.write() as transaction:
        image = transaction.query(Image).filter(Image.set_id == images.id).order_by(Image.origin).first()
        assert image is not None
        transaction.add(prediction)
    return {
        "shared_set": images.id,
        "shared_image": image.id,
        "shared_prediction": prediction.id,
        "shared_dataset": _table(runtime, user_id, word, invented.profile()),
    }


def _table(runtime: Runtime, user_id: str, word: str, profile: dict[str, Any] | None) -> str:
    """A table of fraud that was read."""
    rows = "transaction_id,amount,is_fraud\n" + "".join(f"T{n},{n}.5,{n % 2}\n" for n in range(40))
    stored = runtime.data.put(join_key(uploads_prefix(user_id), f"{new_id()}.csv"), rows.encode())
    row = Dataset(
        id=new_id(), user_id=user_id, filename=f"{word}.csv", key=stored.key, url=runtime.data.url_of(stored.key),
        size_bytes=stored.size, sha256=stored.sha256, state="ready", rows=40, profile=profile,
    )  # fmt: skip
    with runtime.catalog.write() as transaction:
        transaction.add(row)
    return row.id


def _work(runtime: Runtime, user_id: str, word: str) -> dict[str, str]:
    """Runs, a job that waits, and a table."""
    own = Run(
        id=new_id(), user_id=user_id, application="client", kind="own", name=f"{word}-plain", nonce=new_id()
    )
    own.status = "running"
    done = Run(id=new_id(), user_id=user_id, application="fraud", kind="search", name=f"{word}-search")
    done.status = "done"
    job = runtime.jobs.enqueue("profile", "profile", user_id, f"{word} is read", {"dataset_id": new_id()})
    rows = io.BytesIO()
    pl.DataFrame({"column_0": [1.0], "column_1": [2.0]}).write_parquet(rows)
    stored = runtime.data.put(
        join_key("user_data", user_id, "tables", f"{new_id()}.parquet"), rows.getvalue()
    )
    table = UserTable(
        id=new_id(), user_id=user_id, name=f"{word}.parquet", rows=1, key=stored.key,
        columns=[{"name": "column_0", "type": "Float64"}, {"name": "column_1", "type": "Float64"}],
        url=runtime.data.url_of(stored.key), size_bytes=stored.size, sha256=stored.sha256,
    )  # fmt: skip
    with runtime.catalog.write() as transaction:
        transaction.add_all([own, done, table])
        transaction.flush()
        transaction.add(RunMetric(run_id=own.id, name="loss", step=1, value=0.5))
    return {"run": own.id, "run_id": own.id, "done": done.id, "job": job, "job_id": job, "table": table.id}


def _access(runtime: Runtime, user_id: str) -> dict[str, str]:
    accounts = runtime.accounts
    _, token = accounts.create_token(user_id, "nightly")
    accounts.open_session(user_id, "Firefox")
    return {
        "token_id": token.id,
        "session_id": accounts.sessions(user_id)[0].id,
        "sign_in_secret": accounts.sign_in_link(user_id),
    }


def _of_everyone(runtime: Runtime, users: Mapping[str, User]) -> dict[str, str]:
    """The city, the library of references, and a migration of the administrator's."""
    runtime.documents.put_many(invented_city(days=2))
    alert = runtime.documents.get("metrics/alerts", LAST.isoformat())["alerts"][0]
    migration = Migration(id=new_id(), user_id=users["a"].id, source="memory://a", destination="memory://b")
    with runtime.catalog.write() as transaction:
        transaction.add(migration)
    add_reference(runtime, b"a model")
    with runtime.catalog.read() as transaction:
        library = transaction.query(ReferenceModel.name).scalar()
    return {
        "day": LAST.isoformat(),
        "before": date(LAST.year, LAST.month, LAST.day - 1).isoformat(),
        "kind": "traffic",
        "kind_or_day": "traffic",
        "arc": "101",
        "counter": "none",
        "export": "hours",
        "form": "csv",
        "alert": str(alert.get("id", "0")),
        "library": library,
        "tables": "tables",
        "kind_of_sets": "plants_sets",
        "kind_of_results": "fraud_results",
        "kind_of_tables": "fraud_tables",
        "migration_id": migration.id,
        "plan": "basic",
        "none": "none",
        "upload_id": "none",
    }


def _day_link(runtime: Runtime, user_id: str) -> dict[str, str]:
    """A link to the report of a day."""
    with runtime.catalog.read() as transaction:
        maker = transaction.get_one(User, user_id)
    link, secret = shared_days.share(runtime, maker, LAST)
    return {"day_link": link.id, "day_secret": secret}


def _organisation(runtime: Runtime, users: Mapping[str, User], made: Mapping[str, str]) -> dict[str, str]:
    """An organisation with an owner, a member and a viewer, with which things of their owner are shared."""
    shared = made["shared_name"]
    accounts, owner = runtime.accounts, users["o"].id
    accounts.add_organisation(owner, HANDLE)
    for letter, role in (("m", "member"), ("v", "viewer")):
        accounts.accept_invitation(users[letter].id, accounts.invite(owner, HANDLE, role)[0])
    joined, _ = accounts.invite(owner, HANDLE)
    _, invitation = accounts.invite(owner, HANDLE, "viewer")
    service = accounts.add_service(owner, HANDLE, "bot", "member").id
    _, service_token = accounts.create_service_token(owner, HANDLE, service, NewToken("t"))
    theirs = users["t"].id
    accounts.accept_invitation(theirs, accounts.invite(owner, HANDLE, "viewer")[0])
    share, _ = models.share(runtime, theirs, shared, Reader(organisation=HANDLE))
    for kind, id_ in (
        ("plants_sets", made["shared_set"]),
        ("fraud_results", made["shared_prediction"]),
        ("fraud_tables", made["shared_dataset"]),
    ):
        shares.share_by_id(runtime.catalog, theirs, kind, id_, Reader(organisation=HANDLE))
    accounts.remove_member(owner, HANDLE, theirs)
    _, secret = models.share(runtime, theirs, shared, Reader())
    assert secret is not None
    return {
        "handle": HANDLE,
        "member": users["m"].id,
        "viewer": users["v"].id,
        "invitation": invitation.id,
        "service": service,
        "service_token": service_token.id,
        "join_secret": joined,
        "share": share.id,
        "share_secret": secret,
        "shared": f"@{users['t'].handle}~{shared}",
        "email": users["t"].email,
        "digest": base64.b64encode(hashlib.sha256(b"a").digest()).decode(),
        "announced": json.dumps({"path": "a", "size": 1, "sha256": hashlib.sha256(b"a").hexdigest()}),
    }
