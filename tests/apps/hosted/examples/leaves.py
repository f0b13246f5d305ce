"""Learn from images with labels, and name what is on one: an image task, written from the guide."""

import io
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
from sklearn.linear_model import LogisticRegression

from ecluse.app import App, File, Images, Model, Task

app = App("leaves", title="Leaves", description="Healthy or spotted.", api=1)


def colours(picture) -> np.ndarray:
    return np.asarray(picture.convert("RGB").resize((8, 8)), dtype=float).ravel() / 255


@app.train
def train(task: Task, images: Images, strength: float = 1.0) -> Model:
    """Learn the labels of images, a folder for each."""
    rows = [(colours(image.open()), image.label) for image in images]
    model = LogisticRegression(C=strength, max_iter=500)
    model.fit(np.array([row for row, _label in rows]), [label for _row, label in rows])
    return Model(model, metrics={"images": len(rows), "labels": len(images.labels)})


@app.predict
def predict(model, image: File, certainty: bool = True) -> dict:
    """Name what is on an image."""
    (chances,) = model.predict_proba([colours(PIL.Image.open(image.path))])
    answer = {"label": str(model.classes_[chances.argmax()])}
    return answer | {"certainty": float(chances.max())} if certainty else answer


@app.page
def look(images: Images | None = None) -> list:
    """Count what a set holds."""
    return [{"images": len(images), "labels": ", ".join(images.labels)}] if images else ["Choose images."]


@app.sample
def sample() -> dict:
    """Draw some leaves."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile("leaves.zip", "w") as archive:
        for label, shade in (("healthy", 180), ("spotted", 60)):
            for number in range(10):
                file = io.BytesIO()
                drawn = random.integers(shade - 50, shade + 50, (16, 16, 3), dtype="uint8")
                PIL.Image.fromarray(drawn).save(file, "PNG")
                archive.writestr(f"leaves/{label}/{number}.png", file.getvalue())
    Path("one.png").write_bytes(file.getvalue())
    return {"images": Images("leaves.zip"), "image": File("one.png")}
