"""What a proxy counts and writes down: no header, no query, no words, no image and no key."""

from __future__ import annotations

import json
import logging
from typing import Any, final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from bbtvp.deploy.incoming import Handled

_log = logging.getLogger("bbtvp.deploy.proxy")


@final
class Telemetry:
    """Metrics for Prometheus, and one line of JSON per request."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests by outcome.", "outcome", "route")
        self._images = self._counter("images", "Images that were prompted.", "route")
        self._replies = self._counter("upstream_replies", "Replies by status.", "status")
        self._cut = self._counter("cut_replies", "Replies that the upstream did not end.")
        self._fetches = self._counter("fetched_images", "Images by address.", "result")
        self._shadow = self._counter("shadow", "Prompted copies by result.", "result", "route")
        self._added = Histogram(
            "bbtvp_added_seconds", "Time that the proxy adds.", registry=self._registry
        )

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def request(
        self, method: str, path: str, handled: Handled, *, status: int, added: float, cut: bool
    ) -> None:
        """Count a request and write its line. path: without the query, which may hold a key.

        added: seconds.
        """
        self._requests.labels(handled.outcome, handled.label).inc()
        self._images.labels(handled.label).inc(handled.images)
        self._replies.labels(str(status)).inc()
        self._added.observe(added)
        if cut:
            self._cut.inc()
        self.line(
            method=method,
            path=path,
            outcome=handled.outcome,
            route=handled.label,
            images=handled.images,
            why=handled.why,
            status=status,
            cut=cut or "",
            added_ms=round(added * 1000, 1),
        )

    def fetched(self, result: str) -> None:
        """Count an image that was given by its address. result: fetched or failed."""
        self._fetches.labels(result).inc()

    def shadow(self, route: str, result: str, **more: Any) -> None:
        """Count a copy that was sent in shadow mode, or was to be sent, and write its line."""
        self._shadow.labels(result, route).inc()
        self.line(shadow=result, route=route, **more)

    def line(self, **fields: Any) -> None:
        """Write a line of JSON; empty fields are left out."""
        _log.info(json.dumps({key: value for key, value in fields.items() if value != ""}))

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"bbtvp_{name}", what, labels, registry=self._registry)
