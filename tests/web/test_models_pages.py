"""Models over HTTP and on pages: search, compare, aliases, links, damage, and models of no application."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse import models as published
from ecluse.apps.fraud.metrics import METRICS as FRAUD_METRICS
from ecluse.apps.fraud.pages import charts as model_figures
from ecluse.apps.fraud.performance.parts import Curves, PrecisionRecallPoint
from ecluse.apps.fraud.performance.reports import read_report, read_trained_report
from ecluse.apps.plants.metrics import METRICS as PLANTS_METRICS
from ecluse.catalog.tables import ModelVersion, User
from ecluse.errors import CannotSign
from ecluse.metrics import Metric
from ecluse.registry import Manifest, ManifestFile
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.tracking import better_way
from ecluse.web.comparison import Figure, compare, figures_of, headline, settings_of
from ecluse.web.i18n import Words
from ecluse.web.pages.models import figure_names
from tests.servers import ObjectServer
from tests.web import invented
from tests.web.test_pages import Browser, browser, publish

NEW, OLD = invented.VERSIONS
JSON = {"accept": "application/json"}
META = {"val_accuracy": 0.93, "epochs": 20, "framework": "torch", "parameters": {"lr": 0.0003}}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home: Path = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        yield opened


@pytest.fixture(scope="module")
def owner(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user with two versions of a fraud model."""
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    with runtime.catalog.write() as transaction:
        transaction.add_all(invented.rows(user.id))
    publish(runtime, user, tmp_path_factory.mktemp("model"))
    return user


