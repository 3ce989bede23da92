"""Floor 2: what is done with bundle files beyond reading and writing them.

`bbtvp/prompt/bundle/` stays the only reader and the only writer of the format.
"""
