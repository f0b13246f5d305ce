"""Draw one leaf, healthy or spotted, as a photograph of it may look.

All but the spots has the same chances in both classes: the shape, the veins, the colour, the light, what lies
behind and before it, and what may be taken for spots: dew, glints, holes, crumbs of soil and withered edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from ecluse.apps.plants.demo.ground import draw_ground
from ecluse.apps.plants.demo.noise import (
    Colours,
    Field,
    around,
    clouds,
    edge,
    grid,
    laid_over,
    rough,
    shade,
    slope,
)

_PALE: Final = np.array([0.8, 0.75, 0.6], dtype=np.float32)


@dataclass(frozen=True)
class _Blade:
    """Where the leaf is. `along` runs from -1 at the stalk to 1 at the tip, `across` from rib to rim is 0 to ±1."""

    along: Field
    across: Field
    #: 1 on the leaf, 0 beside it.
    cover: Field
    #: In units of half the image's side.
    scale: float


def draw_leaf(rng: Generator, side: int, *, spotted: bool) -> Image.Image:
    """Return an RGB image of `side` × `side` pixels."""
    ground = draw_ground(rng, side)
    blade = _blade(rng, side)
    colours = _surface(rng, side, blade)
    if spotted:
        colours = _with_spots(rng, side, blade, colours)
    colours = _with_withered_rim(rng, side, blade, colours)
    colours = _with_glints(rng, side, colours)
    colours = _with_dew(rng, side, colours)
    colours = _with_crumbs(rng, side, colours)
    cover = blade.cover * (1 - _holes(rng, side))
    shadow = np.roll(cover, tuple(rng.integers(-10, 11, 2)), axis=(0, 1)) * np.float32(rng.uniform(0, 0.5))
    image = laid_over(ground * (1 - shadow[..., None]), colours, cover)
    image = _behind_something(rng, side, image)
    return _photographed(rng, _lit(rng, side, image))


def _blade(rng: Generator, side: int) -> _Blade:
    x, y = grid(side)
    angle, scale = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.05)
    x0, y0 = rng.uniform(-0.22, 0.22, 2)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = (x - np.float32(x0)) / np.float32(scale), (y - np.float32(y0)) / np.float32(scale)
    along, off = x * cos + y * sin, -x * sin + y * cos
    off = off + np.float32(rng.uniform(-0.2, 0.2)) * (along**2)  # bent
    inner = np.clip(1 - along**2, 0, None)
    width = np.float32(rng.uniform(0.28, 0.72)) * inner ** np.float32(rng.uniform(0.5, 1.1))
    width = width * (1 - np.float32(rng.uniform(-0.35, 0.35)) * along)
    teeth = np.sin(along * np.float32(rng.uniform(20, 70))) * np.float32(rng.choice([0, 0.02, 0.05]))
    width = np.maximum(width * (1 + teeth) + clouds(rng, side, 8) * np.float32(0.012), 1e-3)
    outside = np.abs(off) - np.where(np.abs(along) < 1, width, np.float32(0))
    stalk = np.maximum(np.abs(off) - 0.015, np.maximum(-1.35 - along, along + 0.9))
    cover = edge(np.minimum(outside, stalk), 0.02)
    return _Blade(along, off / width, cover, scale)


def _surface(rng: Generator, side: int, blade: _Blade) -> Colours:
    """Return the leaf's own colour with its veins and bumps."""
    hue = rng.uniform(0.12, 0.40)
    saturation, value = rng.uniform(0.3, 0.9), rng.uniform(0.35, 0.85)
    first_shade = shade(hue, saturation, value)
    other = shade(
        hue + rng.uniform(-0.1, 0.06), saturation * rng.uniform(0.6, 1.1), value * rng.uniform(0.7, 1.3)
    )
    mixed = np.clip(0.5 + 0.6 * clouds(rng, side, 4) + np.float32(rng.uniform(-0.6, 0.6)) * blade.along, 0, 1)
    colours = laid_over(np.broadcast_to(first_shade, (side, side, 3)), other, mixed)
    slant, count = np.float32(rng.uniform(0.25, 0.8)), np.float32(rng.uniform(4, 11))
    away = np.abs(blade.across)
    ribs = (blade.along - slant * away * (1 - 0.3 * away)) * count
    ribs = np.abs(ribs - np.round(ribs)) / count
    veins = np.maximum(edge(ribs - 0.006, 0.02) * np.clip(1.1 - away, 0, 1), edge(away - 0.04, 0.05))
    strength = np.float32(rng.uniform(-0.25, 0.5))
    bumps = rough(rng, side, 14, 50) * np.float32(rng.uniform(0.02, 0.1))
    fold = np.float32(rng.uniform(-0.18, 0.18)) * np.sign(blade.across)
    return colours * (1 + strength * veins + bumps + fold)[..., None]


