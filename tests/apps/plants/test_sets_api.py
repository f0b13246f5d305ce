"""Programs import sets of images, look them over, correct and divide them, and take them away again."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile

import httpx
import pytest

from ecluse.apps.plants import rows as images
from tests.application import Application
from tests.apps.plants.sets import LABELS, add_set, drawn
from tests.web.within import Within as Web


def archive(each: int = 6) -> bytes:
    """A zip with a folder for each label, and a file that is no image."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for label, word in enumerate(LABELS):
            for number in range(each):
                written.writestr(f"{word}/{number}.png", drawn(label, number))
        written.writestr(f"{LABELS[0]}/page.jpg", b"<html>")
    return buffer.getvalue()


def test_an_uploaded_archive_becomes_a_set_that_can_be_corrected_and_taken_away(
    application: Application, client: httpx.Client
) -> None:
    sent = client.post("/api/plants/sets", data={"name": "shapes"}, files={"file": ("a.zip", archive())})
    assert sent.status_code == 202, sent.text
    accepted = sent.json()
    assert application.wait_for_job(client, accepted["job"])["status"] == "done"
    address = f"/api/plants/sets/{accepted['set']}"
    found = client.get(address).raise_for_status().json()
    assert found["counts"]["valid"] == dict.fromkeys(LABELS, 6)
    assert list(found["rejected_for"].values()) == [1]
    assert accepted["set"] in [one["id"] for one in client.get("/api/plants/sets").json()]

    page = client.get(f"{address}/images", params={"label": LABELS[0], "per_page": 4}).json()
    assert (page["total"], len(page["items"])) == (6, 4)
    first, second = (one["id"] for one in page["items"][:2])
    assert client.patch(f"/api/plants/images/{first}", json={"label": LABELS[1]}).json()["label"] == LABELS[1]
    changed = client.patch(f"{address}/images", json={"images": [second], "state": "excluded"})
    assert changed.json() == {"changed": 1}
    assert client.get(address).json()["counts"]["valid"] == {LABELS[0]: 4, LABELS[1]: 7}
    rejected = client.get(f"{address}/images", params={"state": "rejected"}).json()["items"][0]
    assert "not a JPEG" in rejected["reason"]
    assert client.get(f"/api/plants/images/{rejected['id']}/thumbnail").status_code == 404
    assert client.get(f"/api/plants/images/{first}/thumbnail").headers["content-type"] == "image/jpeg"

    with zipfile.ZipFile(io.BytesIO(client.get(f"{address}/export").raise_for_status().content)) as taken:
        assert taken.testzip() is None
        assert sum(name.endswith(".png") for name in taken.namelist()) == 11
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404


def test_a_set_is_divided_the_same_way_each_time(web: Web) -> None:
    row = add_set(web.runtime, web.user_id)
    address = f"/api/plants/sets/{row.id}/splits"
    first = web.ask("POST", address, json={"seed": 4}).raise_for_status().json()
    assert web.ask("POST", address, json={"seed": 4}).json()["id"] == first["id"]
    assert sum(first["counts"]["test"].values()) == 6
    manifest = web.ask("GET", f"/api/plants/splits/{first['id']}").raise_for_status().json()
    assert sorted(set(manifest["parts"].values())) == ["test", "train", "validation"]
    assert [one["id"] for one in web.ask("GET", address).json()] == [first["id"]]
    uneven = web.ask("POST", address, json={"shares": {"train": 0.9, "validation": 0.9, "test": 0.1}})
    assert (uneven.status_code, uneven.json()["error"]["code"]) == (422, "invalid_input")


def test_trainings_and_audits_are_queued(web: Web) -> None:
    row = add_set(web.runtime, web.user_id)
    for what, body in (("train", {"model_name": "shapes"}), ("audit", None)):
        queued = web.ask("POST", f"/api/plants/sets/{row.id}/{what}", json=body)
        assert queued.status_code == 202, queued.text
        job = web.ask("GET", queued.json()["status_url"]).raise_for_status().json()
        assert job["status"] == "queued"
    wrong = web.ask("POST", f"/api/plants/sets/{row.id}/train", json={"model_name": "a b", "epochs": 3})
    assert wrong.status_code == 422


