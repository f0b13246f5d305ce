"""Run a scenario, and end with 1 where a promise was not kept. See `tests.nemesis`."""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import replace
from pathlib import Path

from tests.nemesis.scenario import PROFILES, run_scenario, scratch


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description=__doc__)
    parser.add_argument(
        "--seed", type=int, help="the same people and strikes again; default: another each time"
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="so many scenarios, of this seed and those after it"
    )
    parser.add_argument("--profile", choices=PROFILES, default="long")
    parser.add_argument("--jobs", type=int, help="default: the profile's")
    parser.add_argument("--strikes", help="only these, joined by commas")
    parser.add_argument("--operations", help="only these, joined by commas")
    parser.add_argument("--keep", type=Path, help="a folder in which logs and homes stay")
    arguments = parser.parse_args()
    profile = PROFILES[arguments.profile]
    if arguments.jobs:
        profile = replace(profile, jobs=arguments.jobs)
    if arguments.strikes is not None:
        profile = replace(profile, strikes=[name for name in arguments.strikes.split(",") if name])
    if arguments.operations:
        profile = replace(profile, operations=dict.fromkeys(arguments.operations.split(","), 1.0))
    first = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    broken = False
    for seed in range(first, first + arguments.seeds):
        with scratch(arguments.keep and arguments.keep / str(seed)) as folder:
            outcome = run_scenario(profile, seed, folder)
        struck = ", ".join(f"{name} {number}" for name, number in outcome.strikes.items() if number)
        print(
            f"seed {seed}: {outcome.promises} jobs promised, {outcome.unsure} unsure, {outcome.seconds:.0f} s; "
            f"struck: {struck or 'nothing'}; {len(outcome.findings)} broken promises",
            flush=True,
        )
        for text in outcome.notes:
            print(f"  note: {text}", flush=True)
        for text in outcome.findings:
            print(f"  BROKEN: {text}", flush=True)
        broken = broken or bool(outcome.findings)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
