"""What a function is: a digest of its source, so that a changed function is another one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from bbtvp.core.digest import digest

_PLAIN = (str, bytes, int, float, bool, type(None))
"""Types of values that are told apart by what they hold."""


def function_name(function: Callable[..., Any]) -> str:
    """The name in its `def`; of an object that can be called, that of its class."""
    if isinstance(function, functools.partial):
        return function_name(function.func)
    found: str = getattr(function, "__name__", type(function).__name__)
    return "lambda" if found == "<lambda>" else found


def source_digest(function: Callable[..., Any]) -> str:
    """64 hex digits, of the function's source, or of its byte code where there is no source.

    The plain values that it carries count too: defaults, what it closes over, the arguments of a
    partial, the attributes of an object that can be called. Other functions that it calls, and
    weights that it loads, do not.
    """
    return digest(*(part.encode("utf-8", "surrogatepass") for part in _parts(function)))


def _parts(function: Any) -> Iterator[str]:
    if isinstance(function, functools.partial):
        yield from _parts(function.func)
        yield from _values("partial", [*function.args, *sorted(function.keywords.items())])
    elif inspect.ismethod(function):
        yield from _parts(function.__func__)
        yield from _values("self", sorted(getattr(function.__self__, "__dict__", {}).items()))
    elif inspect.isfunction(function):
        yield _source(function)
        yield from _values("defaults", function.__defaults__ or ())
        yield from _values("closure", _closed_over(function))
    else:
        yield _source(type(function))
        yield from _values("self", sorted(getattr(function, "__dict__", {}).items()))


def _source(thing: Any) -> str:
    code = getattr(thing, "__code__", None)
    try:
        source = inspect.getsource(inspect.unwrap(thing))
    except (OSError, TypeError):  # typed at a prompt, or not written in Python
        return getattr(thing, "__qualname__", repr(type(thing))) if code is None else _code(code)
    if code is None or code.co_name != "<lambda>":
        return source
    return source + _code(code)  # a line of source may hold several lambdas


def _code(code: CodeType) -> str:
    nested = [_code(const) for const in code.co_consts if isinstance(const, CodeType)]
    return repr([code.co_code, code.co_names, *_values("constants", code.co_consts), nested])


def _closed_over(function: Any) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not yet bound
            continue


def _values(kind: str, values: Any) -> Iterator[str]:
    """The plain ones among the values; a function among them counts by its own source."""
    for value in values:
        if inspect.isfunction(value):
            yield from _parts(value)
        elif _is_plain(value):
            yield f"{kind}: {value!r}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)
