"""Floor 1: tasks: labelled images, the question about them, fair splits, and how replies are scored.

>>> from bbtvp.task import load, parse_label, prediction, score
>>> task = load("photos", question="which animal is it?")          # a folder with one sub-folder per class
>>> replies = [model(task.ask(s), s.pixels()) for s in task.train]  # None where the query failed
>>> guesses = [prediction(r, task.sample_labels(s)) for r, s in zip(replies, task.train)]
>>> print(score(task.metric, guesses, [s.answer for s in task.train]))

`bbtvp.task.registry.load_task` finds a task by its spec: a folder, a file, `prefix/name` or `<data set>:<folder>`.
"""

from bbtvp.task.loaders import load as load
from bbtvp.task.metrics import METRICS as METRICS
from bbtvp.task.metrics import Score as Score
from bbtvp.task.metrics import per_sample as per_sample
from bbtvp.task.metrics import score as score
from bbtvp.task.replies import UNPARSED as UNPARSED
from bbtvp.task.replies import normalise as normalise
from bbtvp.task.replies import parse_label as parse_label
from bbtvp.task.replies import prediction as prediction
from bbtvp.task.splits import arrange as arrange
from bbtvp.task.splits import split as split
from bbtvp.task.task import Sample as Sample
from bbtvp.task.task import Task as Task
