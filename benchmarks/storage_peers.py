"""Move a folder with MLflow for `benchmarks.storage`, in an environment where it is installed.

    python storage_peers.py mlflow-served|mlflow-direct up|down FOLDER [RUN]

`up` makes a run and stores the folder as its artifacts, `down` fetches those of RUN. Prints JSON: the run, and seconds
by the clock and of the processors. The server and the keys of the store come from the environment.
"""

import json
import os
import sys
import time

from mlflow import MlflowClient, artifacts


def main(name, verb, folder, run=""):
    client = MlflowClient()
    location = None if name == "mlflow-served" else os.environ["DIRECT"]
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name, artifact_location=location)
    first = client.create_run(experiment).info.run_id
    client.log_text(first, "it imports what it needs", "first.txt")
    artifacts.download_artifacts(run_id=first, artifact_path="first.txt")
    if verb == "up":
        run = client.create_run(experiment).info.run_id
    began, used = time.perf_counter(), time.process_time()
    if verb == "up":
        client.log_artifacts(run, folder)
    else:
        artifacts.download_artifacts(run_id=run, dst_path=folder)
    spent = {"seconds": time.perf_counter() - began, "processor": time.process_time() - used}
    print("\n" + json.dumps({"run": run, **spent}))


if __name__ == "__main__":
    main(*sys.argv[1:])
