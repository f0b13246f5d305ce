"""Find copies of photographs that were turned by any angle, sheared, shifted, zoomed or mirrored.

What stands in a photograph is described at a few hundred of its points (SIFT, Lowe 2004, compared by the square roots
of its shares: Arandjelović and Zisserman, 2012). Two images are copies where many of these points lie in the second as
one affine map brings them there from the first. Mirrored, the descriptor of a point is the same one in another order,
so that mirrored copies are found without describing an image twice.

OpenCV is imported when it is first needed: no page or command that only names this module waits for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.checkpoints import Checkpoints, from_bytes, to_bytes

if TYPE_CHECKING:
    from PIL import Image

#: What a stored description has to say of itself; another number where it means something else.
METHOD: Final = "sift-1"
#: The longer side (pixels) at which an image is looked at, and its strongest points that are kept.
SIDE: Final = 320
POINTS: Final = 250
#: Points of all images that are compared at most; of more images, each keeps fewer, the strongest, but so many.
MOST_POINTS: Final = 500_000
FEWEST_POINTS: Final = 40
#: Points that are each other's nearest before a pair is looked at closely, and the images that one is compared with.
VOTES: Final = 4
NEAREST_IMAGES: Final = 20
#: Points of a pair that one affine map explains, and the share of the described area of one of the two that they span.
#: Chosen on one half of 400 photographs (dandelions, grass) and 80 copies of it: turned by up to 40°, sheared, shifted,
#: zoomed, mirrored, lightened and saved anew, several of these together. Of 160 other copies beside all 400 they find
#: 159; of the 79,800 pairs of photographs 8, all of which show the same scene or drawing. What two photographs share
#: with one watermark has 13 points that span .07.
SURE_POINTS: Final = 8
SURE_SHARE: Final = 0.10
#: A match counts where the nearest is so much nearer than the second (Lowe's ratio).
_RATIO: Final = 0.85
#: Pixels (at `SIDE`) by which a point may miss its place; points so near each other count once.
_MISSES: Final = 4.0
_SAME_PLACE: Final = 3.0
#: How much a copy may be enlarged or reduced, and how differently in two directions.
_MOST_ZOOM: Final = 4.0
_MOST_STRETCH: Final = 2.2
#: Nearest neighbours asked of each point, and leaves of the search trees looked at for it.
_NEIGHBOURS: Final = 4
_CHECKS: Final = 32
_WORDS: Final = 128
#: Checkpoints: how points have voted so far, and which pairs were looked at.
_VOTED: Final = "copies-votes"
_COMPARED: Final = "copies-compared"

Report = Callable[[float], None]


@dataclass(frozen=True)
class Points:
    """The strongest points of an image: where they are (points, 2) float32, the longer side being `SIDE` long, and
    SIFT there (points, 128) uint8."""

    at: NDArray[np.float32]
    seen: NDArray[np.uint8]

    def strongest(self, count: int) -> Points:
        return Points(self.at[:count], self.seen[:count])


def describe(image: Image.Image) -> Points:
    """Return the points of an upright image, the strongest first; none of an even surface."""
    cv2 = _opencv()
    grey = image.convert("L")
    grey.thumbnail((SIDE, SIDE))
    keypoints, descriptors = cv2.SIFT_create(nfeatures=POINTS, contrastThreshold=0.02).detectAndCompute(
        np.asarray(grey), None
    )
    if descriptors is None:
        return Points(np.zeros((0, 2), np.float32), np.zeros((0, _WORDS), np.uint8))
    order = sorted(
        range(len(keypoints)), key=lambda index: (-keypoints[index].response, keypoints[index].pt)
    )[:POINTS]
    # Of a smaller image a pixel is more of it.
    at = np.array([keypoints[index].pt for index in order], dtype=np.float32) * np.float32(
        SIDE / max(grey.size)
    )
    return Points(at, np.clip(descriptors[order], 0, 255).astype(np.uint8))


def copies(
    images: Sequence[Points],
    report: Report = lambda fraction: None,
    checkpoints: Checkpoints | None = None,
    *,
    of: str = "",
) -> list[tuple[int, int]]:
    """Return the pairs of images of which one is a copy of the other, by rising index.

    What `report`, told the fraction done, raises ends the work. `checkpoints` keep how far it is with the images that
    `of` names.
    """
    count = max(FEWEST_POINTS, MOST_POINTS // max(1, len(images)))
    strongest = [image.strongest(count) for image in images]
    saved = None if checkpoints is None else from_bytes(checkpoints.load(_COMPARED, of=of))
    if saved is None:
        candidates = _candidates(strongest, lambda done: report(0.5 * done), checkpoints, of)
        begin, pairs = 0, set[tuple[int, int]]()
    else:
        begin = int(saved[0]["next"])
        candidates = [
            (first, other, bool(mirrored)) for first, other, mirrored in saved[1]["candidates"].tolist()
        ]
        pairs = {(first, other) for first, other in saved[1]["found"].tolist()}
    for number in range(begin, len(candidates)):
        first, other, mirrored = candidates[number]
        if (first, other) not in pairs and _is_copy(strongest[first], strongest[other], mirrored=mirrored):
            pairs.add((first, other))
        if checkpoints is not None and checkpoints.is_due():
            arrays = {"candidates": _table(candidates, 3), "found": _table(sorted(pairs), 2)}
            checkpoints.save(_COMPARED, to_bytes({"next": number + 1}, arrays), of=of)
        report(0.5 + 0.5 * (number + 1) / len(candidates))
    return sorted(pairs)


def _candidates(
    images: Sequence[Points], report: Report, checkpoints: Checkpoints | None = None, of: str = ""
) -> list[tuple[int, int, bool]]:
    """Pairs, and whether one of them is mirrored, of which enough points are near each other; the most first.

    Each image is in as many pairs as it has nearest images, so that the work grows with the number of images alone.
    """
    cv2 = _opencv()
    sizes = [len(image.at) for image in images]
    if sum(sizes) <= _NEIGHBOURS:
        return []
    owner = np.repeat(np.arange(len(images)), sizes)
    every = _rooted(np.concatenate([image.seen for image in images]))
    cv2.setRNGSeed(0)  # the same trees each time, so that work that is taken up ends as it would have
    trees = cv2.flann_Index(every, {"algorithm": 1, "trees": 4})
    begin, votes = _votes_before(checkpoints, of)
    block = 20 * POINTS
    for start in range(begin, len(every), block):
        queries = every[start : start + block]
        mine = owner[start : start + block]
        for mirrored in (False, True):
            query = _mirrored(queries) if mirrored else queries
            near, squares = trees.knnSearch(query, _NEIGHBOURS, params={"checks": _CHECKS})
            far = _RATIO**2 * squares[:, -1]
            for place in range(_NEIGHBOURS - 1):
                theirs = owner[near[:, place]]
                counts = (theirs != mine) & (squares[:, place] < far)
                for first, other in zip(mine[counts].tolist(), theirs[counts].tolist(), strict=True):
                    votes[min(first, other), max(first, other), mirrored] += 1
        if checkpoints is not None and checkpoints.is_due():
            arrays = {"pairs": _table(votes, 3), "counts": np.array([*votes.values()], np.int64)}
            checkpoints.save(_VOTED, to_bytes({"next": start + block}, arrays), of=of)
        report(min(1.0, (start + block) / len(every)))
    return _nearest(votes)


def _votes_before(checkpoints: Checkpoints | None, of: str) -> tuple[int, Counter[tuple[int, int, bool]]]:
    """Return the first point that has not voted yet, and how those before it have."""
    saved = None if checkpoints is None else from_bytes(checkpoints.load(_VOTED, of=of))
    if saved is None:
        return 0, Counter()
    pairs = saved[1]["pairs"].tolist()
    votes = {
        (first, other, bool(mirrored)): count
        for (first, other, mirrored), count in zip(pairs, saved[1]["counts"].tolist(), strict=True)
    }
    return int(saved[0]["next"]), Counter(votes)


def _table(rows: Iterable[tuple[int, ...]], columns: int) -> NDArray[np.int64]:
    return np.array([*rows], np.int64).reshape(-1, columns)


def _nearest(votes: Counter[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    used: Counter[int] = Counter()
    nearest = []
    for pair, count in sorted(votes.items(), key=lambda item: (-item[1], item[0])):
        if count < VOTES:
            break
        if min(used[pair[0]], used[pair[1]]) < NEAREST_IMAGES:
            used.update(pair[:2])
            nearest.append(pair)
    return nearest


def _is_copy(first: Points, second: Points, *, mirrored: bool) -> bool:
    """Return whether one affine map brings enough points of one image to where they are in the other."""
    cv2 = _opencv()
    here, seen = first.at, _rooted(first.seen)
    if mirrored:
        here, seen = here * np.array([-1, 1], np.float32), _mirrored(seen)
    left, right = _matches(seen, _rooted(second.seen))
    if len(left) < SURE_POINTS:
        return False
    source, target = here[left], second.at[right]
    transform, inliers = cv2.estimateAffine2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=_MISSES, maxIters=2000, confidence=0.995
    )
    if transform is None or not _is_plausible(transform[:, :2]):
        return False
    is_inlier = inliers.ravel() > 0
    source, target = source[is_inlier], target[is_inlier]
    return (
        min(_places(source), _places(target)) >= SURE_POINTS
        and max(_share(source, here), _share(target, second.at)) >= SURE_SHARE
    )


def _matches(
    left: NDArray[np.float32], right: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Points that are each other's nearest, and clearly nearer than the second."""
    if min(len(left), len(right)) < 2:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    alike = left @ right.T
    nearest = alike.argmax(axis=1)
    rows = np.arange(len(left))
    first = alike[rows, nearest]
    back = alike.argmax(axis=0)
    alike[rows, nearest] = -1
    second = alike.max(axis=1)
    # The rows have length 1: their distance follows from their product.
    clear = (1 - first) < _RATIO**2 * (1 - second)
    rows_matched = np.flatnonzero(clear & (back[nearest] == rows))
    return rows_matched, nearest[rows_matched]


