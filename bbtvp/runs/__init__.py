"""Floor 4: what a run writes and what is read back of it.

The journal, the record of the call, and the run folder that holds both.
"""
