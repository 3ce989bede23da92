"""Where a service's key and address come from: the environment, or the options of one run.

    class Acme(ProviderApi):
        at = Service("acme", url="https://api.acme.com/v1")

        @classmethod
        def load(cls, name, *, base_url=None, **options):
            access = cls.at.access(name, base_url=base_url)  # ACME_API_KEY and ACME_BASE_URL
            return access.endpoint(cls(access), **options)

Keys come from the environment alone, and are shown in no message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, final
from urllib.parse import urlsplit

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.provider import ProviderApi
from bbtvp.endpoint.remote import Endpoint

_PLANNING: ContextVar[bool] = ContextVar("planning", default=False)


@contextmanager
def without_keys() -> Iterator[None]:
    """Within this, a model whose key is missing is built too, for a plan that asks nothing.

    Its `missing_key` then names the variable.
    """
    token = _PLANNING.set(True)
    try:
        yield
    finally:
        _PLANNING.reset(token)


def planning() -> bool:
    """Whether models are built for a plan, which needs no keys."""
    return _PLANNING.get()


@final
@dataclass(frozen=True)
class Access:
    """What is needed to call one model of a service.

    spec: what the user typed. base: the base URL, without a slash at its end. variable: the
    environment variable that holds the key. key: the key itself, "" for none. keyless: whether a
    key is needed and missing, which only a plan may pass over.
    """

    spec: str
    model: str
    base: str
    variable: str
    key: str
    keyless: bool = False

    def endpoint(self, api: ProviderApi, **options: Any) -> Endpoint:
        """Build the model. Raises UsageError for an option that is unknown or wrong."""
        secrets = [self.key] if self.key else []
        endpoint = Endpoint.of(api, key_variable=self.variable, secrets=secrets, **options)
        endpoint.missing_key = self.variable if self.keyless else None
        return endpoint

    def __repr__(self) -> str:
        return f"Access({self.spec}, {self.base})"


@final
@dataclass(frozen=True)
class Service:
    """A vendor's service, and the environment variables that hold its key and its address.

    url: the usual base URL, None if each user has an address of their own. keys, urls: variables,
    in order of precedence; by default NAME_API_KEY and NAME_BASE_URL. example: of a base URL, for
    messages.
    """

    name: str
    url: str | None = None
    keys: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    example: str = ""

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The variables that may hold the key."""
        return self.keys or (f"{self._prefix}_API_KEY",)

    @property
    def url_variables(self) -> tuple[str, ...]:
        """The variables that may hold the base URL."""
        return self.urls or (f"{self._prefix}_BASE_URL",)

    @property
    def _prefix(self) -> str:
        return re.sub(r"\W", "_", self.name).upper()

    def access(
        self,
        model: str,
        *,
        base_url: str | None = None,
        key_env: str | None = None,
        spec: str | None = None,
    ) -> Access:
        """Find the key and the address for a model.

        base_url, key_env: the address, and the variable of the key, where the user named them.
        Raises UsageError if the address or a key that is needed is missing or cannot be used.
        """
        spec = spec or f"{self.name}/{model}"
        base = self.base(base_url, spec)
        return self.at_base(base, spec=spec, model=model, key_env=key_env)

    def at_base(
        self,
        base: str,
        *,
        spec: str,
        model: str,
        key_env: str | None = None,
        needs_key: bool = True,
    ) -> Access:
        """Find the key for a model at a base URL that is known. Raises UsageError as `access`."""
        variable = key_env or self._key_variable
        needed = needs_key and not planning()
        key = _key(variable, spec, needed=needed)
        return Access(spec, model, base, variable, key, keyless=needs_key and not key)

    @property
    def _key_variable(self) -> str:
        """The first of the key variables that is set, else the first of all."""
        held = (variable for variable in self.key_variables if os.environ.get(variable))
        return next(held, self.key_variables[0])

    def base(self, given: str | None, spec: str) -> str:
        """Return the base URL: as given, else from the environment, else the usual one."""
        example = self.example or self.url or "https://host/v1"
        return _address(given, self.url_variables, self.url, spec, example=example)


def key_variables(load: Callable[..., Any]) -> tuple[str, ...] | None:
    """Return the variables that a loader reads its key from, None if it does not say.

    A loader says so as a class method of a class whose attribute `at` is a Service.
    """
    at = getattr(getattr(load, "__self__", None), "at", None)
    return at.key_variables if isinstance(at, Service) else None


def _key(variable: str, spec: str, *, needed: bool = True) -> str:
    """Return the key in an environment variable, "" if there is none and none is needed.

    Raises UsageError, which never shows the key, if it is missing or cannot be sent.
    """
    value = os.environ.get(variable, "").strip()
    if needed and not value:
        raise UsageError(f"{spec} needs a key: export {variable}=…")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise UsageError(
            f"the key in {variable} has characters that no HTTP header can carry; copy it again"
        )
    return value


def _address(
    given: str | None, variables: Sequence[str], default: str | None, spec: str, *, example: str
) -> str:
    """Return the base URL: as given, else from the first variable that is set, else the default.

    It has no slash at its end. Raises UsageError if there is none, if it is no http(s) address, or
    if it carries a password.
    """
    found = given or next(filter(None, map(os.environ.get, variables)), None) or default
    if not found:
        raise UsageError(
            f"{spec} needs an address: "
            f"export {variables[0]}={example} or give -M base_url={example}"
        )
    parts = urlsplit(found.strip())
    if parts.username or parts.password:
        raise UsageError(
            f"the address of {spec} holds a user or a password; a key has a variable of its own"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"the address of {spec} must look like {example}, got {found!r}")
    return found.strip().rstrip("/")
