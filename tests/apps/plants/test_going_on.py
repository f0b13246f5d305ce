"""Long jobs of images that are interrupted go on where they were, on any machine, and end as if they had not been."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ecluse import checkpoints
from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import features, importing, keypoints, looks, suspects
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.array_cache import FOLDER, ArrayCache
from ecluse.apps.plants.audit import start_audit
from ecluse.apps.plants.importing import Imported, import_images
from ecluse.apps.plants.jobs import audit as audit_work
from ecluse.apps.plants.rows import Filter
from ecluse.apps.plants.sources import File
from ecluse.apps.plants.sources.folders import open_folder
from ecluse.apps.plants.tables import ImageSet
from ecluse.catalog.tables import User
from ecluse.checkpoints import checkpoints_of
from ecluse.errors import JobCancelled
from ecluse.jobs import Task
from ecluse.runtime import Runtime
from tests.application import KEPT
from tests.apps.plants.photos import photo
from tests.apps.plants.test_audit import ended
from tests.apps.plants.test_keypoints import augmented, scene
from tests.apps.plants.training_images import Memory, Notes, training_data

pytestmark = pytest.mark.nightly

EACH = 6


@pytest.fixture(autouse=True)
def every_save_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SAVED_EVERY", 0.0)


@pytest.fixture
def user(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


class Interrupted:
    """A job that is interrupted when it has told of `at` of its work."""

    def __init__(self, user: User, job_id: str, at: float = 2.0) -> None:
        self.user_id, self.job_id, self.at = user.id, job_id, at
        self.fractions: list[float] = []

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        del stage, message
        self.fractions.append(fraction)
        if fraction >= self.at:
            raise JobCancelled("The worker stops; the next one takes the job up.")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How much of each work was done."""
    done = Counter[str]()
    for module, name in (
        (features, "_seen"), (looks, "describe"), (keypoints, "_is_copy"), (suspects, "_model"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, _counting(done, name, getattr(module, name)))
    return done


def _counting(done: Counter[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        done[name] += 1
        return function(*arguments, **named)

    return counted


def scenes(runtime: Runtime, user: User, folder: Path) -> ImageSet:
    for label, seeds in (("even", range(0, 2 * EACH, 2)), ("odd", range(1, 2 * EACH, 2))):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for seed in seeds:
            scene(seed, (160, 120)).save(folder / label / f"{seed}.png")
            if seed < 4:
                augmented(scene(seed, (160, 120)), seed).save(folder / label / f"{seed}-copy.png")
    row = workflows.make_set(runtime, user.id, "scenes")
    import_images(runtime, user.id, row.id, open_folder(folder))
    return row


def told_of(runtime: Runtime, user: User, row: ImageSet) -> dict[str, tuple[Any, ...]]:
    """What an audit said of each image, by its file."""
    with runtime.catalog.read() as transaction:
        rows = images.list_images(transaction, user.id, row.id, Filter(), limit=None)
    names = {one.id: one.origin for one in rows}
    return {
        one.origin: (None if one.group is None else names[one.group], one.suspicion, one.suggested_label)
        for one in rows
    }


def forget(runtime: Runtime, user: User, row: ImageSet) -> int:
    """As if no audit had been, here or elsewhere; how many images the set has."""
    with runtime.catalog.write() as transaction:
        rows = images.list_images(transaction, user.id, row.id, Filter(), limit=None)
        images.set_suspicions(transaction, row.id, [(one.id, one.label, None, None) for one in rows])
        images.set_groups(transaction, row.id, dict.fromkeys((one.id for one in rows), None))
    another_machine(runtime)
    return len(rows)


def another_machine(runtime: Runtime) -> None:
    """Nothing that was seen is on this machine any more."""
    shutil.rmtree(runtime.settings.home / FOLDER, ignore_errors=True)


@pytest.mark.nightly
def test_an_audit_that_is_interrupted_again_and_again_goes_on_on_other_machines_and_finds_the_same(
    runtime: Runtime, user: User, tmp_path: Path, work: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = dict[str, Memory]()
    monkeypatch.setattr(
        audit_work, "checkpoints_of", lambda runtime, task: jobs.setdefault(task.job_id, Memory())
    )
    row = scenes(runtime, user, tmp_path / "in")
    audit_work._audit(runtime, cast(Task, Interrupted(user, "whole")), row.id)
    expected, whole_work = told_of(runtime, user, row), Counter(work)
    rows = forget(runtime, user, row)
    assert told_of(runtime, user, row) != expected
    work.clear()
    reached = 0.0
    for at in (0.2, 0.6, 0.8, 0.96):
        task = Interrupted(user, "job", at)
        with pytest.raises(JobCancelled):
            audit_work._audit(runtime, cast(Task, task), row.id)
        assert task.fractions[0] >= 0.8 * reached, "what is shown does not fall back"
        reached = task.fractions[-1]
        another_machine(runtime)
    audit_work._audit(runtime, cast(Task, Interrupted(user, "job")), row.id)
    assert told_of(runtime, user, row) == expected
    assert whole_work["_seen"] == work["_seen"] == rows
    assert whole_work["_model"] == work["_model"] > 0
    # A batch of looks is seen side by side, and the pair at which it is interrupted is looked at once more at most.
    assert whole_work["describe"] <= work["describe"] <= whole_work["describe"] + 3
    assert whole_work["_is_copy"] <= work["_is_copy"] <= whole_work["_is_copy"] + 3


def test_what_was_seen_of_one_meaning_is_not_taken_for_another_and_a_damaged_part_is_seen_anew(
    runtime: Runtime, user: User
) -> None:
    kept = checkpoints_of(runtime, cast(Task, SimpleNamespace(job_id="job", user_id=user.id)))
    first = ArrayCache("network-1", checkpoints=kept)
    for number in range(3):
        first.keep(f"{number:064}", features=np.full(4, number, np.float32))
    first.flush()
    digests = [f"{number:064}" for number in range(5)]
    again = ArrayCache("network-1", checkpoints=kept).load(digests, "features")
    assert {digest: float(arrays["features"][0]) for digest, arrays in again.items()} == {
        digests[0]: 0, digests[1]: 1, digests[2]: 2
    }  # fmt: skip
    assert ArrayCache("network-2", checkpoints=kept).load(digests, "features") == {}
    assert ArrayCache("network-1", checkpoints=kept).load(digests, "features", "logits") == {}
    key = checkpoints.checkpoints_prefix(user.id, "job") + "/network-1-1"
    runtime.data.put(key, runtime.data.get(key)[:-3])
    assert list(ArrayCache("network-1", checkpoints=kept).load(digests, "features")) == [digests[0]]


def files_in(runtime: Runtime, row: ImageSet) -> list[tuple[Any, ...]]:
    with runtime.catalog.read() as transaction:
        found = images.list_images(
            transaction, row.user_id, row.id, Filter(states=("valid", "rejected")), limit=None
        )
    return sorted((one.sha256, one.origin, one.label, one.state, str(one.seen_again)) for one in found)


def files_of(number: int, read: Counter[str]) -> Iterator[File]:
    """Photos of two labels, of which some have one name and one is none; what is read is counted."""

    def reader(name: str, data: bytes) -> Callable[[], bytes]:
        return lambda: read.update([name]) or data  # type: ignore[func-returns-value]

    for n in range(number):
        name = f"{n}.jpg" if n % 5 else "photo.jpg"
        data = b"none" if n == 7 else photo(n)
        yield File(name, "ab"[n % 2], reader(f"{n}", data), n / number)


@pytest.mark.parametrize("at", [0.3, 0.6])
def test_an_import_that_is_interrupted_fetches_no_file_twice_and_says_what_became_of_all(
    at: float, runtime: Runtime, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_LOOK", 0.0)
    whole, interrupted = (workflows.make_set(runtime, user.id, name) for name in ("whole", "interrupted"))
    expected = import_images(runtime, user.id, whole.id, files_of(40, Counter()))
    assert expected == Imported(added=39, rejected=1)
    read = Counter[str]()
    told = list[float]()

    def stop(fraction: float, message: str) -> None:
        if fraction >= at:
            raise JobCancelled("The worker stops; the next one takes the job up.")

    def kept() -> checkpoints.Checkpoints:
        return checkpoints_of(runtime, cast(Task, SimpleNamespace(job_id="job", user_id=user.id)))

    with pytest.raises(JobCancelled):
        import_images(runtime, user.id, interrupted.id, files_of(40, read), report=stop, checkpoints=kept())
    before = len(files_in(runtime, interrupted))
    assert 0 < before < 40
    read_before = Counter(read)
    done = import_images(
        runtime, user.id, interrupted.id, files_of(40, read),
        report=lambda fraction, message: told.append(fraction), checkpoints=kept(),
    )  # fmt: skip
    assert done == expected
    assert files_in(runtime, interrupted) == files_in(runtime, whole)
    # Those that were under way when it was interrupted are read again; none that was written down is.
    assert read.total() <= 40 + 2 * importing.ABREAST
    assert sum(read[name] > 1 for name in read_before) <= 2 * importing.ABREAST
    assert told[0] >= 0.8 * at


def test_an_import_of_other_files_with_the_checkpoint_of_one_before_reads_all_of_them(
    runtime: Runtime, user: User
) -> None:
    row, other = (workflows.make_set(runtime, user.id, name) for name in ("one", "other"))
    kept = checkpoints_of(runtime, cast(Task, SimpleNamespace(job_id="job", user_id=user.id)))
    import_images(runtime, user.id, row.id, files_of(6, Counter()), checkpoints=kept)
    read = Counter[str]()
    done = import_images(runtime, user.id, other.id, files_of(6, read), checkpoints=kept)
    assert read.total() == 6
    assert done.added == 6


@pytest.mark.timeout(300)
def test_an_audit_whose_worker_is_killed_goes_on_on_another_machine_without_the_images(
    runtime: Runtime, user: User, tmp_path: Path
) -> None:
    """Every image was seen when it is killed: the next worker finds the same though no image can be read any more."""
    row = scenes(runtime, user, tmp_path / "in")
    audit_work._audit(runtime, cast(Task, Interrupted(user, "whole")), row.id)
    expected = told_of(runtime, user, row)
    forget(runtime, user, row)
    job_id = start_audit(runtime, user.id, row.id)
    code = "import sys; from pathlib import Path; from tests.apps.plants.killed import work; "
    code += "work(Path(sys.argv[1]), sys.argv[2], 0.8)"
    killed = subprocess.run(
        [sys.executable, "-c", code, str(runtime.settings.home), job_id],
        cwd=Path(__file__).parents[3], check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    another_machine(runtime)
    runtime.stores.area("images").delete_prefix(workflows.images_prefix(user.id, row.id))
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    following = subprocess.Popen(
        [sys.executable, "-m", "ecluse", "worker"],
        env=environment | {"ECLUSE_HOME": str(runtime.settings.home)},
        stderr=subprocess.DEVNULL,
    )
    try:
        job = ended(runtime, user, job_id, 240)
    finally:
        following.kill()
        following.wait()
    assert job.status == "done", job.error
    assert told_of(runtime, user, row) == expected


def test_the_first_epoch_of_a_pretrained_network_looks_at_each_batch_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from ecluse.apps.plants import trainer
    from ecluse.apps.plants.networks import Classifier
    from ecluse.apps.plants.pictures import Transform
    from ecluse.apps.plants.plan import Plan

    plan = Plan(
        "lite0", pretrained=True, epochs=1, learning_rate=1e-4, below=1.0, batch_size=4,
        transform=Transform(resize=36, crop=32),
    )  # fmt: skip
    whole = trainer.train(plan, training_data(), Notes(), threads=1)
    monkeypatch.setattr(trainer, "REPORTED_EVERY", 0.0)
    looked_at, look = list[int](), Classifier.features
    monkeypatch.setattr(
        Classifier, "features", lambda network, at: looked_at.append(len(at)) or look(network, at)
    )
    first = Notes(cancelled=lambda notes: len(notes.reports) > 2)
    with pytest.raises(JobCancelled):
        trainer.train(plan, training_data(), first, threads=1)
    assert 0 < sum(looked_at) < 12
    again = Notes()
    again.memory = first.memory
    trained = trainer.train(plan, training_data(), again, threads=1)
    assert sum(looked_at) == 12 + 6, "each image to learn from once, and those to validate on"
    assert all(np.array_equal(values, whole.state[name]) for name, values in trained.state.items())