def _with_spots(rng: Generator, side: int, blade: _Blade, colours: Colours) -> Colours:
    """Many small or few large spots of one disease, some with a yellow ring or a pale middle."""
    kind = rng.integers(5)
    middle = (
        shade(rng.uniform(0.03, 0.09), rng.uniform(0.4, 0.8), rng.uniform(0.2, 0.5)),  # brown
        shade(rng.uniform(0, 1), 0.15, rng.uniform(0.05, 0.2)),  # black
        shade(rng.uniform(0.02, 0.07), rng.uniform(0.7, 1.0), rng.uniform(0.5, 0.85)),  # rust
        shade(rng.uniform(0.1, 0.16), rng.uniform(0.5, 0.9), rng.uniform(0.75, 1.0)),  # yellow
        shade(rng.uniform(0.08, 0.2), rng.uniform(0.02, 0.2), rng.uniform(0.7, 0.95)),  # pale
    )[kind]
    ring = shade(0.14, 0.7, 0.85) if kind < 3 else shade(0.06, 0.6, 0.3)
    has_ring, has_pale_middle = rng.random() < 0.6, kind < 2 and rng.random() < 0.4
    size = rng.uniform(0.03, 0.12)
    count = int(np.clip(rng.uniform(0.04, 0.22) / size**1.3, 4, 40))
    x, y = grid(side)
    uneven = clouds(rng, side, 22) * np.float32(0.25)
    for across, down in _places(rng, blade, count):
        radius = np.float32(size * rng.uniform(0.5, 1.5))
        at = around(float(across), float(down), 3.5 * float(radius), side)
        away = (
            np.hypot((x[at] - across) * np.float32(rng.uniform(0.75, 1.33)), y[at] - down) / radius
            + uneven[at]
        )
        spot = colours[at]
        if has_ring:
            spot = laid_over(spot, ring, edge(away - 1.45, 0.5) * np.float32(0.7))
        spot = laid_over(spot, middle, edge(away - 1, 0.35) * np.float32(rng.uniform(0.75, 1)))
        if has_pale_middle:
            spot = laid_over(spot, _PALE, edge(away - 0.4, 0.3))
        colours[at] = spot
    return colours


def _places(rng: Generator, blade: _Blade, count: int) -> list[tuple[np.float32, np.float32]]:
    """Points on the leaf, as x and y."""
    side = len(blade.cover)
    inside = np.flatnonzero((np.abs(blade.across) < 0.9) & (blade.cover > 0.9))
    chosen = rng.choice(inside, count) if len(inside) else np.zeros(0, dtype=int)
    rows, columns = np.divmod(chosen, side)
    return [
        (np.float32((column + 0.5) * 2 / side - 1), np.float32((row + 0.5) * 2 / side - 1))
        for row, column in zip(rows, columns, strict=True)
    ]


def _with_withered_rim(rng: Generator, side: int, blade: _Blade, colours: Colours) -> Colours:
    if rng.random() > 0.3:
        return colours
    brown = shade(rng.uniform(0.05, 0.13), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.75))
    reach = np.abs(blade.across) + clouds(rng, side, 9) * np.float32(0.15) + blade.along * np.float32(0.3)
    return laid_over(colours, brown, np.clip((reach - np.float32(rng.uniform(0.8, 1.1))) * 5, 0, 1))


def _with_glints(rng: Generator, side: int, colours: Colours) -> Colours:
    if rng.random() > 0.5:
        return colours
    shine = np.clip(rough(rng, side, 5, 12) + slope(rng, side) - np.float32(rng.uniform(0.6, 1.4)), 0, 1)
    return laid_over(colours, np.ones(3, np.float32), shine * np.float32(rng.uniform(0.2, 0.8)))


