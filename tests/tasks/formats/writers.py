"""Small data sets, each written in the format in which it is published."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from bbtvp.tasks import Task
from bbtvp.tasks.formats import cifar, clevr, digits, folders, memes, pope, scienceqa

NAMES10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NAMES100 = [f"fine_{number}" for number in range(100)]
NAMES20 = [f"coarse_{number}" for number in range(20)]


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)


def picture(path: Path, size: tuple[int, int] = (6, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(
        np.random.default_rng(len(str(path))).integers(0, 256, (*size, 3), dtype=np.uint8)
    ).save(path)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_lines(path: Path, records: list[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def cifar10(root: Path) -> None:
    for stem in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        planes = pixels(20, 3, 32, 32)
        labels = (np.arange(20, dtype=np.uint8) % 10)[:, None]
        np.hstack([labels, planes.reshape(20, -1)]).tofile(root / f"{stem}.bin")
    (root / "batches.meta.txt").write_text("\n".join(NAMES10) + "\n\n")


def cifar100(root: Path) -> None:
    for stem, n in (("train", 300), ("test", 100)):
        fine = np.arange(n) % 100
        rows = [(fine // 5)[:, None], fine[:, None], pixels(n, 3072)]
        np.hstack(rows).astype(np.uint8).tofile(root / f"{stem}.bin")
    (root / "fine_label_names.txt").write_text("\n".join(NAMES100) + "\n")
    (root / "coarse_label_names.txt").write_text("\n".join(NAMES20) + "\n")


def cifar10c(root: Path) -> None:
    images = pixels(5, 40, 32, 32, 3)
    images[:, :, 0, 0, 0] = np.arange(1, 6)[:, None]  # the severity can be seen
    for name in ("fog", "gaussian_noise"):
        np.save(root / f"{name}.npy", images.reshape(200, 32, 32, 3))
    np.save(root / "labels.npy", np.tile(np.arange(40, dtype=np.uint8) % 10, 5))


def idx(values: NDArray[np.uint8]) -> bytes:
    head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    return head + values.tobytes()


def mnist(root: Path) -> None:
    for part, n in (("train", 60), ("t10k", 20)):
        (root / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels(n, 28, 28))))
        (root / f"{part}-labels-idx1-ubyte").write_bytes(idx((np.arange(n) % 10).astype(np.uint8)))


def svhn(root: Path) -> None:
    for part, n in (("train", 60), ("test", 20)):
        labels = (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]
        savemat(
            root / f"{part}_32x32.mat",
            {"X": pixels(32, 32, 3, n), "y": labels},
            do_compression=True,
        )


def imagefolder(root: Path) -> None:
    for part, n in (("train", 6), ("val", 3)):
        for name in ("cat", "dog"):
            for number in range(n):
                picture(root / part / name / f"{number}.png")


def imagenette(root: Path) -> None:
    for part, n in (("train", 4), ("val", 2)):
        for wnid in folders.IMAGENETTE_NAMES:
            for number in range(n):
                picture(root / part / wnid / f"{wnid}_{part}_{number}.JPEG")


def eurosat(root: Path) -> None:
    for name in folders.EUROSAT_NAMES:
        for number in range(1, 9):
            picture(root / name / f"{name}_{number}.jpg", (64, 64))


def clevr_scenes(root: Path) -> None:
    thing = {
        "size": "small",
        "color": "red",
        "material": "metal",
        "shape": "cube",
        "rotation": 1.5,
        "3d_coords": [],
    }
    for part, n in (("train", 32), ("val", 16)):
        scenes: list[Any] = []
        questions: list[Any] = []
        for number in range(n):
            name = f"CLEVR_{part}_{number:06d}.png"
            picture(root / "images" / part / name)
            scene = {
                "split": part,
                "image_index": number,
                "image_filename": name,
                "relationships": {"left": [[], [0]]},
            }
            scenes.append({**scene, "objects": [thing] * (3 + number % 8)})
            for text, answer in (
                ("Is there a cube?", "yes"),
                ("How many things are there?", str(3 + number % 8)),
            ):
                asked = {
                    "question_index": len(questions),
                    "question": text,
                    "answer": answer,
                    "program": [{"a": []}],
                }
                questions.append({**asked, "image_filename": name, "split": part})
        info = {"split": part, "license": "CC BY 4.0", "version": "1.0"}
        write_json(root / f"scenes/CLEVR_{part}_scenes.json", {"info": info, "scenes": scenes})
        write_json(
            root / f"questions/CLEVR_{part}_questions.json", {"info": info, "questions": questions}
        )


def pope_questions(root: Path) -> None:
    absent = {"random": "surfboard", "popular": "person", "adversarial": "fork"}
    for sampling, thing in absent.items():
        records: list[Mapping[str, Any]] = []
        for number in range(20):
            image = f"COCO_val2014_{number:012d}.jpg"
            picture(root / "val2014" / image)
            for text, label in (
                ("Is there a dining table", "yes"),
                (f"Is there a {thing}", "no"),
            ) * 3:
                asked = {
                    "question_id": len(records) + 1,
                    "image": image,
                    "text": f"{text} in the image?",
                }
                records.append({**asked, "label": label})
        write_lines(root / f"coco_pope_{sampling}.json", records)


def hateful_memes(root: Path) -> None:
    for stem, n, first in (
        ("train", 20, 0),
        ("dev_seen", 8, 20),
        ("test_seen", 10, 28),
        ("dev_unseen", 6, 38),
    ):
        records = []
        for number in range(first, first + n):
            picture(root / "img" / f"{number:05d}.png")
            said = f'it\'s {{number}} "{number}"'
            records.append(
                {"id": number, "img": f"img/{number:05d}.png", "label": number % 2, "text": said}
            )
        write_lines(root / f"{stem}.jsonl", records)


def science_qa(root: Path) -> None:
    problems: dict[str, Any] = {}
    parts: dict[str, list[str]] = {}
    for part, n in (("train", 12), ("val", 6), ("test", 9)):
        parts[part] = []
        for number in range(n):
            identity = str(len(problems) + 1)
            choices = ["FF", "Ff"] if number % 2 else ["a desert", "a forest", "an ocean"]
            image = None if number % 3 == 2 else "image.png"
            problems[identity] = {
                "question": "Which is it?",
                "choices": choices,
                "answer": number % 2,
                "image": image,
                "split": part,
                "hint": "Look at {it}." if number % 2 else "",
                "lecture": "",
                "solution": "",
                "topic": "biology",
            }
            if image:
                picture(root / part / identity / image)
            parts[part].append(identity)
    write_json(root / "problems.json", problems)
    write_json(root / "pid_splits.json", {**parts, "minitrain": []})


class Published(NamedTuple):
    """A data set of the field: its writer, its entry point, a file that it cannot do without,
    samples per split.
    """

    write: Callable[[Path], None]
    load: Callable[..., Task]
    needs: str
    sizes: tuple[int, int, int]
    options: str = ""


ALL = {
    "cifar10": Published(cifar10, cifar.cifar10, "data_batch_4.bin", (71, 29, 20)),
    "cifar100": Published(cifar100, cifar.cifar100, "test.bin", (214, 86, 100)),
    "cifar100-coarse": Published(
        cifar100, cifar.cifar100, "coarse_label_names.txt", (214, 86, 100), "?level=coarse"
    ),
    "cifar10c": Published(
        cifar10c, cifar.cifar10c, "labels.npy", (20, 8, 12), "?corruption=fog&severity=2"
    ),
    "mnist": Published(mnist, digits.mnist, "t10k-labels-idx1-ubyte", (43, 17, 20)),
    "svhn": Published(svhn, digits.svhn, "test_32x32.mat", (43, 17, 20)),
    "imagenette": Published(imagenette, folders.imagenette, "val", (29, 11, 20)),
    "imagefolder": Published(imagefolder, folders.imagefolder, "val", (9, 3, 6)),
    "eurosat": Published(eurosat, folders.eurosat, "AnnualCrop", (40, 16, 24)),
    "clevr": Published(clevr_scenes, clevr.clevr, "scenes/CLEVR_val_scenes.json", (23, 9, 16)),
    "clevr-questions": Published(
        clevr_scenes,
        clevr.clevr,
        "questions/CLEVR_train_questions.json",
        (46, 18, 32),
        "?ask=questions",
    ),
    "pope": Published(
        pope_questions, pope.pope, "coco_pope_popular.json", (60, 24, 36), "?sampling=popular"
    ),
    "hateful-memes": Published(hateful_memes, memes.hateful_memes, "test_seen.jsonl", (20, 8, 10)),
    "scienceqa": Published(science_qa, scienceqa.scienceqa, "pid_splits.json", (8, 4, 6)),
}
