"""What config.yaml names: a prompt for the images of every request."""

import os

from bbtvp.deploy.litellm import PromptCallback

prompts = PromptCallback(os.environ["BBTVP_BUNDLE"])
