"""Every builder: importing this module fills `kit.FAMILIES`."""

from tests.families import captioners as captioners
from tests.families import cohere as cohere
from tests.families import deepseek as deepseek
from tests.families import documents as documents
from tests.families import gemma as gemma
from tests.families import glm as glm
from tests.families import granite as granite
from tests.families import idefics as idefics
from tests.families import inkling as inkling
from tests.families import instructblip as instructblip
from tests.families import internvl as internvl
from tests.families import liquid as liquid
from tests.families import llava as llava
from tests.families import meta as meta
from tests.families import microsoft as microsoft
from tests.families import minicpm as minicpm
from tests.families import mistral as mistral
from tests.families import others as others
from tests.families import paligemma as paligemma
from tests.families import qwen as qwen
from tests.families import qwen_kin as qwen_kin
from tests.families import single as single
from tests.families import tencent as tencent
from tests.families import unified as unified
from tests.families.kit import FAMILIES as FAMILIES
