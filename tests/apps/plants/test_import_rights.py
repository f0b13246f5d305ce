"""Who may import from which address: one's own, what an administrator lists; all else is refused in the same words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants.actions import Source
from ecluse.apps.plants.sources.stores import importable
from ecluse.catalog.tables import User
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.apps.plants.photos import folder_of, photo
from tests.apps.plants.test_import_jobs import worker
from tests.apps.plants.test_importing import rows_of
from tests.servers import ObjectServer
from tests.support.jobs import ended_job


@pytest.fixture
def member(runtime: Runtime) -> User:
    runtime.accounts.local_administrator()
    return runtime.accounts.add("member@example.org")


def listing(runtime: Runtime, *places: str) -> Runtime:
    """The same server where an administrator lists places."""
    settings = Settings.from_environment(
        {"ECLUSE_IMPORT_FROM": ", ".join(places)}, home=runtime.settings.home
    )
    return replace(runtime, settings=settings)


def refusals(runtime: Runtime, user: User, places: list[str]) -> set[str]:
    """How each place is refused, without its name."""
    said = set()
    for place in places:
        with pytest.raises(InvalidInput) as error:
            importable(runtime, user.id, place)
        said.add(str(error.value).replace(place, "PLACE"))
    return said


def test_a_member_imports_what_is_theirs_and_nothing_else_of_the_stores(
    runtime: Runtime, member: User, tmp_path: Path
) -> None:
    """The artifacts of all trainings in `mlflow`, reference models, raw data, another's images: each was a set away."""
    store, root = runtime.data, runtime.data.url.rstrip("/")
    there = [
        "mlflow/1/artifacts/a.png",
        "raw/a.png",
        "automl_models/x/v1/a.png",
        "user_data/other/images/s/a.png",
    ]
    for key in there:
        store.put(key, photo(1))
    own = f"{root}/user_data/{member.id}"
    for place in (f"{own}/uploads", f"{own}/uploads/", own, f"{root}/user_models/{member.id}/leaves"):
        assert importable(runtime, member.id, place) == place.rstrip("/")
    link = tmp_path / "link"
    link.symlink_to(Path(root.removeprefix("file://")))
    folders = [f"{root}/{key.rsplit('/', 1)[0]}" for key in there]
    refused = [
        *folders, *(f"{folder}/" for folder in folders), root, f"{root}/", f"{root}/nothing",
        f"{own}/../other", f"{own}/%2e%2e/other", f"{own}x", f"{root}/USER_DATA/other", f"file://{link}/mlflow",
        str(link), f"FILE://{link}/mlflow", "file:///", "/", f"file://{runtime.settings.home}",
        f"file://{tmp_path}/nothing", "s3://elsewhere/photos", "s3://elsewhere/nothing", "gs://b/x", "az://b/x",
        "memory://", "memory://x", f"s3://elsewhere/user_data/{member.id}", f"/{'x' * 300}",
    ]  # fmt: skip
    assert refusals(runtime, member, refused) == {
        "PLACE is none of the places that you may import images from. Upload the images, or ask an administrator, who "
        "can import them or list the place in ECLUSE_IMPORT_FROM."
    }


def test_a_member_imports_from_what_an_administrator_lists(
    runtime: Runtime, member: User, tmp_path: Path
) -> None:
    photos = folder_of(tmp_path / "photos", {"a/1.jpg": photo(1)})
    folder_of(tmp_path / "private", {"a/1.jpg": photo(2)})
    (photos / "out").symlink_to(tmp_path / "private")
    root = runtime.data.url.rstrip("/")
    runtime = listing(runtime, f"{photos}/", "s3://shared/photos", f"{root}/open", "s3://all")
    for place in (photos, f"file://{photos}", f"{photos}/a/", f"{photos}/a/../a"):
        assert importable(runtime, member.id, str(place)).startswith(f"file://{photos}")
    for place in (
        "s3://shared/photos",
        "S3://shared/photos/",
        "s3://shared/photos/a b",
        f"{root}/open/x",
        "s3://all/x",
    ):
        importable(runtime, member.id, place)
    refused = [
        f"{photos}/out", f"{photos}/../private", f"file://{photos}/%2e%2e/private", f"{photos}2", str(tmp_path),
        "s3://shared/photos2", "s3://shared", "s3://Shared/photos", "s3://shared/Photos", "s3://shared/ph%6ftos",
        "gs://shared/photos", f"{root}/open2",
    ]  # fmt: skip
    assert len(refusals(runtime, member, refused)) == 1
    for place in ("s3://shared/photos/../private", "s3://shared//photos", "s3:///shared/photos", "s3://sha%72ed/photos",
                  "s3://shared/photos/%2e%2e/x", "https://s3.example.org/shared/photos"):  # fmt: skip
        with pytest.raises(InvalidInput):
            importable(runtime, member.id, place)


def test_what_users_have_and_the_home_stay_closed_whatever_is_listed(runtime: Runtime, member: User) -> None:
    home, root = runtime.settings.home, runtime.data.url.rstrip("/")
    wide = listing(runtime, "/", str(home.parent))
    refused = [str(home), str(home.parent), "/", f"{home}/scratch", root, f"{root}/user_data/other"]
    assert len(refusals(wide, member, refused)) == 1
    importable(listing(runtime, f"{root}/open"), member.id, f"{root}/open/a")


def test_an_administrator_names_a_bucket_by_its_one_name(runtime: Runtime) -> None:
    """`s3:///bucket` reaches the bucket as well, past the comparison with what users have there."""
    administrator = runtime.accounts.local_administrator()
    for place in ("s3:///bucket/user_data/x", "s3://buck%65t/user_data/x", "s3://b@cket/x"):
        with pytest.raises(InvalidInput):
            importable(runtime, administrator.id, place, at_terminal=True)
    assert importable(runtime, administrator.id, "s3://elsewhere/photos") == "s3://elsewhere/photos"


def test_a_job_imports_with_the_right_that_its_owner_has_when_it_runs(
    runtime: Runtime, tmp_path: Path
) -> None:
    administrator = runtime.accounts.local_administrator()
    runtime.data.put("photos/a/1.jpg", photo(1))
    row = workflows.make_set(runtime, administrator.id, "leaves")
    place = runtime.data.url_of("photos")
    job_id = workflows.start_import(runtime, administrator.id, row.id, Source(place, "photos"))
    with runtime.catalog.write() as transaction:
        found = transaction.get(User, administrator.id)
        assert found is not None
        found.role = "member"
    with worker(runtime):
        ended_job(runtime, administrator.id, job_id)
    job = runtime.jobs.get(administrator.id, job_id)
    assert (job.status, rows_of(runtime, row)) == ("failed", {})
    assert "may import images from" in (job.error or "")
    # One that a command on this machine queued for a member goes on.
    by_command = Source(place, "photos", at_terminal=True)
    job_id = workflows.start_import(runtime, administrator.id, row.id, by_command)
    with worker(runtime):
        ended_job(runtime, administrator.id, job_id)
    assert list(rows_of(runtime, row)) == ["a/1.jpg"]


def test_a_percent_sign_in_a_key_is_no_other_key(tmp_path: Path, object_server: ObjectServer) -> None:
    settings = Settings.from_environment(object_server.environment("percent"), home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        user = runtime.accounts.local_administrator()
        runtime.data.put("user_data/other/images/s/1.jpg", photo(1))
        place = f"{runtime.data.url.rstrip('/')}/user%5Fdata/other"
        assert list(runtime.stores.folder(importable(runtime, user.id, place)).list()) == []
