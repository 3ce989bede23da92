"""Marks over an image or beside it, and the sentence that goes with them."""
