"""Move folders with boto3 or MLflow for `benchmarks.storage`, in an environment where these are installed.

    python storage_peers.py boto3|mlflow-served|mlflow-direct

Stays open, so that neither Python's start nor an import is counted: one request in JSON for each line of stdin, such
as `{"verb": "up", "folder": "/tmp/model", "key": "round1/model"}`; one answer for each on stdout, with its
seconds, by the clock and of a processor.
Knows nothing of Écluse. Endpoint, bucket and keys come from the environment.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FILES_AT_ONCE = 8


class Boto3:
    """`upload_file` and `download_file` with the default TransferConfig, 8 files at a time."""

    def __init__(self):
        import boto3

        self.bucket = os.environ["BENCHMARK_BUCKET"]
        self.client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])

    def up(self, folder, key):
        def send(path):
            self.client.upload_file(str(path), self.bucket, f"{key}/{path.relative_to(folder).as_posix()}")

        each(send, (path for path in Path(folder).rglob("*") if path.is_file()))

    def down(self, key, folder):
        def fetch(found):
            path = Path(folder) / found.removeprefix(f"{key}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(self.bucket, found, str(path))

        each(fetch, self.keys(key))

    def count(self, key):
        return sum(1 for _ in self.keys(key))

    def keys(self, key):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{key}/")
        return (found["Key"] for page in pages for found in page.get("Contents", ()))


class MLflow:
    """One run whose artifacts are moved; `where` is None to leave their place to the server (`--serve-artifacts`)."""

    def __init__(self, name, where):
        from mlflow import MlflowClient, artifacts

        self.artifacts = artifacts
        self.client = MlflowClient()
        experiment = self.client.create_experiment(name, artifact_location=where)
        self.run = self.client.create_run(experiment).info

    def up(self, folder, key):
        self.client.log_artifacts(self.run.run_id, folder, key)

    def down(self, key, folder):
        self.artifacts.download_artifacts(run_id=self.run.run_id, artifact_path=key, dst_path=folder)

    def count(self, key):
        return len(self.client.list_artifacts(self.run.run_id, key))

    def root(self):
        return self.run.artifact_uri


TOOLS = {
    "boto3": Boto3,
    "mlflow-served": lambda: MLflow("served", None),
    "mlflow-direct": lambda: MLflow("direct", f"s3://{os.environ['BENCHMARK_BUCKET']}/mlflow-direct"),
}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print must not stand among the answers
    tool = TOOLS[sys.argv[1]]()
    for line in sys.stdin:
        request = json.loads(line)
        verb = getattr(tool, request.pop("verb"))
        began, used = time.perf_counter(), time.process_time()
        result = verb(**request)
        spent = {"seconds": time.perf_counter() - began, "processor": time.process_time() - used}
        answers.write(json.dumps({**spent, "result": result}) + "\n")
        answers.flush()


def each(work, items):
    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        for _ in threads.map(work, items):
            pass


if __name__ == "__main__":
    main()
