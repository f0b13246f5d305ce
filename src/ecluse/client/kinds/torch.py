"""Keep networks of torch as the graph that torch exports, which answers, and their weights as safetensors.

A class cannot be made from a file without running code of the file, so that none is: what is loaded answers by the
graph, needs no torch, and gives its weights to whoever has the class. To write a graph the network is asked about rows,
beside the graph; numbers of 32 bits are summed in another order there, hence a tolerance of its own.
"""

from __future__ import annotations

import logging
import mmap
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors

from ecluse.client.frames import given_back, table_of
from ecluse.client.kinds import Answers, Kind, unreadable
from ecluse.client.kinds import onnx as graphs
from ecluse.client.kinds.estimators import columns
from ecluse.client.package import answers_of, first_difference
from ecluse.errors import ModelRefused
from ecluse.sentences import _

WEIGHTS: Final = "weights.safetensors"
#: How far an answer of the graph may be from the network's.
TOLERANCE: Final = 1e-5
#: Rows of the example that the graph is compared on.
COMPARED_ROWS: Final = 10_000
#: Rows that the network is followed with while the graph is written: two at least, as one is taken for a constant.
_FOLLOWED_ROWS: Final = 4


class Network(graphs.Graph):
    """A network that was published: `predict(rows)`, `run(inputs)` and `session` are those of its graph.

    `state_dict()` gives its weights to a network of the class, which you make yourself.
    """

    def __init__(self, content: bytes, weights: mmap.mmap, same: Mapping[str, str]) -> None:
        """`weights` is the file; `same` says which tensors are another's: the name of each, and that of the other."""
        super().__init__(content)
        self.weights = weights
        self._same = dict(same)

    @property
    def details(self) -> dict[str, Any]:
        return {"same": self._same}

    def state_dict(self) -> dict[str, Any]:
        """Return the weights as tensors, as `load_state_dict` of a network of this class takes them; it needs torch."""
        from safetensors.torch import load as tensors_of

        try:
            tensors: dict[str, Any] = tensors_of(self.weights[:])
            return tensors | {name: tensors[other] for name, other in self._same.items()}
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise unreadable(WEIGHTS, type(error).__name__) from error


def save(model: Any, folder: Path, example: Any = None) -> Mapping[str, Any]:
    """Write a network as a graph and as weights, once the graph answers the example as the network does.

    Raises:
        ModelRefused: it is none, there is no example, or torch cannot write it as a graph that answers alike.
    """
    if isinstance(model, Network):
        (folder / graphs.FILE).write_bytes(model.content)
        (folder / WEIGHTS).write_bytes(model.weights)
        return model.details
    network = _network(model)
    if example is None:
        raise ModelRefused(
            _(
                "A network is published with some rows, along which its graph is written: example=X, a table or a "
                "matrix of numbers. Where it takes images or several inputs, export it and publish the file: %(way)s",
                way=_EXPORT,
            )
        )
    table = table_of(example).head(COMPARED_ROWS)
    rows = given_back(table)
    expected = answers_of(KIND, network, rows)
    weights, same = _tensors(network)
    with _evaluated(network):
        inputs, outputs = _asked(network, rows)
        content = _exported(network, inputs, list(outputs))
    (folder / graphs.FILE).write_bytes(content)
    _write(weights, folder / WEIGHTS)
    details = {"same": same}
    difference = first_difference(answers_of(KIND, load(folder, details), rows), expected, TOLERANCE)
    if difference is not None:
        raise ModelRefused(_("As a graph it does not answer as it does here: %(reason)s.", reason=difference))
    return details


_EXPORT: Final = 'torch.onnx.export(model, inputs, "model.onnx", dynamo=True), publish("model.onnx", …)'


def _network(model: Any) -> Any:
    """Return a network as it was before `torch.compile`.

    Raises:
        ModelRefused: it is none, such as a tensor, or a program that was exported.
    """
    import torch

    network = getattr(model, "_orig_mod", model)
    if not isinstance(network, torch.nn.Module):
        raise ModelRefused(
            _(
                "A %(what)s is no network (torch.nn.Module). Publish the network, or a graph by its file: %(way)s",
                what=f"{type(model).__module__}.{type(model).__qualname__}",
                way=_EXPORT,
            )
        )
    return network


@contextmanager
def _evaluated(network: Any) -> Iterator[None]:
    """Let a network answer as it does after training, without gradients; leave it as it was."""
    import torch

    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _asked(network: Any, rows: Any) -> tuple[Any, dict[str, Any]]:
    """Return rows as the network takes them, and what it answers: tensors by name.

    Whole numbers are given as such, for embeddings; where it does not take them so, as the numbers of its weights.
    """
    import torch

    array = np.asarray(rows)
    if array.dtype.kind not in "iufb":
        raise ModelRefused(_("A network takes numbers. Turn texts and categories into numbers first."))
    weight = next((each for each in network.parameters() if each.is_floating_point()), torch.zeros(0))
    numbers = torch.tensor(array.astype(np.float64)).to(weight.device, weight.dtype)
    if array.dtype.kind != "f":
        whole = torch.tensor(array.astype(np.int64)).to(weight.device)
        try:
            return whole, _outputs(network(whole))
        except (RuntimeError, TypeError, IndexError):  # its layers take numbers such as their weights
            return numbers, _outputs(network(numbers))
    return numbers, _outputs(network(numbers))


