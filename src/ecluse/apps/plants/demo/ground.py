"""What lies behind a leaf: soil, sky, grass, other leaves or a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.random import Generator

from ecluse.apps.plants.demo.noise import Colours, around, clouds, edge, grid, laid_over, rough, shade, slope


def draw_ground(rng: Generator, side: int) -> Colours:
    """Return some background, (side, side, 3)."""
    return GROUNDS[rng.integers(len(GROUNDS))](rng, side)


def _soil(rng: Generator, side: int) -> Colours:
    colour = shade(rng.uniform(0.04, 0.11), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6))
    ground = colour * (1 + 0.28 * rough(rng, side, 6, 24, 90)[..., None])
    x, y = grid(side)
    for _ in range(rng.integers(0, 14)):  # pebbles
        across, down = rng.uniform(-1, 1, 2)
        size = rng.uniform(0.02, 0.1)
        at = around(across, down, 1.6 * size + 0.05, side)
        away = np.hypot(
            (x[at] - np.float32(across)) * np.float32(rng.uniform(0.7, 1.4)), y[at] - np.float32(down)
        )
        stone = shade(rng.uniform(0, 0.15), rng.uniform(0, 0.3), rng.uniform(0.15, 0.8))
        ground[at] = laid_over(ground[at], stone, edge(away - np.float32(size), 0.03))
    return ground


def _sky(rng: Generator, side: int) -> Colours:
    blue = shade(rng.uniform(0.52, 0.62), rng.uniform(0.1, 0.6), rng.uniform(0.6, 1.0))
    white = np.clip(rough(rng, side, 3, 7, 15) * np.float32(0.5) + slope(rng, side) * np.float32(0.4), 0, 1)
    return laid_over(np.broadcast_to(blue, (side, side, 3)), np.ones(3, np.float32), white)


def _grass(rng: Generator, side: int) -> Colours:
    colour = shade(rng.uniform(0.2, 0.36), rng.uniform(0.3, 0.8), rng.uniform(0.25, 0.65))
    blades = clouds(rng, side, 70, stretch=12) + clouds(rng, side, 25, stretch=8)
    ground = colour * (1 + 0.25 * blades[..., None])
    return np.asarray(ground * (1 + 0.2 * slope(rng, side)[..., None]))


def _foliage(rng: Generator, side: int) -> Colours:
    """Leaves out of focus."""
    near = shade(rng.uniform(0.15, 0.4), rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.7))
    far = shade(rng.uniform(0.1, 0.45), rng.uniform(0.2, 0.7), rng.uniform(0.1, 0.5))
    cover = np.clip(0.5 + rough(rng, side, 5, 9) * np.float32(0.8), 0, 1)
    return laid_over(np.broadcast_to(far, (side, side, 3)), near, cover)


def _table(rng: Generator, side: int) -> Colours:
    colour = shade(rng.uniform(0, 1), rng.uniform(0, 0.35), rng.uniform(0.3, 0.97))
    grain = clouds(rng, side, 40, stretch=int(rng.integers(1, 20))) * np.float32(rng.uniform(0, 0.12))
    return colour * (1 + grain[..., None] + np.float32(0.15) * slope(rng, side)[..., None])


GROUNDS: Final[tuple[Callable[[Generator, int], Colours], ...]] = (_soil, _sky, _grass, _foliage, _table)
