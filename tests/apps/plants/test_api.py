"""Programs classify images: with the version that a name means now, whatever is sent, many at once."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from ecluse import models
from ecluse.apps.plants.http.image_work import ImageWork
from ecluse.catalog.tables import ModelVersion
from tests.apps.plants.tiny import GREEN, LABELS, NEITHER, YELLOW, photo
from tests.support.wait import slow_in_loop
from tests.web.within import Within as Web

# What is answered


def test_an_image_is_classified_as_part_of_a_form_and_as_the_body_itself(web: Web) -> None:
    row = web.publish()
    by_form = web.predict(photo(YELLOW)).raise_for_status().json()
    assert (by_form["label"], by_form["known"], by_form["nearest"]) == ("dandelion", True, "dandelion")
    assert (by_form["model"], by_form["version"]) == ("leaves", row.version)
    assert by_form["probabilities"].keys() == set(LABELS)
    assert sum(by_form["probabilities"].values()) == pytest.approx(1)
    assert by_form["probability"] == max(by_form["probabilities"].values()) > 0.9
    for kind, media in (("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")):
        raw = web.ask(
            "POST",
            "/api/plants/predict",
            content=photo(GREEN, kind=kind),
            headers={"content-type": media},
        )
        assert raw.raise_for_status().json()["label"] == "grass"


def test_an_image_like_none_has_no_label_and_its_nearest_is_told(web: Web) -> None:
    web.publish()
    told = web.predict(photo(NEITHER)).raise_for_status().json()
    assert (told["label"], told["known"]) == (None, False)
    assert told["nearest"] in LABELS
    assert told["probability"] == told["probabilities"][told["nearest"]]


def test_an_explanation_shows_where_the_label_was_seen(web: Web) -> None:
    web.publish()
    picture = Image.new("RGB", (96, 96), GREEN)
    picture.paste(YELLOW, (0, 0, 96, 60))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    told = web.predict(buffer.getvalue(), explain="1").raise_for_status().json()["map"]
    drawn = Image.open(io.BytesIO(base64.b64decode(told["png"])))
    assert (drawn.format, drawn.size) == ("PNG", (320, 320))
    assert told["box"] == pytest.approx([5.33, 5.33, 90.67, 90.67], abs=0.01)
    assert told["label"] == "dandelion" or told["label"] == "grass"
    top, bottom = told["values"][0][1], told["values"][-1][1]
    assert (top > bottom) == (told["label"] == "dandelion")
    bright, dim = drawn.getpixel((160, 20)), drawn.getpixel((160, 300))
    if told["label"] == "grass":
        bright, dim = dim, bright
    assert max(bright) - min(bright) > 80
    assert max(dim) - min(dim) < 20


def test_several_images_each_have_a_result_or_an_error(web: Web) -> None:
    row = web.publish()
    sent = [
        ("file", ("yellow.jpg", photo(YELLOW))),
        ("file", ("page.jpg", b"<html><script>alert(1)</script></html>")),
        ("file", ("empty.png", b"")),
        ("file", ("large.jpg", photo(YELLOW) + b"\0" * 25_000_000)),
        ("file", ("green.png", photo(GREEN, kind="PNG"))),
    ]
    told = web.ask("POST", "/api/plants/predict/batch", files=sent).raise_for_status().json()
    assert (told["model"], told["version"]) == ("leaves", row.version)
    assert [one["file"] for one in told["results"]] == [name for _, (name, _) in sent]
    assert [one["result"] and one["result"]["label"] for one in told["results"]] == [
        "dandelion",
        None,
        None,
        None,
        "grass",
    ]
    errors = [one["error"] and one["error"]["code"] for one in told["results"]]
    assert errors == [None, "unreadable_image", "unreadable_image", "unreadable_image", None]
    assert "25,000,000 are the most" in told["results"][3]["error"]["message"]


# Whatever is sent


def bomb() -> bytes:
    """A PNG of a few kB that says it has 40 000 × 40 000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = (40_000).to_bytes(4, "big")
    head = chunk(b"IHDR", side + side + b"\x08\x02\x00\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100_000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (bomb(), "pixels"),
        (photo(YELLOW, (400, 300))[:-900], "damaged"),
        (b"<html><script>alert(1)</script></html>", "not a JPEG, PNG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG, PNG or WebP"),
        (photo(YELLOW, (8, 8)), "at least 16"),
        (b"", "not a JPEG, PNG or WebP"),
    ],
    ids=["bomb", "cut short", "HTML named jpg", "SVG", "too small", "empty"],
)
def test_what_is_no_image_that_can_be_used_is_refused_with_the_reason(
    web: Web, data: bytes, said: str
) -> None:
    web.publish()
    answer = web.predict(data)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unreadable_image")
    assert said in answer.json()["error"]["message"]
    assert web.served.work.room.used == 0


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "image/jpeg"),
        (b"--x\r\n", "multipart/form-data"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"nothing of the kind", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", f"multipart/form-data; boundary={'x' * 300}"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="other"; filename="a.jpg"\r\n\r\nabc\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\nabc',
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_a_request_without_one_whole_file_is_refused(web: Web, content: bytes, kind: str) -> None:
    web.publish()
    for address in ("/api/plants/predict", "/api/plants/predict/batch"):
        answer = web.ask("POST", address, content=content, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input"), answer.text


def test_two_files_are_not_one_and_65_are_too_many(web: Web) -> None:
    web.publish()
    two = [("file", ("a.jpg", photo())), ("file", ("b.jpg", photo()))]
    assert "2 files" in web.ask("POST", "/api/plants/predict", files=two).json()["error"]["message"]
    many = [("file", (f"{number}.jpg", b"x")) for number in range(65)]
    answer = web.ask("POST", "/api/plants/predict/batch", files=many)
    assert (answer.status_code, "64" in answer.text) == (422, True)


def test_too_many_bytes_are_refused_before_they_arrive_or_as_they_do(web: Web) -> None:
    web.publish()
    read = []

    async def endless() -> Any:
        for number in range(4000):
            read.append(number)
            yield b"\xff" * 100_000

    for address, most in (("/api/plants/predict", 25), ("/api/plants/predict/batch", 100)):
        said = web.ask("POST", address, content=b"", headers=_multipart() | {"content-length": "2000000000"})
        assert (said.status_code, said.json()["error"]["code"]) == (413, "upload_too_large")
        read.clear()
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'

        async def sent(first: bytes = part) -> Any:
            yield first
            async for piece in endless():
                yield piece

        arrived = web.ask("POST", address, content=sent(), headers=_multipart())
        assert (arrived.status_code, arrived.json()["error"]["code"]) == (413, "upload_too_large")
        assert f"{most} MB" in arrived.text
        assert len(read) <= most * 10 + 5
    assert web.served.work.room.used == 0


def _multipart() -> dict[str, str]:
    return {"content-type": "multipart/form-data; boundary=x"}


# Which model


def test_an_alias_that_moves_counts_at_the_next_request(web: Web) -> None:
    first = web.publish(labels=("dandelion", "grass"))
    models.set_alias(web.runtime, web.user_id, "leaves", "production", first.version)
    assert web.predict(photo(YELLOW), model="leaves@production").json()["label"] == "dandelion"
    second = web.publish(labels=("sun", "leaf"))
    assert web.predict(photo(YELLOW), model="leaves@production").json()["version"] == first.version
    assert web.predict(photo(YELLOW), model="leaves").json()["label"] == "sun"
    models.set_alias(web.runtime, web.user_id, "leaves", "production", second.version)
    assert web.predict(photo(YELLOW), model="leaves@production").json()["label"] == "sun"


def test_without_a_name_the_model_published_last_answers(web: Web) -> None:
    nothing = web.predict(photo())
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (404, "model_not_found")
    web.publish("one")
    assert web.predict(photo()).json()["model"] == "one"
    web.publish("another")
    assert web.predict(photo()).json()["model"] == "another"
    web.publish("one")
    assert web.predict(photo()).json()["model"] == "one"


def test_a_deleted_version_answers_no_more_though_it_was_loaded(web: Web) -> None:
    first, second = web.publish(), web.publish()
    for row in (first, second):
        web.predict(photo(), model=f"leaves@{row.version}").raise_for_status()
    models.remove(web.runtime, web.user_id, "leaves", second.version)
    gone = web.predict(photo(), model=f"leaves@{second.version}")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "version_not_found")
    assert web.predict(photo()).json()["version"] == first.version


def test_a_version_found_damaged_answers_no_more_though_it_was_loaded(web: Web) -> None:
    row = web.publish()
    web.predict(photo()).raise_for_status()
    _damage_in_store(web, row)
    with pytest.raises(ValueError, match=r"model\.onnx"):
        models.verify(web.runtime, row)
    told = web.predict(photo())
    assert (told.status_code, told.json()["error"]["code"]) == (409, "digest_mismatch")


def test_another_persons_model_is_not_there(web: Web) -> None:
    row = web.publish()
    other = web.someone_else()

    async def ask() -> list[httpx.Response]:
        async with web.client(other) as client:
            query = {"model": f"leaves@{row.version}"}
            return [
                await client.post("/api/plants/predict", params=query, files={"file": ("a", photo())}),
                await client.post("/api/plants/predict/batch", params=query, files={"file": ("a", photo())}),
                await client.get("/api/plants/model", params=query),
                await client.post("/api/plants/model/reload", params=query),
                await client.post("/api/plants/predict", files={"file": ("a", photo())}),
            ]

    web.predict(photo()).raise_for_status()
    assert [answer.status_code for answer in asyncio.run(ask())] == [404] * 5


def test_a_visitor_is_asked_to_sign_in(web: Web) -> None:
    async def ask() -> httpx.Response:
        async with web.client() as client:
            client.auth = None  # type: ignore[assignment]
            return await client.post("/api/plants/predict", files={"file": ("a", photo())})

    assert asyncio.run(ask()).status_code == 401


def test_a_model_of_something_else_is_refused(web: Web, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    models.publish(
        web.runtime,
        web.user_id,
        "cards",
        [tmp_path / "weights.bin"],
        metadata={},
        origin=models.Origin(application="fraud"),
    )
    told = web.predict(photo(), model="cards")
    assert (told.status_code, "no model of images" in told.text) == (422, True)
    assert web.predict(photo()).status_code == 404


# What is loaded


def test_a_model_says_what_it_is_and_since_when_it_is_loaded(web: Web) -> None:
    row = web.publish()
    models.set_alias(web.runtime, web.user_id, "leaves", "production", row.version)
    told = web.ask("GET", "/api/plants/model").raise_for_status().json()
    assert (told["name"], told["version"], told["aliases"]) == ("leaves", row.version, ["production"])
    assert (told["labels"], told["accuracy"], told["interval"]["right"]) == (list(LABELS), 0.95, 57)
    assert (told["digest"], told["loaded_at"]) == (row.manifest_digest, None)
    web.predict(photo())
    loaded = web.ask("GET", "/api/plants/model").json()["loaded_at"]
    assert loaded is not None
    reloaded = web.ask("POST", "/api/plants/model/reload").raise_for_status().json()["loaded_at"]
    assert reloaded > loaded


def test_a_damaged_file_of_the_cache_is_fetched_again_by_a_reload(web: Web) -> None:
    row = web.publish()
    web.predict(photo()).raise_for_status()
    entry = next(
        entry for entry in (web.runtime.settings.home / "cache" / "sha256").rglob("*") if _is(row, web, entry)
    )
    entry.chmod(0o600)
    with entry.open("r+b") as file:
        file.seek(40)
        file.write(b"damage")
    web.ask("POST", "/api/plants/model/reload").raise_for_status()
    assert web.predict(photo()).json()["label"] == "dandelion"


def test_a_model_damaged_in_the_store_is_never_loaded(web: Web) -> None:
    row = web.publish()
    _damage_in_store(web, row)
    told = web.predict(photo())
    assert (told.status_code, told.json()["error"]["code"]) == (409, "digest_mismatch")
    assert web.ask("GET", "/api/plants/model").json()["loaded_at"] is None


def test_many_requests_at_once_load_a_model_once_and_are_all_answered(web: Web) -> None:
    row = web.publish()

    async def ask() -> list[httpx.Response]:
        async with web.client() as client:
            requests = [
                client.post("/api/plants/predict", files={"file": ("a.jpg", photo(colour))})
                for colour in (YELLOW, GREEN) * 12
            ]
            return list(await asyncio.gather(*requests))

    answers = [answer.raise_for_status().json() for answer in asyncio.run(ask())]
    assert [answer["label"] for answer in answers] == ["dandelion", "grass"] * 12
    counted = web.ask("GET", "/metrics").text
    assert int(re.search(r'ecluse_plants_images_total{result="label"} (\d+)', counted)[1]) >= 24  # type: ignore[index]
    assert web.ask("GET", "/api/plants/model").json()["version"] == row.version


def test_who_asks_for_a_model_that_is_being_loaded_gets_the_same_one(web: Web) -> None:
    web.publish()
    with ThreadPoolExecutor(12) as pool:
        loaded = list(pool.map(lambda _: web.served.load(web.user_id), range(12)))
    assert len({id(one.predictor) for one in loaded}) == 1
    assert web.served.reload(web.user_id).predictor is not loaded[0].predictor


def test_a_load_that_failed_is_tried_again(web: Web) -> None:
    row = web.publish()
    located = web.runtime.stores.locate(f"{row.url}/model.onnx")
    intact = located.store.get(located.key)
    _damage_in_store(web, row)
    assert web.predict(photo()).status_code == 409
    located.store.put(located.key, intact)
    assert web.predict(photo()).status_code == 200


def test_what_was_used_least_recently_makes_room(web: Web) -> None:
    web.serve(most_loaded=2)
    for name in ("a", "b", "c"):
        web.publish(name)
    for name in ("a", "b", "a", "c"):
        web.predict(photo(), model=name).raise_for_status()
    loaded = {
        name: web.ask("GET", "/api/plants/model", params={"model": name}).json()["loaded_at"]
        for name in ("a", "b", "c")
    }
    assert [name for name, since in loaded.items() if since] == ["a", "c"]


def test_who_would_wait_too_long_is_told_when_to_come_back(web: Web) -> None:
    web.publish()
    web.serve(work=ImageWork(at_once=1, most_waiting=2))

    async def ask() -> list[httpx.Response]:
        async with web.client() as client:
            requests = [
                client.post("/api/plants/predict", files={"file": ("a.jpg", photo(size=(2000, 1500)))})
                for _ in range(12)
            ]
            return list(await asyncio.gather(*requests))

    answers = asyncio.run(ask())
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(answers) - len(refused) >= 3
    assert refused
    for answer in refused:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) > 0
    assert web.predict(photo()).status_code == 200
    assert web.served.work.room.used == 0


def test_images_that_arrive_together_do_not_fill_the_memory(web: Web) -> None:
    web.publish()
    web.served.work.room._most = 1_000_000

    async def slow() -> Any:
        yield b"\xff" * 900_000
        await slow_in_loop(0.3)
        yield b"\xff"

    async def ask() -> list[httpx.Response]:
        async with web.client() as client:
            sent = [client.post("/api/plants/predict", content=slow()) for _ in range(2)]
            return list(await asyncio.gather(*sent))

    assert sorted(answer.status_code for answer in asyncio.run(ask())) == [422, 503]
    assert web.served.work.room.used == 0


def _damage_in_store(web: Web, row: ModelVersion) -> None:
    located = web.runtime.stores.locate(f"{row.url}/model.onnx")
    data = bytearray(located.store.get(located.key))
    data[40] ^= 0xFF
    located.store.put(located.key, bytes(data))


def _is(row: ModelVersion, web: Web, entry: Path) -> bool:
    wanted = next(file for file in models.manifest_of(web.runtime, row).files if file.path == "model.onnx")
    return entry.name == wanted.sha256
