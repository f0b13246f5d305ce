# What `__getattr__` of the package offers, for readers of types. `ecluse.models()` and `ecluse.tables()` are not here:
# these are modules that can be called; `Client.models` and `Client.tables` are typed.
from types import ModuleType
from typing import Any, Final

from ecluse.client import Client as Client
from ecluse.client import load as load
from ecluse.client import log as log
from ecluse.client import login as login
from ecluse.client import predict as predict
from ecluse.client import publish as publish
from ecluse.client import run as run
from ecluse.client import runs as runs
from ecluse.client import table as table
from ecluse.client import upload as upload

__version__: str
OFFERED: Final[tuple[str, ...]]

class ListingPackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
