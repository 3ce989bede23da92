"""Floor 6: results for people: tables of text, and pictures."""
