"""How long reading takes: replies per second, for labels by the hundred and for yes and no.

    python tests/benchmarks/replies.py [--replies 1000] [--runs 5]

Every reply is another text, so that nothing is read twice. Seconds of the processor; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from bbtvp.tasks.replies import read_reply

NOUNS = ("cat", "red square", "golden retriever", "truck", "frog", "ship", "tree", "house", "cup")
HUNDRED = tuple(f"{noun} {number}" for number in range(12) for noun in NOUNS)[:100]
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "a label alone": (HUNDRED, "golden retriever {}"),
    "a sentence": (HUNDRED, "The image shows a {} truck on grass. It is labelled frog 3."),
    "a stated answer": (HUNDRED, "It is not frog 4, and {} may be wrong.\n\n**Answer:** frog 3"),
    "yes or no": (("yes", "no"), "Yes, there are {} dogs in the image, on the left side."),
    "Japanese": (("猫", "犬", "鳥"), "画像には{}番の犬が写っています。"),
}


def seconds(labels: Sequence[str], replies: Sequence[str]) -> float:
    """Processor time of reading all replies once."""
    start = time.process_time()
    for reply in replies:
        read_reply(reply, labels)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--replies", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    for kind, (labels, form) in KINDS.items():
        read_reply(form.format(0), labels)  # the words are compiled once
        replies = [form.format(i) for i in range(given.replies)]
        spent = statistics.median(seconds(labels, replies) for _ in range(given.runs))
        print(f"{kind:16} {len(labels):4} labels: {1000 * spent / given.replies:6.3f} ms per reply")


if __name__ == "__main__":
    main()
