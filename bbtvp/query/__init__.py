"""Floor 2: the port to a model, and what wraps it.

>>> model = load_model("zoo/llava")
>>> replies = Meter(model, Forgetful(), cap=100).query([Request(pixels, "which digit?", labels=("one", "two"))])
"""

from bbtvp.query.meter import Account as Account
from bbtvp.query.meter import Forgetful as Forgetful
from bbtvp.query.meter import Memory as Memory
from bbtvp.query.meter import Meter as Meter
from bbtvp.query.meter import probed as probed
from bbtvp.query.port import Capabilities as Capabilities
from bbtvp.query.port import LabelScore as LabelScore
from bbtvp.query.port import Model as Model
from bbtvp.query.port import Outcome as Outcome
from bbtvp.query.port import PaidModel as PaidModel
from bbtvp.query.port import Probe as Probe
from bbtvp.query.port import Purse as Purse
from bbtvp.query.port import QueryFailed as QueryFailed
from bbtvp.query.port import Reply as Reply
from bbtvp.query.port import Request as Request
from bbtvp.query.port import Unlimited as Unlimited
from bbtvp.query.port import Usage as Usage
from bbtvp.query.registry import load_model as load_model
