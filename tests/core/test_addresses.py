"""Which addresses a download may go to."""

from __future__ import annotations

import socket

import pytest

from bbtvp.core.addresses import is_public, public_address
from bbtvp.core.errors import DataError

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111"]
OTHERS = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",  # metadata of Alibaba Cloud
    "169.254.169.254",  # metadata of most clouds
    "168.63.129.16",  # Azure's agent
    "192.0.0.192",  # metadata of Oracle Cloud
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",  # metadata of Amazon, over IPv6
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "no address",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address(address: str) -> None:
    assert is_public(address)
    assert public_address(address, 443) == address


@pytest.mark.parametrize("address", OTHERS)
def test_every_other_address_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "::1"])
def test_loopback_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(DataError) as refused:
        public_address(host, 80)
    assert "\n" not in str(refused.value)


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(*_: object, **__: object) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
            for address in ("93.184.215.14", "10.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with pytest.raises(DataError, match="public"):
        public_address("both.example", 80)


@pytest.mark.parametrize("host", ["name.invalid", "a" * 70 + ".example", "\udcff"])
def test_a_name_without_an_address(host: str) -> None:
    with pytest.raises(DataError):
        public_address(host, 80)
