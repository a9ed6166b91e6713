"""Import the image fetcher, which imports TLS, only when images are fetched.

A Worker has no sockets and no threads for fetching, and may not have the `ssl` module.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence


def fetch_images(urls: Sequence[str]) -> Mapping[str, str]:
    """Fetch images. See `guarded_fetch.fetch_images`."""
    if not urls:
        return {}
    _check_sockets()
    from langchain_workers_gemma.transport import guarded_fetch as images

    return images.fetch_images(urls)


async def afetch_images(urls: Sequence[str]) -> Mapping[str, str]:
    """Fetch images without blocking the event loop. See `guarded_fetch.afetch_images`."""
    if not urls:
        return {}
    _check_sockets()
    from langchain_workers_gemma.transport import guarded_fetch as images

    return await images.afetch_images(urls)


def _check_sockets() -> None:
    if sys.platform == "emscripten":
        raise ValueError(
            "inline_image_urls: a Worker cannot check the address of a connection, so images are not fetched there. "
            "Fetch the image yourself and send a data: URI."
        )
