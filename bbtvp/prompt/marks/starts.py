"""Where a search with marks begins.

The points are those of the published methods that draw such marks.
"""

from __future__ import annotations

from typing import NamedTuple, final


@final
class MarksStart(NamedTuple):
    """A wording of `Guidance`, and a look of `Marks`."""

    wording: str
    divisions: int = 5
    choices: dict[str, str] = {}  # noqa: RUF012  # a NamedTuple's default, never altered


STARTS = (
    MarksStart("report"),
    MarksStart("scan", 3, {"layout": "rows", "anchors": "digits", "place": "margin"}),
    MarksStart("report", 3, {"layout": "rows", "anchors": "symbols", "place": "margin"}),
    MarksStart("structure", 6, {"layout": "dots", "anchors": "digits", "place": "cell"}),
    MarksStart("structure", 8, {"layout": "grid", "anchors": "digits", "place": "cell"}),
)
"""After the identity: sentence only; rows and digits; rows and symbols; dots (Scaffold); cells
(Mark-Grid).
"""