def test_images_below_an_address_of_a_store_are_imported_by_who_may_read_them(web: Web) -> None:
    stranger = f"{web.runtime.data.url}/user_data/someone/uploads"
    refused = web.ask("POST", "/api/plants/sets", json={"name": "a", "source": stranger})
    assert refused.status_code == 422, refused.text
    for body in (b"{", b"[]", b'{"name": "a"}', b'{"name": "a", "source": "x", "other": 1}', b"[" * 200_000):
        answer = web.ask(
            "POST", "/api/plants/sets", content=body, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input")


def test_the_api_refuses_a_member_before_a_set_is_made(web: Web) -> None:
    web.runtime.data.put("mlflow/1/a.png", drawn(0, 1))
    refused = []
    for key in ("mlflow", "nothing"):
        place = web.runtime.data.url_of(key)
        answer = web.ask("POST", "/api/plants/sets", json={"name": "a", "source": place})
        refused.append((answer.status_code, json.dumps(answer.json()).replace(place, "PLACE")))
    assert refused[0] == refused[1]
    assert refused[0][0] == 422
    assert web.ask("GET", "/api/plants/sets").json() == []


def test_json_where_files_are_uploaded_is_no_larger_than_elsewhere(web: Web) -> None:
    for kind in ("application/json", "Application/JSON; charset=utf-8"):
        for path in ("/api/plants/sets", "/api/plants/predict"):
            answer = web.ask("POST", path, content=b" " * 1_100_000, headers={"content-type": kind})
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_an_upload_that_breaks_off_or_carries_nothing_leaves_nothing(web: Web) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n' + b"a" * 2_000_000
    for content in (part, b"--x--\r\n"):
        answer = web.ask("POST", "/api/plants/sets", content=content, headers=form)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input")
    endless = {"content-type": f"multipart/form-data; boundary={'x' * 300}"}
    assert web.ask("POST", "/api/plants/sets", content=part, headers=endless).status_code == 422
    assert web.ask("GET", "/api/plants/sets").json() == []
    assert [info.key for info in web.runtime.data.list(f"user_data/{web.user_id}")] == []


def test_a_correction_says_what_it_corrects(web: Web) -> None:
    row = add_set(web.runtime, web.user_id, each=2)
    with web.runtime.catalog.read() as transaction:
        image = images.list_images(transaction, web.user_id, row.id)[0]
    for body in ({}, {"state": "rejected"}, {"label": "a/b"}, {"label": ""}):
        assert web.ask("PATCH", f"/api/plants/images/{image.id}", json=body).status_code == 422
    both = web.ask(
        "PATCH", f"/api/plants/images/{image.id}", json={"label": "new", "state": "excluded"}
    ).json()
    assert (both["label"], both["state"], both["imported_label"]) == ("new", "excluded", image.imported_label)


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", "sets/{set}"),
        ("DELETE", "sets/{set}"),
        ("GET", "sets/{set}/export"),
        ("GET", "sets/{set}/images"),
        ("PATCH", "sets/{set}/images"),
        ("GET", "sets/{set}/splits"),
        ("POST", "sets/{set}/splits"),
        ("POST", "sets/{set}/train"),
        ("POST", "sets/{set}/audit"),
        ("GET", "images/{image}"),
        ("PATCH", "images/{image}"),
        ("GET", "images/{image}/thumbnail"),
        ("GET", "images/{image}/file"),
    ],
)
def test_another_persons_set_is_not_there(web: Web, method: str, address: str) -> None:
    row = add_set(web.runtime, web.user_id, each=2)
    with web.runtime.catalog.read() as transaction:
        image = images.list_images(transaction, web.user_id, row.id)[0]
    body = {"images": [image.id], "label": "x"} if address.endswith("/images") else None
    body = {"label": "x"} if address == "images/{image}" else body
    body = {"model_name": "x"} if address.endswith("train") else body
    body = {} if address.endswith("splits") else body
    other = web.someone_else()

    async def ask() -> httpx.Response:
        async with web.client(other) as client:
            path = f"/api/plants/{address.format(set=row.id, image=image.id)}"
            return await client.request(method, path, json=body if method != "GET" else None)

    assert asyncio.run(ask()).status_code == 404
