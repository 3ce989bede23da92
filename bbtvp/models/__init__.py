"""Floor 2: the port to a model, and what wraps it.

>>> model = load_model("zoo/llava")
>>> replies = Meter(model, Forgetful(), cap=100).query([Request(pixels, "which digit?", labels=("one", "two"))])
"""

from bbtvp.models.budget import Account as Account
from bbtvp.models.budget import Forgetful as Forgetful
from bbtvp.models.budget import Memory as Memory
from bbtvp.models.budget import Meter as Meter
from bbtvp.models.budget import probed as probed
from bbtvp.models.port import Capabilities as Capabilities
from bbtvp.models.port import LabelScore as LabelScore
from bbtvp.models.port import Model as Model
from bbtvp.models.port import Outcome as Outcome
from bbtvp.models.port import PaidModel as PaidModel
from bbtvp.models.port import Probe as Probe
from bbtvp.models.port import Purse as Purse
from bbtvp.models.port import QueryFailed as QueryFailed
from bbtvp.models.port import Reply as Reply
from bbtvp.models.port import Request as Request
from bbtvp.models.port import Unlimited as Unlimited
from bbtvp.models.port import Usage as Usage
from bbtvp.models.registry import load_model as load_model
