"""What strangers can make a web process do: its memory while 60 sign in at once, and half-sent requests it keeps open.

    python -m benchmarks.doors [--requests 1500] [--seconds 60]

Prints the peak of resident memory, how the sign-ins were answered, how many half-sent requests are still open after
so many seconds, and how long an ordinary request took meanwhile.
"""

from __future__ import annotations

import argparse
import re
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

SIGN_INS = 60
HALF_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_BODY = (
    b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 900\r\n\r\nemail="
)


def main() -> None:
    """Start a web process of its own, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=60.0)
    told = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "ecluse", "web", "--home", folder, "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            address = _address(process)
            _measure_sign_ins(address, process.pid)
            _measure_half_sent(address, told.requests, told.seconds, HALF_HEAD, "heads")
            _measure_half_sent(address, told.requests, told.seconds, HALF_BODY, "bodies")
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"Écluse is at (\S+)", line):
            return found[1]
    raise SystemExit("The web process did not start.")


def _measure_sign_ins(address: str, pid: int) -> None:
    def sign_in(number: int) -> int:
        form = {"email": f"{number}@example.org", "password": "a wrong password"}
        return httpx.post(f"{address}/sign-in", data=form, timeout=120).status_code

    httpx.get(f"{address}/sign-in", timeout=60)
    before = _memory(pid, "VmRSS")
    began = time.perf_counter()
    with ThreadPoolExecutor(SIGN_INS) as threads:
        answers = Counter(threads.map(sign_in, range(SIGN_INS)))
    print(
        f"{SIGN_INS} sign-ins at once: {before} MB before, {_memory(pid, 'VmHWM')} MB at most, "
        f"{time.perf_counter() - began:.1f} s, answers {dict(answers)}"
    )


def _memory(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"{name}:\s+(\d+) kB", lines)
    assert found is not None
    return int(found[1]) // 1024


def _measure_half_sent(address: str, number: int, seconds: float, begun: bytes, what: str) -> None:
    """Open so many, send one byte to each every 5 s, and ask for the sign-in page once a second."""
    host, port = address.removeprefix("http://").split(":")
    opened = []
    for _ in range(number):
        connection = socket.create_connection((host, int(port)), timeout=10)
        connection.sendall(begun)
        connection.setblocking(False)
        opened.append(connection)
    began, latencies = time.monotonic(), [_latency(address)]
    counts = {0: len(opened)}
    beats = 0
    while (past := time.monotonic() - began) < seconds:
        opened = _still_open(opened)
        counts[round(past)] = len(opened)
        if past // 5 > beats:
            beats = int(past // 5)
            for connection in opened:
                _drip(connection)
        latencies.append(_latency(address))
        time.sleep(1)
    shown = {at: count for at, count in counts.items() if at in (0, 10, 20, 30, 45, 60) or at == max(counts)}
    print(
        f"{number} half-sent {what}: open after s {shown}; an ordinary request took "
        f"{1000 * statistics.median(latencies):.0f} ms (median), {1000 * max(latencies):.0f} ms at most"
    )
    for connection in opened:
        connection.close()


def _drip(connection: socket.socket) -> None:
    try:
        connection.send(b"a")
    except OSError:
        connection.close()


def _still_open(opened: list[socket.socket]) -> list[socket.socket]:
    """Those that the other side has not closed."""
    poll = select.poll()
    numbered = {connection.fileno(): connection for connection in opened if connection.fileno() >= 0}
    for number in numbered:
        poll.register(number, select.POLLIN | select.POLLHUP | select.POLLERR)
    for number, _ in poll.poll(0):
        try:
            while numbered[number].recv(65536):
                pass
        except BlockingIOError:
            continue
        except OSError:
            pass
        numbered.pop(number).close()
    return list(numbered.values())


def _latency(address: str) -> float:
    began = time.perf_counter()
    httpx.get(f"{address}/livez", timeout=120)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
