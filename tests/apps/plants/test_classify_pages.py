"""A person drops images and reads what a model says of them; nothing that was sent is kept or shown as it came."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import httpx
import pytest
from PIL import Image

from ecluse import models
from ecluse.apps.plants.pages.classify import share_of
from ecluse.web.i18n import Words
from tests.apps.plants.tiny import GREEN, NEITHER, YELLOW, photo
from tests.web.within import Within as Web


def post(web: Web, *files: tuple[str, bytes], language: str = "en", **fields: str) -> httpx.Response:
    sent = [("file", file) for file in files] or [("file", ("", b""))]
    return web.ask(
        "POST",
        "/plants/classify",
        data=fields,
        files=sent,
        headers={"accept": "text/html", "accept-language": language},
    )


def page(web: Web, **query: Any) -> str:
    headers = {"accept": "text/html"}
    return web.ask("GET", "/plants/classify", params=query, headers=headers).raise_for_status().text


def pictures(text: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    ]


def test_without_a_model_the_page_leads_to_one(web: Web) -> None:
    text = page(web)
    assert "No model of images yet" in text
    assert 'type="file"' not in text


def test_the_form_offers_each_model_by_name_and_alias_with_its_figure(web: Web) -> None:
    first = web.publish()
    second = web.publish()
    models.set_alias(web.runtime, web.user_id, "leaves", "production", first.version)
    text = page(web, model="leaves@production")
    options = re.findall(r'<option value="([^"]+)"( selected)?>([^<]+)</option>', text)
    assert [(value, bool(selected)) for value, selected, _ in options] == [
        ("leaves", False),
        ("leaves@production", True),
    ]
    assert second.version in options[0][2]
    assert first.version in options[1][2]
    assert "95\u00a0%, 86 to 98\u00a0%" in options[0][2]
    assert f'<option value="leaves@{first.version}" selected>' in page(web, model=f"leaves@{first.version}")
    assert "leaves@v2" not in page(web, model="strangers@v20250101_000000")


def test_an_image_is_answered_with_its_label_and_what_spoke_for_it(web: Web) -> None:
    row = web.publish()
    text = post(web, ("été <b>.jpg", photo(YELLOW))).raise_for_status().text
    assert '<p class="what">dandelion</p>' in text
    assert f'href="/models/leaves/{row.version}"' in text
    assert "57 of 60, 95\u00a0% (86 to 98\u00a0%)" in text
    assert "&lt;b&gt;.jpg" in text
    assert len(re.findall(r"<meter ", text)) == 2
    shown, evidence = pictures(text)
    assert shown.size == (96, 80)
    assert evidence.size == (320, 320)


def test_an_image_like_none_is_a_result_of_its_own(web: Web) -> None:
    web.publish()
    text = post(web, ("x.png", photo(NEITHER, kind="PNG"))).raise_for_status().text
    assert "None of these" in text
    assert "The nearest label is" in text
    assert 'class="verdict none"' in text


def test_what_is_shown_back_is_drawn_anew_without_what_the_file_said(web: Web) -> None:
    web.publish()
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    exif[0x010E] = "garden of Ada, 48.85, 2.35"
    Image.new("RGB", (1200, 600), YELLOW).save(buffer, "JPEG", exif=exif, comment=b"a secret place")
    assert b"secret" in buffer.getvalue()
    text = post(web, ("a.jpg", buffer.getvalue())).text
    shown = pictures(text)[0]
    assert shown.size == (240, 480)
    assert (dict(shown.getexif()), shown.info.get("comment")) == ({}, None)
    assert list((web.runtime.settings.home / "scratch").iterdir()) == []
    assert [info.key for info in web.runtime.data.list("") if "classif" in info.key] == []


def test_several_images_are_a_table_with_an_error_for_each_that_has_one(web: Web) -> None:
    web.publish()
    files = [
        ("yellow.jpg", photo(YELLOW)),
        ("page.jpg", b"<html>"),
        ("green.jpg", photo(GREEN)),
        ("grey.jpg", photo(NEITHER)),
    ]
    text = post(web, *files).raise_for_status().text
    assert "<b>dandelion</b>" in text
    assert "<b>grass</b>" in text
    assert "<b>None of these</b>" in text
    assert "The file is not a JPEG, PNG or WebP image." in text
    assert "2 have a label, 1 is none of these, 1 cannot be used." in text
    assert len(pictures(text)) == 3


@pytest.mark.parametrize(
    ("probability", "told"),
    [
        (0.9999, ">\u00a099.9\u00a0%"),
        (0.987, "98.7\u00a0%"),
        (0.5, "50.0\u00a0%"),
        (1e-9, "<\u00a00.1\u00a0%"),
    ],
)
def test_a_probability_is_told_to_a_tenth_and_never_as_certain(probability: float, told: str) -> None:
    assert share_of(probability, Words("en")) == told


def test_errors_are_said_beside_the_form_in_the_readers_language(web: Web) -> None:
    web.publish()
    nothing = post(web)
    assert (nothing.status_code, "No image was chosen" in nothing.text) == (422, True)
    stranger = post(web, ("a.jpg", photo()), model="strangers")
    assert (stranger.status_code, 'type="file"' in stranger.text) == (404, True)
    french = post(web, ("a.jpg", b"<html>"), language="fr").text
    assert "Le fichier n’est pas une image JPEG, PNG ou WebP." in french
    large = web.ask(
        "POST",
        "/plants/classify",
        content=b"",
        headers={
            "accept": "text/html",
            "content-type": "multipart/form-data; boundary=x",
            "content-length": "3000000000",
        },
    )
    assert (large.status_code, "100 MB" in large.text) == (413, True)


def test_the_page_is_said_in_french(web: Web) -> None:
    web.publish()
    text = post(web, ("a.jpg", photo(NEITHER)), language="fr").text
    assert "Aucune de ces étiquettes" in text
    assert "Ce qui plaide pour" in text


def test_pages_carry_nothing_the_content_policy_refuses(web: Web) -> None:
    web.publish()
    text = post(web, ("a.jpg", photo())).text
    assert not re.search(r"\sstyle=|<style|\son\w+=", text)
