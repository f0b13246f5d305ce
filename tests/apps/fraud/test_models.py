"""Every family keeps the same contract: margins, contributions that add up, native files, a deadline."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest

from ecluse.apps.fraud.families import (
    FAMILIES,
    FitData,
    FittedModel,
    Params,
    Until,
    boost,
    family,
    loader,
    one_at_a_time,
)
from ecluse.apps.fraud.families.blend import BlendModel, Member, blend
from ecluse.apps.fraud.measures import average_precision
from ecluse.errors import ModelUnreadable


def data(rows: int = 1_500) -> FitData:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(rows, 5)).astype(np.float32)
    matrix[:, 4] = rng.integers(0, 5, rows)
    odds = 2 * matrix[:, 0] + matrix[:, 1] + 2 * (matrix[:, 4] == 2) - 3
    labels = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    matrix[::7, 1] = np.nan
    cut = rows * 2 // 3
    return FitData(matrix[:cut], labels[:cut], matrix[cut:], labels[cut:], categorical=(4,))


def fitted(name: str, rows: FitData) -> FittedModel:
    params = {"native_categories": True} if name == "lightgbm" else {}
    return family(name).fit(rows, params, seed=1, until=Until(), tick=lambda: None)


@pytest.fixture(params=sorted(FAMILIES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_model_ranks_fraud_far_above_chance(name: str) -> None:
    rows = data()
    found = average_precision(rows.valid_labels, fitted(name, rows).predict_margin(rows.valid))
    assert found > 2 * rows.valid_labels.mean()


def test_contributions_add_up_to_the_margin(name: str) -> None:
    rows = data()
    model = fitted(name, rows)
    shares = model.contributions(rows.valid)
    assert shares.shape == (len(rows.valid), 6)
    assert np.allclose(shares.sum(axis=1), model.predict_margin(rows.valid), atol=1e-4)


def test_importances_are_shares_led_by_the_strongest_feature(name: str) -> None:
    shares = fitted(name, data()).importances()
    assert shares.sum() == pytest.approx(1.0)
    assert int(shares.argmax()) == 0


def test_a_saved_model_gives_the_same_margins_to_the_bit(name: str, tmp_path: Path) -> None:
    rows = data()
    model = fitted(name, rows)
    again = family(name).load(tmp_path / model.save(tmp_path)[0])
    assert np.array_equal(again.predict_margin(rows.valid), model.predict_margin(rows.valid))
    assert again.family == name


def test_a_margin_does_not_depend_on_the_rows_beside_it(name: str) -> None:
    rows = data()
    model = fitted(name, rows)
    alone = [model.predict_margin(rows.valid[at : at + 1])[0] for at in range(50)]
    assert np.array_equal(alone, model.predict_margin(rows.valid)[:50])


def test_contributions_do_not_depend_on_the_rows_beside_them(name: str) -> None:
    rows = data()
    model = fitted(name, rows)
    alone = [model.contributions(rows.valid[at : at + 1])[0] for at in range(50)]
    assert np.array_equal(alone, model.contributions(rows.valid)[:50])


@pytest.mark.nightly("catboost")
def test_several_threads_may_ask_one_model_at_a_time(name: str) -> None:
    rows = data()
    model = fitted(name, rows)
    margins, shares = model.predict_margin(rows.valid), model.contributions(rows.valid)
    spans = [slice(at, at + 50) for at in range(0, len(rows.valid), 50)] * 8

    def ask(span: slice) -> bool:
        part = np.ascontiguousarray(rows.valid[span])
        same = np.array_equal(model.predict_margin(part), margins[span])
        return same and np.array_equal(model.contributions(part), shares[span])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, spans))


def test_the_same_seed_gives_the_same_file(name: str, tmp_path: Path) -> None:
    saved = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        saved.append((folder / fitted(name, data()).save(folder)[0]).read_bytes())
    assert saved[0] == saved[1]


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95garbage", b"{}", b"tree\nversion=v4\nbroken"])
def test_foreign_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "best_model"
    path.write_bytes(content)
    with pytest.raises(ModelUnreadable, match="best_model"):
        family(name).load(path)


def test_a_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / fitted(name, data()).save(tmp_path)[0]
    whole = path.read_bytes()
    for size in {*range(0, len(whole), len(whole) // 50), len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(ModelUnreadable):
            family(name).load(path)


def test_a_fit_that_is_late_from_the_start_still_leaves_a_model(name: str) -> None:
    rows, until = data(), Until(lambda _: True)
    model = family(name).fit(rows, {}, seed=1, until=until, tick=lambda: None)
    assert np.isfinite(model.predict_margin(rows.valid)).all()
    assert (until.rounds, until.was_cut) == (1, True)


def test_a_fit_that_must_settle_is_not_cut_before_it_has(name: str) -> None:
    rows, until = data(), Until(lambda _: True, settle=True)
    whole, freely = fitted(name, rows), family(name).fit(rows, {}, seed=1, until=until, tick=lambda: None)
    reached, possible = (
        average_precision(rows.valid_labels, model.predict_margin(rows.valid)) for model in (freely, whole)
    )
    assert reached > possible - 0.02
    assert until.rounds >= 60 or not until.was_cut


def test_a_fit_of_as_many_rounds_is_the_same_however_it_was_ended(name: str, tmp_path: Path) -> None:
    saved = []
    for again in range(2):
        until = Until(lambda rounds: rounds >= 20)
        model = family(name).fit(data(), {}, seed=1, until=until, tick=lambda: None)
        folder = tmp_path / str(again)
        folder.mkdir()
        saved.append((folder / model.save(folder)[0]).read_bytes())
        assert until.rounds <= 20
    assert saved[0] == saved[1]


def test_a_tick_that_raises_stops_the_fit(name: str) -> None:
    class Stopped(Exception):
        pass

    def tick() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        family(name).fit(data(), {}, seed=1, until=Until(), tick=tick)


@pytest.mark.parametrize("alone", [name for name, facts in FAMILIES.items() if facts.alone])
def test_a_fit_that_waits_for_another_thread_can_be_cancelled(alone: str) -> None:
    """Two fits of CatBoost at once end the process with a segmentation fault, one time in thousands."""

    class Stopped(Exception):
        pass

    def tick() -> None:
        raise Stopped

    with one_at_a_time(alone), ThreadPoolExecutor() as pool:
        waiting = pool.submit(family(alone).fit, data(), {}, seed=1, until=Until(), tick=tick)
        with pytest.raises(Stopped):
            waiting.result(60)
    assert fitted(alone, data()).rounds


def test_a_family_says_where_to_start_and_which_packages_it_needs(name: str) -> None:
    starts = family(name).STARTS
    assert starts
    assert FAMILIES[name].shown_name
    installed = {distribution.name for distribution in distributions()}
    assert installed & set(FAMILIES[name].packages)


@pytest.mark.parametrize("kind", ["catboost", "lightgbm"])
def test_recent_rows_count_more_where_the_settings_say_so(kind: str) -> None:
    """What told fraud in the earlier rows tells the opposite in the later ones."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(1_500, 2)).astype(np.float32)
    ages = 1 - np.arange(1_000) / 1_000
    sign = np.where(np.append(ages, np.zeros(500)) > 0.4, 1, -1)
    labels = (sign * matrix[:, 0] + 0.5 * rng.normal(size=1_500) > 1).astype(np.int8)
    rows = FitData(matrix[:1_000], labels[:1_000], matrix[1_000:], labels[1_000:], ages=ages)

    def precision(params: Params) -> float:
        settings = {**params, "fixed_rounds": 20, "learning_rate": 0.1}
        model = family(kind).fit(rows, settings, seed=1, until=Until(), tick=lambda: None)
        return average_precision(rows.valid_labels, model.predict_margin(rows.valid))

    # In turn on the same rows: neither gets what was built for the other.
    alike, recent, again = precision({}), precision({"half_life": 0.1}), precision({})
    assert alike == again < 0.5 < recent


