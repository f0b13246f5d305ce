"""Which images are most like one: a search of the nearest among vectors. Written from the guide."""

from pathlib import Path

import numpy as np
import PIL.Image

from ecluse.app import App, Image, Images, Model, Task

app = App("alike", title="Alike", description="Find images like one.", api=1)


def vector(image: Image) -> np.ndarray:
    """Return an image as a vector of length 1."""
    small = np.asarray(image.open().convert("RGB").resize((8, 8)), dtype=np.float32).ravel() / 255
    return small / (np.linalg.norm(small) + 1e-9)


@app.train
def train(task: Task, images: Images) -> Model:
    """Index a set of images."""
    folder = task.folder / "index"
    folder.mkdir()
    vectors, names = [], []
    for number, image in enumerate(images):
        vectors.append(vector(image))
        names.append(image.name)
        task.report((number + 1) / len(images), image.name)
    np.save(folder / "vectors.npy", np.array(vectors))
    (folder / "names.txt").write_text("\n".join(names))
    return Model(folder, metrics={"images": len(names)})


@app.load
def load(folder: Path):
    """Read the vectors and the names."""
    return np.load(folder / "vectors.npy"), (folder / "names.txt").read_text().split("\n")


@app.predict
def predict(model, image: Image, count: int = 3) -> list:
    """Find the images most like this one."""
    vectors, names = model
    likeness = vectors @ vector(image)
    best = np.argsort(-likeness)[:count]
    return [{"name": names[at], "likeness": float(likeness[at])} for at in best]


@app.sample
def sample() -> dict:
    """Draw a few."""
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        folder = Path("set") / label
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(3):
            PIL.Image.new("RGB", (20, 20), (colour[0], 40 + 20 * number, colour[2])).save(
                folder / f"{number}.png"
            )
    return {"images": Images("set"), "image": Image("set/red/0.png")}
