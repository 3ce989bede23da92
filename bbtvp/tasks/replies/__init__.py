"""From a model's reply to an answer: the one label that it gives, or none.

A reply that does not give exactly one label is unparsed: it is counted and shown, never guessed.
The grammar, with examples: docs/replies.md.
"""

from bbtvp.tasks.replies.folding import fold as fold
from bbtvp.tasks.replies.folding import normalise as normalise
from bbtvp.tasks.replies.folding import number as number
from bbtvp.tasks.replies.matching import names as names
from bbtvp.tasks.replies.reading import UNPARSED as UNPARSED
from bbtvp.tasks.replies.reading import ReadReply as ReadReply
from bbtvp.tasks.replies.reading import ReplyStatus as ReplyStatus
from bbtvp.tasks.replies.reading import answer_span as answer_span
from bbtvp.tasks.replies.reading import parse_label as parse_label
from bbtvp.tasks.replies.reading import prediction as prediction
from bbtvp.tasks.replies.reading import read_reply as read_reply
