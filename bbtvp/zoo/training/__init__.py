"""How the miniatures are made.

The trainer, which member starts from which, white-box ceilings, and the card (docs/zoo.md).
"""
