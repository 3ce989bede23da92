"""Floor 2: the port to a model, the budget, and the cache of replies.

model = MeteredModel(load_model("zoo/llava"), InMemoryCache(), budget=Budget(100))
replies = model.query([Request(pixels, "which digit?", labels=("one", "two"))])
"""

from bbtvp.core.shown import Shown as Shown
from bbtvp.models.budget import Budget as Budget
from bbtvp.models.cache import InMemoryCache as InMemoryCache
from bbtvp.models.cache import ReplyCache as ReplyCache
from bbtvp.models.exchange import LabelScore as LabelScore
from bbtvp.models.exchange import Outcome as Outcome
from bbtvp.models.exchange import QueryFailed as QueryFailed
from bbtvp.models.exchange import Reply as Reply
from bbtvp.models.exchange import Request as Request
from bbtvp.models.exchange import Usage as Usage
from bbtvp.models.function import FunctionModel as FunctionModel
from bbtvp.models.function import model as model
from bbtvp.models.metered import MeteredModel as MeteredModel
from bbtvp.models.metered import probe_model as probe_model
from bbtvp.models.port import Capabilities as Capabilities
from bbtvp.models.port import Delivered as Delivered
from bbtvp.models.port import Model as Model
from bbtvp.models.port import Probe as Probe
from bbtvp.models.registry import AnyModel as AnyModel
from bbtvp.models.registry import as_model as as_model
from bbtvp.models.registry import as_models as as_models
from bbtvp.models.registry import load_model as load_model
