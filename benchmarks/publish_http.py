"""Publish 500 MB over HTTP, kill the publisher midway, begin again: seconds, bytes sent twice, the server's memory.

    python -m benchmarks.publish_http [--megabytes 500] [--at-once 2] [--store folder|s3]

The server is `ecluse web` in a process of its own, over a store of folders or over SeaweedFS, which is started for it.
The publisher is another process: it sends parts of 8 MiB, is killed (SIGKILL) when half of them have arrived, and is
started again with the same nonce; in between no version may be seen. Bytes sent twice are those of parts that were on
their way when it was killed, counted by the publisher. Memory: the resident set of the server before the first byte,
and at its highest until the version is there (Linux).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.upload import PeakMemory, resident
from tests.application import running
from tests.servers import seaweedfs

NAME, NONCE = "large", "publish-http"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--store", choices=("folder", "s3"), default="folder")
    parser.add_argument("--publisher", nargs=3, metavar=("ADDRESS", "FILE", "SENT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publisher:
        publish(*arguments.publisher, arguments.at_once)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, sent = write_file(folder / "weights.bin", arguments.megabytes), folder / "sent"
        sent.touch()
        with (
            store(arguments.store, folder) as environment,
            running(folder / "home", environment, role="web") as application,
            application.client() as client,
        ):
            environ = os.environ | {"ECLUSE_TOKEN": token_of(client)}
            command = [sys.executable, "-m", "benchmarks.publish_http", "--at-once", str(arguments.at_once)]
            command += ["--publisher", application.address, str(source), str(sent)]
            client.get("/api/me").raise_for_status()
            before, watch = resident(application), PeakMemory(application)
            with watch:
                killed = kill_at_half(command, environ, client, source)
                seen = client.get(f"/api/models/{NAME}/versions").status_code
                assert seen == 404, "a version that is not whole can be seen"
                began = time.perf_counter()
                subprocess.run(command, env=environ, check=True)
                seconds = time.perf_counter() - began
            version = client.get(f"/api/models/{NAME}/versions").raise_for_status().json()[0]
            verified = client.post(f"/api/models/{NAME}/{version['version']}/verify").status_code == 200
        size = source.stat().st_size
        twice = sum(int(line) for line in sent.read_text().split()) - size
    print(f"{size / 1e6:.0f} MB over HTTP, store: {arguments.store}")
    print(f"{killed:.1f} s until the kill, {seconds:.1f} s to go on and commit")
    print(f"sent twice: {twice / 1e6:.1f} MB; whole and verified: {verified}")
    print(f"server memory: {before:.0f} MB before, {watch.peak:.0f} MB at most")


@contextmanager
def store(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """Yield what points a server at a store: nothing for the folder of its home."""
    if kind == "folder":
        yield {}
        return
    with seaweedfs(folder / "seaweedfs") as server:
        yield server.environment("publish")


def kill_at_half(command: list[str], environ: dict[str, str], client: httpx.Client, source: Path) -> float:
    """Start the publisher, and kill it when half of the parts have arrived; return the seconds until then."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environ)
    while process.poll() is None:
        answer = (
            client.post(f"/api/models/{NAME}/uploads", json=announcement(source)).raise_for_status().json()
        )
        file = answer["files"][0]
        if len(file["received"]) >= file["parts"] / 2:
            process.kill()
            break
        time.sleep(0.05)
    process.wait()
    assert process.returncode < 0, "it was done before it could be killed"
    return time.perf_counter() - began


def publish(address: str, source: str, sent: str, at_once: int) -> None:
    """Send what lacks and commit, as any program would; note each part's bytes before they are sent."""
    headers = {"authorization": f"Bearer {os.environ['ECLUSE_TOKEN']}"}
    with httpx.Client(base_url=address, headers=headers, timeout=600) as client:
        answer = client.post(f"/api/models/{NAME}/uploads", json=announcement(Path(source)))
        upload: dict[str, Any] = answer.raise_for_status().json()
        place, file = f"/api/models/{NAME}/uploads/{upload['id']}", upload["files"][0]

        def send(number: int) -> None:
            with Path(source).open("rb") as opened:
                opened.seek((number - 1) * upload["part_bytes"])
                data = opened.read(upload["part_bytes"])
            with Path(sent).open("a") as noted:
                noted.write(f"{len(data)}\n")
            digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
            client.put(
                f"{place}/files/0/parts/{number}",
                content=data,
                headers={"content-digest": f"sha-256=:{digest}:"},
            ).raise_for_status()

        lacking = [number for number in range(1, file["parts"] + 1) if number not in file["received"]]
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(send, lacking))
        client.post(f"{place}/commit").raise_for_status()


def announcement(source: Path) -> dict[str, Any]:
    digest = source.with_suffix(".sha256").read_text()
    file = {"path": source.name, "size": source.stat().st_size, "sha256": digest}
    return {"nonce": NONCE, "files": [file]}


def token_of(client: httpx.Client) -> str:
    """Return the token that a client sends."""
    request = client.build_request("GET", "/api/me")
    assert client.auth is not None
    return next(client.auth.auth_flow(request)).headers["authorization"].removeprefix("Bearer ")


def write_file(path: Path, megabytes: int) -> Path:
    digest, rng = hashlib.sha256(), random.Random(0)
    with path.open("wb") as file:
        for _ in range(megabytes):
            data = rng.randbytes(1_000_000)
            digest.update(data)
            file.write(data)
    path.with_suffix(".sha256").write_text(digest.hexdigest())
    return path


if __name__ == "__main__":
    main()
