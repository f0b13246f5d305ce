"""Run a command alone, then beside processes that take all the processor they can get, and print the seconds of both.

    python -m benchmarks.busy [--loops 8] -- ecluse fraud train payments.csv --target is_fraud --name payments

The main jobs beside busy loops, and whether they come to the same: `python -m benchmarks.trouble busy`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measuring import options, print_table, timed

#: Ends by itself where its parent was killed.
LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(1_000_000))"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--loops", type=int, default=8)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    alone = timed(lambda: subprocess.run(arguments.command, check=True))
    with busy(arguments.loops):
        beside = timed(lambda: subprocess.run(arguments.command, check=True))
    rows = [("alone", *alone), (f"beside {arguments.loops} loops", *beside)]
    print_table(("", "seconds", "of the processors"), rows)


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Processes that count as fast as they can, until the block ends."""
    processes = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(loops)]
    time.sleep(2 if loops else 0)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