def test_variations_come_from_the_seed_and_can_be_fitted(name: str) -> None:
    first, again = (family(name).vary(np.random.default_rng(4)) for _ in range(2))
    assert first == again
    rows = data(600)
    for params in first:
        model = family(name).fit(rows, {**params, "rounds": 5}, seed=1, until=Until(), tick=lambda: None)
        assert np.isfinite(model.predict_margin(rows.valid)).all()


def test_facts_of_the_families_load_none_of_their_libraries() -> None:
    code = (
        "import sys, ecluse.apps.fraud.families; "
        "print([m for m in ('lightgbm', 'xgboost', 'catboost', 'sklearn', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(ModelUnreadable, match="no family has this name"):
        family("no family has this name")


def boosted_by(scores: list[float], patience: int) -> tuple[int, int]:
    """The best round and how many were fitted, where rounds score so."""
    done: list[int] = []
    best = boost(
        done.append,
        lambda: scores[len(done) - 1],
        params={"rounds": len(scores), "patience": patience},
        every=1,
        until=Until(),
        tick=lambda: None,
    )
    return best, len(done)


def test_boosting_stops_once_patience_is_over() -> None:
    assert boosted_by([0.1, 0.5, 0.4, 0.3, 0.2, 0.9], patience=3)[1] == 5


def test_one_lucky_round_is_not_the_best_of_a_fit() -> None:
    lucky = [0.3] + [0.1 + 0.001 * number for number in range(100)] + [0.2 - 0.001 * n for n in range(100)]
    best, _ = boosted_by(lucky, patience=300)
    assert 91 <= best <= 111


def test_a_fixed_number_of_rounds_is_fitted_without_validation() -> None:
    rows = data()
    for boosted in ("lightgbm", "xgboost", "catboost"):
        model = family(boosted).fit(rows, {"fixed_rounds": 7}, seed=1, until=Until(), tick=lambda: None)
        assert model.rounds == 7


def blended(rows: FitData) -> BlendModel:
    weights = np.arange(1, len(FAMILIES) + 1) / np.arange(1, len(FAMILIES) + 1).sum()
    joined = blend([Member(fitted(kind, rows), float(w)) for kind, w in zip(FAMILIES, weights, strict=True)])
    assert isinstance(joined, BlendModel)
    return joined


def test_a_blend_is_the_weighted_mean_of_its_members_and_explains_itself_as_one() -> None:
    rows = data()
    joined = blended(rows)
    margins = [member.weight * member.model.predict_margin(rows.valid) for member in joined.members]
    assert np.allclose(joined.predict_margin(rows.valid), np.sum(margins, axis=0))
    shares = joined.contributions(rows.valid)
    assert np.allclose(shares.sum(axis=1), joined.predict_margin(rows.valid), atol=1e-4)
    assert joined.importances().sum() == pytest.approx(1.0)
    assert [member.weight for member in joined.members] == sorted(
        [m.weight for m in joined.members], reverse=True
    )


def test_a_saved_blend_gives_the_same_margins_to_the_bit(tmp_path: Path) -> None:
    rows = data()
    joined = blended(rows)
    names = joined.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    again = loader("blend").load(tmp_path / names[0])
    assert np.array_equal(again.predict_margin(rows.valid), joined.predict_margin(rows.valid))


def test_a_blend_of_one_is_that_one() -> None:
    model = fitted("linear", data(300))
    assert blend([Member(model, 1.0)]) is model


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"format": "ecluse blend 1", "members": []}',
        '{"format": "ecluse blend 1", "members": [{"family": "blend", "file": "best_model.json", "weight": 1}]}',
        '{"format": "ecluse blend 1", "members": [{"family": "lightgbm", "file": "gone.txt.gz", "weight": 1}]}',
        '{"format": "ecluse blend 1", "members": [{"family": "pickle", "file": "best_model.json", "weight": 1}]}',
    ],
)
def test_a_foreign_blend_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "best_model.json").write_text(content)
    with pytest.raises(ModelUnreadable):
        loader("blend").load(tmp_path / "best_model.json")
