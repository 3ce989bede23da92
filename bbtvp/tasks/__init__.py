"""Tasks: labelled images, the question about them, fair splits, and how replies are scored.

>>> from bbtvp.tasks import load, parse_label, prediction, score
>>> task = load("photos", question="which animal is it?")   # one sub-folder per class
>>> replies = [model(task.ask(s), s.pixels()) for s in task.train]  # None where the query failed
>>> guesses = [prediction(r, task.sample_labels(s)) for r, s in zip(replies, task.train)]
>>> print(score(task.metric, guesses, [s.answer for s in task.train]))

`bbtvp.tasks.registry.load_task` finds a task by its spec: a folder, a file, `prefix/name` or `<data
set>:<folder>`.
"""

from bbtvp.tasks.loaders import load as load
from bbtvp.tasks.metrics import METRICS as METRICS
from bbtvp.tasks.metrics import Metric as Metric
from bbtvp.tasks.metrics import Score as Score
from bbtvp.tasks.metrics import per_sample as per_sample
from bbtvp.tasks.metrics import score as score
from bbtvp.tasks.replies import UNPARSED as UNPARSED
from bbtvp.tasks.replies import ReplyStatus as ReplyStatus
from bbtvp.tasks.replies import answer_span as answer_span
from bbtvp.tasks.replies import fold as fold
from bbtvp.tasks.replies import normalise as normalise
from bbtvp.tasks.replies import parse_label as parse_label
from bbtvp.tasks.replies import prediction as prediction
from bbtvp.tasks.replies import read_reply as read_reply
from bbtvp.tasks.splits import arrange as arrange
from bbtvp.tasks.splits import split as split
from bbtvp.tasks.task import Sample as Sample
from bbtvp.tasks.task import Task as Task
