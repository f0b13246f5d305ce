"""`ecluse storage` lists, copies, removes, signs, prices and verifies what is stored."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecluse import models
from ecluse.apps.fraud.rows import datasets
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.catalog.tables import ModelVersion, User
from ecluse.checkpoints import Checkpoints
from ecluse.runtime import Runtime, uploads_prefix
from ecluse.settings import Settings
from ecluse.storage.prices import load_prices
from tests.application import KEPT, run_ecluse
from tests.servers import ObjectServer
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly


class Here:
    """A home folder with a store in it, and the command."""

    def __init__(self, home: Path, environ: dict[str, str]) -> None:
        self.home, self.environ = home, environ

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = run_ecluse(self.home, self.environ, "storage", *arguments)
        assert "fault of ours" not in done.stderr, done.stderr
        return done

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "--json"))

    def opened(self) -> Runtime:
        return Runtime.open(Settings.from_environment(self.environ, home=self.home))


@pytest.fixture
def here(home: Path) -> Here:
    return Here(home, {})


@pytest.fixture
def cloud(tmp_path: Path, object_server: ObjectServer) -> Here:
    """The same over SeaweedFS, each test under a prefix of its own."""
    return Here(tmp_path / "home", object_server.environment(uuid.uuid4().hex))


@pytest.fixture(params=["file", "seaweedfs"])
def anywhere(request: pytest.FixtureRequest) -> Here:
    chosen: Here = request.getfixturevalue("here" if request.param == "file" else "cloud")
    return chosen


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three files in folders; one is empty, one has a name in French."""
    folder = tmp_path / "tree"
    for name, data in {
        "a.bin": os.urandom(300_000),
        "sub/été.csv": b"a,b\n1,2\n",
        "sub/deep/empty": b"",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def stored(runtime: Runtime) -> tuple[User, Dataset, ModelVersion]:
    """A user with an uploaded table and a published model version, rows and objects."""
    user = runtime.accounts.sign_up("ines@example.org", "a long password")
    key = f"{uploads_prefix(user.id)}/t.csv"
    table = runtime.data.put(key, b"a,b\n1,2\n")
    row = Dataset(
        user_id=user.id,
        filename="t.csv",
        key=key,
        url=runtime.data.url_of(key),
        size_bytes=table.size,
        sha256=table.sha256,
        state="ready",
    )
    folder = runtime.settings.home / "made"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"w" * 1000)
    (folder / "card.md").write_bytes(b"# cards\n")
    files = [folder / "weights.bin", folder / "card.md"]
    model = models.publish(runtime, user.id, "cards", files, metadata={})
    with runtime.catalog.write() as transaction:
        datasets.add_dataset(transaction, row)
    return user, row, model


def test_a_tree_goes_up_and_comes_down_byte_for_byte(anywhere: Here, tree: Path, tmp_path: Path) -> None:
    told = anywhere.json("cp", str(tree), "data:in/tree")
    assert (told["copied"], told["same"]) == (3, 0)
    assert {one["sha256"] for one in told["files"]} == {
        hashlib.sha256(data).hexdigest() for data in contents(tree).values()
    }
    assert anywhere.json("cp", str(tree), "data:in/tree")["same"] == 3
    anywhere.ok("cp", "data:in/tree", str(tmp_path / "back" / "again"))
    assert contents(tmp_path / "back" / "again") == contents(tree)


def test_a_tree_goes_from_store_to_store(cloud: Here, tree: Path, tmp_path: Path) -> None:
    cloud.ok("cp", str(tree), "models:t")
    other = f"file://{tmp_path / 'other'}/t"
    assert cloud.json("cp", "models:t", other)["copied"] == 3
    assert contents(tmp_path / "other" / "t") == contents(tree)
    assert cloud.json("cp", other, "data:copy")["copied"] == 3
    assert cloud.json("cp", "models:t", "data:copy")["same"] == 3
    assert cloud.json("cp", "models:t", "data:within")["copied"] == 3
    assert cloud.json("cp", other, "data:within")["same"] == 3


