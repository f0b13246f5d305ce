"""The reader of torch's old format, beside torch."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from ecluse.apps.plants.architectures import lite0
from ecluse.apps.plants.errors import PretrainedWeights
from ecluse.apps.plants.weights import SHA256, lite0_file, lite0_state, read_state


def read(data: bytes) -> dict[str, Any]:
    return read_state(data, hashlib.sha256(data).hexdigest())


def test_the_pretrained_weights_are_those_that_torch_reads() -> None:
    torch = pytest.importorskip("torch")
    expected = torch.load(lite0_file(), weights_only=True)
    found = read_state(lite0_file().read_bytes(), SHA256)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())


def test_the_pretrained_weights_have_the_shapes_of_the_table() -> None:
    state = lite0_state()
    assert {name: values.shape for name, values in state.items()} == lite0().shapes(1000)
    assert {values.dtype for values in state.values()} == {np.dtype(np.float32)}


def test_views_into_one_storage_are_read_as_torch_reads_them() -> None:
    torch = pytest.importorskip("torch")
    numbers = torch.arange(24, dtype=torch.float32)
    state = OrderedDict(
        turned=numbers.reshape(4, 6).T, part=numbers[5:17:3], one=numbers[7], none=numbers[:0]
    )
    found = read(_saved(torch, state))
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
        assert found[name].flags.c_contiguous


def test_a_file_with_another_digest_is_not_unpickled() -> None:
    with pytest.raises(PretrainedWeights, match="digest"):
        read_state(pickle.dumps(_Trap()), SHA256)
    assert not _Trap.sprung


def test_what_is_no_tensor_is_refused() -> None:
    torch = pytest.importorskip("torch")
    for value in (_Trap(), torch.zeros(2, dtype=torch.float64), {"plain": "dictionary"}):
        with pytest.raises(PretrainedWeights):
            read(_saved(torch, OrderedDict(entry=value)))
    assert not _Trap.sprung


def test_a_cut_file_is_refused() -> None:
    torch = pytest.importorskip("torch")
    data = _saved(torch, OrderedDict(numbers=torch.zeros(100)))
    read(data)
    for length in (0, 10, 30, 200, len(data) - 300, len(data) - 4):
        with pytest.raises(PretrainedWeights):
            read(data[:length])


def test_a_tensor_beyond_its_storage_is_refused() -> None:
    torch = pytest.importorskip("torch")
    data = _saved(torch, OrderedDict(numbers=torch.zeros(100)))
    # BININT1 100 in a one-tuple, with its place in the memo: the tensor's shape.
    start, end = data.split(b"K\x64\x85", 1)
    with pytest.raises(PretrainedWeights, match="beyond"):
        read(start + b"K\x65\x85" + end)


class _Trap:
    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _spring, ()


def _spring() -> None:
    _Trap.sprung = True


def _saved(torch: Any, state: object) -> bytes:
    into = io.BytesIO()
    torch.save(state, into, _use_new_zipfile_serialization=False)
    return into.getvalue()
