"""bbtvp: black-box transferable visual prompting.

    import bbtvp

    run = bbtvp.optimize("zoo/digits-low-contrast", "zoo/llava", queries=1000)
    proof = bbtvp.verify(run.prompt, run.task, ["zoo/llava", "zoo/paligemma"])
    run.save("digits.vprompt")

The names below load on first use, so that `import bbtvp` stays light.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bbtvp.core import checkout as _checkout

if TYPE_CHECKING:
    from bbtvp.core.errors import BbtvpError as BbtvpError
    from bbtvp.core.errors import BudgetReached as BudgetReached
    from bbtvp.core.errors import UsageError as UsageError
    from bbtvp.models import Budget as Budget
    from bbtvp.models import Capabilities as Capabilities
    from bbtvp.models import FunctionModel as FunctionModel
    from bbtvp.models import LabelScore as LabelScore
    from bbtvp.models import Model as Model
    from bbtvp.models import QueryFailed as QueryFailed
    from bbtvp.models import Reply as Reply
    from bbtvp.models import Request as Request
    from bbtvp.models import Usage as Usage
    from bbtvp.models import load_model as load_model
    from bbtvp.models import model as model
    from bbtvp.prompt import Prompt as Prompt
    from bbtvp.prompt import PromptSpace as PromptSpace
    from bbtvp.prompt import preset as preset
    from bbtvp.prompt.channel import Channel as Channel
    from bbtvp.search import Run as Run
    from bbtvp.search import SearchConfig as SearchConfig
    from bbtvp.search import optimize as optimize
    from bbtvp.surrogate import load_surrogate as load_surrogate
    from bbtvp.tasks import Sample as Sample
    from bbtvp.tasks import Task as Task
    from bbtvp.tasks.registry import load_task as load_task
    from bbtvp.verify import Proof as Proof
    from bbtvp.verify import verify as verify

_checkout.install(__path__[0])

_HOME = {
    "BbtvpError": "bbtvp.core.errors",
    "Budget": "bbtvp.models",
    "BudgetReached": "bbtvp.core.errors",
    "Capabilities": "bbtvp.models",
    "Channel": "bbtvp.prompt.channel",
    "FunctionModel": "bbtvp.models",
    "LabelScore": "bbtvp.models",
    "Model": "bbtvp.models",
    "Prompt": "bbtvp.prompt",
    "PromptSpace": "bbtvp.prompt",
    "Proof": "bbtvp.verify",
    "QueryFailed": "bbtvp.models",
    "Reply": "bbtvp.models",
    "Request": "bbtvp.models",
    "Run": "bbtvp.search",
    "Sample": "bbtvp.tasks",
    "SearchConfig": "bbtvp.search",
    "Task": "bbtvp.tasks",
    "Usage": "bbtvp.models",
    "UsageError": "bbtvp.core.errors",
    "load_model": "bbtvp.models",
    "load_surrogate": "bbtvp.surrogate",
    "load_task": "bbtvp.tasks.registry",
    "model": "bbtvp.models",
    "optimize": "bbtvp.search",
    "preset": "bbtvp.prompt",
    "verify": "bbtvp.verify",
}
__all__ = sorted(_HOME)


class _Package(ModuleType):
    """The type of this package, of which `verify` is the function and not the folder.

    Importing a module of `bbtvp/verify/` first would otherwise put the folder in its place.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bbtvp' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
