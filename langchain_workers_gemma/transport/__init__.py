"""Perform all I/O: the driver, HTTP, the client pool, the Workers AI binding and the guarded image fetcher."""
