"""Floor 2: data sets of the field, read from a folder in the format that they are published in.

>>> from bbtvp import load_task
>>> task = load_task("cifar10:data/cifar-10-batches-bin", limit=500)
>>> task = load_task("pope:data/coco?sampling=adversarial", question="Is a {object} there?")

One module per format, each reader an entry point of the group `bbtvp.datasets`. What a reader finds
is a `Contents`; `dataset` makes an entry point of it. docs/data.md lists the files, the questions
and the options of each.
"""

from bbtvp.tasks.formats.contents import Contents as Contents
from bbtvp.tasks.formats.contents import dataset as dataset
