"""Floor 8: `bbtvp bench` compares methods under one count of image queries.

The benchmark is a grid: methods × tasks × source models × budgets × seeds. Every cell is one job of
`bbtvp.jobs.runner`: a search, whose prompt is tried on the test split of its task, on the source
and on models that the search never asked. docs/bench.md says what is counted; `bbtvp.bench.methods`
has the methods.
"""
