"""The declared forms of raw files: their examples are read, their stamps are declared, files are known by them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from ecluse.apps.city.sources import SOURCES, forms
from ecluse.apps.city.sources.forms import Form
from tests.apps.city.layers import make_layers

MARGIN = timedelta(days=5)


def title(form: Form) -> str:
    return form.title


@pytest.mark.parametrize("form", forms(), ids=title)
def test_the_example_of_a_form_is_read(form: Form, tmp_path: Path) -> None:
    """What the guide shows, saved under the name that it shows, is one record and nothing set aside."""
    layers = make_layers(tmp_path)
    key = form.example_key()
    assert form.fits(key)
    layers.put(key, form.example())
    source = SOURCES[form.source]
    dates = re.findall(r"20\d\d-\d\d-\d\d", form.example()) or ["2025-10-14"]
    first, last = (date.fromisoformat(dates[0]) + distance for distance in (-MARGIN, MARGIN))
    source.curate(layers.raw, replace(layers.work, first=first, last=last))
    if not source.table.whole:
        parts = layers.curated.parts_between(form.source, first, last)
        days = layers.curated.read(form.source, first, last)
        rejected = [part.rejected for of_day in parts.values() for part in of_day if part.rejected]
    else:
        part = layers.curated.whole(form.source)
        assert part is not None
        days, rejected = layers.curated.read_whole(form.source), [part.rejected] if part.rejected else []
    assert days.height >= 1
    assert rejected == []


@pytest.mark.parametrize("form", forms(), ids=title)
def test_every_column_that_is_a_time_says_what_it_means_and_where_that_stands(form: Form) -> None:
    times = ("date", "time", "datetime", "application_periods", "applicationPeriods")
    for column in form.columns:
        if column.name.casefold().startswith(times) and form.title != "Weather by the hour, of Open-Meteo":
            assert column.stamp is not None, column.name
    for stamp in (column.stamp for column in form.columns if column.stamp is not None):
        assert stamp.words
        assert stamp.address.startswith("https://")


def test_every_source_declares_its_forms() -> None:
    assert {form.source for form in forms()} == set(SOURCES)