def test_a_file_goes_to_a_name_or_into_a_folder(here: Here, tree: Path, tmp_path: Path) -> None:
    file = str(tree / "a.bin")
    here.ok("cp", file, "data:one/renamed.bin")
    here.ok("cp", file, "data:one/")
    here.ok("cp", "data:one/a.bin", f"{tmp_path}/down/")
    here.ok("cp", "data:one/renamed.bin", str(tmp_path / "plain"))
    assert (tmp_path / "down" / "a.bin").read_bytes() == (tmp_path / "plain").read_bytes()
    listed = here.ok("ls", "data:one").split()
    assert listed == ["data:one/a.bin", "data:one/renamed.bin"]


def test_another_content_is_replaced_only_with_force_and_nothing_is_copied_before(
    here: Here, tree: Path, tmp_path: Path
) -> None:
    here.ok("cp", str(tree / "a.bin"), "data:t/sub/été.csv")
    refused = here.run("cp", str(tree), "data:t")
    assert (refused.returncode, "été.csv" in refused.stderr) == (1, True)
    assert here.ok("ls", "data:t").split() == ["data:t/sub/été.csv"]
    assert here.json("cp", str(tree), "data:t", "--force")["copied"] == 3
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "a.bin").write_bytes(b"mine")
    assert here.run("cp", "data:t", str(tmp_path / "down")).returncode == 1
    assert contents(tmp_path / "down") == {"a.bin": b"mine"}


def test_a_copy_stopped_on_the_way_leaves_whole_files_and_goes_on(cloud: Here, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02d}").write_bytes(os.urandom(500_000))
    variables = {name: os.environ[name] for name in KEPT if name in os.environ} | cloud.environ
    command = [sys.executable, "-m", "ecluse", "storage", "cp", str(folder), "data:many"]
    process = subprocess.Popen(
        command, env=variables | {"ECLUSE_HOME": str(cloud.home)}, stderr=subprocess.DEVNULL
    )
    with cloud.opened() as runtime:
        wait_until(lambda: process.poll() is not None or list(runtime.data.list("many")), "a file there")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (130, 0)
        there = {info.key: info.size for info in runtime.data.list("many")}
    assert there
    assert set(there.values()) == {500_000}
    told = cloud.json("cp", str(folder), "data:many")
    assert told["same"] == len(there)
    assert told["copied"] + told["same"] == 60


def test_what_cannot_be_copied_is_said(here: Here, tree: Path, tmp_path: Path) -> None:
    assert here.run("cp", str(tree), str(tmp_path / "x")).returncode == 2
    assert "nothing" in here.run("cp", str(tmp_path / "nothing"), "data:x").stderr
    missing = here.run("cp", "data:nothing", str(tmp_path / "x"))
    assert missing.returncode == 1
    assert "data:nothing" in missing.stderr
    here.ok("cp", str(tree), "data:t")
    (tmp_path / "file").write_bytes(b"")
    blocked = here.run("cp", "data:t", str(tmp_path / "file" / "below"))
    assert blocked.returncode == 1
    assert "cannot be written" in blocked.stderr


@pytest.mark.nightly("file")
def test_listing_is_by_pages_by_suffix_and_tells_sizes(anywhere: Here, tree: Path) -> None:
    anywhere.ok("cp", str(tree), "data:t")
    first = anywhere.json("ls", "data:t", "--limit", "2")
    assert len(first["objects"]) == 2
    rest = anywhere.json("ls", "data:t", "--after", first["next"])
    assert rest["next"] is None
    both = [*first["objects"], *rest["objects"]]
    assert sorted(one["address"] for one in both) == [
        "data:t/a.bin",
        "data:t/sub/deep/empty",
        "data:t/sub/été.csv",
    ]
    assert {one["size"] for one in both} == {300_000, 8, 0}
    assert anywhere.ok("ls", "data:t", "--suffix", ".csv").split() == ["data:t/sub/été.csv"]
    assert "300000" in anywhere.ok("ls", "data:t/a.bin", "--long")
    assert (
        "There is more: ecluse storage ls data:t --after"
        in anywhere.run("ls", "data:t", "--limit", "1").stderr
    )
    nothing = anywhere.run("ls", "data:none")
    assert nothing.returncode == 1
    assert {row["area"] for row in anywhere.json("ls")} == {"models", "images", "data", "raw"}


