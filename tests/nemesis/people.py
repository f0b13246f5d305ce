"""Let people ask for things over HTTP, as programs do, and keep what they were promised."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import threading
import time
import uuid
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ecluse.registry.incoming import PART_BYTES

#: Answers that say that nothing was recorded and the request may be sent again.
AGAIN = (429, 503, 507)
#: Bytes of a file of a version; it has one part.
FILE_BYTES = 300_000


class NoAnswer(Exception):
    """No answer came: what was asked for may have been recorded or not."""


class TimeIsUp(Exception):
    """It took longer than anyone waits."""


@dataclass
class Promise:
    """A job that was accepted. `ends`: how it may end; `error`: what a failure has to say."""

    person: str
    job: str
    kind: str
    ends: tuple[str, ...] = ("done",)
    error: str = ""


#: Asks a question when all is quiet; what is wrong, in words.
Fact = Callable[["Person"], list[str]]


@dataclass
class Ledger:
    """What people were promised, and what went wrong on the way."""

    promises: list[Promise] = field(default_factory=list)
    #: Whom and for what kind of job nobody knows whether it was accepted.
    unsure: list[tuple[str, str]] = field(default_factory=list)
    facts: list[tuple[str, str, Fact]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    #: The tables that were promised, by their ids.
    tables: set[str] = field(default_factory=set)
    #: What was refused, to be sent again.
    refused: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def promise(self, promise: Promise) -> None:
        with self._lock:
            self.promises.append(promise)

    def expect(self, job: str, ends: tuple[str, ...]) -> None:
        """Allow a job that was promised only these ends."""
        with self._lock:
            for promise in self.promises:
                if promise.job == job:
                    promise.ends = ends

    def is_unsure(self, person: str, kind: str) -> None:
        with self._lock:
            self.unsure.append((person, kind))

    def fact(self, person: str, what: str, fact: Fact) -> None:
        with self._lock:
            self.facts.append((person, what, fact))

    def note_wrong(self, what: str) -> None:
        with self._lock:
            self.findings.append(what)

    def refuse(self, what: str) -> None:
        with self._lock:
            self.refused[what] = self.refused.get(what, 0) + 1


class Person:
    """Somebody with a token, who asks again where that is safe, of whichever web process answers."""

    def __init__(self, name: str, token: str, addresses: list[str], ledger: Ledger, until: float) -> None:
        self.name = name
        self.ledger = ledger
        self.until = until
        self._addresses = addresses
        self._next = 0
        timeout = httpx.Timeout(60, connect=5)
        limits = httpx.Limits(max_keepalive_connections=8)
        self._client = httpx.Client(
            headers={"authorization": f"Bearer {token}"}, timeout=timeout, limits=limits
        )

    def close(self) -> None:
        self._client.close()

    def ask(self, method: str, path: str, *, again: bool = False, **options: Any) -> httpx.Response:
        """Return a good answer. `again`: what is asked for is the same if it is asked for twice.

        Raises:
            Lost: no answer came, and it may have been recorded.
            Over: the time is over.
        """
        safe = again or method == "GET"
        while time.monotonic() < self.until:
            self._next += 1
            url = f"{self._addresses[self._next % len(self._addresses)]}{path}"
            try:
                answer = self._client.request(method, url, **options)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                self._refuse(method, path, type(error).__name__)
                continue
            except httpx.TransportError as error:
                if not safe:
                    raise NoAnswer(f"{method} {path}: {type(error).__name__}") from error
                self._refuse(method, path, type(error).__name__)
                continue
            if answer.status_code in AGAIN:
                self._refuse(method, path, str(answer.status_code))
                continue
            return answer
        raise TimeIsUp(f"{method} {path}")

    def get(self, path: str, **options: Any) -> Any:
        """Return the body of a good answer."""
        return self.good(self.ask("GET", path, **options)).json()

    def post(self, path: str, *, again: bool = False, **options: Any) -> Any:
        return self.good(self.ask("POST", path, again=again, **options)).json()

    def good(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_error:
            request = answer.request
            text = f"{request.method} {request.url.path}: {answer.status_code} {answer.text[:300]}"
            raise AssertionError(text)
        return answer

    def job(
        self, path: str, kind: str, *, ends: tuple[str, ...] = ("done",), error: str = "", **options: Any
    ) -> str:
        """Ask for a job; its id, which is a promise from now on."""
        try:
            body = self.post(path, **options)
        except NoAnswer:
            self.ledger.is_unsure(self.name, kind)
            raise
        job = str(body["job"])
        self.ledger.promise(Promise(self.name, job, kind, ends, error))
        return job

    def wait(self, job: str) -> dict[str, Any]:
        """Return a job once it has ended."""
        while True:
            body: dict[str, Any] = self.get(f"/api/status/{job}")
            if body["status"] not in ("queued", "running"):
                return body
            if time.monotonic() > self.until:
                raise TimeIsUp(f"{body['kind']} {job} is still {body['status']}: {body.get('message')}")
            time.sleep(0.7)

    def done(self, path: str, kind: str, **options: Any) -> dict[str, Any]:
        """Ask for a job and return its result."""
        body = self.wait(self.job(path, kind, **options))
        if body["status"] != "done":
            raise AssertionError(f"{body['kind']} {body['title']}: {body['status']}: {body['error']}")
        return dict(body["result"])

    def _refuse(self, method: str, path: str, what: str) -> None:
        self.ledger.refuse(f"{method} /{'/'.join(path.split('/')[1:3])}: {what}")
        time.sleep(0.5)


@dataclass
class Inputs:
    """What people bring: tables and images that were made before."""

    labelled: bytes
    unlabelled: bytes
    images: bytes
    days: list[str]


def random_word(rng: random.Random) -> str:
    return f"n{rng.getrandbits(40):010x}"


def line_table(rng: random.Random, rows: int = 60) -> tuple[bytes, int, int]:
    """Return a table of y = a x + b, and a and b."""
    a, b = rng.randint(2, 9), rng.randint(1, 99)
    values = [rng.randint(0, 10_000) for _ in range(rows)]
    return ("x,y\n" + "".join(f"{x},{a * x + b}\n" for x in values)).encode(), a, b


# Operations: each does one thing from its beginning to its end, and leaves facts


def count(person: Person, rng: random.Random, inputs: Inputs) -> None:
    number = rng.randint(10, 100_000)
    wanted = f"The sum up to {number} is {number * (number + 1) // 2}."
    body = {"number": number, "seconds": round(rng.uniform(0.5, 6), 1)}
    result = person.done("/api/tally/count", "count", json=body)
    (file,) = result["files"]

    def is_right(asked: Person) -> list[str]:
        shown = asked.get(f"/api/tally/files/{file['id']}")
        text = json.dumps(shown)
        return [] if wanted in text else [f"the report of counting to {number} says {text[:200]}"]

    person.ledger.fact(person.name, f"/api/tally/files/{file['id']}", is_right)


def refuse(person: Person, rng: random.Random, inputs: Inputs) -> None:
    word = random_word(rng)
    job = person.job("/api/tally/refuse", "refuse", ends=("failed",), error=word, json={"word": word})
    person.wait(job)


def cancel(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Cancel a job while it waits or runs; it may have ended before, where the request had to wait that long."""
    body, began = {"number": 5, "seconds": 30}, time.monotonic()
    job = person.job("/api/tally/count", "count", ends=("cancelled", "done"), json=body)
    time.sleep(rng.choice((0, rng.uniform(0, 8))))
    person.good(person.ask("POST", f"/api/jobs/{job}/cancel", again=True))
    if time.monotonic() - began < body["seconds"]:  # it cannot have been done by then
        person.ledger.expect(job, ("cancelled",))
    person.wait(job)