def _is_plausible(turned: NDArray[np.float64]) -> bool:
    """Return whether a map of the plane is one that a person makes of a photograph, not a collapse to a line."""
    if np.linalg.det(turned) <= 0:
        return False
    large, small = np.linalg.svd(turned, compute_uv=False)
    return bool(large <= _MOST_ZOOM and small >= 1 / _MOST_ZOOM and large <= _MOST_STRETCH * small)


def _places(points: NDArray[np.float32]) -> int:
    """Return how many different places the points have: SIFT finds one place at several scales."""
    return len(np.unique(np.round(points / _SAME_PLACE), axis=0))


def _share(points: NDArray[np.float32], every: NDArray[np.float32]) -> float:
    """Return what part of the area in which an image has points these span: a watermark spans little of it."""
    area = float(np.prod(np.ptp(every, axis=0)))
    return float(_opencv().contourArea(_opencv().convexHull(points))) / area if area else 0.0


def _rooted(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """SIFT as square roots of its shares: rows of length 1, whose product says more than that of SIFT itself."""
    values = descriptors.astype(np.float32)
    rooted: NDArray[np.float32] = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1))
    return rooted


def _mirrored(descriptors: NDArray[Any]) -> NDArray[Any]:
    """Return what is seen at the same points of the mirrored image: 4 × 4 places of 8 directions, the rows the other
    way round and each direction the other way about.
    """
    turned = descriptors.reshape(-1, 4, 4, 8)[:, ::-1][..., -np.arange(8) % 8]
    return np.ascontiguousarray(turned.reshape(-1, _WORDS))


def _opencv() -> Any:
    import cv2

    cv2.setNumThreads(1)  # the callers work side by side already
    return cv2
