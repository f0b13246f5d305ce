"""A file, and a form with several, is read out of a request whole, in pieces, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from ecluse.errors import EcluseError, InvalidInput, UploadTooLarge
from ecluse.web.file_forms import MOST_FIELDS, open_file_form
from ecluse.web.uploads import open_upload

BOUNDARY = b"----limit"


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'Content-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode()
    return b"--" + BOUNDARY + b"\r\n" + head + data + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def read(
    sent: bytes, *, max_bytes: int = 10**9, piece: int = 1000, cut: bool = False, **headers: str
) -> tuple[str, bytes]:
    """What a request with this body uploads; with `cut` the client goes away after it."""

    async def run() -> tuple[str, bytes]:
        upload = await open_upload(request_of(sent, piece, cut=cut, **headers), max_bytes)
        return upload.filename, b"".join([chunk async for chunk in upload.chunks])

    return asyncio.run(run())


def read_form(
    sent: bytes, *, max_bytes: int = 10**9, most_files: int = 10, piece: int = 1000
) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """The fields and files of a form with this body."""

    async def run() -> tuple[dict[str, str], list[tuple[str, bytes]]]:
        form = await open_file_form(request_of(sent, piece), max_bytes, most_files)
        files = []
        async for upload in form.files():
            files.append((upload.filename, b"".join([chunk async for chunk in upload.chunks])))
        return form.fields, files

    return asyncio.run(run())


def request_of(sent: bytes, piece: int, *, cut: bool = False, **headers: str) -> Request:
    """A request whose body arrives in pieces of so many bytes."""
    pieces = [sent[i : i + piece] for i in range(0, len(sent), piece)]
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": p, "more_body": True} for p in pieces]
    messages.append(
        {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False}
    )
    given_headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"} | headers
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given_headers.items()],
    }

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    return Request(scope, receive)


@given(data=st.binary(min_size=1, max_size=5000), piece=st.integers(1, 700))
def test_a_file_arrives_as_it_was_sent_however_the_request_is_cut(data: bytes, piece: int) -> None:
    sent = body(part("note", b"x"), part("file", data, "a.csv"), part("after", b"y"))
    assert read(sent, piece=piece) == ("a.csv", data)


def test_data_that_looks_like_a_boundary_is_data() -> None:
    data = b"a\r\n--" + BOUNDARY[:-1] + b"\r\n--x\r\n"
    assert read(body(part("file", data, "a.csv")), piece=3)[1] == data


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("cut", [True, False])
def test_a_request_that_ends_early_is_an_error(keep: float, cut: bool) -> None:
    sent = body(part("file", b"z" * 10_000, "a.csv"))
    with pytest.raises(InvalidInput):
        read(sent[: int(len(sent) * keep) - 5], cut=cut)


def test_a_file_that_is_too_large_is_refused_while_it_arrives() -> None:
    with pytest.raises(UploadTooLarge):
        read(body(part("file", b"z" * 5_000_000, "a.csv")), max_bytes=2_000_000, piece=65536)


@pytest.mark.parametrize("beside", ["before", "after"])
def test_what_comes_beside_the_file_counts_as_well(beside: str) -> None:
    parts = [part("note", b"z" * 200_000), part("file", b"x", "a.csv")]
    sent = body(*(parts if beside == "before" else reversed(parts)))
    assert read(sent, max_bytes=200_000) == ("a.csv", b"x")
    with pytest.raises(UploadTooLarge):
        read(sent, max_bytes=1000)


def test_a_request_that_says_it_is_too_large_is_refused_before_it_arrives() -> None:
    with pytest.raises(UploadTooLarge):
        read(b"", max_bytes=1000, content_length="10000000")


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        read(body(part("file", b"", "a.csv")))


@pytest.mark.parametrize("sent", [body(part("other", b"x", "a.csv")), body(part("file", b"x")), body(), b""])
def test_a_request_without_a_file_is_refused(sent: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(sent)


def test_a_boundary_that_no_client_makes_is_refused() -> None:
    with pytest.raises(InvalidInput):
        read(body(), content_type=f"multipart/form-data; boundary={'x' * 300}")


@given(st.binary(max_size=300))
def test_whatever_is_sent_ends_in_a_file_or_a_clear_error(sent: bytes) -> None:
    try:
        read(sent, piece=50)
    except EcluseError as error:
        assert error.status == 422


@given(
    files=st.lists(st.binary(max_size=900), max_size=4),
    note=st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=50),
    piece=st.integers(1, 700),
)
def test_every_file_and_field_of_a_form_arrives_as_it_was_sent(
    files: list[bytes], note: str, piece: int
) -> None:
    parts = [part("file", data, f"{number}.jpg") for number, data in enumerate(files)]
    sent = body(part("note", note.encode()), part("file", b"", ""), *parts, part("after", b"y"))
    fields, found = read_form(sent, piece=piece)
    assert fields == {"note": note, "after": "y"}
    assert found == [(f"{number}.jpg", data) for number, data in enumerate(files)]


@pytest.mark.parametrize("keep", [0.4, 0.7, 0.95])
def test_a_form_that_ends_early_is_an_error_whichever_file_it_ends_in(keep: float) -> None:
    sent = body(part("file", b"z" * 10_000, "a.jpg"), part("file", b"z" * 10_000, "b.jpg"))
    with pytest.raises(InvalidInput, match="ended before"):
        read_form(sent[: int(len(sent) * keep)])


def test_a_form_with_more_than_it_may_have_is_refused() -> None:
    files = [part("file", b"z" * 40_000, f"{number}.jpg") for number in range(3)]
    assert len(read_form(body(*files), max_bytes=120_000)[1]) == 3
    with pytest.raises(UploadTooLarge):
        read_form(body(*files), max_bytes=110_000)
    with pytest.raises(InvalidInput, match="more than 2 files"):
        read_form(body(*files), most_files=2)
    with pytest.raises(InvalidInput, match="fields"):
        read_form(body(*(part(f"field{number}", b"x") for number in range(MOST_FIELDS + 1))))
    with pytest.raises(InvalidInput, match="longer"):
        read_form(body(part("note", b"x" * 20_000)))
