"""Break the source on purpose, one fault at a time in a copy, and say which of them the audit finds, and how fast.

    python -m tests.nemesis.planted [--only WORD] [--seed 3]

A fault is text of the source and what stands there instead. `unstruck`: nothing is struck, so that a job which changes hands
is a fault already; else the scenario is a short one. In the copy, leases and pauses are short, and nothing else differs:
the first two scenarios are of the copy without a fault, which has to keep every promise.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ecluse
from tests.nemesis.people import Inputs, make_inputs
from tests.nemesis.scenario import PROFILES, Outcome, Profile, run_scenario

SOURCE = Path(ecluse.__file__).parents[1]


@dataclass(frozen=True)
class Fault:
    """`old` stands once in `file`, below src/ecluse, and is `new` in the copy; so is each of `also`. It is found by a
    finding that holds one of `shows`: any other may come of a machine that is too busy.

    One that Écluse repairs by itself breaks no promise and is none: its second defence is left out, too.
    """

    name: str
    shows: tuple[str, ...]
    file: str
    old: str
    new: str
    unstruck: bool = False
    strikes: tuple[str, ...] = ("kill_worker", "stop_worker", "kill_worker")
    also: tuple[tuple[str, str, str], ...] = ()

    def shown_by(self, findings: Sequence[str]) -> Iterator[str]:
        return (text for text in findings if any(shown in text for shown in self.shows))


#: Shorter waits than in earnest, so that a scenario takes a minute.
SHORT = (
    ("catalog/workers.py", "LEASE: Final = 120", "LEASE: Final = 12"),
    ("runtime.py", "HEARTBEAT_SECONDS: Final = 5.0", "HEARTBEAT_SECONDS: Final = 2.0"),
    ("runtime.py", "SWEEP_SECONDS: Final = 300.0", "SWEEP_SECONDS: Final = 10.0"),
)
UNSTRUCK = replace(PROFILES["short"], strikes=[], jobs=14, settle_seconds=150, strike_seconds=60)
STRUCK = replace(
    PROFILES["short"], jobs=20, settle_seconds=150, strike_seconds=45, longest_pause=18, pauses=(1, 4)
)
JOBS, RUNNER = "catalog/jobs.py", "jobs/runner.py"
FAULTS = (
    Fault(
        "a claim takes jobs that run",
        ("was claimed while it ran",),
        JOBS,
        'return JobRow.status == "queued", or_(false(), *can_run), _IS_DUE',
        'return JobRow.status.in_(("queued", "running")), or_(false(), *can_run), _IS_DUE',
        unstruck=True,
    ),
    Fault(
        "a claim gets no new fence",
        ("was claimed without a new fence",),
        JOBS,
        '"fence": JobRow.fence + 1,\n        "started_at"',
        '"fence": JobRow.fence,\n        "started_at"',
        unstruck=True,
    ),
    Fault(
        "a table that is deleted stays listed",
        ("a deleted table answers 200",),
        "catalog/user_tables.py",
        "    transaction.delete(row)\n    return url",
        "    return url",
        unstruck=True,
    ),
    Fault(
        "any fence ends a job, however it stands",
        (
            " went from queued to ",
            "ended twice",
            "had ended as",
        ),
        JOBS,
        'return JobRow.id == job_id, JobRow.fence == fence, JobRow.status == "running"',
        "return (JobRow.id == job_id,)",
        strikes=("freeze", "freeze", "freeze"),
        also=(
            (
                JOBS,
                'JobRow.fence == fence, JobRow.status.in_(("running", "cancelled")))',
                'JobRow.status.in_(("running", "cancelled", "done")))',
            ),
        ),
    ),
    Fault(
        "the dead are taken for living",
        ("is still running",),
        "catalog/workers.py",
        "return not is_silent if runs is None else runs",
        "return True",
    ),
    Fault(
        "a worker on another machine is looked for on this one",
        (
            "is still queued",
            "changed hands",
        ),
        "processes.py",
        "return bool(self.boot) and (self.boot, self.namespace) == _place()",
        "return bool(self.boot)",
        unstruck=True,
    ),
    Fault(
        "signs of life are not written",
        (
            "changed hands",
            "is still queued",
        ),
        "catalog/workers.py",
        "    else:\n        worker.beat_at = moment()\n",
        "",
        unstruck=True,
    ),
    Fault(
        "signs of life go by the worker's own clock",
        ("changed hands",),
        "catalog/workers.py",
        "    else:\n        worker.beat_at = moment()\n",
        "    else:\n        from datetime import UTC, datetime\n\n        worker.beat_at = datetime.now(UTC)\n",
        unstruck=True,
    ),
    Fault(
        "a job is blamed for the first death",
        ("1 worker processes in a row",),
        JOBS,
        "MAX_LOSSES: Final = 5",
        "MAX_LOSSES: Final = 1",
    ),
    Fault(
        "what is taken from the dead is not queued",
        (
            "was claimed while it ran",
            "5 worker processes in a row",
        ),
        JOBS,
        '            row.status = "queued"\n        row.worker',
        "            pass\n        row.worker",
    ),
    Fault(
        "a worker that stops calls done what it runs",
        (
            "not enough values to unpack",
            "is done, and its work",
            "KeyError",
        ),
        JOBS,
        "done = update(JobRow).where(*mine).values(_queued()).returning(JobRow.id)",
        'done = update(JobRow).where(*mine).values(status="done").returning(JobRow.id)',
        strikes=("deploy",),
    ),
    Fault(
        "the last row of a table is not kept",
        (" reads [",),
        "tables.py",
        "            write_table(table, made)\n",
        "            write_table(table, made)\n"
        "            import polars\n\n"
        "            polars.read_parquet(made).head(-1).write_parquet(made)\n",
        unstruck=True,
    ),
    Fault(
        "why a job failed is not kept",
        ("failed with None",),
        JOBS,
        '        "error": error,\n        "error_code"',
        '        "error": None,\n        "error_code"',
        unstruck=True,
    ),
    Fault(
        "a failure is done",
        ("ended as done, not ('failed',)",),
        RUNNER,
        '                status = "failed"\n',
        '                status = "done"\n',
        unstruck=True,
    ),
    Fault(
        "a cancelled job is queued",
        ("ended as done, not ('cancelled',)",),
        JOBS,
        'work.may_cancel(transaction, job_id) and _end(transaction, chosen, "cancelled", None)',
        'work.may_cancel(transaction, job_id) and _end(transaction, chosen, "queued", None)',
        unstruck=True,
    ),
    Fault(
        "one job of three is accepted and not queued",
        ("job_not_found",),
        JOBS,
        '    """Queue a job in the transaction that makes what it is for; one with this id stays as it is."""\n',
        "    if sum(job_id.encode()) % 3 == 0:\n        return\n",
        unstruck=True,
    ),
    Fault(
        "a version is claimed though it is taken",
        (
            "digest_mismatch",
            "object_exists",
        ),
        "registry/versions.py",
        "self._store.put(key, body, create_only=True)",
        "self._store.put(key, body)",
        unstruck=True,
    ),
    Fault(
        "a part is stored cut short",
        ("upload_incomplete",),
        "registry/incoming.py",
        "self._store.put(self._part(index, number), data)",
        "self._store.put(self._part(index, number), data[:250_000])",
        unstruck=True,
    ),
    Fault(
        "files that are put together are not compared",
        ("other bytes were taken",),
        "registry/incoming.py",
        'if digest.size != file.size or digest.stored("").sha256 != file.sha256:',
        "if False:",
        unstruck=True,
    ),
    Fault(
        "an upload is begun under a nonce of its own",
        ("was begun twice with one nonce",),
        "models/uploads.py",
        "    request = _checked(runtime, checked_name(name), request)\n",
        "    request = _checked(runtime, checked_name(name), request)\n"
        "    import dataclasses, uuid\n\n"
        "    request = dataclasses.replace(request, nonce=uuid.uuid4().hex)\n",
        unstruck=True,
    ),
    Fault(
        "the nonce of a table is ignored",
        ("sent twice with one nonce is 2 tables",),
        "tables.py",
        "        what = self.job_id or self.nonce\n",
        "        what = self.job_id or self.nonce + new_id()\n",
        unstruck=True,
    ),
    Fault(
        "runs are anyone's to read",
        ("is answered 200 for /api/runs/",),
        "catalog/sharing.py",
        "    return visible(RUNS, Run.user_id, Run.id, reader_id)\n",
        "    from sqlalchemy import true\n\n    return true()\n",
        unstruck=True,
    ),
    Fault(
        "the row of a table goes, and its object is forgotten",
        ("has no row",),
        "tables.py",
        "        runtime.stores.remove(url)\n\n\ndef write_csv",
        "        from ecluse.catalog import object_notes\n\n"
        "        with runtime.catalog.write() as transaction:\n"
        "            object_notes.forget(transaction, url)\n\n\ndef write_csv",
        unstruck=True,
    ),
    Fault(
        "tables are anyone's to read",
        ("is answered 200 for /api/tables/",),
        "catalog/user_tables.py",
        "UserTable.id == table_id, sharing.visible_tables(reader_id))",
        "UserTable.id == table_id)",
        unstruck=True,
    ),
    Fault(
        "jobs are anyone's to read",
        ("is answered 200 for /api/status/",),
        JOBS,
        "        if user_id is not None:\n            query = query.where(JobRow.user_id == user_id)\n        rows +=",
        "        rows +=",
        unstruck=True,
    ),
    Fault(
        "points that were sent before are refused",
        ("/metrics: 500",),
        "catalog/runs.py",
        "            statement.on_conflict_do_update(",
        "            statement if statement is not None else statement.on_conflict_do_update(",
        unstruck=True,
    ),
    Fault(
        "how a job ended is not recorded later",
        ("is still running",),
        RUNNER,
        "        for entry in ended:\n            self._conclude(entry)\n",
        "",
        strikes=("restart_database", "kill_database", "restart_database"),
    ),
    Fault(
        "a catalog that is away fails the job",
        ("failed with 'The catalog",),
        "jobs/outcome.py",
        "_AWAY: Final = (CatalogUnavailable, DocumentsUnavailable, StoreSilent)",
        "_AWAY: Final = (DocumentsUnavailable, StoreSilent)",
        strikes=("restart_database", "kill_database", "restart_database"),
    ),
    Fault(
        "what waits for a part that is away waits for a day",
        ("is still queued",),
        RUNNER,
        "pause = min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(times, 10))",
        "pause = 86_400",
        strikes=("restart_database",),
    ),
    Fault(
        "a step that another job has done is taken for one's own",
        (
            "model_not_found",
            "alias_not_found",
            "not enough values to unpack",
        ),
        "catalog/job_steps.py",
        "    row = transaction.get(JobStep, (job_id, name, position))\n",
        "    from sqlalchemy import select\n\n    row = transaction.scalar(select(JobStep).where(JobStep.name == name).limit(1))\n",
        unstruck=True,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis.planted", description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name holds this text")
    parser.add_argument("--seed", type=int, default=3)
    arguments = parser.parse_args()
    chosen = [fault for fault in FAULTS if arguments.only in fault.name]
    missed = list[str]()
    with tempfile.TemporaryDirectory(prefix="planted") as name:
        folder = Path(name)
        folder.chmod(0o755)
        inputs = make_inputs(folder / "given", list(UNSTRUCK.operations))
        for unstruck in (True, False):
            outcome, _ = run_with(
                folder, None, unstruck=unstruck, strikes=STRUCK.strikes, seed=arguments.seed, inputs=inputs
            )
            title = "without a fault, unstruck" if unstruck else "without a fault, struck"
            print(f"{title}: {len(outcome.findings)} broken promises in {outcome.seconds:.0f} s", flush=True)
            for text in outcome.findings[:5]:
                print(f"    {text[:300]}", flush=True)
            missed += [title] if outcome.findings else []
        for fault in chosen:
            outcome, seconds = run_with(
                folder,
                fault,
                unstruck=fault.unstruck,
                strikes=list(fault.strikes),
                seed=arguments.seed,
                inputs=inputs,
            )
            finding = next(fault.shown_by(outcome.findings), None)
            word = (
                f"found in {seconds:.0f} s: {finding[:200]}" if finding else f"NOT FOUND in {seconds:.0f} s"
            )
            print(f"{fault.name}: {word}", flush=True)
            missed += [] if finding else [fault.name]
    print(
        f"{len(chosen) + 2 - len(missed)} of {len(chosen) + 2} as they have to be; else: {missed}", flush=True
    )
    sys.exit(1 if missed else 0)


def run_with(
    folder: Path, fault: Fault | None, *, unstruck: bool, strikes: list[str], seed: int, inputs: Inputs
) -> tuple[Outcome, float]:
    """Run a scenario of the copy with a fault; return what came of it, and seconds."""
    place = Path(tempfile.mkdtemp(dir=folder))
    place.chmod(0o755)
    source = copied(place / "source", fault)
    profile: Profile = UNSTRUCK if unstruck else replace(STRUCK, strikes=strikes)
    began = time.monotonic()
    outcome = run_scenario(profile, seed, place / "installation", source=source, quiet=True, inputs=inputs)
    shutil.rmtree(place, ignore_errors=True)
    return outcome, time.monotonic() - began


def copied(folder: Path, fault: Fault | None) -> Path:
    """Copy the source, with short waits and the fault."""
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in SHORT:
        change(folder / "ecluse" / file, old, new)
    if fault is not None:
        for file, old, new in ((fault.file, fault.old, fault.new), *fault.also):
            change(folder / "ecluse" / file, old, new)
    return folder


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise SystemExit(f"{old!r} stands {text.count(old)} times in {file}, not once")
    file.write_text(text.replace(old, new), encoding="utf-8")


if __name__ == "__main__":
    main()
