"""Time a city's pages over the documents of invented days with 3,348 arcs: python -m benchmarks.city_pages."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from ecluse.web.security import COOKIE
from tests.apps.city.invented_documents import LAST, invented_city

#: 2 × 31 streets of 54 arcs: as many as Paris has.
STREETS, BLOCKS = 31, 54


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--times", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_environment({}, home=Path(folder))
        with Runtime.open(settings) as runtime:
            user = runtime.accounts.sign_up("ines@example.org", "a long password")
            documents = invented_city(arguments.days, STREETS, BLOCKS, whole=2)
            runtime.documents.put_many(documents)
            cookie = runtime.accounts.open_session(user.id)
            with TestClient(make_app(runtime), cookies={COOKIE: cookie}) as client:
                measure(client, arguments.times)


def measure(client: TestClient, times: int) -> None:
    """Print the median and the 95th percentile of each page, in milliseconds, and its size."""
    place = f"/city/{LAST}"
    paths = (place, f"{place}/hour?hour=8", f"{place}/map.json", f"{place}/map.svg", "/city/arcs.geojson")
    paths += ("/city", "/city/arcs/100", f"{place}/scan", "/city/compare", f"{place}/zones")
    print(f"{'path':32} {'p50, ms':>9} {'p95, ms':>9} {'kB':>7}")
    for path in paths:
        client.get(path)
        taken, size = [], 0
        for _ in range(times):
            begin = time.perf_counter()
            answer = client.get(path, headers={"accept": "text/html"})
            taken.append(1000 * (time.perf_counter() - begin))
            assert answer.status_code == 200, answer.text
            size = len(answer.content)
        high = statistics.quantiles(taken, n=20)[-1]
        print(f"{path:32} {statistics.median(taken):9.0f} {high:9.0f} {size / 1000:7.0f}")


if __name__ == "__main__":
    main()
