"""How the miniatures are made: the trainer, what starts from what, white-box ceilings, and their
card (docs/zoo.md).
"""
