"""A model of images so small that its answers can be told by hand: yellow is dandelion, green is grass."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from ecluse import models
from ecluse.apps.plants.pictures import Transform
from ecluse.apps.plants.prediction import Familiarity, write_familiarity
from ecluse.catalog.tables import ModelVersion
from ecluse.runtime import Runtime

LABELS = ("dandelion", "grass")
YELLOW, GREEN, NEITHER = (250, 220, 20), (40, 160, 40), (160, 160, 160)
TRANSFORM = Transform(resize=72, crop=64)
#: The mean colours of dandelions and of grass, and how near an image's mean colour has to be: a cosine.
KNOWN = np.array([[0.96, 0.73, -0.84], [-0.69, 0.25, -0.69]], dtype=np.float32)
THRESHOLD = 0.9
#: Rows: labels; columns: red, green, blue and a constant.
WEIGHTS = np.array([[10.0, 0.0, 0.0, -5.0], [-10.0, 10.0, 0.0, 0.0]], dtype=np.float32)


def photo(
    colour: tuple[int, int, int] = YELLOW, size: tuple[int, int] = (96, 80), kind: str = "JPEG"
) -> bytes:
    """An image file of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def publish_tiny(
    runtime: Runtime,
    user_id: str,
    folder: Path,
    name: str = "leaves",
    *,
    labels: Sequence[str] = LABELS,
) -> ModelVersion:
    """A version of a model of images, in the store and in the catalog; `labels` may swap what the colours mean."""
    known = Familiarity(KNOWN / np.linalg.norm(KNOWN, axis=1, keepdims=True), THRESHOLD)
    return publish_graph(runtime, user_id, folder, tiny_graph(WEIGHTS), TRANSFORM, known, name, labels=labels)


def publish_graph(
    runtime: Runtime,
    user_id: str,
    folder: Path,
    graph: bytes,
    transform: Transform,
    known: Familiarity,
    name: str = "leaves",
    *,
    labels: Sequence[str] = LABELS,
) -> ModelVersion:
    """A version that is served by this graph."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph)
    (folder / "transform.json").write_text(json.dumps(transform.to_dict()))
    none_of_these = write_familiarity(known, folder)
    told = {"labels": list(labels), "temperature": 1.0, "none_of_these": none_of_these}
    (folder / "labels.json").write_text(json.dumps(told))
    return models.publish(
        runtime,
        user_id,
        name,
        [folder],
        metadata={"architecture": "tiny"},
        origin=models.Origin(application="plants", report=report(labels)),
    )


def report(labels: Sequence[str] = LABELS) -> dict[str, object]:
    """What pages and the API read of metrics.json."""
    return {
        "application": "plants",
        "recipe": "features",
        "architecture": "tiny",
        "labels": list(labels),
        "metrics": {"accuracy": 0.95},
        "interval": {"level": 0.95, "low": 0.863, "high": 0.983, "right": 57, "of": 60},
        "none_of_these": {"method": "cosine", "threshold": THRESHOLD, "expected": 0.97},
    }


def tiny_graph(weights: np.ndarray) -> bytes:
    """`images` → `logits`, `features` (the mean colour), `maps`; as the graphs of real networks."""
    kernel = weights[:, :3, None, None].astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "kernel", "bias"], ["spread"]),
        helper.make_node("AveragePool", ["spread"], ["maps"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
        helper.make_node("GlobalAveragePool", ["images"], ["colour"]),
        helper.make_node("Flatten", ["colour"], ["features"]),
    ]
    count, crop = len(weights), TRANSFORM.crop
    shaped = {
        "logits": ["n", count],
        "features": ["n", 3],
        "maps": ["n", count, crop // 16, crop // 16],
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, crop, crop])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shaped.items()],
        [
            numpy_helper.from_array(kernel, "kernel"),
            numpy_helper.from_array(np.ascontiguousarray(weights[:, 3]), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    model.doc_string = uuid.uuid4().hex  # no two have the same bytes, so that no cache has one for another
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
