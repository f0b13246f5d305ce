"""What a browser fetches beside the pages: compressed, and once."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import COMPRESSED, STATIC
from ecluse.web.templating import static_url
from tests.web.test_pages import Browser, browser

CHARTS = "vendor/echarts-6.1.0.common.min.js"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    home = tmp_path_factory.mktemp("static") / "home"
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        yield browser(runtime, None)


@pytest.mark.parametrize(
    "path", sorted(str(file.relative_to(STATIC)) for file in STATIC.rglob("*") if file.suffix in COMPRESSED)
)
def test_scripts_and_styles_are_sent_compressed_and_arrive_whole(reader: Browser, path: str) -> None:
    plain = reader.get(static_url(path), {"accept-encoding": "identity"})
    packed = reader.get(static_url(path), {"accept-encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content == Path(STATIC / path).read_bytes()
    assert packed.headers["content-type"] == plain.headers["content-type"]
    assert packed.headers["etag"] != plain.headers["etag"]
    for answer in (plain, packed):
        assert answer.headers["vary"] == "accept-encoding"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])


def test_the_library_of_charts_takes_a_third_of_its_bytes_on_the_way(reader: Browser) -> None:
    sent = int(reader.get(static_url(CHARTS), {"accept-encoding": "gzip"}).headers["content-length"])
    assert sent == len(gzip.compress((STATIC / CHARTS).read_bytes(), 9, mtime=0))
    assert sent < 715_020 * 0.36


def test_what_a_browser_holds_is_not_sent_again(reader: Browser) -> None:
    held = reader.get("/static/app.css", {"accept-encoding": "gzip"}).headers["etag"]
    again = reader.get("/static/app.css", {"accept-encoding": "gzip", "if-none-match": held})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == held
    other = reader.get("/static/app.css", {"accept-encoding": "identity", "if-none-match": held})
    assert other.status_code == 200


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br"])
def test_who_does_not_read_gzip_gets_the_file_as_it_is(reader: Browser, accepted: str) -> None:
    answer = reader.get("/static/app.css", {"accept-encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert answer.content == (STATIC / "app.css").read_bytes()


def test_a_part_of_a_file_is_a_part_of_the_file_itself(reader: Browser) -> None:
    answer = reader.get("/static/app.css", {"accept-encoding": "gzip", "range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (206, (STATIC / "app.css").read_bytes()[:10])


def test_pages_are_not_compressed(reader: Browser) -> None:
    """They hold secrets beside what a visitor wrote; their length would tell of them."""
    answer = reader.get("/sign-in", {"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert re.search(r"/static/app\.css\?v=[0-9a-f]{10}", answer.text)
