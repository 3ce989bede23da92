"""The miniatures: their world, their training, their weights.

They are real models, for the demo and the tests.
"""