def _with_dew(rng: Generator, side: int, colours: Colours) -> Colours:
    """Round drops: a dark rim, and a bright point where the light comes from."""
    if rng.random() > 0.4:
        return colours
    x, y = grid(side)
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(3, 22)):
        across, down = rng.uniform(-0.9, 0.9, 2)
        radius = rng.uniform(0.012, 0.05)
        at = around(across, down, 1.3 * radius, side)
        away = np.hypot(x[at] - np.float32(across), y[at] - np.float32(down)) / np.float32(radius)
        rim = (np.float32(0.25) - np.float32(0.5) * (away > 0.75)) * edge(away - 1, 0.3)
        point = np.hypot(
            x[at] - np.float32(across + 0.45 * radius * np.cos(angle)),
            y[at] - np.float32(down + 0.45 * radius * np.sin(angle)),
        )
        bright = edge(point / np.float32(radius) - 0.25, 0.2)
        colours[at] = laid_over(colours[at] * (1 + rim)[..., None], np.ones(3, np.float32), bright)
    return colours


def _with_crumbs(rng: Generator, side: int, colours: Colours) -> Colours:
    """Soil that was splashed on the leaf: sharp and angular."""
    if rng.random() > 0.3:
        return colours
    crumbs = clouds(rng, side, 60) + clouds(rng, side, 6) * np.float32(0.7)
    cover = edge(np.float32(rng.uniform(2.3, 2.9)) - crumbs, 0.2)
    return laid_over(colours, shade(0.07, rng.uniform(0.2, 0.6), rng.uniform(0.15, 0.6)), cover)


def _holes(rng: Generator, side: int) -> Field:
    """Return where an insect has eaten: what lies behind is seen."""
    eaten = np.zeros((side, side), dtype=np.float32)
    if rng.random() > 0.35:
        return eaten
    x, y = grid(side)
    uneven = clouds(rng, side, 16) * np.float32(0.3)
    for _ in range(rng.integers(1, 9)):
        across, down = rng.uniform(-0.8, 0.8, 2)
        radius = rng.uniform(0.02, 0.13)
        at = around(across, down, 2 * radius, side)
        away = np.hypot(x[at] - np.float32(across), y[at] - np.float32(down)) / np.float32(radius)
        eaten[at] = np.maximum(eaten[at], edge(away + uneven[at] - 1, 0.15))
    return eaten


def _behind_something(rng: Generator, side: int, image: Colours) -> Colours:
    """Return a stem or blade of grass may lie across."""
    if rng.random() > 0.35:
        return image
    x, y = grid(side)
    angle = rng.uniform(0, np.pi)
    off = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) - np.float32(rng.uniform(-0.7, 0.7))
    off = off + np.float32(rng.uniform(-0.2, 0.2)) * (y**2)
    stem = shade(rng.uniform(0.06, 0.35), rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.7))
    return laid_over(image, stem, edge(np.abs(off) - np.float32(rng.uniform(0.015, 0.08)), 0.02))


def _lit(rng: Generator, side: int, image: Colours) -> Colours:
    """Light from one side, warm or cold, with the shade of something else on it at times."""
    light = 1 + np.float32(rng.uniform(0, 0.3)) * slope(rng, side)
    if rng.random() < 0.4:
        light = light * (1 - np.float32(rng.uniform(0.2, 0.5)) * edge(-rough(rng, side, 3, 8) + 0.3, 0.4))
    warmth = np.float32(rng.uniform(-0.12, 0.12))
    tint = np.array([1 + warmth, 1, 1 - warmth], dtype=np.float32)
    return np.clip(image, 0, 1) * light[..., None] * tint * np.float32(rng.uniform(0.8, 1.3))


def _photographed(rng: Generator, image: Colours) -> Image.Image:
    """Out of focus and with the noise of a sensor, more or less."""
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.04))
    photograph = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    photograph = photograph.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.3)))
    grainy = np.asarray(photograph, dtype=np.float32) + noise * 255
    return Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8))
