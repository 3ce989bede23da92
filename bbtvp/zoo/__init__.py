"""Floor 6: the miniatures: their world, their training, their weights; real models for the demo and
the tests.
"""