def train_and_score(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Train a line, and score a table by it: each row has its own answer."""
    content, a, b = line_table(rng)
    file = person.good(
        person.ask("POST", "/api/tally/files", again=True, files={"file": ("line.csv", content)})
    ).json()
    before = {item["version"] for item in versions_of(person, "tally")}
    result = person.done(
        "/api/tally/train", "train", json={"table": file["id"], "seconds": round(rng.uniform(0.5, 5), 1)}
    )
    version = str(result["version"])
    if version in before:
        raise AssertionError(f"tally {version} was there before the training that made it")
    table = upload_checked_table(person, rng, a=a, b=b, answers=False)
    scored = person.done(f"/api/models/tally@{version}/score", "score_table", json={"table": table})
    person.ledger.tables.add(str(scored["table"]))

    def is_right(asked: Person) -> list[str]:
        rows = read_table(asked, str(scored["table"]))
        wrong = [row for row in rows if abs(row[-1] - (a * row[0] + b)) > 1e-3]
        return [f"scored by y = {a} x + {b}: {wrong[:3]}"] if wrong or len(rows) != 60 else []

    person.ledger.fact(person.name, f"/api/tables/{scored['table']}", is_right)


def upload_checked_table(
    person: Person, rng: random.Random, *, a: int = 3, b: int = 1, answers: bool = True
) -> str:
    """Upload a table; its id. It reads as it was written."""
    values = [rng.randint(0, 10_000) for _ in range(60)]
    head = "x,y\n" if answers else "x\n"
    rows = [[x, a * x + b] if answers else [x] for x in values]
    content = (head + "".join(",".join(map(str, row)) + "\n" for row in rows)).encode()
    name, nonce = f"{random_word(rng)}.csv", uuid.UUID(int=rng.getrandbits(128)).hex
    table = send_table(person, rng, name, nonce, content)

    def is_right(asked: Person) -> list[str]:
        kept = read_table(asked, table)
        return [] if kept == rows else [f"{name} reads {kept[:3]}…, not {rows[:3]}…"]

    person.ledger.fact(person.name, f"/api/tables/{table}", is_right)
    return table


def send_table(person: Person, rng: random.Random, name: str, nonce: str, content: bytes) -> str:
    """Send a table, now and then twice; return its id, which is the same."""
    ids = set[str]()
    for _ in range(rng.randint(1, 2)):
        answer = person.ask("POST", f"/api/tables?nonce={nonce}", again=True, files={"file": (name, content)})
        ids.add(str(person.good(answer).json()["id"]))
    if len(ids) != 1:
        raise AssertionError(f"{name} sent twice with one nonce is {len(ids)} tables")
    person.ledger.tables |= ids
    return ids.pop()


def read_table(person: Person, table: str) -> list[list[Any]]:
    import polars as pl

    content = person.good(person.ask("GET", f"/api/tables/{table}/file")).content
    return [list(row) for row in pl.read_parquet(io.BytesIO(content)).rows()]


def upload_table(person: Person, rng: random.Random, inputs: Inputs) -> None:
    upload_checked_table(person, rng)


def delete_table(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Delete a table: it is gone, and stays so."""
    content = b"x\n" + b"".join(b"%d\n" % rng.randint(0, 9) for _ in range(9))
    nonce = uuid.UUID(int=rng.getrandbits(128)).hex
    table = send_table(person, rng, "short.csv", nonce, content)
    gone = person.ask("DELETE", f"/api/tables/{table}", again=True)
    if gone.status_code not in (204, 404):  # 404: it was done, and the answer lost
        person.good(gone)

    def is_gone(asked: Person) -> list[str]:
        status = asked.ask("GET", f"/api/tables/{table}").status_code
        return [] if status == 404 else [f"a deleted table answers {status}"]

    person.ledger.fact(person.name, "", is_gone)


def publish(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Publish a version."""
    send_version(person, rng, random_word(rng))


def publish_at_once(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Publish versions of one model at the same moment: each is there with its own bytes."""
    name, seeds = random_word(rng), [random.Random(rng.random()) for _ in range(3)]
    with ThreadPoolExecutor(len(seeds)) as pool:
        made = list(pool.map(lambda seed: send_version(person, seed, name, alone=False), seeds))
    if len(set(made)) != len(seeds):
        raise AssertionError(f"{len(seeds)} publications of {name} came to be {sorted(set(made))}")


def publish_and_delete(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Publish a version and delete it: it is gone, and stays so."""
    name = random_word(rng)
    version = send_version(person, rng, name, stays=False)
    gone = person.ask("DELETE", f"/api/models/{name}/{version}", again=True)
    if gone.status_code != 404:  # it was done, and the answer lost
        person.good(gone)

    def is_gone(asked: Person) -> list[str]:
        there = versions_of(asked, name)
        return [f"{name} {version} was deleted, and is there"] if there else []

    person.ledger.fact(person.name, "", is_gone)


def publish_wrong_bytes(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Send other bytes than were announced: they are refused, and there is no version."""
    name = random_word(rng)
    for size, parts in ((FILE_BYTES, 1), (PART_BYTES + FILE_BYTES, 2)):
        content, nonce = rng.randbytes(size), uuid.UUID(int=rng.getrandbits(128)).hex
        sha256 = hashlib.sha256(rng.randbytes(9)).hexdigest()
        announced = [{"path": "lie.bin", "size": size, "sha256": sha256}]
        begun = person.post(
            f"/api/models/{name}/uploads", again=True, json={"nonce": nonce, "files": announced}
        )
        here = f"/api/models/{name}/uploads/{begun['id']}"
        sent = [
            send_part(person, f"{here}/files/0/parts/{part + 1}", content[part * PART_BYTES :][:PART_BYTES])
            for part in range(parts)
        ]
        ended = person.ask("POST", f"{here}/commit", again=True)
        # Of several parts each is what it says: what they make together is not.
        if ended.status_code < 400 or (parts == 1 and sent[0].status_code < 400):
            raise AssertionError(f"other bytes were taken: {sent[0].status_code}, {ended.status_code}")
        person.good(person.ask("DELETE", here, again=True))

    def is_refused(asked: Person) -> list[str]:
        return [f"{name} has a version of other bytes"] if versions_of(asked, name) else []

    person.ledger.fact(person.name, "", is_refused)


def send_part(person: Person, path: str, content: bytes) -> httpx.Response:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    headers = {"content-digest": f"sha-256=:{digest}:", "content-type": "application/octet-stream"}
    return person.ask("PUT", path, again=True, content=content, headers=headers)


def send_version(
    person: Person, rng: random.Random, name: str, *, stays: bool = True, alone: bool = True
) -> str:
    """Publish two files in parts, each request again where its answer was lost; the version, which has their bytes."""
    nonce = uuid.UUID(int=rng.getrandbits(128)).hex
    contents = {f"part{number}.bin": rng.randbytes(FILE_BYTES) for number in range(2)}
    announced = [
        {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in contents.items()
    ]
    asked_for = {"nonce": nonce, "files": announced}
    begun = [
        person.post(f"/api/models/{name}/uploads", again=True, json=asked_for)
        for _ in range(rng.randint(1, 2))
    ]
    if len({each["id"] for each in begun}) != 1:
        raise AssertionError(f"{name} was begun twice with one nonce, as {[each['id'] for each in begun]}")
    here = f"/api/models/{name}/uploads/{begun[0]['id']}"
    for index, file in enumerate(begun[0]["files"]):
        person.good(send_part(person, f"{here}/files/{index}/parts/1", contents[file["path"]]))
    version = str(person.post(f"{here}/commit", again=True)["version"])

    def is_right(asked: Person) -> list[str]:
        wrong = []
        there = [item["version"] for item in versions_of(asked, name)]
        if version not in there or (alone and len(there) != 1):
            wrong.append(f"{name} has the versions {there}, and {version} was promised")
        for path, content in contents.items():
            kept = asked.good(asked.ask("GET", f"/api/models/{name}/{version}/files/{path}")).content
            if kept != content:
                wrong.append(f"{name} {version} {path} has other bytes")
        return wrong

    if stays:
        person.ledger.fact(person.name, f"/api/models/{name}/versions", is_right)
    return version


def versions_of(person: Person, name: str) -> list[dict[str, Any]]:
    answer = person.ask("GET", f"/api/models/{name}/versions")
    if answer.status_code == 404:
        return []
    return list(person.good(answer).json())


def log_run(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Write a run: each point is there once."""
    nonce = uuid.UUID(int=rng.getrandbits(128)).hex
    run = person.post("/api/runs", again=True, json={"name": random_word(rng), "nonce": nonce})["id"]
    values = [rng.random() for _ in range(40)]
    for start in range(0, 40, 10):
        points = [{"step": step, "metrics": {"loss": values[step]}} for step in range(start, start + 10)]
        for _ in range(rng.randint(1, 2)):  # twice is once
            person.good(person.ask("POST", f"/api/runs/{run}/metrics", again=True, json={"points": points}))
        time.sleep(rng.uniform(0, 1))
    ended = person.ask("POST", f"/api/runs/{run}/end", again=True, json={"status": "done"})
    person.good(ended)

    def is_right(asked: Person) -> list[str]:
        text = json.dumps(asked.get(f"/api/runs/{run}/metrics"))
        lost = [value for value in values if text.count(repr(value)) != 1]
        return [f"run {run} has lost or doubled {len(lost)} of its 40 points"] if lost else []

    person.ledger.fact(person.name, f"/api/runs/{run}", is_right)


def fraud(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Upload, train, score twice: one version, and the same answers both times and later."""
    name = random_word(rng)
    labelled = upload(person, "transactions.csv", inputs.labelled)
    body = {"dataset": labelled, "model_name": name, "target_column": "is_fraud", "budget_s": 2}
    person.done("/api/train", "train_fraud", json=body)
    table = upload(person, "to_score.csv", inputs.unlabelled)
    first, second = score(person, table, name), score(person, table, name)
    if first != second:
        raise AssertionError(f"{name} scored the same rows in two ways")

    def is_right(asked: Person) -> list[str]:
        there = [item["version"] for item in versions_of(asked, name)]
        return [] if len(there) == 1 else [f"{name} has the versions {there} of one training"]

    person.ledger.fact(person.name, f"/api/models/{name}/versions", is_right)


def upload(person: Person, name: str, content: bytes) -> str:
    """Upload a table of transactions; return its id once it is read."""
    try:
        body = person.post("/api/upload", files={"file": (name, content)})
    except NoAnswer:
        person.ledger.is_unsure(person.name, "inspect")
        raise
    person.ledger.promise(Promise(person.name, str(body["job"]), "inspect"))
    person.wait(str(body["job"]))
    return str(body["id"])


def score(person: Person, table: str, model: str) -> str:
    """Score, and return the digest of the answers, which are as many as the rows."""
    result = person.done("/api/predict", "predict_fraud", json={"dataset": table, "model": model})
    path = str(result["download_url"])
    digest = hashlib.sha256(person.good(person.ask("GET", path)).content).hexdigest()

    def is_right(asked: Person) -> list[str]:
        now = hashlib.sha256(asked.good(asked.ask("GET", path)).content).hexdigest()
        return [] if now == digest else [f"{path} has other bytes than when it was promised"]

    person.ledger.fact(person.name, path, is_right)
    return digest


def plants(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Import images, and look for what is wrong with them."""
    name = random_word(rng)
    person.done(
        "/api/plants/sets",
        "import_images",
        data={"name": name},
        files={"file": ("leaves.zip", inputs.images)},
    )
    person.done(f"/api/plants/sets/{name}/audit", "audit_images")
    with zipfile.ZipFile(io.BytesIO(inputs.images)) as archive:
        number = len({hashlib.sha256(archive.read(entry)).digest() for entry in archive.namelist()})

    def is_right(asked: Person) -> list[str]:
        counts = asked.get(f"/api/plants/sets/{name}")["counts"]
        total = sum(sum(of_state.values()) for of_state in counts.values())
        return [] if total == number else [f"{name} counts {counts}, of {number} files that differ"]

    person.ledger.fact(person.name, f"/api/plants/sets/{name}", is_right)


def city(person: Person, rng: random.Random, inputs: Inputs) -> None:
    """Compute a day of the city anew: its document is the same each time."""
    day = rng.choice(inputs.days)
    body = {"from": day, "to": day, "again": True}
    try:
        asked = person.post("/api/city/runs", json=body)
    except NoAnswer:
        person.ledger.is_unsure(person.name, "city")
        raise
    person.ledger.promise(Promise(person.name, str(asked["run"]), "city"))
    while (run := person.get(f"/api/city/runs/{asked['run']}"))["active"]:
        time.sleep(0.7)
    for job in (run["run"], *run["days"].values()):
        if job["status"] != "done":
            raise AssertionError(f"{job['title']}: {job['status']}: {job['error']}")
    documents = json.dumps(person.get(f"/api/city/metrics/{day}"))
    if day not in documents:
        raise AssertionError(f"the document of {day} does not name it: {documents[:200]}")


OPERATIONS: dict[str, Callable[[Person, random.Random, Inputs], None]] = {
    operation.__name__: operation
    for operation in (
        count,
        refuse,
        cancel,
        train_and_score,
        upload_table,
        delete_table,
        publish,
        publish_at_once,
        publish_and_delete,
        publish_wrong_bytes,
        log_run,
        fraud,
        plants,
        city,
    )
}
#: How many jobs each operation asks for.
JOBS = {"count": 1, "refuse": 1, "cancel": 1, "train_and_score": 2, "fraud": 5, "plants": 2, "city": 2}


def make_inputs(folder: Path, operations: list[str]) -> Inputs:
    """Make what these operations need."""
    from ecluse.apps.fraud.sample import write_sample
    from tests.application import run_ecluse

    folder.mkdir(parents=True, exist_ok=True)
    labelled = unlabelled = images = b""
    if "fraud" in operations:
        sample = write_sample(folder, rows=2000, score_rows=400)
        labelled, unlabelled = sample.labelled.read_bytes(), sample.unlabelled.read_bytes()
    if "plants" in operations:
        done = run_ecluse(folder / "home", {}, "plants", "demo", str(folder / "leaves"), "--each", "20")
        assert done.returncode == 0, done.stderr
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted((folder / "leaves").rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder / "leaves").as_posix())
        images = packed.getvalue()
    return Inputs(labelled, unlabelled, images, ["2025-09-11", "2025-09-12"])
