"""Do the whole main job on tables of your own, over HTTP and on the command line, on a laptop's parts and on a cloud's.

    python -m benchmarks.main_job transactions.csv:is_fraud other.csv:label [--budget 30] [--cloud]

Of each table 80 % of the rows train a model (by position) and the rest are scored without their label. Prints the
figures of the model's own report, those of the scores against the hidden labels, and seconds of each step. With
--cloud, objects are in a real SeaweedFS and rows in a real PostgreSQL, and what is left on the local disk is listed.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.application import Application, running
from tests.servers import postgresql, seaweedfs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", help="FILE:LABEL")
    parser.add_argument("--budget", type=float, default=30)
    parser.add_argument("--cloud", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, parts(Path(name), cloud=arguments.cloud) as environ:
        home = Path(name) / "home"
        with running(home, environ) as application, application.client() as client:
            for given in arguments.tables:
                file, _, label = given.rpartition(":")
                run(application, client, Path(file), label, arguments.budget, Path(name))
        if not arguments.cloud:
            return
        left = [p for p in home.rglob("*") if p.is_file() and not p.is_relative_to(home / "cache")]
        print(
            "on the local disk outside the cache:",
            ", ".join(str(p.relative_to(home)) for p in left) or "nothing",
        )


def run(
    application: Application, client: httpx.Client, file: Path, label: str, budget: float, folder: Path
) -> None:
    """Both ways through one table."""
    labelled, unlabelled, truth = halves(file, label, folder)
    began = time.perf_counter()
    dataset = upload(application, client, labelled)
    uploaded = time.perf_counter()
    body = {"dataset": dataset, "model_name": file.stem, "target_column": label, "budget_s": budget}
    model = finished(application, client, client.post("/api/train", json=body))
    trained = time.perf_counter()
    to_score = upload(application, client, unlabelled)
    body = {"dataset": to_score, "model": file.stem}
    result = finished(application, client, client.post("/api/predict", json=body))
    scores = pl.read_csv(io.BytesIO(client.get(result["download_url"]).content), infer_schema_length=None)
    seconds = {
        "upload": uploaded - began,
        "train": trained - uploaded,
        "score": time.perf_counter() - trained,
    }
    tell(file.stem, "HTTP", model["metrics"], truth, scores, seconds)
    began = time.perf_counter()
    arguments = ["--target", label, "--name", f"{file.stem}-cli", "--budget", str(budget), "--json"]
    report = command(application, "fraud", "train", str(labelled), *arguments)["report"]
    trained = time.perf_counter()
    out = folder / "scored.csv"
    command(application, "fraud", "predict", f"{file.stem}-cli", str(unlabelled), "-o", str(out), "--json")
    seconds = {"train": trained - began, "score": time.perf_counter() - trained}
    tell(file.stem, "command", report["metrics"], truth, pl.read_csv(out, infer_schema_length=None), seconds)


def halves(file: Path, label: str, folder: Path) -> tuple[Path, Path, pl.Series]:
    """The first 80 % with labels, the rest without, and the labels that were hidden."""
    table = pl.read_csv(file, infer_schema=False)
    cut = table.height * 8 // 10
    labelled, unlabelled = folder / f"{file.stem}.csv", folder / f"{file.stem}_to_score.csv"
    table[:cut].write_csv(labelled)
    table[cut:].drop(label).write_csv(unlabelled)
    hidden = table[cut:][label]
    rarer = table[label].value_counts().sort("count")[label][0]
    return labelled, unlabelled, (hidden == rarer).cast(pl.Int8)


def upload(application: Application, client: httpx.Client, file: Path) -> str:
    with file.open("rb") as opened:
        body = client.post("/api/upload", files={"file": (file.name, opened)}).raise_for_status().json()
    application.wait_for_job(client, body["job"])
    return str(body["id"])


def finished(application: Application, client: httpx.Client, asked: httpx.Response) -> dict[str, Any]:
    job = application.wait_for_job(client, asked.raise_for_status().json()["job"], seconds=3600)
    if job["status"] != "done":
        raise SystemExit(f"{job['title']}: {job['error']}")
    result = job["result"]
    assert isinstance(result, dict)
    return result


def command(application: Application, *arguments: str) -> dict[str, Any]:
    done = application.command(*arguments)
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def tell(
    name: str,
    way: str,
    metrics: dict[str, float],
    truth: pl.Series,
    scores: pl.DataFrame,
    seconds: dict[str, float],
) -> None:
    probability = scores["fraud_probability"].to_numpy()
    figures = f"report AP {metrics['average_precision']:.3f} AUC {metrics['roc_auc']:.3f}"
    if 0 < truth.sum() < truth.len():
        ap, auc = average_precision_score(truth, probability), roc_auc_score(truth, probability)
        figures += f"; hidden labels AP {ap:.3f} AUC {auc:.3f} (rate {truth.mean():.4f})"
    timed = ", ".join(f"{step} {spent:.1f} s" for step, spent in seconds.items())
    print(f"{name} [{way}]: {figures}; {timed}", flush=True)


@contextmanager
def parts(folder: Path, *, cloud: bool) -> Iterator[dict[str, str]]:
    """Nothing, or the environment of a bucket and a database that run while the block does."""
    if not cloud:
        yield {}
        return
    with seaweedfs(folder / "objects") as objects, postgresql() as url:
        yield objects.environment("ecluse") | {"DATABASE_URL": url}


if __name__ == "__main__":
    main()
