"""Uneven surfaces: clouds, streaks and gradients on a square of `side` × `side` pixels, all float32."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]
#: (side, side, 3), 0 to 1.
Colours = NDArray[np.float32]


def clouds(rng: Generator, side: int, cells: int, *, stretch: int = 1) -> Field:
    """Smooth noise of mean 0 and about ±1, with `cells` hills across and `stretch` times fewer down."""
    small = rng.standard_normal((max(2, cells // stretch), max(2, cells)), dtype=np.float32)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)


def rough(rng: Generator, side: int, *cells: int) -> Field:
    """Clouds of several sizes laid over each other, the smaller the fainter; about ±1."""
    total = np.zeros((side, side), dtype=np.float32)
    for octave, count in enumerate(cells):
        total += clouds(rng, side, count) / np.float32(1 + octave)
    return total


def grid(side: int) -> tuple[Field, Field]:
    """x to the right and y down, from -1 to 1."""
    line = (np.arange(side, dtype=np.float32) + 0.5) * np.float32(2 / side) - np.float32(1)
    return np.broadcast_to(line, (side, side)), np.broadcast_to(line[:, None], (side, side))


def slope(rng: Generator, side: int) -> Field:
    """Return a plane that rises from -1 to 1 in some direction."""
    x, y = grid(side)
    angle = rng.uniform(0, 2 * np.pi)
    return np.asarray(x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)), dtype=np.float32)


def edge(distance: NDArray[np.floating[Any]], softness: float) -> Field:
    """1 where `distance` is negative, 0 where it is positive, with a soft line between."""
    return np.asarray(np.clip(0.5 - distance / np.float32(softness), 0, 1), dtype=np.float32)


def laid_over(ground: Colours, colour: NDArray[np.floating[Any]], cover: Field) -> Colours:
    """`colour` over the ground where `cover` is 1."""
    laid: Colours = colour - ground
    laid *= cover[..., None]
    laid += ground
    return laid


def around(across: float, down: float, reach: float, side: int) -> tuple[slice, slice]:
    """Return the rows and columns within `reach` of a point: what is drawn there is computed there alone."""
    low, high = (
        [int(np.clip((at + sign * reach + 1) * side / 2 + (sign > 0), 0, side)) for at in (down, across)]
        for sign in (-1, 1)
    )
    return slice(low[0], high[0]), slice(low[1], high[1])


def shade(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    """Return a colour by hue (0 to 1 around the wheel: 0.33 is green), as red, green and blue of 0 to 1."""
    return np.array(
        colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1)), dtype=np.float32
    )
