"""Which network addresses a download may go to.

A program that fetches an address which somebody else wrote can be led to the services of its own
network: a cloud's metadata, a database, a printer. So a name is resolved once, every address that
it stands for must be public, and the caller connects to the address that was checked. A name that
resolves to something else a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TypeAlias

from bbtvp.core.errors import DataError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's agent, a public number that only its machines reach
            "192.0.0.0/24",  # protocol assignments (RFC 6890); Oracle Cloud's metadata
            "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
            "64:ff9b::/96",  # IPv4 behind a translating gateway (RFC 6052)
            "64:ff9b:1::/48",  # the same (RFC 8215)
        ),
    )
)
"""What `is_global` takes for public, in some versions of Python at least."""


def public_address(host: str, port: int) -> str:
    """Resolve a host once and return an address of it to connect to, such as "93.184.215.14".

    host: a name or an address, without brackets. Raises DataError, in one line, for a host that has
    no address, and for one of which any address is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DataError("the host has no address; check its name") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(is_public(address) for address in addresses):
        raise DataError("the host is not on the public internet, so nothing is fetched from it")
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether a numeric address belongs to a host on the public internet.

    False for private, loopback, link-local, multicast and reserved ones, for the services of
    clouds, and for IPv6 addresses that carry an IPv4 address, whichever that is.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # with a zone, such as fe80::1%eth0
        return False
    return (
        found.is_global
        and not found.is_multicast
        and not found.is_reserved
        and not any(found in network for network in _REFUSED)
        and not _carries_another(found)
    )


def _carries_another(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return False
    return (address.ipv4_mapped or address.sixtofour or address.teredo) is not None