def test_addresses_that_are_none_are_refused(here: Here, tmp_path: Path) -> None:
    assert here.run("ls", "somewhere").returncode == 2
    assert "../" in here.run("ls", "data:../x").stderr
    assert here.run("ls", "data:../x").returncode == 1
    assert "not known" in here.run("ls", "ftp://x/y").stderr
    gone = here.run("ls", f"file://{tmp_path}/no/such/folder")
    assert gone.returncode == 1
    assert not (tmp_path / "no").exists()


def test_a_folder_outside_the_areas_is_reached_by_its_full_address(here: Here, tree: Path) -> None:
    listed = here.ok("ls", f"file://{tree}").split()
    assert f"file://{tree}/a.bin" in listed
    assert len(listed) == 3


def test_usage_is_told_by_folder_and_by_user(here: Here) -> None:
    with here.opened() as runtime:
        user, table, _ = stored(runtime)
    rows = {row["path"]: row for row in here.json("du", "data:", "--depth", "2")}
    uploads = rows[f"data:user_data/{user.id}"]
    assert (uploads["bytes"], uploads["objects"], uploads["user"]) == (
        table.size_bytes,
        1,
        "ines@example.org",
    )
    people = here.json("du", "--by-user")
    assert [row["user"] for row in people] == ["ines@example.org"]
    assert people[0]["bytes"] == sum(row["bytes"] for row in here.json("du"))
    assert "ines@example.org" in here.ok("du", "--depth", "2")


def test_what_a_row_points_at_is_not_removed_without_force(here: Here) -> None:
    with here.opened() as runtime:
        _, table, model = stored(runtime)
        runtime.data.put("loose/a", b"1")
        runtime.data.put("loose/b", b"2")
    for address in (f"data:{table.key}", f"models:{model.prefix}/weights.bin"):
        refused = here.run("rm", address, "--yes")
        assert refused.returncode == 1
        assert table.id in refused.stderr or model.id in refused.stderr
    above = here.run("rm", f"models:{model.prefix.rsplit('/', 2)[0]}", "--recursive", "--yes")
    assert model.id in above.stderr
    assert here.json("rm", f"data:{table.key}", "--yes", "--force")["removed"] == 1
    assert here.run("rm", "data:loose", "--yes").returncode == 1
    assert here.json("rm", "data:loose/", "--recursive", "--yes") == {"removed": 2, "bytes": 2}
    assert here.run("rm", "data:loose", "--recursive", "--yes").returncode == 1


def test_removing_asks_first(here: Here) -> None:
    with here.opened() as runtime:
        runtime.data.put("loose/a", b"1")
        runtime.data.put("loose/b", b"1")
    asked = here.run("rm", "data:loose/a")  # there is no one to answer
    assert asked.returncode != 0
    asked = here.run("rm", "data:loose", "--recursive")
    assert "data:loose" in asked.stderr
    assert here.ok("ls", "data:loose").split() == ["data:loose/a", "data:loose/b"]


def test_a_signed_address_reads_and_writes_without_keys(cloud: Here) -> None:
    with cloud.opened() as runtime:
        runtime.data.put("shared/a.txt", b"hello")
    url = cloud.ok("sign", "data:shared/a.txt", "--expires", "1m").strip()
    assert httpx.get(url, timeout=60).content == b"hello"
    put = cloud.ok("sign", "data:shared/b.txt", "--method", "PUT").strip()
    assert httpx.put(put, content=b"there", timeout=60).status_code == 200
    assert cloud.json("ls", "data:shared/b.txt")["objects"][0]["size"] == 5
    assert cloud.run("sign", "data:shared/none.txt").returncode == 1
    assert cloud.run("sign", "data:shared/a.txt", "--expires", "8d").returncode == 1
    assert cloud.run("sign", "data:shared/a.txt", "--expires", "soon").returncode == 2


