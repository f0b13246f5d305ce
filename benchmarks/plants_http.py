"""Time of an answer of POST /api/plants/predict with a network of the real size, EfficientNet-Lite0, over HTTP.

    python -m benchmarks.plants_http [--images DIR] [--requests 300] [--at-once 1 4 16]

Without images: drawn ones of 1200 × 900 pixels as JPEG. The weights are those learned on ImageNet with a last layer
of noise: they take as long as learned ones. Prints p50, p95 and answers per second for each number of requests at
once, seen from the client, beside what the server says it spent on the image, and the same with an explanation.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from ecluse.apps.plants.architectures import lite0
from ecluse.apps.plants.features import LITE0
from ecluse.apps.plants.graphs import build_graph
from ecluse.apps.plants.prediction import Familiarity
from ecluse.apps.plants.weights import lite0_state
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import running
from tests.apps.plants.tiny import publish_graph

LIMIT_MS = 15.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="a folder with JPEG files, at any depth")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4, 16])
    given = parser.parse_args()
    photos = read_photos(given.images) if given.images else [drawn(seed) for seed in range(20)]
    size = statistics.median(len(photo) for photo in photos)
    print(f"{os.cpu_count()} CPUs; {len(photos)} images, {size / 1000:.0f} kB in the middle")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home") as application:
        client = application.client("person@example.org")
        with Runtime.open(Settings.from_environment(application.environ, home=application.home)) as runtime:
            user = runtime.accounts.by_email("person@example.org")
            publish_graph(runtime, user.id, Path(folder) / "model", graph(), LITE0, known())
        began = time.perf_counter()
        ask(client, photos[0], {})
        print(f"the first answer, with loading: {time.perf_counter() - began:.2f} s")
        for at_once in given.at_once:
            report(f"{at_once} at once", client, photos, given.requests, at_once, {})
        report("1 at once, explained", client, photos, given.requests // 3, 1, {"explain": "1"})


def graph() -> bytes:
    """A classifier of two labels on Lite0's features."""
    state, noise = lite0_state(), np.random.default_rng(0)
    state["classifier.weight"] = noise.normal(0, 0.03, (2, lite0().features)).astype(np.float32)
    state["classifier.bias"] = np.zeros(2, np.float32)
    return build_graph(lite0(), state)


def known() -> Familiarity:
    """What takes every image for one of the labels."""
    means = np.random.default_rng(1).normal(size=(2, lite0().features)).astype(np.float32)
    return Familiarity(means / np.linalg.norm(means, axis=1, keepdims=True), -1.0)


def report(
    what: str,
    client: httpx.Client,
    photos: Sequence[bytes],
    requests: int,
    at_once: int,
    query: dict[str, str],
) -> None:
    sent = list(itertools.islice(itertools.cycle(photos), requests))
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        measured = list(pool.map(lambda photo: ask(client, photo, query), sent))
    seconds = time.perf_counter() - began
    seen, spent = (sorted(values) for values in zip(*measured, strict=True))
    told = (
        f"p50 {at(seen, 0.5):.1f} ms, p95 {at(seen, 0.95):.1f} ms, {requests / seconds:.0f} answers a second"
    )
    inside = f"of which on the image p50 {at(spent, 0.5):.1f} ms, p95 {at(spent, 0.95):.1f} ms"
    ratio = f"; {at(seen, 0.5) / LIMIT_MS:.2f} of the goal of {LIMIT_MS:.0f} ms" if at_once == 1 else ""
    print(f"{what}: {told}; {inside}{ratio}")


def ask(client: httpx.Client, photo: bytes, query: dict[str, str]) -> tuple[float, float]:
    """Milliseconds as the client sees them, and as the server says it spent on the image."""
    began = time.perf_counter()
    answer = client.post(
        "/api/plants/predict", params=query, content=photo, headers={"content-type": "image/jpeg"}
    )
    milliseconds = (time.perf_counter() - began) * 1000
    return milliseconds, float(answer.raise_for_status().json()["milliseconds"])


def at(values: Sequence[float], share: float) -> float:
    """The value below which this share lies."""
    return values[min(len(values) - 1, round(share * (len(values) - 1)))]


def read_photos(folder: Path) -> list[bytes]:
    """The first 100 JPEG files that can be read."""
    photos = []
    for path in sorted(folder.rglob("*.jp*g"))[:110]:
        data = path.read_bytes()
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except OSError:
            continue
        photos.append(data)
    return photos[:100]


def drawn(seed: int) -> bytes:
    """A JPEG as busy as a photo."""
    noise = np.random.default_rng(seed)
    coarse = Image.fromarray(noise.integers(0, 255, (45, 60, 3), dtype=np.uint8)).resize((1200, 900))
    fine = noise.normal(0, 12, (900, 1200, 1))
    pixels = np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