def _outputs(answered: Any) -> dict[str, Any]:
    """Return what a network answered by name: `prediction`, the names of a mapping, or the places in a tuple."""
    import torch

    if isinstance(answered, torch.Tensor):
        return {"prediction": answered}
    if isinstance(answered, Mapping):
        outputs = {str(name): values for name, values in answered.items() if values is not None}
    elif isinstance(answered, tuple | list):
        outputs = {f"output_{place}": values for place, values in enumerate(answered)}
    else:
        outputs = {}
    if not outputs or not all(isinstance(values, torch.Tensor) for values in outputs.values()):
        raise ModelRefused(
            _(
                "The network answers with a %(what)s. It may answer with a tensor, or a tuple or a mapping of tensors.",
                what=type(answered).__name__,
            )
        )
    return outputs


def _exported(network: Any, inputs: Any, names: list[str]) -> bytes:
    """Write a network as a graph that takes any number of rows, without what torch says of it."""
    import torch

    try:
        import onnxscript  # noqa: F401 (torch writes graphs with it)
    except ModuleNotFoundError as error:
        raise ModelRefused(
            _(
                'To publish it as a graph, install the converter: pip install "ecluse[graphs]", and publish it again.'
            )
        ) from error
    followed = inputs[:_FOLLOWED_ROWS]
    followed = followed if len(followed) > 1 else followed.repeat(2, 1)
    said = logging.getLogger("torch.onnx")
    level = said.level
    said.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (followed,),
                dynamo=True,
                verbose=False,
                input_names=["X"],
                output_names=names,
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            )
        content: bytes = program.model_proto.SerializeToString()
    except Exception as error:
        text = str(error).strip().partition("\n")[0][:200]
        raise ModelRefused(
            _(
                "torch cannot write it as a graph for any number of rows (%(reason)s). Export it otherwise, and "
                "publish the file: %(way)s",
                reason=f"{type(error).__name__}: {text}",
                way=_EXPORT,
            )
        ) from error
    finally:
        said.setLevel(level)
    return content


def _tensors(network: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the weights of a network by name, each once, and which others are the same tensor."""
    import torch

    weights: dict[str, Any] = {}
    same: dict[str, str] = {}
    places: dict[tuple[Any, ...], str] = {}
    for name, tensor in network.state_dict().items():
        if not isinstance(tensor, torch.Tensor):
            raise ModelRefused(
                _(
                    "%(name)s of the network's state is a %(what)s and no tensor, which is not kept without a pickle.",
                    name=name,
                    what=type(tensor).__name__,
                )
            )
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in places:
            same[name] = places[place]
            continue
        places[place] = name
        weights[name] = tensor.detach().cpu().contiguous().clone()
    return weights, same


def _write(weights: Mapping[str, Any], file: Path) -> None:
    from safetensors.torch import save_file

    try:
        save_file(dict(weights), file)
    except (ValueError, RuntimeError, KeyError, safetensors.SafetensorError) as error:  # sparse ones, for one
        raise ModelRefused(
            _("Its weights cannot be kept as safetensors: %(reason)s", reason=str(error)[:300])
        ) from error


def load(folder: Path, details: Mapping[str, Any]) -> Network:
    """Return the network, ready to answer. Its weights are read when they are asked for, also once the file is gone."""
    same = details.get("same")
    if not isinstance(same, Mapping) or not all(isinstance(other, str) for other in same.values()):
        raise unreadable(WEIGHTS, "same")
    with (folder / WEIGHTS).open("rb") as file:
        try:
            weights = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # it is empty
            raise unreadable(WEIGHTS, type(error).__name__) from error
    return Network((folder / graphs.FILE).read_bytes(), weights, same)


def answer(model: Any, rows: Any) -> Answers:
    """Return what a network, or its graph, says of rows: `prediction`, or its outputs by name."""
    if isinstance(model, graphs.Graph):
        return graphs.answer(model, rows)
    network = _network(model)
    with _evaluated(network):
        _inputs, outputs = _asked(network, rows)
    answers: dict[str, Any] = {}
    for name, values in outputs.items():
        if values.dim() == 0 or len(values) != len(rows):
            raise ModelRefused(
                _("The output %(name)s of the network is not one answer for each row.", name=name)
            )
        plain = values.to(_numpy_type(values))
        answers |= columns(name, plain.cpu().numpy())
    return answers


def _numpy_type(values: Any) -> Any:
    """Return the type of numbers as numpy has one: `bfloat16` as 32 bits."""
    import torch

    return torch.float32 if values.dtype == torch.bfloat16 else values.dtype


KIND: Final = Kind("torch", ("torch", "onnxruntime", "safetensors"), save, load, answer, tolerance=TOLERANCE)
