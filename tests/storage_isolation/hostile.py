"""Texts that would leave a prefix, were they taken as a part of a key: as they are, encoded, and look-alikes."""

from __future__ import annotations

from typing import Final

#: Unicode that reads as a dot or a slash to what normalises, and signs that encode one.
FULL_DOT, ONE_DOT, TWO_DOTS, FULL_SLASH = "\uff0e", "\u2024", "\u2025", "\uff0f"
FULL_PERCENT: Final = "\uff05"

ALWAYS: Final = {
    "empty": "",
    "blank": " ",
    "dot": ".",
    "dots": "..",
    "a step up": "../x.csv",
    "a step up at the end": "x/..",
    "a step up within": "a/../../x.csv",
    "a step to itself": "./x.csv",
    "two slashes": "a//x.csv",
    "a slash first": "/x.csv",
    "a slash last": "x.csv/",
    "a root": "/etc/passwd",
    "backslash": "..\\x.csv",
    "encoded": "%2e%2e%2fx.csv",
    "encoded in capitals": "%2E%2E/x.csv",
    "encoded twice": "%252e%252e%252fx.csv",
    "encoded three times": "%25252e%25252e/x.csv",
    "encoded NUL": "x%00.csv",
    "NUL": "x\0.csv",
    "newline": "x\n.csv",
    "carriage return": "x\r\n.csv",
    "full-width dots": f"{FULL_DOT}{FULL_DOT}/x.csv",
    "full-width slash": f"..{FULL_SLASH}x.csv",
    "one-dot leaders": f"{ONE_DOT}{ONE_DOT}/x.csv",
    "a two-dot leader": f"{TWO_DOTS}/x.csv",
    "full-width percent": f"{FULL_PERCENT}2e{FULL_PERCENT}2e{FULL_PERCENT}2fx.csv",
    "encoded full-width slash": "..%EF%BC%8Fx.csv",
    "composed": "caf\u00e9.csv",
    "decomposed": "cafe\u0301.csv",
    "right to left": "x\u202evsc.exe",
    "no width": ".\u200b./x.csv",
    "half a character": "x\ud800.csv",
    "very long": "x" * 5000,
    "a long way": "a/" * 600 + "x",
    "capitals": "X.CSV",
    "a name": "x.csv",
    "an address": "file:///etc/passwd",
    "another bucket": "s3://other/x.csv",
    "a home": "~root/x",
    "a device": "CON",
    "unicode digits": "v\uff12\uff10\uff12\uff151028_181858",
    "a number without end": "v20251028_181858_" + "9" * 5000,
    "another's model": "@ben/x",
    "another's model, up": "@ben/../x",
    "another's model, with a tilde": "@ben~x",
}


def of_others(other: str, own: str) -> dict[str, str]:
    """Texts that lead to what is another's, by the owner's id."""
    keys = {
        "data": f"user_data/{other}/uploads/mark.csv",
        "model": f"user_models/{other}/mark/v20260101_000000/model.bin",
    }
    texts = {
        f"another's {kind}: {how}": form
        for kind, key in keys.items()
        for how, form in {
            "its key": key,
            "two up": f"../../{key}",
            "three up": f"../../../{key}",
            "encoded": f"..%2f..%2f{key.replace('/', '%2f')}",
            "encoded twice": f"..%252f..%252f{key.replace('/', '%252f')}",
            "full-width": f"../../{key}".replace("/", FULL_SLASH),
            "backslashes": f"..\\..\\{key}".replace("/", "\\"),
            "in capitals": f"../../{key.upper()}",
            "behind one's own": f"user_data/{own}/predictions/../../../{key}",
        }.items()
    }
    return texts | {"another's id": other, "begins alike": f"{own}x/mark", "up to a twin": f"../{own}x/mark"}
