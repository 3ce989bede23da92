"""Any local model that AutoModelForImageTextToText loads, from a folder or a hub id.

    load_model("hf/llava-hf/llava-1.5-7b-hf", device="cuda", dtype="bfloat16", batch=16)
    load_model("hf/./my-folder")

Requests with labels are scored by log-probability. The prefix (image and question) runs once for
all labels, and log-softmax is taken in float32 whatever the model's dtype and the caller's
autocast. Requests without labels get greedy text. Images of a batch with equal token counts run
together, so no padding enters a prompt, and an answer depends on nothing but its request. Where
memory runs out, fewer run together from then on.

A thought that the model's chat template opens is closed before the answer, and a warning says so.
Where that cannot be done, labels are not scored.

Safe to use from many threads. They take turns on a GPU, whose memory one of them fills, and run at
once on the CPU.
"""

from bbtvp.adapters.hf import bliva, visualglm
from bbtvp.adapters.hf.loading import load as load
from bbtvp.adapters.hf.model import HuggingFaceModel as HuggingFaceModel

bliva.register()
visualglm.register()
