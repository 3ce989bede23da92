"""Published checkpoints of the TVP paper's models as folders that transformers loads.

    python -m bbtvp.adapters.hf.convert minigpt4 --help

LAVIS, MiniGPT-4 and VPGTrans publish what they trained, and take the rest from elsewhere: the image
encoder from EVA, the Q-Former from BLIP-2, the language model from its own folder. A converter
joins these parts under transformers' names, and writes the published prompt as a chat template.
VisualGLM is published whole, in a layout of its own.
docs/paper-models.md has the commands.
"""
