"""The way to `images` for what may have images to fetch: imports the fetcher, and with it TLS, only when it has to.

Inside a Worker there are neither sockets nor threads to fetch with, and maybe no `ssl` to import.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence


def fetch_images(urls: Sequence[str]) -> Mapping[str, str]:
    """Fetch images. See `images.fetch_images`."""
    if not urls:
        return {}
    _check_sockets()
    from langchain_workers_gemma.transport import guarded_fetch as images

    return images.fetch_images(urls)


async def afetch_images(urls: Sequence[str]) -> Mapping[str, str]:
    """Fetch images without blocking the event loop. See `images.afetch_images`."""
    if not urls:
        return {}
    _check_sockets()
    from langchain_workers_gemma.transport import guarded_fetch as images

    return await images.afetch_images(urls)


def _check_sockets() -> None:
    if sys.platform == "emscripten":
        raise ValueError(
            "inline_image_urls: no connection can be guarded inside a Worker, so no image is fetched there. Fetch it "
            "yourself and send a data: URI."
        )