def test_a_folder_cannot_sign_and_says_so(here: Here) -> None:
    with here.opened() as runtime:
        runtime.data.put("shared/a.txt", b"hello")
    refused = here.run("sign", "data:shared/a.txt")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "no signed addresses" in refused.stderr


def test_an_estimate_names_its_day_and_is_for_what_is_stored_or_asked(here: Here) -> None:
    with here.opened() as runtime:
        runtime.data.put("a", b"x" * 1000)
    told = here.run("estimate")
    assert str(load_prices().date) in told.stderr
    assert "1.0 kB" in told.stderr
    assert " USD " in told.stdout
    rows = here.json("estimate", "--bytes", "1TB", "--reads", "0", "--egress", "0")
    assert [row["monthly"] for row in rows] == sorted(row["monthly"] for row in rows)
    prices = {row["where"]: row["monthly"] for row in rows}
    assert prices["Railway, Volume"] == 150
    assert prices["Backblaze B2, Standard"] == pytest.approx(990 * 0.00695)
    assert here.run("estimate", "--bytes", "much").returncode == 2


def test_verifying_finds_nothing_amiss_where_nothing_is(anywhere: Here) -> None:
    with anywhere.opened() as runtime:
        user, _, model = stored(runtime)
        runtime.stores.area("raw").put("city/2025-10-14.json", b"{}")
        runtime.stores.area("models").put(f"{model.prefix}/model.sig", b"{}")
        second = models.publish(runtime, user.id, "cards", [runtime.settings.home / "made"], metadata={})
        models.remove(runtime, user.id, "cards", second.version)
        Checkpoints(runtime, user.id, "a_job").save("part", b"half of it", force=True)
    told = anywhere.json("verify")
    assert (told["missing"], told["different"], told["extra"]) == ([], [], [])
    assert told["objects"] == 4  # the table, two files and their manifest


def test_verifying_names_what_is_missing_different_and_extra(here: Here) -> None:
    with here.opened() as runtime:
        _, table, model = stored(runtime)
        runtime.stores.area("models").put(f"{model.prefix}/weights.bin", b"W" * 1000)
        runtime.data.delete(table.key)
        runtime.data.put("loose", b"1")
        loose = runtime.data.url_of("loose")
    done = here.run("verify", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["missing"] == [table.url]
    assert told["different"] == [f"{model.url}/weights.bin"]
    assert told["extra"] == [loose]
    assert f"missing    {table.url}" in here.run("verify").stdout


def test_a_lost_or_replaced_manifest_is_told(here: Here) -> None:
    with here.opened() as runtime:
        _, _, model = stored(runtime)
        versions = runtime.stores.area("models")
        manifest = versions.get(f"{model.prefix}/manifest.json")
        versions.put(f"{model.prefix}/manifest.json", manifest + b"\n")
    assert json.loads(here.run("verify", "--json").stdout)["different"] == [f"{model.url}/manifest.json"]
    with here.opened() as runtime:
        runtime.stores.area("models").delete(f"{model.prefix}/manifest.json")
    told = json.loads(here.run("verify", "--json").stdout)
    assert told["missing"] == [f"{model.url}/manifest.json"]
    assert len(told["extra"]) == 2


def test_one_area_is_verified_alone(tmp_path: Path) -> None:
    urls = {
        "ECLUSE_MODELS_URL": f"file://{tmp_path}/models",
        "ECLUSE_DATA_URL": f"file://{tmp_path}/data",
    }
    here = Here(tmp_path / "home", urls)
    with here.opened() as runtime:
        _, table, _ = stored(runtime)
        runtime.data.delete(table.key)
    assert here.json("verify", "--area", "models")["objects"] == 3
    assert here.run("verify", "--area", "data").returncode == 1
