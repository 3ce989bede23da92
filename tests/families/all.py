"""Every builder: importing this module fills `kit.FAMILIES`."""

from tests.families import captioners as captioners
from tests.families import llava as llava
from tests.families.check import REFUSED
from tests.families.kit import FAMILIES as FAMILIES

ASIDE = {
    "evolla": (REFUSED, "it reads proteins, not images: its processor has no image processor"),
}
"""Keys for which there is nothing to build, as (status, reason)."""
