"""Floor 0: errors, digests, named random streams, atomic files, plug-ins.

It imports nothing of bbtvp.
"""
