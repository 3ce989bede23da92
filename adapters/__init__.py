"""Adapters: one provider per file, each behind the port of `bbtvp.models`.

The folder is installed as `bbtvp.adapters`.
"""

if __name__ != "bbtvp.adapters":
    raise ImportError("import bbtvp.adapters, not adapters (run: pip install -e .)")
