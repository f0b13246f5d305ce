"""Two processes learn as one does with batches of twice the size; one job speaks for both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecluse.apps.plants.errors import PlantsError, TrainingDiverged
from ecluse.apps.plants.pictures import Transform
from ecluse.apps.plants.plan import Plan
from ecluse.errors import JobCancelled
from tests.apps.plants.training_images import Notes, training_data
from tests.servers import free_port
from tests.support.wait import wait_until

torch = pytest.importorskip("torch", reason="torch is not installed: ./test installs it")
distributed = pytest.importorskip("ecluse.apps.plants.distributed")
trainer = pytest.importorskip("ecluse.apps.plants.trainer")

#: Norms that keep their statistics, and no dropout: nothing differs between one process and two but the order of sums.
SMALL = Plan(
    "lite0",
    pretrained=True,
    epochs=3,
    learning_rate=1e-3,
    below=0.2,
    frozen=10,
    batch_size=2,
    dropout=0.0,
    transform=Transform(36, 32),
)


@pytest.mark.nightly
def test_two_processes_learn_what_one_does() -> None:
    """Nine images in batches of four: in the last batch one process has an image, the other none."""
    of = training_data(train=9, validation=5)
    alone = trainer.train(replace(SMALL, batch_size=4), of, Notes(), threads=1)
    notes = Notes()
    trained = distributed.train(SMALL, of, notes, 2, threads=2)
    assert trained.details["processes"] == 2
    assert list(notes.epochs) == [1, 2, 3]
    for one, other in zip(alone.history, trained.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-3)
        assert one.learning_rate == other.learning_rate
    assert trained.best_epoch == alone.best_epoch
    for name, values in alone.state.items():
        np.testing.assert_allclose(trained.state[name], values, atol=2e-4, err_msg=name)
    assert notes.kept is not None
    # What one machine began, another with one device ends.
    went_on = trainer.train(SMALL, of, Notes(notes.kept), threads=1)
    assert all(np.array_equal(went_on.state[name], values) for name, values in trained.state.items())


@pytest.mark.nightly
def test_a_job_that_is_cancelled_leaves_no_process_behind() -> None:
    notes = Notes(cancelled=lambda notes: any("Looking" in message for _, _, message in notes.reports))
    began = len(children())
    with pytest.raises(JobCancelled):
        distributed.train(SMALL, training_data(), notes, 2, threads=2)
    wait_until(lambda: len(children()) <= began, "an end of its processes")


@pytest.mark.parametrize(("heeds", "signal_of_end"), [(True, signal.SIGTERM), (False, signal.SIGKILL)])
def test_a_process_is_ended_by_asking_and_else_by_force(heeds: bool, signal_of_end: signal.Signals) -> None:
    deaf = "" if heeds else "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code = f"import signal, time; {deaf}print(flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    distributed.stop_group(process, patience=60 if heeds else 0.2)
    assert process.wait(60) == -signal_of_end
    distributed.stop_group(process)  # one that has ended is left alone
    process.stdout.close()


@pytest.mark.nightly
def test_what_a_process_complains_of_is_the_job_s_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process, which is this one."""
    plan = replace(SMALL, architecture="resnet18", pretrained=False, width=8, learning_rate=1e30)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "RANK": "0", "WORLD_SIZE": "1"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    distributed._write(tmp_path, plan, training_data(), Notes(), 1)
    with pytest.raises(TrainingDiverged):
        distributed.main([str(tmp_path)])
    with pytest.raises(TrainingDiverged, match="learning rate smaller than"):
        distributed._result(tmp_path, plan, 1)


def test_processes_that_end_without_a_word_leave_the_last_lines_of_their_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\ntwo\nthree\nfour: no such device\n")
    with pytest.raises(PlantsError, match="ended with 7: two three four: no such device"):
        distributed._result(tmp_path, SMALL, 7)


def children() -> list[int]:
    """Processes that know of this one's training: their command names the module."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command = file.read()
        except OSError:
            continue
        if b"ecluse.apps.plants.distributed" in command:
            found.append(int(name))
    return found
