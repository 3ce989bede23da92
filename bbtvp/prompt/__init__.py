"""Floor 1: visual prompts, what is done to an image before a model sees it.

It needs numpy and Pillow only.

    space = preset("default", canvas=224)            # placement, tone, frame
    z = space.neutral()                              # what an optimiser searches, about N(0, 1)
    pixels = space.render(z, open_image("cat.png"))  # (224, 224, 3) uint8: what is deployed
    question = space.ask(z, "Which animal?")         # the text that goes with them
    space.prompt(z).save("cat.vprompt", {"task": "pets"})  # one file, to be applied by anyone
    Prompt.load("cat.vprompt").apply(Image.open("dog.png")).save("prompted.png")
"""

from bbtvp.prompt.coordinator import Coordinator as Coordinator
from bbtvp.prompt.exemplars import Exemplars as Exemplars
from bbtvp.prompt.frame import Frame as Frame
from bbtvp.prompt.guidance import Guidance as Guidance
from bbtvp.prompt.identity import Identity as Identity
from bbtvp.prompt.image import open_image as open_image
from bbtvp.prompt.image import to_rgb as to_rgb
from bbtvp.prompt.layer import Layer as Layer
from bbtvp.prompt.layer import PaintLayer as PaintLayer
from bbtvp.prompt.layers import LAYERS as LAYERS
from bbtvp.prompt.margin import Margin as Margin
from bbtvp.prompt.marks.legend import Legend as Legend
from bbtvp.prompt.marks.marks import Marks as Marks
from bbtvp.prompt.overlay import Overlay as Overlay
from bbtvp.prompt.placement import Placement as Placement
from bbtvp.prompt.presets import may_enlarge as may_enlarge
from bbtvp.prompt.presets import preset as preset
from bbtvp.prompt.presets import takes_any_shape as takes_any_shape
from bbtvp.prompt.rendering import Prepared as Prepared
from bbtvp.prompt.rendering import PreparedImages as PreparedImages
from bbtvp.prompt.rendering import Renderer as Renderer
from bbtvp.prompt.restore import Restore as Restore
from bbtvp.prompt.space import Prompt as Prompt
from bbtvp.prompt.space import PromptSpace as PromptSpace
from bbtvp.prompt.tone import Tone as Tone
