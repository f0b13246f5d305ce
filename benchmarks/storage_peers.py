"""Move folders with boto3 or MLflow for `benchmarks.storage`, in an environment where these are installed.

    python storage_peers.py boto3|mlflow-served|mlflow-direct

Reads one request of JSON from each line of stdin, such as `{"verb": "up", "folder": "/tmp/models"}`, and writes an
answer with its seconds by the clock and of the processors. The store and its keys come from the environment.
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

        self.bucket = os.environ["BUCKET"]
        self.client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])

    def up(self, folder):
        def send(path):
            key = f"boto3/{path.relative_to(folder).as_posix()}"
            self.client.upload_file(str(path), self.bucket, key)

        each(send, [path for path in Path(folder).rglob("*") if path.is_file()])

    def down(self, folder):
        def fetch(key):
            path = Path(folder) / key.removeprefix("boto3/")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(self.bucket, key, str(path))

        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="boto3/")
        each(fetch, [found["Key"] for page in pages for found in page.get("Contents", ())])


class MLflow:
    """The artifacts of one run; `location` is None where the server moves them (`--serve-artifacts`)."""

    def __init__(self, name, location):
        from mlflow import MlflowClient, artifacts

        self.artifacts, self.client = artifacts, MlflowClient()
        experiment = self.client.create_experiment(name, artifact_location=location)
        self.run = self.client.create_run(experiment).info.run_id

    def up(self, folder):
        self.client.log_artifacts(self.run, folder)

    def down(self, folder):
        self.artifacts.download_artifacts(run_id=self.run, dst_path=folder)


def each(work, items):
    """Do `work` with each item, some at once; raise what it raises."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        for _ in threads.map(work, items):
            pass


def main(name):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print is kept from the answers
    bucket = os.environ["BUCKET"]
    locations = {"mlflow-served": None, "mlflow-direct": f"s3://{bucket}/mlflow-direct"}
    tool = Boto3() if name == "boto3" else MLflow(name, locations[name])
    for line in sys.stdin:
        request = json.loads(line)
        began, used = time.perf_counter(), time.process_time()
        getattr(tool, request["verb"])(request["folder"])
        spent = {"seconds": time.perf_counter() - began, "processor": time.process_time() - used}
        print(json.dumps(spent), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
