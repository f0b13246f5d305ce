"""Publish, download and load models beside bare obstore and MLflow, on one SeaweedFS of this machine.

    python -m benchmarks.storage [--quick] [--cases one,models,small] [--rounds 5] [--peers mlflow-served]

In each round every tool moves the same files in turn, on a new server; another tool begins each round, and the disk is
synchronised before each measurement. Bare obstore hashes nothing; Écluse verifies SHA-256. MLflow goes through its
server (`mlflow-served`) and directly to the store (`mlflow-direct`). MLflow's process has
started, and has moved a small file, before its clock does. Verbs:

    up: store all models        load: fetch for reading, cache empty
    down: fetch copies          again: the same, all in the cache

Printed are seconds by the clock and of the processors of the tool (not of the server): median (least to most); and how
many times as fast as bare obstore it is, the median of the ratios within rounds. The server shares the processors with
the tool: compare ratios.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.store import S3Store

from benchmarks.measuring import Spent, installed, options, print_table, say, spread, timed, wait_for
from ecluse.registry import Registry
from ecluse.settings import GIB, Settings
from ecluse.storage import Cache, ObjectStore, open_store
from tests.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer, free_port, seaweedfs

MB: Final = 1_000_000
#: The fastest of 64 KiB to 10 MiB for bare obstore on the machine where it was tried.
BARE_CHUNK: Final = 256 * 1024
PINS: Final = ("mlflow==3.17.2", "boto3==1.44.5")
PEERS: Final = ("mlflow-served", "mlflow-direct")
BARE: Final = "bare obstore"
VERBS: Final = ("up", "down", "load", "again")


@dataclass(frozen=True)
class Case:
    """Models, each a folder of files of `sizes` bytes."""

    models: int
    sizes: tuple[int, ...]

    def tenth(self) -> Case:
        return Case(max(self.models // 10, 1), tuple(size // 10 for size in self.sizes))


CASES: Final = {
    "one": Case(1, (132 * MB,)),
    "models": Case(40, (30 * MB, 10 * MB, 4_900_000, 90_000, 10_000)),
    "small": Case(1, (10_000,) * 2000),
}
#: What each verb and tool took, in the order of the rounds.
Figures = dict[tuple[str, str], list[Spent]]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--quick", action="store_true", help="small files, to see that everything runs")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(PEERS), help="empty: Écluse and obstore alone")
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if peer in arguments.peers.split(",")]
    with tempfile.TemporaryDirectory(prefix="ecluse-benchmark-") as name:
        for case in arguments.cases.split(","):
            sizes = CASES[case].tenth() if arguments.quick else CASES[case]
            print_figures(case, sizes, measure(sizes, peers, arguments.rounds, Path(name)))


def measure(case: Case, peers: list[str], rounds: int, folder: Path) -> Figures:
    """Every tool in turn, each round on a new server."""
    source, figures = folder / "source", defaultdict[tuple[str, str], list[Spent]](list)
    write_models(source, case)
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        with tools_on_new_server(folder / "round", peers) as tools:
            start = turn % len(tools)
            for tool in tools[start:] + tools[:start]:
                measure_tool(tool, source, case, folder / "to", figures)
    shutil.rmtree(source)
    return figures


def measure_tool(tool: Tool, source: Path, case: Case, to: Path, figures: Figures) -> None:
    """Each verb of a tool; what it fetched is counted, to the byte."""
    for verb in tool.verbs:
        to.mkdir()
        os.sync()
        spent = tool.spend(verb, source if verb == "up" else to)
        figures[verb, tool.name].append(spent)
        say(f"  {tool.name}, {verb}: {spent.seconds:.3f} s, {spent.processor:.3f} s of the processors")
        if verb != "up":
            sizes = [path.stat().st_size for path in files_in(to)]
            assert sorted(sizes) == sorted(case.sizes * case.models), f"{tool.name}, {verb}: other files"
        shutil.rmtree(to)


def print_figures(name: str, case: Case, figures: Figures) -> None:
    print(f"\n{name}: {case.models} models of {len(case.sizes)} files, {sum(case.sizes) / MB:g} MB each\n")
    head = ("verb", "tool", "seconds", "of the processors", "× bare", "× bare, processors")
    rows = [
        (
            verb,
            tool,
            spread([one.seconds for one in spent]),
            spread([one.processor for one in spent]),
            times_as_fast(figures, verb, tool, "seconds"),
            times_as_fast(figures, verb, tool, "processor"),
        )
        for (verb, tool), spent in sorted(figures.items(), key=lambda item: VERBS.index(item[0][0]))
    ]
    print_table(head, rows)


def times_as_fast(figures: Figures, verb: str, tool: str, field: str) -> float | None:
    """The median of bare obstore's ratios within rounds. `load` is compared with what it downloads."""
    bare = figures.get(("down" if verb == "load" else verb, BARE), [])
    pairs = zip(bare, figures[verb, tool], strict=bool(bare))
    ratios = [getattr(theirs, field) / getattr(ours, field) for theirs, ours in pairs]
    return statistics.median(ratios) if ratios else None


# The tools: `up` takes a folder of models, the other verbs an empty folder to fill


