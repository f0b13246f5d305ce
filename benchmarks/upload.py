"""Upload a 300 MB table over HTTP: MB/s beside a bare copy into the same kind of store, and the memory of the server.

    python -m benchmarks.upload [--megabytes 300] [--runs 3]

Peer: `obstore.put` of the same file into a local store, without HTTP and without a digest, in the same run, in turn.
Memory: the server's resident set before the first upload and at its highest while uploading (Linux).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx
import obstore
from obstore.store import LocalStore

from tests.application import Application, running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_table(folder / "table.csv", arguments.megabytes)
        megabytes = source.stat().st_size / 1e6
        with running(folder / "home") as application, application.client() as client:
            upload(client, write_table(folder / "small.csv", 1))
            before = resident(application)
            watch = PeakMemory(application)
            ours, peer = [], []
            for _ in range(arguments.runs):
                peer.append(megabytes / bare_copy(folder / "peer", source))
                with watch:
                    ours.append(megabytes / upload(client, source))
    rate, bare = statistics.median(ours), statistics.median(peer)
    print(
        f"upload of {megabytes:.0f} MB over HTTP: {rate:.0f} MB/s; bare copy {bare:.0f} MB/s; ratio {rate / bare:.2f}"
    )
    print(
        f"server memory: {before:.0f} MB before, {watch.peak:.0f} MB at most; ratio {watch.peak / before:.2f}"
    )


def write_table(path: Path, megabytes: int) -> Path:
    row = b"T%09d,2025-10-14 18:00:%02d,C%05d,%07.2f,M%04d,FR,0\n"
    with path.open("wb") as file:
        file.write(b"transaction_id,timestamp,customer_id,amount,merchant_id,country,is_fraud\n")
        number = 0
        while file.tell() < megabytes * 1_000_000:
            file.write(
                b"".join(
                    row % (n, n % 60, n % 9973, n % 5000, n % 977) for n in range(number, number + 10_000)
                )
            )
            number += 10_000
    return path


def upload(client: httpx.Client, source: Path) -> float:
    began = time.perf_counter()
    with source.open("rb") as file:
        client.post("/api/upload", files={"file": (source.name, file)}, timeout=600).raise_for_status()
    return time.perf_counter() - began


def bare_copy(folder: Path, source: Path) -> float:
    store = LocalStore(str(folder), mkdir=True)
    began = time.perf_counter()
    obstore.put(store, source.name, source)
    return time.perf_counter() - began


def resident(application: Application) -> float:
    """Megabytes of the server process in memory."""
    status = Path(f"/proc/{application.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmRSS"))


class PeakMemory:
    """The highest resident set seen while the block runs, over all its uses."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.peak = 0.0

    def __enter__(self) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, resident(self._application))


if __name__ == "__main__":
    main()
