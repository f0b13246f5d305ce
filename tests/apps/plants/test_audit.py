"""An audit finds what is wrong with a set; splits and exports go by what is right."""

from __future__ import annotations

import csv
import io
import json
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import looks
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.audit import balance_warnings, findings_of, start_audit
from ecluse.apps.plants.demo import COPIES, WRONG, write_demo
from ecluse.apps.plants.exporting import TABLE, export_folder, zip_chunks
from ecluse.apps.plants.importing import import_images
from ecluse.apps.plants.rows import Filter
from ecluse.apps.plants.sources.folders import open_folder
from ecluse.apps.plants.splits import manifest_of, split_for
from ecluse.apps.plants.suspects import judge_labels
from ecluse.apps.plants.tables import Image, ImageSet
from ecluse.catalog.tables import User
from ecluse.errors import DigestMismatch, InvalidInput, NotFound
from ecluse.jobs import Job
from ecluse.runtime import Runtime, Worker
from ecluse.work import kinds
from tests.support.jobs import ended_job
from tests.support.wait import wait_until

IN_USE = Filter(states=("valid",))


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "leaves"
    write_demo(folder, each=20, seed=1)
    return folder


@pytest.fixture
def user(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


@pytest.fixture
def imported(runtime: Runtime, user: User, leaves: Path) -> ImageSet:
    row = workflows.make_set(runtime, user.id, "leaves")
    import_images(runtime, user.id, row.id, open_folder(leaves))
    return row


@contextmanager
def worker(runtime: Runtime) -> Iterator[None]:
    running = Worker(runtime, kinds())
    running.start()
    try:
        yield
    finally:
        running.stop()
        running.close()


def ended(runtime: Runtime, user: User, job_id: str) -> Job:
    return ended_job(runtime, user.id, job_id)


def _rows(runtime: Runtime, user: User, row: ImageSet, wanted: Filter = IN_USE) -> list[Image]:
    with runtime.catalog.read() as transaction:
        return images.list_images(transaction, user.id, row.id, wanted, limit=None)


def test_an_audit_groups_the_copies_judges_every_label_and_leaves_relabelled_images_alone(
    runtime: Runtime, user: User, imported: ImageSet, leaves: Path
) -> None:
    with runtime.catalog.write() as transaction:
        (out,) = images.find_images(transaction, user.id, imported.id, [_copies(leaves)[0][0]])
        images.set_state(transaction, user.id, imported.id, [out.id], "excluded")
    with worker(runtime):
        job_id = start_audit(runtime, user.id, imported.id)
        assert ended(runtime, user, job_id).status == "done"
    rows = {row.origin: row for row in _rows(runtime, user, imported, Filter())}
    for copy, first in _copies(leaves):
        assert rows[copy].group == rows[first].group is not None
    assert Counter(row.group for row in rows.values() if row.group).total() == 2 * COPIES
    assert all((row.suspicion is None) == (row.state == "excluded") for row in rows.values())
    found = findings_of(runtime, user.id, imported.id)
    assert found.near_duplicates == 2 * (COPIES - 1)  # one of a pair is out of use
    suspects = _rows(runtime, user, imported, Filter(states=("valid",), suspects=True))
    assert found.suspects == len(suspects) > 0
    assert workflows.find_set(runtime, user.id, "leaves").audited_at is not None
    one = suspects[0]
    workflows.relabel(runtime, user.id, imported.id, [one.id], one.suggested_label or "")
    with runtime.catalog.write() as transaction:  # as an audit that began before would say
        images.set_suspicions(transaction, imported.id, [(one.id, one.label, 0.99, one.suggested_label)])
    assert findings_of(runtime, user.id, imported.id).suspects == len(suspects) - 1


@pytest.mark.nightly
def test_the_same_images_are_judged_alike_after_every_import(
    runtime: Runtime, user: User, imported: ImageSet, leaves: Path, tmp_path: Path
) -> None:
    """Ids, names and their order differ; the images do not."""
    for file in (path for path in leaves.rglob("*") if path.is_file()):
        other = tmp_path / "other" / file.relative_to(leaves)
        other.parent.mkdir(parents=True, exist_ok=True)
        other.with_stem(file.stem[::-1]).write_bytes(file.read_bytes())
    again = workflows.make_set(runtime, user.id, "other")
    import_images(runtime, user.id, again.id, open_folder(tmp_path / "other"))
    with worker(runtime):
        for row in (imported, again):
            assert ended(runtime, user, start_audit(runtime, user.id, row.id)).status == "done"
    first, second = (
        {(row.sha256, row.label): (row.suspicion, row.suggested_label) for row in _rows(runtime, user, one)}
        for one in (imported, again)
    )
    shared = first.keys() & second.keys()
    assert len(shared) == len(first)
    assert {key: first[key] for key in shared} == {key: second[key] for key in shared}


def test_a_suspect_that_a_person_confirms_leaves_and_no_later_audit_doubts_it(
    runtime: Runtime, user: User, imported: ImageSet
) -> None:
    one, other = _rows(runtime, user, imported)[:2]

    def audited(row: Image, label: str, suggested: str) -> int:
        with runtime.catalog.write() as transaction:
            images.set_suspicions(transaction, imported.id, [(row.id, label, 0.9, suggested)])
        return findings_of(runtime, user.id, imported.id).suspects

    assert audited(one, one.label, "another") == 1
    assert workflows.relabel(runtime, user.id, imported.id, [one.id], one.label) == 0, (
        "none had another label"
    )
    assert findings_of(runtime, user.id, imported.id).suspects == 0
    assert audited(one, one.label, "another") == 0, "the next audit"
    assert audited(other, other.label, "another") == 1
    workflows.relabel(runtime, user.id, imported.id, [other.id], "another")
    assert audited(other, "another", other.label) == 0, "a person chose it"


def test_an_audit_that_goes_on_is_joined(
    runtime: Runtime, user: User, imported: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, usable = threading.Event(), looks.usable

    def waiting(*arguments: str) -> list[Image]:
        assert going.wait(60)
        return usable(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(looks, "usable", waiting)
    with worker(runtime):
        job_id = start_audit(runtime, user.id, imported.id)
        wait_until(lambda: runtime.jobs.get(user.id, job_id).status != "queued", "a worker for the job")
        assert start_audit(runtime, user.id, imported.id) == job_id
        with runtime.catalog.write() as transaction:  # what came since has to be looked at as well
            images.set_imported(transaction, imported.id, {})
        later = start_audit(runtime, user.id, imported.id)
        assert later != job_id
        runtime.jobs.cancel(user.id, later)
        going.set()
        assert ended(runtime, user, job_id).status == "done"


def _copies(folder: Path) -> list[tuple[str, str]]:
    with (folder / WRONG).open(newline="") as table:
        told = [row for row in csv.reader(table) if row[1].startswith("copy of ")]
    return [(name, said.removeprefix("copy of ").split(":")[0]) for name, said in told]


def test_an_audit_that_waits_is_not_queued_twice_and_needs_images(
    runtime: Runtime, user: User, imported: ImageSet
) -> None:
    assert start_audit(runtime, user.id, imported.id) == start_audit(runtime, user.id, imported.id)
    empty = workflows.make_set(runtime, user.id, "empty")
    with pytest.raises(InvalidInput, match="has no images yet"):
        start_audit(runtime, user.id, empty.id)
    with pytest.raises(NotFound):
        start_audit(runtime, "someone_else", imported.id)


def test_an_image_that_is_gone_from_the_store_is_named_with_the_way_out(
    runtime: Runtime, user: User, imported: ImageSet, tmp_path: Path
) -> None:
    row = _rows(runtime, user, imported)[3]
    located = runtime.stores.locate(row.url)
    located.store.put(located.key, b"another")
    with worker(runtime):
        job = ended(runtime, user, start_audit(runtime, user.id, imported.id))
    assert job.status == "failed"
    assert f"ecluse plants exclude SET {row.id}" in (job.error or "")
    with pytest.raises(DigestMismatch, match=row.origin.rpartition("/")[2]):
        export_folder(runtime, user.id, imported.id, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []
    with pytest.raises(DigestMismatch):
        b"".join(zip_chunks(runtime, user.id, imported.id))


def test_a_split_is_used_again_until_the_set_changes_and_then_goes_on_from_it(
    runtime: Runtime, user: User, imported: ImageSet
) -> None:
    first = split_for(runtime, user.id, imported.id)
    assert split_for(runtime, user.id, imported.id).id == first.id
    manifest = manifest_of(runtime, first)
    assert Counter(manifest["parts"].values()).keys() == {"train", "validation", "test"}
    assert manifest["labels"] == ["healthy", "spotted"]
    changed = _rows(runtime, user, imported)[0]
    workflows.relabel(runtime, user.id, imported.id, [changed.id], "spotted")
    second = split_for(runtime, user.id, imported.id)
    assert (second.id, second.data_digest) != (first.id, first.data_digest)
    assert manifest_of(runtime, second)["parts"] == manifest["parts"]
    assert manifest_of(runtime, second)["from"] == first.id
    workflows.set_state(runtime, user.id, imported.id, [changed.id], "excluded")
    third = manifest_of(runtime, split_for(runtime, user.id, imported.id))
    assert third["parts"] == {k: v for k, v in manifest["parts"].items() if k != changed.sha256}
    shares = {"train": 0.5, "validation": 0.25, "test": 0.25}
    other = split_for(runtime, user.id, imported.id, shares=shares)  # type: ignore[arg-type]
    assert manifest_of(runtime, other)["from"] is None
    assert split_for(runtime, user.id, imported.id).id == other.id
    assert split_for(runtime, user.id, imported.id, seed=7).seed == 7


def test_copies_are_on_one_side_of_a_split_that_is_made_before_any_audit(
    runtime: Runtime, user: User, imported: ImageSet, leaves: Path
) -> None:
    digests = {row.origin: row.sha256 for row in _rows(runtime, user, imported)}
    for seed in range(4):
        parts = manifest_of(runtime, split_for(runtime, user.id, imported.id, seed=seed))["parts"]
        assert all(parts[digests[copy]] == parts[digests[first]] for copy, first in _copies(leaves))


def test_a_manifest_that_was_changed_in_the_store_is_not_believed(
    runtime: Runtime, user: User, imported: ImageSet
) -> None:
    split = split_for(runtime, user.id, imported.id)
    located = runtime.stores.locate(split.url)
    told = json.loads(located.store.get(located.key))
    told["parts"] = dict.fromkeys(told["parts"], "train")
    located.store.put(located.key, json.dumps(told).encode())
    with pytest.raises(DigestMismatch, match="Split anew"):
        split_for(runtime, user.id, imported.id)


def test_what_is_exported_can_be_imported_again_as_the_same_set(
    runtime: Runtime, user: User, imported: ImageSet, tmp_path: Path
) -> None:
    split = split_for(runtime, user.id, imported.id)
    out = _rows(runtime, user, imported)[5]
    workflows.set_state(runtime, user.id, imported.id, [out.id], "excluded")
    workflows.relabel(
        runtime, user.id, imported.id, [_rows(runtime, user, imported)[6].id], '=1+2 "È/è"'.replace("/", " ")
    )
    count = export_folder(runtime, user.id, imported.id, tmp_path / "deep" / "out")
    kept = _rows(runtime, user, imported)
    assert count == len(kept)
    with (tmp_path / "deep/out" / TABLE).open(newline="", encoding="utf-8-sig") as table:
        rows = {row["sha256"]: row for row in csv.DictReader(table)}
    assert rows.keys() == {row.sha256 for row in kept}
    parts = manifest_of(runtime, split)["parts"]
    for row in kept:
        assert rows[row.sha256]["part"] == parts[row.sha256]
        assert rows[row.sha256]["label"].lstrip("'") == row.label
        assert (tmp_path / "deep/out" / rows[row.sha256]["file"]).is_file()
    packed = zipfile.ZipFile(io.BytesIO(b"".join(zip_chunks(runtime, user.id, imported.id))))
    assert packed.testzip() is None
    for name in packed.namelist():
        assert packed.read(name) == (tmp_path / "deep/out" / name).read_bytes()
    again = workflows.make_set(runtime, user.id, "again")
    import_images(runtime, user.id, again.id, open_folder(tmp_path / "deep/out"))
    assert {row.sha256 for row in _rows(runtime, user, again)} == rows.keys()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_export_overwrites_nothing(
    runtime: Runtime, user: User, imported: ImageSet, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="is not empty"):
        export_folder(runtime, user.id, imported.id, tmp_path)
    empty = workflows.make_set(runtime, user.id, "empty")
    with pytest.raises(NotFound, match="nothing to export"):
        zip_chunks(runtime, user.id, empty.id)


def test_exchanged_labels_are_suspect_and_few_others() -> None:
    rng = np.random.default_rng(2)
    truth = np.repeat([0, 1, 2], 60)
    features = rng.standard_normal((180, 600)).astype(np.float32)
    features += 1.2 * (np.arange(600) // 100 == truth[:, None])
    given = truth.copy()
    exchanged = rng.choice(180, 10, replace=False)
    given[exchanged] = (truth[exchanged] + 1) % 3
    names = ["ash", "birch", "cedar"]
    judged = judge_labels(features, [names[one] for one in given], [str(n) for n in range(180)])
    suspects = {n for n, one in enumerate(judged) if one is not None and one.suggested is not None}
    found = suspects & set(exchanged.tolist())
    assert len(found) >= 7
    assert len(suspects - found) <= 2
    assert all(judged[n].suggested == names[truth[n]] for n in found)  # type: ignore[union-attr]


def test_a_copy_does_not_speak_for_the_label_of_its_original() -> None:
    """Each image is there twice with the same wrong label; a model that saw the copy would agree."""
    rng = np.random.default_rng(2)
    once = rng.standard_normal((60, 200)).astype(np.float32)
    truth = np.arange(60) % 2
    once[:, :40] += 1.2 * truth[:, None]
    given = np.concatenate([1 - truth[:3], truth[3:]])
    judged = judge_labels(
        np.concatenate([once, once]),
        ["ab"[one] for one in (*given, *given)],
        [str(n) for n in (*range(60), *range(60))],
    )
    assert all(one is not None and one.suspicion > 0.7 for one in (*judged[:3], *judged[60:63]))


def test_of_a_label_with_too_few_images_nothing_is_said() -> None:
    features = np.random.default_rng(0).standard_normal((42, 5)).astype(np.float32)
    labels = ["a"] * 20 + ["b"] * 20 + ["rare"] * 2
    judged = judge_labels(features, labels, [str(n) for n in range(42)])
    assert judged[40:] == [None, None]
    assert None not in judged[:40]
    assert judge_labels(features[:20], labels[:20], [str(n) for n in range(20)]) == [None] * 20


def test_an_uneven_set_is_warned_of() -> None:
    assert balance_warnings({"a": 40, "b": 50}) == ()
    assert len(balance_warnings({"a": 4, "b": 50})) == 2
    assert "the set has 1" in balance_warnings({"a": 40})[0]
