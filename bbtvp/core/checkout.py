"""Import `bbtvp` from a checkout: the folder that holds `bbtvp/`, `adapters/` and `setup.cfg`.

In a wheel, `adapters/` lies inside the package as `bbtvp.adapters`. In a checkout it lies beside
the package, where Python does not look for it. `install` adds a finder that looks there, so that
`import bbtvp` works in the checkout's folder whether bbtvp is installed or not.

The finder also answers for the metadata of `bbtvp` (its version, requirements and entry points),
which it reads from `setup.cfg`: the code in the checkout and its metadata always agree.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from importlib.metadata import Distribution, DistributionFinder

PACKAGE = "bbtvp.adapters"


def install(package: str) -> None:
    """Add the finder to `sys.meta_path` if `package`, the folder of bbtvp, lies in a checkout.

    It does nothing for an installed package: a folder `adapters` in site-packages belongs to
    another distribution.
    """
    root = os.path.dirname(os.path.abspath(package))
    known = any(isinstance(finder, CheckoutFinder) for finder in sys.meta_path)
    if not known and is_checkout(root):
        sys.meta_path.insert(0, CheckoutFinder(root))


def is_checkout(root: str) -> bool:
    """Whether `root` holds `adapters/` and bbtvp's own `setup.cfg`."""
    if not os.path.isfile(os.path.join(root, "adapters", "__init__.py")):
        return False
    try:
        with open(os.path.join(root, "setup.cfg"), encoding="utf-8") as file:
            return any(line.strip() == "name = bbtvp" for line in file)
    except OSError:
        return False


class CheckoutFinder:
    """Finds `bbtvp.adapters`, and the metadata of `bbtvp`, in the checkout at `root`."""

    def __init__(self, root: str) -> None:
        self._root = root

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of `bbtvp.adapters`; None for every other module."""
        if fullname != PACKAGE:
            return None
        from importlib.util import spec_from_file_location

        folder = os.path.join(self._root, "adapters")
        return spec_from_file_location(
            fullname, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )

    def find_distributions(
        self, context: DistributionFinder.Context | None = None
    ) -> Iterable[Distribution]:
        """The metadata of `bbtvp`, if that is what `context` asks for, or if it asks for all."""
        wanted = None if context is None else context.name
        if wanted not in (None, "bbtvp"):
            return []
        from bbtvp.core.checkout_metadata import CheckoutMetadata

        return [CheckoutMetadata(self._root)]
