"""Write numbers into documents: six significant digits, whole counts, null for what is not known."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DIGITS: Final = 6
#: Nearer to 0 than any measurement, and than a figure made of some: written as 0.
NOTHING: Final = 1e-12


def rounded(value: float | None) -> float | None:
    """Return a number with six significant digits; None for what is missing or no number, 0 for what is next to
    nothing.
    """
    if value is None or not math.isfinite(value):
        return None
    if abs(value) < NOTHING:
        return 0.0
    return float(f"{value:.{DIGITS}g}")


def rounded_int(value: float | None) -> int | None:
    """Return the nearest whole number; None for what is missing or no number."""
    return None if value is None or not math.isfinite(value) else round(value)


def ratio(part: float | None, total: float | None) -> float | None:
    """Return `part / total`, rounded; None where either is missing or `total` is nothing."""
    if part is None or not total:
        return None
    return rounded(part / total)


def rounded_list(values: NDArray[Any]) -> Any:
    """Return an array of any shape, each number as `rounded` has it, as nested lists."""
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    values = np.where(np.abs(values) < NOTHING, 0.0, values)
    size = np.abs(np.where(finite & (values != 0), values, 1.0))
    digits = DIGITS - 1 - np.floor(np.log10(size)).astype(np.int64)
    up, down = 10.0 ** np.clip(digits, 0, 300), 10.0 ** np.clip(-digits, 0, 300)
    near = np.rint(np.where(finite, values, 0.0) / down * up) / up * down
    return _with_null(near, finite)


def whole_list(values: NDArray[Any]) -> Any:
    """Return an array of any shape, each number as `rounded_int` has it, as nested lists."""
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    return _with_null(np.rint(np.where(finite, values, 0.0)).astype(np.int64), finite)


def degrees(value: float | None) -> float | None:
    """Return a latitude or longitude with six decimals, a tenth of a metre."""
    return None if value is None or not math.isfinite(value) else round(value, 6)


def degrees_list(values: NDArray[Any]) -> Any:
    """Return an array of any shape, each number as `degrees` has it, as nested lists."""
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    return _with_null(np.round(np.where(finite, values, 0.0), 6), finite)


def _with_null(values: NDArray[Any], is_known: NDArray[np.bool_]) -> Any:
    if is_known.all():
        return values.tolist()
    objects = values.astype(object)
    objects[~is_known] = None
    return objects.tolist()
