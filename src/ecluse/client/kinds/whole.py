"""Say whether a file of a model is whole: LightGBM, XGBoost and CatBoost crash on, or accept, some that are cut off."""

from __future__ import annotations

from typing import Final

#: Bytes of a value of each type that has a fixed size: https://ubjson.org/type-reference/
_SIZES: Final = {
    b"Z": 0, b"N": 0, b"T": 0, b"F": 0, b"C": 1, b"i": 1, b"U": 1, b"I": 2, b"l": 4, b"L": 8, b"d": 4, b"D": 8,
}  # fmt: skip
_INTEGERS: Final = frozenset({b"i", b"U", b"I", b"l", b"L"})
_CLOSED_BY: Final = {b"{": b"}", b"[": b"]"}


def is_whole_lightgbm(text: str) -> bool:
    """Return whether the trees, and the parameters where there are some, end as LightGBM ends them."""
    has_all_parameters = "\nparameters:" not in text or "\nend of parameters" in text
    return text.startswith("tree\nversion=") and "\nend of trees" in text and has_all_parameters


def is_whole_catboost(raw: bytes) -> bool:
    """Return whether as many bytes are there as the header says.

    After the magic stands the length of the core (4 bytes, the least first), then the core. The library reads on
    behind the end: catboost/libs/model/model.cpp, `ReadModel` (1.2.10).
    """
    return raw[:4] == b"CBM1" and len(raw) >= 8 + int.from_bytes(raw[4:8], "little")


def is_whole_xgboost(raw: bytes) -> bool:
    """Return whether `raw` is one object of Universal Binary JSON, from its first byte to its last."""
    try:
        return raw[:1] == b"{" and _Walk(raw).end_of_object() == len(raw)
    except ValueError:
        return False


class _Walk:
    """Where in the bytes a walk over all values is. Raises ValueError where they end too early or are no UBJ."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0
        #: The containers that are open: the marker of each, values left (None: until it is closed), type of all values.
        self._open: list[tuple[bytes, int | None, bytes]] = []

    def end_of_object(self) -> int:
        self._begin(self._take(1))
        while self._open:
            self._go_on(*self._open.pop())
        return self._at

    def _go_on(self, container: bytes, left: int | None, kind: bytes) -> None:
        if left == 0:
            return
        if left is None and self._next_is(_CLOSED_BY[container]):
            return
        self._open.append((container, None if left is None else left - 1, kind))
        if container == b"{":
            self._take(self._integer())
        marker = kind or self._take(1)
        if marker in _CLOSED_BY:
            self._begin(marker)
        elif marker in (b"S", b"H"):
            self._take(self._integer())
        else:
            self._take(_size(marker))

    def _begin(self, container: bytes) -> None:
        kind = self._take(1) if self._next_is(b"$") else b""
        left = self._integer() if self._next_is(b"#") else None
        if kind and left is None:
            raise ValueError("a container of one type has no count")
        if container == b"[" and left is not None and kind in _SIZES:
            self._take(left * _SIZES[kind])
        else:
            self._open.append((container, left, kind))

    def _integer(self) -> int:
        marker = self._take(1)
        if marker not in _INTEGERS:
            raise ValueError("no integer where one has to be")
        return int.from_bytes(self._take(_SIZES[marker]), "big", signed=marker != b"U")

    def _next_is(self, marker: bytes) -> bool:
        found = self._raw[self._at : self._at + 1] == marker
        self._at += found
        return found

    def _take(self, size: int) -> bytes:
        begin, self._at = self._at, self._at + size
        if size < 0 or self._at > len(self._raw):
            raise ValueError("the bytes end too early")
        return self._raw[begin : self._at]


def _size(marker: bytes) -> int:
    if marker not in _SIZES:
        raise ValueError("no such type")
    return _SIZES[marker]
