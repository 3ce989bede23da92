"""Hateful Memes (Kiela et al., NeurIPS 2020): is a meme hateful? Yes or no.

The answer depends on the image and its text together.
"""

from __future__ import annotations

from pathlib import Path

from bbtvp.core.errors import DataError
from bbtvp.tasks import Sample
from bbtvp.tasks.formats.contents import YES_NO, Contents, dataset
from bbtvp.tasks.formats.files import find, folder, lines, picture, value

GET = "get the Hateful Memes data set and unpack it there"


@dataset
def hateful_memes(place: str, *, validation: str = "", test: str = "test_seen") -> Contents:
    """Hateful Memes: train.jsonl, dev_seen.jsonl (or dev.jsonl), test_seen.jsonl, img/.

    validation, test: names of other files, such as dev_unseen and test_unseen. The first release's
    test.jsonl has no labels. The question is InstructBLIP's (Dai et al., 2023), with the text of
    the meme as the field text.
    """
    root = folder(place)
    root = root / "data" if (root / "data" / "train.jsonl").is_file() else root
    held = [validation] if validation else ["dev_seen", "dev"]
    paths = [
        find(root, *(f"{name}.jsonl" for name in names), get=GET)
        for names in (["train"], held, [test])
    ]
    train, kept, tested = (_samples(root, path) for path in paths)
    question = 'This is an image with: "{text}" written on it. Is it hateful?'
    return Contents("hateful-memes", question, YES_NO, train, tested, kept)


def _samples(root: Path, path: Path) -> list[Sample]:
    samples = []
    for where, record in lines(path):
        if "label" not in record:
            raise DataError(
                f"{where}: no label; take a file that has them: ?test=test_seen, or "
                "?test=dev_unseen"
            )
        label = value(record, "label", int, where)
        if label not in (0, 1):
            raise DataError(f"{where}: the label {label} is neither 0 nor 1; is it another file?")
        # Ids are numbers in one release and texts in the other; the file's name is the same in
        # both.
        image = value(record, "img", str, where)
        fields = {"text": value(record, "text", str, where)}
        samples.append(Sample(image, YES_NO[1 - label], picture(root, image, where), fields))
    return samples
