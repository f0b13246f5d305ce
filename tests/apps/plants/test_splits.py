"""Laws of dividing images: what a split promises holds for any set, and however the set grows."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.plants.errors import UnusableImages
from ecluse.apps.plants.splits import (
    PARTS,
    SHARES,
    Divided,
    assign_parts,
    checked_shares,
    counts_of,
    data_digest,
)
from ecluse.errors import InvalidInput


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@st.composite
def _sets(draw: st.DrawFn, first: int = 0) -> list[Divided]:
    """Two or three labels of 12 images and more, among them groups of up to four."""
    made, number = [], first
    for label in draw(st.sampled_from([["grass", "leaf"], ["a", "b", "c"]])):
        for size in [1] * 12 + draw(st.lists(st.integers(1, 4), max_size=12)):
            group = f"g{number}" if size > 1 else None
            made += [Divided(_digest(number + k), label, group) for k in range(size)]
            number += size
    return made


@given(_sets(), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_every_image_has_one_part_and_no_group_is_divided(divided: list[Divided], seed: int) -> None:
    parts = assign_parts(divided, seed=seed)
    assert parts.keys() == {one.sha256 for one in divided}
    for group in {one.group for one in divided if one.group}:
        assert len({parts[one.sha256] for one in divided if one.group == group}) == 1


@given(_sets(), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_the_shares_of_a_label_are_met_but_for_one_group(divided: list[Divided], seed: int) -> None:
    counted = counts_of(divided, assign_parts(divided, seed=seed))
    for label, total in Counter(one.label for one in divided).items():
        sizes = Counter(one.group for one in divided if one.label == label and one.group)
        largest = max(sizes.values(), default=1)
        for part in PARTS:
            wanted = max(SHARES[part] * total, {"train": 2, "validation": 1, "test": 2}[part])
            assert abs(counted[part][label] - wanted) <= largest, (label, part)


@given(_sets(), st.integers(0, 50), st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_same_seed_gives_the_same_split_in_whatever_order_the_images_come(
    divided: list[Divided], seed: int, random: object
) -> None:
    shuffled = list(divided)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign_parts(divided, seed=seed) == assign_parts(shuffled, seed=seed)
    assert data_digest(divided) == data_digest(shuffled)


@given(_sets(), _sets(first=10_000), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_images_that_come_later_move_none_of_the_others(
    early: list[Divided], late: list[Divided], seed: int
) -> None:
    first = assign_parts(early, seed=seed)
    second = assign_parts([*early, *late], seed=seed, earlier_parts=first)
    assert {sha256: second[sha256] for sha256 in first} == first
    assert second.keys() == {one.sha256 for one in (*early, *late)}


@given(_sets(), st.integers(0, 50), st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_excluded_drops_out_and_what_is_relabelled_keeps_its_part(
    divided: list[Divided], seed: int, data: st.DataObject
) -> None:
    first = assign_parts(divided, seed=seed)
    gone, other = data.draw(
        st.tuples(*[st.sampled_from([one for one in divided if first[one.sha256] == "train"])] * 2)
    )
    label = next(one.label for one in divided if one.label != other.label)
    changed = [
        Divided(one.sha256, label if one == other else one.label, one.group) for one in divided if one != gone
    ]
    second = assign_parts(changed, seed=seed, earlier_parts=first)
    assert second == {sha256: part for sha256, part in first.items() if sha256 != gone.sha256}
    assert data_digest(changed) != data_digest(divided)


def test_another_seed_gives_another_split() -> None:
    divided = [Divided(_digest(n), "ab"[n % 2]) for n in range(100)]
    assert assign_parts(divided, seed=0) != assign_parts(divided, seed=1)


def test_what_was_learned_from_is_not_tested_on_when_it_turns_out_to_look_like_a_test_image() -> None:
    divided = [Divided(_digest(n), "ab"[n % 2]) for n in range(100)]
    first = assign_parts(divided, seed=0)
    trained = next(one for one in divided if one.label == "a" and first[one.sha256] == "train")
    tested = next(one for one in divided if one.label == "a" and first[one.sha256] == "test")
    grouped = [
        Divided(one.sha256, one.label, "same" if one in (trained, tested) else None) for one in divided
    ]
    second = assign_parts(grouped, seed=0, earlier_parts=first)
    assert second == first | {tested.sha256: "train"}


@pytest.mark.parametrize("size", [5, 6, 7, 8, 10, 13])
def test_a_tiny_set_has_two_test_images_of_each_label(size: int) -> None:
    divided = [Divided(_digest(n), "ab"[n % 2]) for n in range(2 * size)]
    counted = counts_of(divided, assign_parts(divided, seed=3))
    assert all(counted["test"][label] >= 2 and counted["validation"][label] >= 1 for label in "ab")


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_label_with_too_few_images_is_named_with_the_way_out(size: int) -> None:
    divided = [Divided(_digest(n), "many") for n in range(20)]
    divided += [Divided(_digest(100 + n), "few") for n in range(size)]
    with pytest.raises(UnusableImages, match=f"Label few has {size} images.*Import more"):
        assign_parts(divided, seed=0)


def test_copies_of_one_image_do_not_make_a_label() -> None:
    divided = [Divided(_digest(n), "many") for n in range(20)]
    divided += [Divided(_digest(100 + n), "one", "same") for n in range(20)]
    with pytest.raises(UnusableImages, match="look alike stay together"):
        assign_parts(divided, seed=0)


def test_one_label_is_nothing_to_tell_apart() -> None:
    with pytest.raises(UnusableImages, match="the set has 1"):
        assign_parts([Divided(_digest(n), "a") for n in range(50)], seed=0)


@pytest.mark.parametrize(
    "shares",
    [
        {"train": 0.8, "validation": 0.2},
        {"train": 0.8, "validation": 0.2, "test": 0.2},
        {"train": 1.0, "validation": 0.0, "test": 0.0},
    ],
)
def test_shares_that_cannot_be_used_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=r"share"):
        checked_shares(shares)