class Tool:
    """A tool that moves folders of models in this process."""

    name: str
    verbs: tuple[str, ...] = ("up", "down")

    def spend(self, verb: str, folder: Path) -> Spent:
        return timed(lambda: getattr(self, verb)(folder))


class Bare(Tool):
    """obstore alone: nothing is hashed, nothing is atomic."""

    name = BARE

    def __init__(self, server: ObjectServer) -> None:
        self._store = S3Store(
            BUCKET,
            endpoint=server.endpoint,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "300s"},
        )

    def up(self, folder: Path) -> None:
        def send(path: Path) -> None:
            obstore.put(self._store, f"bare/{path.relative_to(folder).as_posix()}", path)

        each(send, files_in(folder))

    def down(self, folder: Path) -> None:
        def fetch(key: str) -> None:
            path = folder / key.removeprefix("bare/")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb", buffering=0) as file:
                for chunk in obstore.get(self._store, key).stream(min_chunk_size=BARE_CHUNK):
                    file.write(chunk)

        each(fetch, [found["path"] for page in obstore.list(self._store, "bare") for found in page])


class Versions(Tool):
    """Versions in Écluse's registry: complete or absent, verified, through the cache."""

    name = "Écluse"
    verbs = VERBS

    def __init__(self, store: ObjectStore, cache: Path) -> None:
        self._store, self._cache = store.scoped("registry"), cache
        self._published: list[tuple[str, str]] = []

    def spend(self, verb: str, folder: Path) -> Spent:
        if verb != "again":
            shutil.rmtree(self._cache, ignore_errors=True)
        return super().spend(verb, folder)

    def up(self, folder: Path) -> None:
        registry, self._published = self._registry(), []
        for model in sorted(folder.iterdir()):
            made = registry.publish(
                model.name, model, created_by="benchmark", nonce=secrets.token_hex(8), metadata={}
            )
            self._published.append((model.name, made.version))

    def down(self, folder: Path) -> None:
        registry = self._registry()
        for name, version in self._published:
            registry.download(name, version, folder / name)

    def load(self, folder: Path) -> None:
        registry = self._registry()
        for name, version in self._published:
            registry.fetch(registry.manifest(name, version), folder / name, link=True)

    again = load

    def _registry(self) -> Registry:
        return Registry(self._store, Cache(self._cache, 10 * GIB))


class MLflow(Tool):
    """The artifacts of a run, moved by `storage_peers` in the peers' environment."""

    def __init__(self, name: str, python: Path, environ: dict[str, str]) -> None:
        self.name, self._run = name, ""
        self._command = [str(python), str(Path(__file__).with_name("storage_peers.py")), name]
        self._environ = environ

    def spend(self, verb: str, folder: Path) -> Spent:
        command = [*self._command, verb, str(folder), self._run]
        done = subprocess.run(command, env=self._environ, check=True, stdout=subprocess.PIPE)
        answer = json.loads(done.stdout.splitlines()[-1])
        self._run = answer.pop("run")
        return Spent(**answer)


@contextmanager
def tools_on_new_server(folder: Path, peers: list[str]) -> Iterator[list[Tool]]:
    """All tools, used once, on a SeaweedFS that is empty but for one small file of each."""
    folder.mkdir()
    python = installed("storage", PINS) if peers else Path()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        server = stack.enter_context(seaweedfs(folder / "objects", volumes=0, volume_megabytes=1000))
        environ = stack.enter_context(mlflow_server(python, server, folder)) if peers else {}
        settings = Settings.from_environment(server.environment("benchmark"))
        store = open_store(settings.store_url, settings.access)
        tools = [
            Bare(server),
            Versions(store, folder / "cache"),
            *(MLflow(peer, python, environ) for peer in peers),
        ]
        write_models(folder / "warm", Case(1, (1000,)))
        for tool in tools:  # the first use pays for connections, imports and the server's first volumes
            tool.spend("up", folder / "warm")
        yield tools


@contextmanager
def mlflow_server(python: Path, server: ObjectServer, folder: Path) -> Iterator[dict[str, str]]:
    """`mlflow server --serve-artifacts` on the same store; the environment of its clients."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MLFLOW_S3_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    address, log = f"http://127.0.0.1:{(port := str(free_port()))}", folder / "mlflow.log"
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--serve-artifacts"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", f"s3://{BUCKET}/mlflow-served"]
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, env=environ, cwd=folder, stdout=said, stderr=said, start_new_session=True
        )
    try:
        wait_for(f"{address}/health", process, log)
        yield environ | {"MLFLOW_TRACKING_URI": address, "DIRECT": f"s3://{BUCKET}/mlflow-direct"}
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its workers do not end with it
        process.wait()


def each(work: Callable[[Any], None], items: Iterable[object]) -> None:
    """Do `work` with each item, eight at a time."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, items))


def write_models(folder: Path, case: Case) -> None:
    """Random bytes, the same each time: `folder/model_NN/part_NNNN.bin`."""
    draw = random.Random(0)
    for model in range(case.models):
        place = folder / f"model_{model:02d}"
        place.mkdir(parents=True)
        for number, size in enumerate(case.sizes):
            with (place / f"part_{number:04d}.bin").open("wb") as file:
                for start in range(0, size, 10 * MB):
                    file.write(draw.randbytes(min(10 * MB, size - start)))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


if __name__ == "__main__":
    main()
