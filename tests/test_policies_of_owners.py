"""The store's own policies hold for what organisations own as for what people do, enforced by SeaweedFS.

A key that is bound to one owner reads what is that owner's, and nothing of another: not of one whose id begins alike, and
not of an organisation to which the person belongs.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from ecluse.apps.hosted.files import prefix_of
from ecluse.apps.plants.actions import images_prefix
from ecluse.apps.plants.splits import splits_prefix
from ecluse.checkpoints import checkpoints_prefix
from ecluse.errors import ObjectNotFound, StoreUnavailable
from ecluse.runtime import Runtime, models_prefix, predictions_prefix, uploads_prefix
from ecluse.servers import BUCKETS
from ecluse.settings import Access, Settings
from ecluse.storage import ObjectStore, ensure_bucket, open_store
from tests.test_deploy import DEPLOY, until_it_works, weed

ROLES = ("web", "worker")
VERSION = "mark/v20260101_000000"


@dataclass(frozen=True)
class Bound:
    """The store of the deployment, the key of each role and of each owner, and the owners by what they are."""

    endpoint: str
    keys: dict[str, tuple[str, str]]
    owners: dict[str, str]

    def access(self, who: str) -> Access:
        key, secret = self.keys[who]
        environ = {"S3_ENDPOINT": self.endpoint, "S3_ACCESS_KEY": key, "S3_SECRET_KEY": secret}
        return Settings.from_environment(environ).access

    def store(self, who: str, bucket: str) -> ObjectStore:
        return open_store(f"s3://{bucket}", self.access(who))


def keys_of(owner: str) -> list[tuple[str, str]]:
    """The bucket and a key of everything that an owner may have, by the functions that build them."""
    data = [
        f"{prefix}/mark"
        for prefix in (
            uploads_prefix(owner),
            predictions_prefix(owner),
            splits_prefix(owner),
            prefix_of(owner, "words"),
            checkpoints_prefix(owner, "job"),
            f"user_data/{owner}/tables",
        )
    ]
    return [
        *(("data", key) for key in data),
        ("plants-images", f"{images_prefix(owner, 'set')}/mark.jpg"),
        ("models", f"{models_prefix(owner)}/{VERSION}/model.bin"),
    ]


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bound]:
    folder = tmp_path_factory.mktemp("policies")
    with Runtime.open(Settings.from_environment({}, home=folder / "home")) as runtime:
        accounts = runtime.accounts
        person, other = (accounts.add(f"{name}@example.org").id for name in ("anna", "ben"))
        organisation = accounts.add_organisation(person, "acme").id
    owners = {"person": person, "organisation": organisation, "other": other, "alike": f"{person}x"}
    owners["organisation alike"] = f"{organisation}x"
    texts = {role: (DEPLOY / "iam" / f"{role}.json").read_text() for role in ROLES}
    template = (DEPLOY / "iam" / "owner.json").read_text()
    texts |= {who: template.replace("OWNER", owners[who]) for who in ("person", "organisation")}
    keys = {who: (who, secrets.token_hex(16)) for who in texts}
    identities = folder / "identities.json"
    identities.write_text(json.dumps(identities_of(texts, keys)))
    with weed(folder, f"-s3.config={identities}") as store:
        keys["root"] = ("root", "a-secret-of-the-tests")
        made = Bound(store["S3_ENDPOINT"], keys, owners)
        for bucket in BUCKETS.values():
            until_it_works(lambda bucket=bucket: ensure_bucket(f"s3://{bucket}", made.access("root")))
        for owner in owners.values():
            for bucket, key in keys_of(owner):
                made.store("root", bucket).put(key, owner.encode())
        yield made


def identities_of(texts: dict[str, str], keys: dict[str, tuple[str, str]]) -> dict[str, object]:
    """What SeaweedFS is told: who is bound by which policy, and one who is by none."""
    named = [
        {
            "name": who,
            "credentials": [{"accessKey": key, "secretKey": secret}],
            "actions": [],
            "policyNames": [who],
        }
        for who, (key, secret) in keys.items()
    ]
    root = {
        "name": "root",
        "credentials": [{"accessKey": "root", "secretKey": "a-secret-of-the-tests"}],
        "actions": ["Admin"],
    }
    policies = [{"name": who, "content": text} for who, text in texts.items()]
    return {"identities": [root, *named], "policies": policies}


@pytest.mark.parametrize("who", ["person", "organisation"])
def test_a_key_of_one_owner_reads_what_is_that_owners_and_nothing_else(bound: Bound, who: str) -> None:
    mine = bound.owners[who]
    for name, owner in bound.owners.items():
        for bucket, key in keys_of(owner):
            store = bound.store(who, bucket)
            if owner == mine:
                assert store.get(key) == owner.encode(), key
            else:
                expect_refused(lambda store=store, key=key: store.get(key), f"{who} reads {key} of {name}")
            copy = f"{key}.new"
            expect_refused(lambda store=store, copy=copy: store.put(copy, b"x"), f"{who} writes {copy}")
            assert not bound.store("root", bucket).exists(copy)


@pytest.mark.parametrize("who", ["person", "organisation"])
def test_a_key_of_one_owner_lists_that_owners_folders_alone(bound: Bound, who: str) -> None:
    mine = bound.owners[who]
    for name, owner in bound.owners.items():
        for bucket, folder in (
            ("data", "user_data"), ("plants-images", "user_data"), ("models", "user_models"),
        ):  # fmt: skip
            store = bound.store(who, bucket)
            if owner == mine:
                listed = {info.key for info in store.list(f"{folder}/{owner}")}
                assert listed == {key for each, key in keys_of(owner) if each == bucket}
            else:
                expect_refused(
                    lambda store=store, place=f"{folder}/{owner}": list(store.list(place)),
                    f"{who} lists {name}",
                )
    for bucket in BUCKETS.values():
        for place in ("", "user_data", "user_models"):
            expect_refused(
                lambda bucket=bucket, place=place: list(bound.store(who, bucket).list(place)),
                f"{who} lists {place!r} of {bucket}",
            )


@pytest.mark.parametrize("owner", ["person", "organisation"])
def test_the_roles_do_their_part_for_an_organisation_as_for_a_person(bound: Bound, owner: str) -> None:
    """The web process keeps tables and images, and of models only marks what is deleted; the worker keeps all."""
    for bucket, key in keys_of(bound.owners[owner]):
        for role in ROLES:
            store = bound.store(role, bucket)
            assert store.get(key) == bound.owners[owner].encode()
            new = f"{key}.{role}"
            if (role, bucket) == ("web", "models"):
                expect_refused(lambda store=store, new=new: store.put(new, b"x"), f"{role} writes {new}")
                claim = f"{key.rpartition('/')[0]}/.claim"
                store.put(claim, b"{}")
                store.delete(claim)
            else:
                store.put(new, b"x")
                store.delete(new)
            with pytest.raises(ObjectNotFound):
                store.get(new)


def test_no_key_of_the_tests_is_one_that_anything_goes_by(bound: Bound) -> None:
    """The wall is the policy, and not that nobody is let in: a key that is none is refused as such."""
    environ = {"S3_ENDPOINT": bound.endpoint, "S3_ACCESS_KEY": "person", "S3_SECRET_KEY": "another"}
    bucket, key = keys_of(bound.owners["person"])[0]
    with pytest.raises(StoreUnavailable, match="does not accept the keys"):
        open_store(f"s3://{bucket}", Settings.from_environment(environ).access).get(key)


def test_the_policy_of_an_owner_names_two_folders_and_only_reads() -> None:
    policy = json.loads((DEPLOY / "iam" / "owner.json").read_text())
    assert {action for each in policy["Statement"] for action in each["Action"]} == {
        "s3:ListBucket",
        "s3:GetObject",
    }
    listing, reading = policy["Statement"]
    assert all(place.endswith("/OWNER/*") for place in reading["Resource"])
    assert all(place.endswith("/OWNER/*") for place in listing["Condition"]["StringLike"]["s3:prefix"])
    assert {place.removeprefix("arn:aws:s3:::") for place in listing["Resource"]} == set(BUCKETS.values())


def expect_refused(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except StoreUnavailable as error:
        assert "refused" in str(error), (what, str(error))
        return
    raise AssertionError(what)
