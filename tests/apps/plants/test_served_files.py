"""The pictures of sets of images: made small here, or given as they came to be saved, to their owner alone."""

from __future__ import annotations

import asyncio
import hashlib
import io

import httpx
import pytest
from PIL import Image

from ecluse.apps.plants import rows as images
from ecluse.apps.plants.tables import Image as ImageRow
from ecluse.apps.plants.tables import ImageSet
from ecluse.catalog.tables import new_id
from tests.apps.plants.tiny import YELLOW
from tests.web.within import Within as Web


def keep(
    web: Web, data: bytes, kind: str = "JPEG", *, stored: bytes | None = None, label: str = "dandelion"
) -> str:
    """The id of an image with these bytes; `stored` are others that the store holds in their place."""
    sha256, set_id = hashlib.sha256(data).hexdigest(), new_id()
    key = f"user_data/{web.user_id}/images/{set_id}/{sha256}.x"
    web.runtime.stores.area("images").put(key, data if stored is None else stored)
    row = ImageRow(
        id=new_id(),
        set_id=set_id,
        user_id=web.user_id,
        sha256=sha256,
        url=web.runtime.stores.area("images").url_of(key),
        size_bytes=len(data),
        format=kind,
        label=label,
        imported_label=label,
        origin="a.jpg",
    )
    with web.runtime.catalog.write() as transaction:
        images.add_set(transaction, ImageSet(id=set_id, user_id=web.user_id, name=set_id))
        images.add_images(transaction, [row])
    return row.id


def large(kind: str = "JPEG") -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "garden of Ada"
    Image.new("RGB", (1200, 800), YELLOW).save(buffer, kind, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_thumbnail_is_small_upright_and_says_nothing_beside(web: Web, kind: str) -> None:
    answer = web.ask("GET", f"/plants/images/{keep(web, large(kind), kind)}/thumbnail").raise_for_status()
    made = Image.open(io.BytesIO(answer.content))
    assert (made.format, made.size) == ("JPEG", (171, 256))
    assert dict(made.getexif()) == {}
    assert answer.headers["content-type"] == "image/jpeg"
    assert len(answer.content) < 10_000


def test_a_thumbnail_that_a_browser_has_is_not_made_again(web: Web) -> None:
    address = f"/plants/images/{keep(web, large())}/thumbnail"
    first = web.ask("GET", address)
    again = web.ask("GET", address, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"].startswith("private")
    assert web.ask("GET", address, headers={"if-none-match": '"other"'}).status_code == 200


def test_the_file_is_what_was_imported_and_is_saved_not_shown(web: Web) -> None:
    data = large("PNG")
    image = keep(web, data, "PNG", label='été "x"\r\n<b>')
    answer = web.ask("GET", f"/plants/images/{image}/file").raise_for_status()
    assert answer.content == data
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment; ")
    assert not set(disposition) & set("<>\r\n")
    again = web.ask("GET", f"/plants/images/{image}/file", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("kind", ["SVG", "text/html", ""])
def test_what_is_no_known_format_is_never_sent_as_a_page(web: Web, kind: str) -> None:
    image = keep(web, b"<svg onload='alert(1)'/>", kind)
    answer = web.ask("GET", f"/plants/images/{image}/file").raise_for_status()
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert web.ask("GET", f"/plants/images/{image}/thumbnail").status_code == 422


def test_a_damaged_image_is_neither_shown_nor_given(web: Web) -> None:
    data = large()
    image = keep(web, data, stored=data[:-1] + b"x")
    for what in ("thumbnail", "file"):
        answer = web.ask("GET", f"/plants/images/{image}/{what}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "digest_mismatch")


def test_another_persons_image_is_not_there(web: Web) -> None:
    image, other = keep(web, large()), web.someone_else()

    async def ask(what: str) -> httpx.Response:
        async with web.client(other) as client:
            return await client.get(f"/plants/images/{image}/{what}")

    assert [asyncio.run(ask(what)).status_code for what in ("thumbnail", "file")] == [404, 404]
    assert web.ask("GET", "/plants/images/nothing/thumbnail").status_code == 404
