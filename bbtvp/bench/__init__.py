"""Floor 7: `bbtvp bench`: methods × tasks × source models × seeds at given budgets, under one count
of image queries.

Every cell is one search; its prompt is tried on the test split of its task, on the source and on
models that the search never asked. See docs/bench.md for what is counted, and `bbtvp.bench.methods`
for the competitors.
"""