@pytest.fixture(scope="module")
def plain(runtime: Runtime, owner: User, tmp_path_factory: pytest.TempPathFactory) -> list[ModelVersion]:
    """Two versions of files that the user published, the older first."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "weights.bin").write_bytes(b"first")
    (folder / "labels <b>.txt").write_text("rose\ntulip\n")
    one = published.publish(runtime, owner.id, "plants", [folder], metadata=META)
    (folder / "weights.bin").write_bytes(b"second")
    (folder / "new.json").write_text("{}")
    better = META | {"val_accuracy": 0.95, "framework": "torch 2"}
    two = published.publish(runtime, owner.id, "plants", [folder], metadata=better)
    return [one, two]


@pytest.fixture
def client(runtime: Runtime, owner: User, plain: list[ModelVersion]) -> Browser:
    return browser(runtime, owner)


@pytest.fixture(scope="module")
def stranger(runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize(
    "path",
    [
        "/models",
        "/models?where=epochs>5",
        "/models?where=epochs>500",
        "/models/plants",
        "/models/plants/{one}",
        "/models/plants/compare",
        "/models/transactions/compare",
        f"/models/transactions/compare?a={NEW}&b={NEW}",
    ],
)
def test_every_page_of_models_is_drawn_in_both_languages(
    client: Browser, plain: list[ModelVersion], path: str, language: str
) -> None:
    client.cookies.set("lang", language)
    answer = client.get(path.replace("{one}", plain[0].version))
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}"' in answer.text
    assert "%(" not in answer.text
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))


def test_nothing_of_a_model_is_shown_to_someone_else(stranger: Browser, plain: list[ModelVersion]) -> None:
    where = f"/models/plants/{plain[0].version}"
    for path in ("/models/plants", where, "/models/plants/compare", f"/api{where}/signed?path=new.json"):
        assert stranger.get(path).status_code == 404, path
    for path in (f"{where}/alias", f"{where}/alias/x/remove", f"{where}/link", f"{where}/delete"):
        assert stranger.post(path, data={"alias": "mine", "path": "new.json"}).status_code == 404, path
    api = f"/api/models/plants/compare?a={plain[0].version}&b={plain[1].version}"
    for path in (api, "/api/models/plants/aliases", "/api/models/plants/aliases/mine"):
        assert stranger.get(path, JSON).status_code == 404, path


# Lists and search


def test_the_list_shows_figure_interval_alias_digest_and_whether_it_was_verified(
    runtime: Runtime, owner: User, client: Browser, plain: list[ModelVersion]
) -> None:
    published.set_alias(runtime, owner.id, "plants", "shown", plain[1].version)
    published.verify(runtime, plain[1])
    page = client.get("/models").text
    assert page.count("<tr>") == 1 + 2  # its head and two models, each at its latest version
    assert "0.741" in page
    assert "0.700 to 0.770" in page
    assert "not verified since it was published" in page
    row = page[page.index('href="/models/plants"') :]
    for shown in (plain[1].version, "shown", "0.950", "val_accuracy", plain[1].manifest_digest, "verified "):
        assert shown in row


def test_conditions_search_every_version_and_each_can_be_taken_away(
    client: Browser, plain: list[ModelVersion]
) -> None:
    page = client.get("/models?where=val_accuracy>0.9&where=framework=torch").text
    assert plain[0].version in page
    assert f'class="mono" href="/models/plants/{plain[1].version}"' not in page
    assert 'href="/models?where=val_accuracy%3E0.9"' in page
    assert 'name="where" value="framework=torch"' in page
    assert "No version fulfils all of this" in client.get("/models?where=val_accuracy>0.99").text


def test_a_condition_that_cannot_be_read_is_kept_in_its_field_with_an_example(client: Browser) -> None:
    answer = client.get("/models?where=epochs>5&where=accuracy")
    assert answer.status_code == 422
    assert "is not a condition" in answer.text
    assert 'value="accuracy" aria-invalid="true"' in answer.text
    assert 'name="where" value="epochs&gt;5"' in answer.text


def test_programs_search_by_the_same_conditions(client: Browser, plain: list[ModelVersion]) -> None:
    found = client.get("/api/models?where=val_accuracy>0.9", JSON).json()
    assert {one["version"] for one in found} == {row.version for row in plain}
    assert found[0]["metrics"]["val_accuracy"] == 0.95
    assert found[0]["metadata"]["framework"] == "torch 2"
    assert client.get("/api/models?where=nonsense", JSON).json()["error"]["code"] == "invalid_input"
    asked = "name=plants and (framework='torch 2' or created_at<2020-01-01)"
    answer = client.get(f"/api/models?where={quote(asked)}", JSON)
    assert [one["version"] for one in answer.json()] == [plain[1].version]
    assert plain[1].version in client.get(f"/models?where={quote(asked)}").text


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_version_in_use_is_kept_and_each_medium_has_its_own_way_out(
    client: Browser, runtime: Runtime, owner: User, plain: list[ModelVersion], language: str
) -> None:
    place = f"/models/plants/{plain[0].version}"
    published.set_alias(runtime, owner.id, "plants", "served", plain[0].version)
    answer = client.post(f"{place}/delete?lang={language}")
    assert answer.status_code == 409
    notice = answer.text[answer.text.index('role="alert"') :].partition("</div></div>")[0]
    assert "served" in notice
    assert "ecluse models" not in notice, "a page has buttons, not commands"
    assert f'action="{place}/alias/served/remove"' in notice
    refused = client._ask("DELETE", f"/api{place}", JSON).json()["error"]
    assert refused["code"] == "version_in_use"
    assert "DELETE /api/models/plants/aliases/served" in refused["message"]
    assert "ecluse models" not in refused["message"]
    assert client._ask("DELETE", "/api/models/plants/aliases/served", JSON).status_code == 204


def test_a_long_list_of_models_has_pages_and_shows_each_at_its_latest_version(runtime: Runtime) -> None:
    user = runtime.accounts.sign_up("many@example.org", "a long password")
    with runtime.catalog.write() as transaction:
        for number in range(120):
            for second in ("v20251121_000000_9", "v20251121_000000_10", "v20251120_235959"):
                row = ModelVersion(
                    user_id=user.id, name=f"m{number}", version=second, prefix="", size_bytes=1
                )
                row.manifest_digest, row.report, row.details = "0" * 64, {}, {}
                transaction.add(row)
    many, at, seen = browser(runtime, user), "/models", list[str]()
    while at:
        page = many.get(at).text
        assert "of 120<" in page
        seen += re.findall(r'<th scope="row"><a href="/models/(m\d+)"', page)
        assert set(re.findall(r'class="mono" href="/models/m\d+/(\w+)"', page)) == {"v20251121_000000_10"}
        further = re.search(r'<a rel="next" href="([^"]+)"', page)
        at = further[1] if further else ""
    assert sorted(seen) == sorted(f"m{number}" for number in range(120))


# One version


def test_a_model_of_no_application_shows_what_it_holds_and_offers_no_scoring(
    client: Browser, plain: list[ModelVersion]
) -> None:
    page = client.get(f"/models/plants/{plain[0].version}").text
    for shown in ("0.93", ">lr<", "0.0003", "framework", "labels &lt;b&gt;.txt"):
        assert shown in page
    assert 'id="score"' not in page
    assert "<b>.txt" not in page


def test_every_digest_of_a_version_is_shown_whole(
    runtime: Runtime, client: Browser, plain: list[ModelVersion]
) -> None:
    page = client.get(f"/models/plants/{plain[0].version}").text
    manifest = published.manifest_of(runtime, plain[0])
    for digest in (plain[0].manifest_digest, *(file.sha256 for file in manifest.files)):
        assert f'<code class="token">{digest}</code>' in page


def test_an_alias_is_set_moved_and_removed(client: Browser, plain: list[ModelVersion]) -> None:
    old, new = (f"/models/plants/{row.version}" for row in plain)
    assert client.post(f"{old}/alias", data={"alias": "production"}).status_code == 303
    assert "Remove the alias production?" in client.get(old).text
    assert "Move production to this version?" in client.get(new).text
    client.post(f"{new}/alias", data={"alias": "production"})
    assert "Remove the alias production?" in client.get(new).text
    answer = client.post(f"{new}/delete")
    assert answer.status_code == 409
    assert "production" in answer.text
    assert client.post(f"{new}/alias/production/remove").status_code == 303
    assert "Remove the alias production?" not in client.get(new).text


@pytest.mark.parametrize("alias", ["latest", "v20251121_041000", "Has Space", ""])
def test_a_name_that_cannot_be_an_alias_is_refused_and_kept(
    client: Browser, plain: list[ModelVersion], alias: str
) -> None:
    answer = client.post(f"/models/plants/{plain[0].version}/alias", data={"alias": alias})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert not alias or f'value="{alias}" aria-invalid="true"' in answer.text


def test_programs_set_find_and_remove_aliases(client: Browser, plain: list[ModelVersion]) -> None:
    where = "/api/models/plants/aliases/candidate"
    body = {"version": plain[0].version}
    assert client._ask("PUT", where, JSON, json=body).json()["version"] == plain[0].version
    assert client.get(where, JSON).json()["digest"] == plain[0].manifest_digest
    assert "candidate" in {one["alias"] for one in client.get("/api/models/plants/aliases", JSON).json()}
    assert client._ask("PUT", where, JSON, json={"version": "v20200101_000000"}).status_code == 404
    assert client._ask("DELETE", where, JSON).status_code == 204
    assert client.get(where, JSON).status_code == 404


def test_a_folder_has_no_links_and_the_page_offers_the_verified_download_instead(
    client: Browser, plain: list[ModelVersion]
) -> None:
    where = f"/models/plants/{plain[1].version}"
    answer = client.post(f"{where}/link", data={"path": "new.json"})
    assert answer.status_code == CannotSign.status
    assert "a folder has no signed addresses" in answer.text
    assert f'href="{where}/files/new.json"' in answer.text
    told = client.get(f"/api{where}/signed?path=new.json", JSON)
    assert told.json()["error"]["code"] == "cannot_sign"
    assert client.post(f"{where}/link", data={"path": "none"}).status_code == 404
    assert client.post(f"{where}/link", data={"path": "new.json", "hours": "200"}).status_code == 422


# Damage


@pytest.fixture
def broken(runtime: Runtime, owner: User, tmp_path: Path) -> Iterator[ModelVersion]:
    """A version one file of which was replaced in the store."""
    (tmp_path / "weights.bin").write_bytes(b"as published")
    row = published.publish(runtime, owner.id, "broken", [tmp_path], metadata={})
    located = runtime.stores.locate(f"{row.url}/weights.bin")
    located.store.put(located.key, b"something el")
    yield row
    published.remove(runtime, owner.id, "broken", row.version)


def test_a_damaged_version_is_red_says_since_when_and_cannot_be_used_until_it_is_whole_again(
    runtime: Runtime, client: Browser, broken: ModelVersion
) -> None:
    where = f"/models/broken/{broken.version}"
    answer = client.post(f"{where}/verify")
    assert answer.status_code == 409
    for page in (answer.text, client.get(where).text):
        assert "Damaged since" in page
        assert '<div class="notice bad"' in page
        assert 'name="alias"' not in page
        assert f"{where}/link" not in page
    assert "damaged since" in client.get("/models").text
    assert client.post(f"{where}/alias", data={"alias": "production"}).status_code == 409
    assert client.post(f"{where}/link", data={"path": "weights.bin"}).status_code == 409
    assert client.get(f"/api{where}", JSON).json()["damaged_at"] is not None
    located = runtime.stores.locate(f"{broken.url}/weights.bin")
    located.store.put(located.key, b"as published")
    answer = client.post(f"{where}/verify")
    assert answer.status_code == 200
    assert "Every file is what its manifest says." in answer.text
    assert "Damaged since" not in answer.text


def test_the_page_of_a_version_whose_manifest_was_replaced_opens_and_says_so(
    runtime: Runtime, owner: User, client: Browser, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"as published")
    row = published.publish(runtime, owner.id, "replaced", [tmp_path], metadata={})
    located = runtime.stores.locate(f"{row.url}/manifest.json")
    located.store.put(located.key, b"{}")
    where = f"/models/replaced/{row.version}"
    page = client.get(where)
    assert page.status_code == 200
    assert "What this version holds cannot be read." in page.text
    assert client.post(f"{where}/verify").status_code == 409
    assert "Damaged since" in client.get(where).text
    published.remove(runtime, owner.id, "replaced", row.version)


def test_the_page_of_a_version_opens_while_its_store_is_away(
    runtime: Runtime, owner: User, client: Browser, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"as published")
    row = published.publish(runtime, owner.id, "away", [tmp_path], metadata={"val_accuracy": 0.9})
    runtime.cache.clear()
    store, hidden = runtime.settings.home / "store", runtime.settings.home / "hidden"
    store.rename(hidden)
    try:
        page = client.get(f"/models/away/{row.version}")
    finally:
        hidden.rename(store)
    assert page.status_code == 200
    assert "What this version holds cannot be read." in page.text
    assert "Mount its disk again" in page.text
    assert "val_accuracy" in page.text
    published.remove(runtime, owner.id, "away", row.version)


# Compare


def test_two_versions_stand_beside_each_other_with_their_differences(
    client: Browser, plain: list[ModelVersion]
) -> None:
    page = client.get("/models/plants/compare").text
    assert f'B · <a class="mono" href="/models/plants/{plain[1].version}"' in page  # by default the newest
    for shown in ("+0.0200", "torch 2", "in B alone", "differs", "the same"):
        assert shown in page
    found = client.get(f"/api/models/plants/compare?a={plain[0].version}&b={plain[1].version}", JSON).json()
    assert found["settings"] == [{"name": "framework", "a": "torch", "b": "torch 2"}]
    assert {pair["path"]: pair["same"] for pair in found["files"]} == {
        "labels <b>.txt": True, "new.json": False, "weights.bin": False,
    }  # fmt: skip


def test_curves_lie_over_each_other_where_both_versions_have_them(client: Browser) -> None:
    page = client.get("/models/transactions/compare").text
    assert 'data-chart="chart-compared-pr"' in page
    assert 'data-chart="chart-compared-roc"' in page
    assert page.count("Values as a table") == 2
    report, without = (read_report(invented.report() | changed) for changed in ({}, {"curves": {}}))
    assert model_figures.compared_curves(report, without, ("a", "b"), Words("en")) == []


def test_the_table_of_overlaid_curves_has_the_precision_at_each_recall() -> None:
    report = read_trained_report(invented.report())
    other = replace(report, curves=Curves(pr=(PrecisionRecallPoint(0.55, 0.5, 0.4),)))
    chart = model_figures.compared_curves(report, other, ("one", "two"), Words("en"))[0]
    by_level = {row[0]: row[1:] for row in chart.rows}
    assert by_level["50\u00a0%"][1] == "50.0\u00a0%"
    assert by_level["60\u00a0%"][1:] == ("–", "–")  # no threshold of the other finds so much
    first = next(p for p in report.curves.pr if p.recall >= 0.5)
    assert by_level["50\u00a0%"][0] == Words("en").percent(first.precision, 1)
    assert [line["name"] for line in chart.option["series"]] == ["A · one", "B · two"]


@pytest.mark.parametrize(
    ("better", "a", "b", "verdict"),
    [
        ("higher", (0.6, 0.7), (0.71, 0.8), "better"),
        ("higher", (0.6, 0.7), (0.4, 0.5), "worse"),
        ("lower", (0.6, 0.7), (0.4, 0.5), "better"),
        ("higher", (0.6, 0.7), (0.7, 0.8), "overlap"),
        (None, (0.6, 0.7), (0.8, 0.9), None),
        ("higher", None, (0.8, 0.9), None),
    ],
)
def test_only_intervals_that_do_not_meet_tell_versions_apart(
    better: Any, a: Any, b: Any, verdict: Any
) -> None:
    assert Figure("f", 0.65, 0.75, a, b, better).verdict == verdict


bounds = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda pair: (min(pair), max(pair)))


@given(bounds, bounds, st.sampled_from(["higher", "lower"]))
def test_comparing_the_other_way_round_turns_the_verdict_round(a: Any, b: Any, better: Any) -> None:
    turned = {"better": "worse", "worse": "better", "overlap": "overlap"}
    verdict = Figure("f", 0.5, 0.5, a, b, better).verdict
    assert verdict is not None
    assert Figure("f", 0.5, 0.5, b, a, better).verdict == turned[verdict]


def pair(**changed: Any) -> tuple[ModelVersion, ModelVersion]:
    """Two versions of an invented model; the report of the second differs as said."""
    a, b = invented.versions("u")
    a.details, b.details, b.report = {}, {}, b.report | changed
    return a, b


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"rows": {"test": 7}}, False),
        ({"split": {"kind": "time", "description": "other cuts"}}, False),
        ({"seed": 3}, True),  # cut by time, the seed changes nothing
        ({"target": "other"}, False),
    ],
)
def test_whether_both_were_tested_on_the_same_rows_is_known_from_table_target_and_split(
    changed: dict[str, Any], same: bool
) -> None:
    assert compare(*pair(**changed), None, None).same_test is same


def test_two_uploads_of_one_table_are_the_same_rows_by_their_content() -> None:
    a, b = pair()
    b.dataset_id = "another-upload"
    assert compare(a, b, None, None).same_test is None
    a.report |= {"tested_rows": "a1"}
    b.report |= {"tested_rows": "a1"}
    assert compare(a, b, None, None).same_test is True
    b.report |= {"tested_rows": "b2"}
    assert compare(a, b, None, None).same_test is False


def test_a_split_at_random_is_the_same_with_the_same_seed_only() -> None:
    a, b = pair(split={"kind": "random"}, seed=1)
    a.report |= {"split": {"kind": "random"}, "seed": 2}
    assert compare(a, b, None, None).same_test is False
    b.dataset_id = None
    assert compare(a, b, None, None).same_test is None


def test_columns_and_files_of_one_version_alone_are_named() -> None:
    a, b = pair(
        importances=[
            {"column": name, "feature": name, "share": share} for name, share in (("amount", 1), ("iban", 0))
        ]
    )
    files = [ManifestFile("model", 3, "aa", ""), ManifestFile("card", 1, "bb", "")]
    one = Manifest("m", "v", "", "", "", (files[0], files[1]))
    two = Manifest("m", "v", "", "", "", (ManifestFile("model", 3, "cc", ""),))
    found = compare(a, b, one, two)
    assert "iban" in found.columns_b
    assert "merchant_country" in found.columns_a
    assert found.files is not None
    assert [(p.path, p.differs, p.b is None) for p in found.files] == [
        ("card", True, True), ("model", True, False),
    ]  # fmt: skip
    assert compare(a, b, one, None).files is None


def test_metadata_of_older_versions_that_no_page_expects_are_passed_over() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(950):
        deep = {"a": deep}
    row = ModelVersion(details={"metrics": 0.9, "huge": 10**400, "deep": deep, "ok": 1.0}, report={})
    assert figures_of(row) == {"ok": 1.0}
    assert "deep" not in settings_of(row)


def test_numbers_of_the_metadata_are_figures_and_the_rest_are_settings() -> None:
    row = ModelVersion(
        report={}, details={"auc": 0.9, "note": "x", "flag": True, "metrics": {"f1": 0.5}, "params": {"n": 3}}
    )
    assert figures_of(row) == {"f1": 0.5, "auc": 0.9}
    assert settings_of(row) == {"n": 3, "note": "x", "flag": True}
    shown = headline(row)
    assert shown is not None
    assert (shown.name, shown.b) == ("f1", 0.5)
    assert headline(ModelVersion(report={}, details={})) is None


@pytest.mark.parametrize(
    ("value", "english", "french"),
    [(0.0003, "0.0003", "0,0003"), (20, "20", "20"), (0.9455, "0.9455", "0,9455"), (1e-7, "1e-07", "1e-07")],
)
def test_a_number_someone_gave_keeps_its_digits(value: float, english: str, french: str) -> None:
    assert (Words("en").as_given(value), Words("fr").as_given(value)) == (english, french)


# Links, on a store that can sign


def test_a_link_downloads_one_file_without_an_account_until_it_expires(
    object_server: ObjectServer, tmp_path: Path
) -> None:
    import httpx

    settings = Settings.from_environment(object_server.environment("links"), home=tmp_path / "home")
    with Runtime.open(settings) as opened:
        user = opened.accounts.sign_up("ines@example.org", "a long password")
        (tmp_path / "weights.bin").write_bytes(b"weights")
        row = published.publish(opened, user.id, "plants", [tmp_path / "weights.bin"], metadata={})
        where = f"/models/plants/{row.version}"
        page = browser(opened, user).post(f"{where}/link", data={"path": "weights.bin"})
        assert page.status_code == 200
        assert "Anyone with this link can download weights.bin" in page.text
        shown = re.search(r'class="link-text mono" href="([^"]+)"', page.text)
        assert shown is not None
        url = shown[1].replace("&amp;", "&")
        assert httpx.get(url, timeout=60).content == b"weights"
        assert httpx.get(url.replace("weights.bin", "manifest.json"), timeout=60).status_code == 403
        told = browser(opened, user).get(f"/api{where}/signed?path=weights.bin&expires_s=60", JSON).json()
        assert httpx.get(told["url"], timeout=60).content == b"weights"
        link = published.signed_link(opened, row, "weights.bin", timedelta(seconds=60))
        assert link.file.sha256 == told["sha256"]


@pytest.mark.parametrize("metric", [*FRAUD_METRICS, *PLANTS_METRICS], ids=lambda metric: metric.name)
def test_a_metric_of_an_application_is_named_and_judged_wherever_figures_are_shown(metric: Metric) -> None:
    assert figure_names(Words("en"))[metric.name]
    assert figure_names(Words("fr"))[metric.name]
    assert better_way(metric.name) == metric.better
    details: dict[str, Any] = {"metrics": {metric.name: 0.5}}
    row = ModelVersion(application="birds", report=details, details=details)
    shown = headline(row)
    assert shown is not None
    assert (shown.name, shown.better) == (metric.name, metric.better)
