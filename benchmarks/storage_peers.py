"""Move folders with MLflow for `benchmarks.storage`, in an environment where it is installed.

    python storage_peers.py mlflow-served|mlflow-direct

Reads one request of JSON from each line of stdin, such as `{"verb": "up", "folder": "/tmp/models"}`, and writes an
answer with its seconds by the clock and of the processors. The store and its keys come from the environment.
"""

import json
import os
import sys
import time


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


def main(name):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print is kept from the answers
    place = f"s3://{os.environ['BUCKET']}/mlflow-direct"
    tool = MLflow(name, place if name == "mlflow-direct" else None)
    for line in sys.stdin:
        request = json.loads(line)
        began, used = time.perf_counter(), time.process_time()
        getattr(tool, request["verb"])(request["folder"])
        spent = {"seconds": time.perf_counter() - began, "processor": time.process_time() - used}
        print(json.dumps(spent), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
