"""Floor 8: a run, or a folder of runs, as one HTML page that a decision can rest on."""
