"""Turn a model of scikit-learn that no machine would load as it is, such as a forest, into a graph that answers alike.

A graph counts in other steps than scikit-learn does, so that a row near the bound of a split may fall on its other
side. Therefore none is kept that was not asked about the example, row by row, beside the model.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import polars as pl

from ecluse.client.frames import Table
from ecluse.client.kinds.estimators import plain_classes
from ecluse.client.kinds.onnx import Graph, estimator_of
from ecluse.errors import EcluseError, ModelRefused
from ecluse.sentences import _

#: The operators that are written, by their domain: those that ONNX Runtime has had for years.
_OPERATORS: Final = {"": 18, "ai.onnx.ml": 3}
#: Rows of the example that a graph is compared on.
COMPARED_ROWS: Final = 10_000
#: The attributes of trees that hold numbers of 32 bits; each has a sibling for those of 64, …_as_tensor.
_NUMBERS_OF_TREES: Final = ("nodes_values", "nodes_hitrates", "target_weights", "base_values")
#: Says where the answers of a graph differ from those of the model, given the rows; None where they do not.
Compare = Callable[[Any, Table], str | None]


def converted(model: Any, example: Table, compare: Compare) -> Graph:
    """Return the first graph of a model that answers as it does, numbers of 64 bits before those of 32.

    Raises:
        ModelRefused: the converter is not installed or cannot write it, or no graph answers alike.
    """
    try:
        import skl2onnx  # noqa: F401 (whether it is there)
    except ModuleNotFoundError as error:
        raise ModelRefused(
            _(
                'To publish it as a graph, install the converter: pip install "ecluse[graphs]", and publish it again.'
            )
        ) from error
    if not hasattr(model, "predict"):
        raise ModelRefused(_("It predicts nothing, so that no graph is made of it."))
    classes = plain_classes(model) if hasattr(model, "predict_proba") else None
    refusals: list[str] = []
    for inputs, asked in itertools.product(_inputs(example), _as_trees_read(model)):
        try:
            written = _written(asked, inputs)
        except Exception as error:  # noqa: BLE001 (of the converter, of any class; the person reads it)
            text = str(error).strip().partition("\n")[0][:200]
            refusals.append(
                _("skl2onnx cannot write it (%(reason)s)", reason=f"{type(error).__name__}: {text}")
            )
            continue
        for content, details in itertools.product(_declared(written), _details(classes)):
            try:
                graph = estimator_of(content, details)
                difference = compare(graph, example.head(COMPARED_ROWS))
            except EcluseError as error:
                reason = type(error.__cause__).__name__ if error.__cause__ else str(error)
                difference = _("it cannot be run here, or not on these rows (%(reason)s)", reason=reason)
            if difference is None:
                return graph
            refusals.insert(0, difference)
    raise ModelRefused(_("As a graph it does not answer as it does here: %(reason)s.", reason=refusals[0]))


def _as_trees_read(model: Any) -> Iterator[Any]:
    """Yield a model as the converter is to read it: a pipeline also with numbers of 32 bits before its last step.

    Trees of scikit-learn compare numbers of 32 bits, after steps that count with 64. A whole number lies often exactly
    at the bound of a split, so that one bit in between decides.
    """
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    if isinstance(model, Pipeline) and len(model.steps) > 1:
        *before, last = model.steps
        yield Pipeline([*before, ("numbers_of_32_bits", CastTransformer(dtype=np.float32)), last])
    yield model


def _details(classes: list[Any] | None) -> list[dict[str, Any]]:
    """Return how labels are read: as the graph says them, or as those of the largest probability."""
    if classes is None:
        return [{"estimator": {}}]
    return [{"estimator": {"classes": classes, "labels": labels}} for labels in ("output", "probability")]


def _inputs(example: Table) -> Iterator[list[tuple[str, Any]]]:
    """Yield what a graph may take, the most exact first: one matrix, where all are numbers; or each column by name."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    if example.form == "texts":
        yield [("X", StringTensorType([None]))]
        return
    are_numbers = [dtype.is_numeric() or dtype == pl.Boolean for dtype in example.rows.dtypes]
    for number in (DoubleTensorType, FloatTensorType):
        if all(are_numbers):
            yield [("X", number([None, example.rows.width]))]
        if example.form != "numpy":
            kinds = (number if each else StringTensorType for each in are_numbers)
            yield [(name, kind([None, 1])) for name, kind in zip(example.rows.columns, kinds, strict=True)]


def _declared(graph: Any) -> Iterator[bytes]:
    """Yield a graph as it was written, with outputs of 32 bits (trees answer so, whatever is declared), and with the
    leaves of its trees summed in 64 bits.
    """
    from onnx import TensorProto

    yield graph.SerializeToString()
    doubles = [
        output for output in graph.graph.output if output.type.tensor_type.elem_type == TensorProto.DOUBLE
    ]
    for output in doubles:
        output.type.tensor_type.elem_type = TensorProto.FLOAT
    if doubles:
        yield graph.SerializeToString()
    if _sum_in_64_bits(graph):
        yield graph.SerializeToString()


def _sum_in_64_bits(graph: Any) -> bool:
    """Change a graph so that the trees of a regression are summed in 64 bits; return whether it has any.

    The sum over some hundred trees in 32 bits is off by more than a millionth.
    """
    from onnx import TensorProto, helper, numpy_helper

    trees = [node for node in graph.graph.node if node.op_type == "TreeEnsembleRegressor"]
    for number, node in enumerate(trees):
        for each in [each for each in node.attribute if each.name in _NUMBERS_OF_TREES]:
            wide = numpy_helper.from_array(np.asarray(each.floats, dtype=np.float64))
            node.attribute.remove(each)
            node.attribute.append(helper.make_attribute(f"{each.name}_as_tensor", wide))
        name = f"numbers_of_64_bits_{number}"
        cast = helper.make_node("Cast", [node.input[0]], [name], to=TensorProto.DOUBLE)
        graph.graph.node.insert(list(graph.graph.node).index(node), cast)
        node.input[0] = name
    for domain in graph.opset_import:
        if (
            domain.domain in _OPERATORS
        ):  # the least that it needed was written, which has no 64 bits for trees
            domain.version = _OPERATORS[domain.domain]
    return bool(trees)


def _written(model: Any, inputs: list[tuple[str, Any]]) -> Any:
    """Write a model as a graph, without what the converter says of it."""
    from skl2onnx import to_onnx

    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return to_onnx(model, initial_types=inputs, options=options, target_opset=_OPERATORS)
