"""Fetch images that a request gives by their address, from the public internet only.

A request comes from a user, and so does the address in it. It must not lead the proxy to services
of its own network (`bbtvp.core.addresses`), nor keep it busy: size, time and redirects are bounded.
Nothing of the request goes along: no header, no cookie, no key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import final

import httpx

from bbtvp.core.addresses import public_address
from bbtvp.core.errors import DataError

MOST_BYTES = 20 << 20
"""Of one image, as large as vendors take."""
MOST_IMAGES = 8
"""In one request."""
SECONDS = 10.0
"""For all images of a request together."""
_REDIRECTS = 3
_PORTS = {"https": 443, "http": 80}


@final
class ImageFetcher:
    """Fetches images by their address.

    resolve: gives the address to connect to for a host and a port, or raises DataError; by default
    only of hosts on the public internet.
    """

    def __init__(self, resolve: Callable[[str, int], str] = public_address) -> None:
        self._resolve = resolve
        self._client = httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=SECONDS)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def fetch(self, links: Sequence[str]) -> Mapping[str, bytes]:
        """Return the files of some images, by their address. DataError, in one line, if one fails.

        No message holds the address, which may be a secret of the user.
        """
        if len(links) > MOST_IMAGES:
            raise DataError(f"over {MOST_IMAGES} images are given by their address")
        try:
            async with asyncio.timeout(SECONDS):
                files = await asyncio.gather(*map(self._file, links))
        except TimeoutError as error:
            raise DataError(f"an image was not there within {SECONDS:g} s") from error
        return dict(zip(links, files, strict=True))

    async def _file(self, link: str) -> bytes:
        url = link
        for _ in range(_REDIRECTS + 1):
            try:
                async with aclosing(await self._sent(url)) as reply:
                    if reply.has_redirect_location:
                        url = str(httpx.URL(url).join(reply.headers["location"]))
                        continue
                    return await _content(reply)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise DataError(f"an image cannot be fetched ({type(error).__name__})") from error
        raise DataError(f"an image is over {_REDIRECTS} redirects away")

    async def _sent(self, link: str) -> httpx.Response:
        url = httpx.URL(link)
        if url.scheme not in _PORTS or not url.host or url.userinfo:
            raise DataError("an image has an address that is not a plain https:// or http:// one")
        port = url.port or _PORTS[url.scheme]
        # The name is resolved here, once, and the connection goes to the address that was checked.
        address = await asyncio.to_thread(self._resolve, url.host, port)
        request = httpx.Request(
            "GET",
            url.copy_with(host=address),
            headers={"host": url.netloc.decode("ascii"), "accept-encoding": "identity"},
            extensions={
                "sni_hostname": url.host,  # the certificate must be the name's
                "timeout": httpx.Timeout(SECONDS).as_dict(),
            },
        )
        return await self._client.send(request, stream=True)


async def _content(reply: httpx.Response) -> bytes:
    if reply.status_code != httpx.codes.OK:
        raise DataError(f"an image cannot be fetched (status {reply.status_code})")
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise DataError("an image cannot be fetched (it is compressed once more)")
    parts = []
    size = 0
    async for part in reply.aiter_raw():
        size += len(part)
        if size > MOST_BYTES:
            raise DataError(f"an image by its address is over {MOST_BYTES >> 20} MiB")
        parts.append(part)
    return b"".join(parts)
