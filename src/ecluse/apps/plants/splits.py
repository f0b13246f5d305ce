"""Divide a set of images into what is learned from, chosen by, and tested on; say it in a manifest, and use it again.

Images that look nearly the same go to one part, so that no model is tested on what it has learned. Every label has
its share of each part. The same seed gives the same split; images that come later are added by the same rule, and
the others stay where they are.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ecluse import unclaimed
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.errors import UnusableImages
from ecluse.apps.plants.tables import Image, ImageSplit
from ecluse.catalog import audit
from ecluse.catalog.tables import new_id
from ecluse.errors import DigestMismatch, InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _, num
from ecluse.storage import join_key

Part = Literal["train", "validation", "test"]
#: In this order: what was learned from once is not tested on later.
PARTS: Final[tuple[Part, ...]] = ("train", "validation", "test")
SHARES: Final[dict[Part, float]] = {"train": 0.7, "validation": 0.15, "test": 0.15}
#: Images of every label that each part has at least.
#: The parts in words.
PART_NAMES: Final = {"train": N_("train"), "validation": N_("validation"), "test": N_("test")}
FEWEST: Final[dict[Part, int]] = {"train": 2, "validation": 1, "test": 2}
FORMAT: Final = 1


@dataclass(frozen=True)
class Divided:
    """An image to divide: `group` names those that look nearly the same; None: there is no other."""

    sha256: str
    label: str
    group: str | None = None


def split_for(
    runtime: Runtime, user_id: str, set_id: str, *, seed: int = 0, shares: Mapping[Part, float] | None = None
) -> ImageSplit:
    """Return the newest split of a set with this seed; what changed in the set since makes a new one that goes on from
    it.

    Other `shares` than those of the newest make a split from nothing. None: those of the newest, else `SHARES`.

    Raises:
        NotFound: there is no such set that the user may see.
        InvalidInput: the shares cannot be used.
        UnusableImages: a label has too few images.
    """
    with runtime.catalog.read() as transaction:
        home = images.readable_set(transaction, user_id, set_id)
        before = images.newest_split(transaction, user_id, set_id, seed=seed)
        rows = images.list_images(
            transaction, home.user_id, set_id, images.Filter(states=("valid",)), limit=None
        )
    chosen = checked_shares(shares) if shares is not None else None
    goes_on = before is not None and chosen in (None, before.shares)
    earlier_parts: dict[str, Part] = {}
    if before is not None and goes_on:
        earlier_parts, chosen = manifest_of(runtime, before)["parts"], _shares(before.shares)
    chosen = chosen or dict(SHARES)
    divided = _divided(rows)
    parts = assign_parts(divided, seed=seed, shares=chosen, earlier_parts=earlier_parts)
    digest = data_digest(divided)
    if before is not None and goes_on and parts == earlier_parts and digest == before.data_digest:
        return before
    return _write(
        runtime,
        ImageSplit(
            id=new_id(),
            set_id=set_id,
            user_id=user_id,
            seed=seed,
            shares=chosen,
            counts=counts_of(divided, parts),
            data_digest=digest,
        ),
        {
            "format": FORMAT,
            "set": set_id,
            "seed": seed,
            "shares": chosen,
            "labels": sorted({image.label for image in divided}),
            "data_digest": digest,
            "from": before.id if before is not None and goes_on else None,
            "parts": parts,
            "images": {
                image.sha256: image.label for image in sorted(divided, key=lambda image: image.sha256)
            },
        },
    )


def manifest_of(runtime: Runtime, split: ImageSplit) -> dict[str, Any]:
    """Return what a split says: its `parts` by digest of the image, its `labels` in their order, its seed and shares.

    Raises:
        DigestMismatch: the manifest was changed in the store.
        ObjectNotFound: it is gone.
    """
    located = runtime.stores.locate(split.url)
    data = located.store.get(located.key)
    if hashlib.sha256(data).hexdigest() != split.sha256:
        raise DigestMismatch(
            _(
                "The manifest of split %(key)s was changed in the store. Split anew: ecluse plants "
                "split SET --seed 1",
                key=split.id,
            )
        )
    manifest: dict[str, Any] = json.loads(data)
    return manifest


def checked_shares(shares: Mapping[Any, float]) -> dict[Part, float]:
    """Return the share of each part, of a sum of 1.

    Raises:
        InvalidInput: they cannot be used.
    """
    if set(shares) != set(PARTS) or not all(0 < share < 1 for share in shares.values()):
        raise InvalidInput(
            _("Give a share above 0 for train, validation and test, such as 0.7, 0.15 and 0.15.")
        )
    total = sum(shares.values())
    if abs(total - 1) > 1e-6:
        raise InvalidInput(
            _(
                "The shares of train, validation and test are %(number)s together; make them 1.",
                number=num(total, "g"),
            )
        )
    return _shares(shares)


def assign_parts(
    divided: Sequence[Divided],
    *,
    seed: int,
    shares: Mapping[Part, float] = SHARES,
    earlier_parts: Mapping[str, Part] | None = None,
) -> dict[str, Part]:
    """Return the part of each image by its digest, sorted; those of `kept` keep theirs.

    Where images of several parts turn out to look the same, all of them go to the first of these in the order of
    `PARTS`. Within a label each part differs from its share by no more images than the largest group has, where the
    label's groups allow it.

    Raises:
        UnusableImages: there are fewer than two labels, or a part gets fewer images of one than `FEWEST`.
    """
    labels = sorted({image.label for image in divided})
    if len(labels) < 2:
        raise UnusableImages(
            _(
                "A classifier tells labels apart, and the set has %(count)s. Import images of another label.",
                count=len(labels),
            )
        )
    before = earlier_parts or {}
    parts: dict[str, Part] = {}
    waiting: dict[str, list[list[Divided]]] = {label: [] for label in labels}
    for group in _groups(divided):
        earlier = {before[image.sha256] for image in group if image.sha256 in before}
        if earlier:
            parts |= dict.fromkeys((image.sha256 for image in group), min(earlier, key=PARTS.index))
        else:
            waiting[_main_label(group)].append(group)
    for label in labels:
        assigned = Counter(
            parts[image.sha256] for image in divided if image.label == label and image.sha256 in parts
        )
        for group, part in _dealt(waiting[label], assigned, seed, shares):
            parts |= dict.fromkeys((image.sha256 for image in group), part)
    _check(divided, parts, labels)
    return dict(sorted(parts.items()))


def counts_of(divided: Iterable[Divided], parts: Mapping[str, Part]) -> dict[str, dict[str, int]]:
    """Return how many images of each label each part has."""
    counts = Counter((parts[image.sha256], image.label) for image in divided)
    labels = sorted({label for _, label in counts})
    return {part: {label: counts[part, label] for label in labels} for part in PARTS}


def data_digest(divided: Iterable[Divided]) -> str:
    """Return a SHA-256 of which images there are, and with which labels."""
    lines = sorted(f"{image.sha256} {image.label}\n" for image in divided)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def splits_prefix(user_id: str) -> str:
    return join_key("user_data", user_id, "splits")


def _divided(rows: Sequence[Image]) -> list[Divided]:
    """Return the images with their groups: those that an audit found, and what hashes say of images that came since.

    Where an image joins two groups they are one.
    """
    from ecluse.apps.plants.likeness import near_groups

    hashed = [row for row in rows if row.perceptual_hash is not None]
    groups = near_groups([row.perceptual_hash or "" for row in hashed])
    group_of: dict[str, str] = {row.id: row.group for row in rows if row.group is not None}
    renamed: dict[str, str] = {}

    def current(group: str) -> str:
        while group in renamed:
            group = renamed[group]
        return group

    for members in groups:
        ids = [hashed[position].id for position in members]
        names = sorted({current(group_of[image_id]) for image_id in ids if image_id in group_of}) or [ids[0]]
        renamed |= dict.fromkeys(names[1:], names[0])
        group_of |= dict.fromkeys(ids, names[0])
    return [
        Divided(row.sha256, row.label, current(group_of[row.id]) if row.id in group_of else None)
        for row in rows
    ]


def _shares(shares: Mapping[Any, float]) -> dict[Part, float]:
    return {part: float(shares[part]) for part in PARTS}


def _groups(divided: Sequence[Divided]) -> list[list[Divided]]:
    groups: dict[tuple[str, str], list[Divided]] = {}
    for image in sorted(divided, key=lambda image: image.sha256):
        key = ("alone", image.sha256) if image.group is None else ("group", image.group)
        groups.setdefault(key, []).append(image)
    return list(groups.values())


def _main_label(group: Sequence[Divided]) -> str:
    """Return the label of most of its images; of as many, the first by name."""
    counted = Counter(image.label for image in group)
    return min(counted, key=lambda label: (-counted[label], label))


def _dealt(
    groups: Sequence[list[Divided]], assigned: Counter[Part], seed: int, shares: Mapping[Part, float]
) -> Iterable[tuple[list[Divided], Part]]:
    """Return each group of a label with the part that lacks most then; the largest first, the others in the seed's
    order.
    """
    total = sum(len(group) for group in groups) + assigned.total()
    targets = _wanted(total, shares)
    counts = Counter(assigned)
    for group in sorted(groups, key=lambda group: (-len(group), _shuffled(seed, group[0].sha256))):
        part = max(PARTS, key=lambda part: (targets[part] - counts[part], -PARTS.index(part)))
        counts[part] += len(group)
        yield group, part


def _wanted(total: int, shares: Mapping[Part, float]) -> dict[Part, float]:
    """Images of a label for each part: its share, and no fewer than `FEWEST` of the smaller parts."""
    targets = {part: max(shares[part] * total, FEWEST[part]) for part in PARTS}
    surplus = sum(targets.values()) - total
    largest = max(PARTS, key=lambda part: targets[part])
    targets[largest] -= surplus
    return targets


def _shuffled(seed: int, sha256: str) -> bytes:
    return hashlib.sha256(f"{seed} {sha256}".encode()).digest()


def _check(divided: Sequence[Divided], parts: Mapping[str, Part], labels: Sequence[str]) -> None:
    counted = counts_of(divided, parts)
    for label in labels:
        for part in PARTS:
            has = counted[part].get(label, 0)
            if has < FEWEST[part]:
                every = sum(counted[part].get(label, 0) for part in PARTS)
                raise UnusableImages(
                    _(
                        "Label %(name)s has %(total)s images, of which %(count)s fall to the %(part)s part; "
                        "it needs %(number)s, and images that look alike stay together. Import more of them, "
                        "exclude the label's images, or split with another seed: ecluse plants split SET "
                        "--seed 1",
                        name=label,
                        total=every,
                        count=has,
                        part=_(PART_NAMES[part]),
                        number=FEWEST[part],
                    )
                )


def _write(runtime: Runtime, split: ImageSplit, manifest: Mapping[str, Any]) -> ImageSplit:
    """Keep a manifest, then the row that points at it."""
    data = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
    key = join_key(splits_prefix(split.user_id), f"{split.id}.json")
    unclaimed.expect(runtime, key)
    stored = runtime.data.put(key, data)
    split.url, split.sha256, split.size_bytes = runtime.data.url_of(key), stored.sha256, stored.size
    try:
        with runtime.catalog.write() as transaction:
            name = images.readable_set(transaction, split.user_id, split.set_id).name
            images.add_split(transaction, split)
            audit.record(transaction, split.user_id, "images.split", name, split=split.id, seed=split.seed)
    except Exception:
        runtime.data.delete(key)
        raise
    return split
