"""Read a pickle that a person trusts and write what it holds as .skops: the only code here that unpickles.

A script for a process of its own, with no other module of ours in it: to read a pickle is to run what it says.
`convert.py SOURCE DESTINATION` prints one JSON object: `type`, `untrusted` (types that skops loads only when
told to) and `warnings`; or `error`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings


def main(source: str, destination: str) -> int:
    out = sys.stdout
    try:
        # What the pickle prints is not the answer.
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("always")
            outcome = _convert(source, destination)
    except BaseException as error:  # noqa: BLE001 (whatever a foreign object raises)
        outcome = {"error": f"{type(error).__name__}: {_line(error)}"}
    else:
        outcome["warnings"] = sorted({_line(warning.message) for warning in caught})
    out.write(json.dumps(outcome) + "\n")
    return 1 if "error" in outcome else 0


def _convert(source: str, destination: str) -> dict[str, object]:
    import joblib
    import skops.io

    thing = joblib.load(source)  # noqa: TID251 (on an administrator's word, in a process of its own)
    skops.io.dump(thing, destination)
    untrusted = skops.io.get_untrusted_types(file=destination)
    # What cannot be read back is no conversion.
    skops.io.load(destination, trusted=untrusted)  # noqa: TID251 (written by this process)
    return {"type": f"{type(thing).__module__}.{type(thing).__qualname__}", "untrusted": untrusted}


def _line(error: object) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
