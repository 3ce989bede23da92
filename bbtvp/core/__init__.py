"""Floor 0: errors, digests, named random streams, atomic files, plug-in lookup. Imports nothing of
bbtvp.
"""
