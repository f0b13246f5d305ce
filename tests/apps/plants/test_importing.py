"""Images come in from folders, archives and stores, each once; what is no image is a row that says why."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.importing import Imported, import_images
from ecluse.apps.plants.rows import Filter
from ecluse.apps.plants.sources import File, archives
from ecluse.apps.plants.sources.archives import open_archive
from ecluse.apps.plants.sources.folders import open_folder
from ecluse.apps.plants.sources.stores import importable, open_prefix
from ecluse.apps.plants.tables import Image, ImageSet
from ecluse.catalog.tables import User, new_id
from ecluse.errors import InvalidInput, NotFound, StoreUnavailable
from ecluse.runtime import Runtime
from ecluse.sentences import Sentence
from tests.apps.plants.photos import folder_of, photo


@pytest.fixture
def user(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


@pytest.fixture
def leaves(runtime: Runtime, user: User) -> ImageSet:
    return workflows.make_set(runtime, user.id, "leaves")


def rows_of(runtime: Runtime, row: ImageSet) -> dict[str, Image]:
    """Every row of a set by its origin."""
    everything = Filter(states=("valid", "excluded", "rejected"))
    with runtime.catalog.read() as transaction:
        found = images.list_images(transaction, row.user_id, row.id, everything, limit=None)
    return {one.origin: one for one in found}


def reasons_of(runtime: Runtime, row: ImageSet) -> dict[str, str | None]:
    return {origin: one.reason for origin, one in rows_of(runtime, row).items()}


def tar_header(kind: bytes, data: bytes) -> bytes:
    header = tarfile.TarInfo("oak/1")
    header.size, header.type = len(data), kind
    return header.tobuf() + data + bytes(-len(data) % 512)


def plain(rows: dict[str, Image]) -> list[tuple[object, ...]]:
    """What rows say, without the ids and moments that differ from one import to another."""
    return sorted(
        (
            one.origin,
            one.sha256,
            one.label,
            one.state,
            one.reason or "",
            one.perceptual_hash or "",
            one.contested,
        )
        for one in rows.values()
    )


# Folders


def test_a_folder_gives_labels_and_what_is_no_image_a_reason(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    folder = folder_of(
        tmp_path / "in",
        {
            "healthy/1.jpg": photo(1),
            "healthy/deeper/2.png": photo(2, format="PNG"),
            "spotted/3.jpg": photo(3, format="PNG"),  # it is taken by what it is
            "spotted/cut.jpg": photo(4)[:-100],
            "spotted/text.jpg": b"no image",
            "spotted/empty.jpg": b"",
            "spotted/more.zip": b"PK\x03\x04 and so on",
            "readme.md": b"no image and no label",
            ".hidden/4.jpg": photo(5),
            "healthy/._1.jpg": photo(6),
            "a\tlabel/7.jpg": photo(7),
        },
    )
    done = import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    rows = rows_of(runtime, leaves)
    assert done == Imported(added=3, rejected=6)
    assert {one.origin: one.label for one in rows.values() if one.state == "valid"} == {
        "healthy/1.jpg": "healthy",
        "healthy/deeper/2.png": "healthy",
        "spotted/3.jpg": "spotted",
    }
    stored = rows["spotted/3.jpg"]
    assert (stored.format, stored.width, stored.height) == ("PNG", 48, 40)
    assert stored.url.endswith(f"/images/{leaves.id}/{stored.sha256}.png")
    located = runtime.stores.locate(stored.url)
    assert located.store.get(located.key) == photo(3, format="PNG")
    assert len(stored.perceptual_hash or "") == 16
    refused = {origin: one.reason or "" for origin, one in rows.items() if one.state == "rejected"}
    assert refused
    assert all(isinstance(reason, Sentence) for reason in refused.values())
    assert "damaged" in refused["spotted/cut.jpg"]
    assert "not a JPEG" in refused["spotted/text.jpg"]
    assert "empty" in refused["spotted/empty.jpg"]
    assert "archive" in refused["spotted/more.zip"]
    assert "not a JPEG" in refused["readme.md"], "what is no image needs no label"
    assert "cannot be a label" in refused["a\tlabel/7.jpg"]
    assert all(one.url == "" for one in rows.values() if one.state == "rejected")


def test_links_out_of_the_folder_are_refused_and_those_within_followed(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    outside = folder_of(tmp_path / "outside", {"secret.jpg": photo(1), "more/2.jpg": photo(2)})
    folder = folder_of(tmp_path / "in", {"a/3.jpg": photo(3)})
    (folder / "a" / "out.jpg").symlink_to(outside / "secret.jpg")
    (folder / "a" / "again.jpg").symlink_to(folder / "a" / "3.jpg")
    (folder / "a" / "none.jpg").symlink_to(folder / "gone.jpg")
    (folder / "b").symlink_to(outside / "more")
    os.mkfifo(folder / "a" / "pipe.jpg")
    done = import_images(runtime, leaves.user_id, leaves.id, open_folder(folder), label="x")
    assert done == Imported(added=1, duplicates=1, rejected=4)
    found = reasons_of(runtime, leaves)
    assert "leads out" in (found["a/out.jpg"] or "")
    assert "leads out" in (found["b"] or "")
    assert "no file" in (found["a/none.jpg"] or "")
    assert "plain" in (found["a/pipe.jpg"] or "")


def test_importing_again_changes_nothing(runtime: Runtime, leaves: ImageSet, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", {f"a/{n}.jpg": photo(n) for n in range(3)} | {"a/x.jpg": b"x"})
    first = import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    before = rows_of(runtime, leaves)
    again = import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    after = rows_of(runtime, leaves)
    assert (first, again) == (Imported(added=3, rejected=1), Imported(known=3, rejected=1))
    assert {k: (v.id, v.seen_again) for k, v in before.items()} == {
        k: (v.id, v.seen_again) for k, v in after.items()
    }


def test_the_same_bytes_under_another_label_are_contested_until_someone_chooses(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    folder = folder_of(
        tmp_path / "in",
        {"a/1.jpg": photo(1), "a/2.jpg": photo(2), "a/1 again.jpg": photo(1), "b/2.jpg": photo(2)},
    )
    done = import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    assert done == Imported(added=2, duplicates=2, contested=1)
    rows = rows_of(runtime, leaves)
    assert {"origin": "b/2.jpg", "label": "b"} in rows["a/2.jpg"].seen_again
    with runtime.catalog.read() as transaction:
        contested = images.list_images(transaction, leaves.user_id, leaves.id, Filter(contested=True))
    assert [one.origin for one in contested] == ["a/2.jpg"]
    assert workflows.relabel(runtime, leaves.user_id, leaves.id, [contested[0].id], "b") == 1
    import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    row = rows_of(runtime, leaves)["a/2.jpg"]
    assert (row.label, row.imported_label, row.contested) == ("b", "a", False)


def test_what_was_rejected_for_want_of_a_label_is_taken_with_one(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "in", {"1.jpg": photo(1)})
    assert import_images(runtime, leaves.user_id, leaves.id, open_folder(folder)) == Imported(rejected=1)
    done = import_images(runtime, leaves.user_id, leaves.id, open_folder(folder), label=" été ")
    assert done == Imported(added=1)
    assert [(one.label, one.state) for one in rows_of(runtime, leaves).values()] == [("été", "valid")]


def test_an_excluded_image_stays_so_and_its_bytes_are_not_stored_again(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "in", {"a/1.jpg": photo(1)})
    import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    (row,) = rows_of(runtime, leaves).values()
    workflows.set_state(runtime, leaves.user_id, leaves.id, [row.id], "excluded")
    located = runtime.stores.locate(row.url)
    located.store.delete(located.key)
    import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    assert [one.state for one in rows_of(runtime, leaves).values()] == ["excluded"]
    assert not located.store.exists(located.key)


def test_what_was_done_stays_where_an_import_is_stopped(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "in", {f"a/{n:02}.jpg": photo(n) for n in range(20)})

    def come() -> Iterator[File]:
        for number, file in enumerate(open_folder(folder)):
            if number == 15:
                raise KeyboardInterrupt
            yield file

    with pytest.raises(KeyboardInterrupt):
        import_images(runtime, leaves.user_id, leaves.id, come())
    kept = rows_of(runtime, leaves)
    assert 0 < len(kept) < 20
    import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    assert len(rows_of(runtime, leaves)) == 20
    assert {one.id for one in kept.values()} <= {one.id for one in rows_of(runtime, leaves).values()}


def test_an_import_into_a_set_that_is_removed_meanwhile_ends(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "in", {"a/1.jpg": photo(1)})

    def come() -> Iterator[File]:
        workflows.remove_set(runtime, leaves.user_id, leaves.id)
        yield from open_folder(folder)

    with pytest.raises(NotFound, match="removed while"):
        import_images(runtime, leaves.user_id, leaves.id, come())
    with pytest.raises(NotFound):
        import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))


# Archives


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("shared", ["", "set/", "./set/"])
def test_a_zip_and_a_tar_give_what_the_folder_gives(
    runtime: Runtime, user: User, tmp_path: Path, shared: str
) -> None:
    files = {"a/1.jpg": photo(1), "b/2.jpg": photo(2), "b/bad.jpg": b"bad", "__MACOSX/a/._1.jpg": b"-"}
    inside = {f"{shared}{name}": data for name, data in files.items()}
    sources = [
        open_folder(folder_of(tmp_path / "in", files)),
        open_archive(tarred(tmp_path / "x.tar.gz", inside), "x.tar.gz"),
        open_archive(tarred(tmp_path / "x.tar", inside, "w"), "x.tar"),
    ]
    if not shared.startswith("."):
        sources.append(open_archive(zipped(tmp_path / "x.zip", inside), "x.zip"))
    found = []
    for number, source in enumerate(sources):
        row = workflows.make_set(runtime, user.id, f"set {number}")
        import_images(runtime, user.id, row.id, source)
        found.append({(one.sha256, one.label, one.state) for one in rows_of(runtime, row).values()})
    assert all(one == found[0] for one in found)
    assert len(found[0]) == 3


def test_hostile_entries_of_a_zip_are_refused_one_by_one(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    path = zipped(
        tmp_path / "x.zip",
        {
            "a/good.jpg": photo(1),
            "../out.jpg": photo(2),
            "/root.jpg": photo(3),
            "a/../../up.jpg": photo(4),
            "a/bomb.png": bytes(5_000_000),
            "a/inner.zip": zipped(tmp_path / "inner.zip", {"b/5.jpg": photo(5)}).read_bytes(),
        },
    )
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("a/link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    done = import_images(runtime, leaves.user_id, leaves.id, open_archive(path, "x.zip"))
    assert done == Imported(added=1, rejected=6)
    found = reasons_of(runtime, leaves)
    assert "leads out" in (found["../out.jpg"] or "")
    assert "leads out" in (found["/root.jpg"] or "")
    assert "leads out" in (found["a/../../up.jpg"] or "")
    assert "times its size" in (found["a/bomb.png"] or "")
    assert "Import it by itself" in (found["a/inner.zip"] or "")
    assert "link" in (found["a/link.jpg"] or "")
    assert not (tmp_path / "out.jpg").exists()


def test_hostile_entries_of_a_tar_are_refused_one_by_one(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("a/link.jpg", tarfile.SYMTYPE),
            ("a/hard.jpg", tarfile.LNKTYPE),
            ("a/null", tarfile.CHRTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        for name in ("a/good.jpg", "../out.jpg"):
            entry = tarfile.TarInfo(name)
            data = photo(len(name))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    done = import_images(runtime, leaves.user_id, leaves.id, open_archive(path, "x.tar"))
    assert done == Imported(added=1, rejected=4)


def test_an_archive_that_unpacks_to_too_much_is_refused_whole(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tarred(tmp_path / "x.tar.gz", {"a/1.jpg": bytes(30_000_000)})
    with pytest.raises(InvalidInput, match="times its size"):
        import_images(runtime, leaves.user_id, leaves.id, open_archive(bomb, "x.tar.gz"))
    header = tarfile.TarInfo("a/1.jpg")
    header.type, header.size = tarfile.XHDTYPE, 60_000_000
    packed = tmp_path / "y.tar.gz"
    packed.write_bytes(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + os.urandom(1_000_000)))
    with pytest.raises(InvalidInput, match="damaged"):
        import_images(runtime, leaves.user_id, leaves.id, open_archive(packed, "y.tar.gz"))
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    many = zipped(tmp_path / "z.zip", {f"a/{n}": b"" for n in range(5)})
    with pytest.raises(InvalidInput, match="more than 3 files"):
        import_images(runtime, leaves.user_id, leaves.id, open_archive(many, "z.zip"))


@pytest.mark.parametrize(
    "headers",
    [
        tar_header(b"x", b"11 a=bcdef\n") * 3000,
        tar_header(b"g", b"11 a=bcdef\n") * 3000,
        tar_header(b"L", b"leaf\0") * 3000,
        tar_header(b"x", b"20 GNU.sparse.map=x\n"),
    ],
)
def test_a_tar_whose_headers_have_no_end_or_no_sense_is_refused(headers: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(headers + tar_header(b"0", b"leaf") + bytes(1024))
    with pytest.raises(
        InvalidInput, match=r"x\.tar is a damaged archive: a header of it cannot be understood"
    ):
        list(open_archive(path, "x.tar"))


def test_a_path_that_is_too_long_is_refused_and_kept_short(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    inside = {"oak/1.jpg": photo(1), "oak/" + "a" * 5000: photo(2)}
    for path in (tarred(tmp_path / "x.tar", inside, "w"), zipped(tmp_path / "x.zip", inside)):
        short, long = list(open_archive(path, path.name))
        assert short.read() == photo(1)
        assert len(long.origin) == archives.LONGEST_PATH
        with pytest.raises(UnreadableImage, match="5,004 characters"):
            long.read()


def test_a_zip_that_lists_more_than_is_taken_is_refused_before_the_list_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "x.zip", {f"oak/{number}": b"" for number in range(30)})
    assert len(list(open_archive(path, "x.zip"))) == 30
    monkeypatch.setattr(archives, "_LISTED_BYTES", 1000)
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", lambda *_: pytest.fail("the list was read"))
    with pytest.raises(InvalidInput, match="holds more than 200,000 files"):
        list(open_archive(path, "x.zip"))


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_an_archive_that_was_cut_off_is_refused_and_what_came_before_stays(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path, name: str
) -> None:
    files = {f"a/{n}.jpg": photo(n, size=(200, 200), quality=95) for n in range(4)}
    path = (
        zipped(tmp_path / name, files)
        if name.endswith("zip")
        else tarred(tmp_path / name, files, "w:gz" if name.endswith("gz") else "w")
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InvalidInput, match=r"x\."):
        import_images(runtime, leaves.user_id, leaves.id, open_archive(path, name))
    with pytest.raises(InvalidInput, match=r"no \.zip"):
        list(open_archive(folder_of(tmp_path, {"f": b"text"}) / "f", "f"))


# Stores


def test_a_prefix_of_a_store_is_read_and_those_of_others_are_not(
    runtime: Runtime, user: User, tmp_path: Path
) -> None:
    store = runtime.stores.area("data")
    for key in ("photos/a/1.jpg", f"user_data/{user.id}/uploads/a/2.jpg", "user_data/other/images/s/3.jpg"):
        store.put(key, photo(len(key)))
    row = workflows.make_set(runtime, user.id, "leaves")
    for key in ("photos", f"user_data/{user.id}/uploads"):
        importable(runtime, user.id, store.url_of(key))
        import_images(runtime, user.id, row.id, open_prefix(runtime.stores.folder(store.url_of(key))))
    assert sorted(rows_of(runtime, row)) == ["a/1.jpg", "a/2.jpg"]
    link = tmp_path / "link"
    link.symlink_to(Path(store.url.removeprefix("file://")) / "user_data")
    for url in (
        store.url_of("user_data/other/images"),
        store.url_of("user_data"),
        store.url.rstrip("/"),
        f"{store.url_of('photos')}/../user_data/other",
        f"file://{link}/other",
        f"file://{tmp_path}",
        store.url_of(f"user_data/{user.id}x"),
    ):
        for at_terminal in (False, True):
            with pytest.raises(InvalidInput):
                importable(runtime, user.id, url, at_terminal=at_terminal)
    elsewhere = folder_of(tmp_path / "elsewhere", {"a/1.jpg": photo(1)})
    importable(runtime, user.id, f"file://{elsewhere}", at_terminal=True)
    with pytest.raises(InvalidInput, match="terminal"):
        importable(runtime, user.id, f"file://{elsewhere}")
    importable(runtime, user.id, "s3://elsewhere/photos")


def test_nothing_at_an_address_is_said(runtime: Runtime, leaves: ImageSet) -> None:
    nothing = open_prefix(runtime.data.scoped("nothing"))
    with pytest.raises(InvalidInput, match="Nothing lies"):
        import_images(runtime, leaves.user_id, leaves.id, nothing)


# Sets


def test_another_persons_set_and_images_do_not_exist(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "in", {"a/1.jpg": photo(1)})
    import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    (row,) = rows_of(runtime, leaves).values()
    other = runtime.accounts.sign_up("other@example.org", "a long password")
    for attempt in (
        lambda: workflows.find_set(runtime, other.id, leaves.id),
        lambda: workflows.find_set(runtime, other.id, "leaves"),
        lambda: workflows.relabel(runtime, other.id, leaves.id, [row.id], "b"),
        lambda: workflows.remove_set(runtime, other.id, leaves.id),
        lambda: import_images(runtime, other.id, leaves.id, open_folder(folder)),
    ):
        with pytest.raises(NotFound):
            attempt()
    mine = workflows.make_set(runtime, other.id, "leaves")
    assert workflows.relabel(runtime, other.id, mine.id, [row.id], "b") == 0
    assert rows_of(runtime, leaves)["a/1.jpg"].label == "a"


def test_a_removed_set_leaves_nothing_in_the_store(
    runtime: Runtime, leaves: ImageSet, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "in", {f"a/{n}.jpg": photo(n) for n in range(3)})
    import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    store = runtime.stores.area("images")
    store.put(f"{workflows.images_prefix(leaves.user_id, leaves.id)}/{'0' * 64}.jpg", photo(9))
    assert workflows.remove_set(runtime, leaves.user_id, leaves.id) == 3
    assert list(store.list(f"user_data/{leaves.user_id}")) == []
    assert workflows.list_sets(runtime, leaves.user_id) == []


def test_images_are_found_by_id_digest_and_origin(runtime: Runtime, leaves: ImageSet, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", {"a/1.jpg": photo(1), "a/2.jpg": photo(2)})
    import_images(runtime, leaves.user_id, leaves.id, open_folder(folder))
    first = rows_of(runtime, leaves)["a/1.jpg"]
    with runtime.catalog.read() as transaction:
        found = images.find_images(
            transaction, leaves.user_id, leaves.id, [first.id, first.sha256[:8].upper(), "a/1.jpg"]
        )
        assert {one.id for one in found} == {first.id}
        with pytest.raises(NotFound):
            images.find_images(transaction, leaves.user_id, leaves.id, ["a"])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=8
    ),
    stop=st.integers(0, 8),
)
def test_an_import_that_was_stopped_and_given_again_leaves_what_one_that_was_not_leaves(
    files: list[tuple[str, int, int]], stop: int, runtime: Runtime, user: User
) -> None:
    """Whatever is imported in whatever order, with duplicates, contested labels and files that are no images."""
    contents = [photo(n, size=(20, 20)) for n in range(4)] + [b"", b"no image"]

    def come(end: int | None = None) -> Iterator[File]:
        for number, (label, content, name) in enumerate(files):
            if number == end:
                raise StoreUnavailable("It went away.")
            yield File(f"{label}/{name}/{number}", label, partial(bytes, contents[content]), 0.5)

    found = []
    for ends in ([None], [stop, None]):
        row = workflows.make_set(runtime, user.id, new_id())
        for end in ends:
            with contextlib.suppress(StoreUnavailable):
                import_images(runtime, user.id, row.id, come(end))
        found.append(plain(rows_of(runtime, row)))
    assert found[0] == found[1]
