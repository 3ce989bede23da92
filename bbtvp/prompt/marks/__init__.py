"""Marks over an image or beside it: lines, dots, letters, names, and the sentence that goes with
them.
"""
