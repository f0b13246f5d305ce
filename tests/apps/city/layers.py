"""Make a raw layout and a curated layer in a temporary folder, as the tests of the city need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from ecluse.apps.city.curated import Curated
from ecluse.apps.city.progress import Report, unheard
from ecluse.apps.city.raw import Raw
from ecluse.apps.city.sources import Curating, curated_tables
from ecluse.settings import Settings
from ecluse.storage import Cache, ObjectStore, open_store

PARIS = ZoneInfo("Europe/Paris")
SAMPLES = Path(__file__).parents[2] / "data" / "city"


@dataclass(frozen=True)
class Layers:
    """A raw store, a curated one, and what sources are given."""

    store: ObjectStore
    raw: Raw
    curated: Curated
    work: Curating

    def put(self, key: str, content: str | bytes) -> None:
        self.store.put(key, content.encode() if isinstance(content, str) else content)

    def put_sample(self, name: str, key: str | None = None) -> None:
        self.put(key or f"batch/{name}", (SAMPLES / name).read_bytes())


def make_layers(
    folder: Path,
    *,
    store: ObjectStore | None = None,
    curated: ObjectStore | None = None,
    fallback: ObjectStore | None = None,
    report: Report = unheard,
    opened: Callable[[Path], ObjectStore] | None = None,
) -> Layers:
    """Both layers below `folder`, unless stores are given."""
    opened = opened or local_store
    store = store or opened(folder / "raw")
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    layer = Curated(
        curated or opened(folder / "curated"), Cache(folder / "cache", 10**9), scratch, curated_tables()
    )
    raw = Raw(store, fallback)
    days = (date(2022, 1, 1), date(2022, 12, 31))
    return Layers(store, raw, layer, Curating(layer, *days, PARIS, scratch, report))


def local_store(folder: Path) -> ObjectStore:
    folder.mkdir(parents=True, exist_ok=True)
    return open_store(folder.as_uri(), Settings.from_environment({}).access)
