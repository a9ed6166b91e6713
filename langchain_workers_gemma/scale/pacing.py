"""Decide when the next request may be sent, from the rate limit and the service's refusals.

Pure: the time is an argument.
"""

from __future__ import annotations

import math

_REQUESTS_PER_EARLY_ONE = 100  # one in a hundred requests may be sent early, to catch up after a delay
_MAX_INTERVAL = 5.0  # seconds between requests, however often the service refuses
_SLOWDOWN_FACTOR = 1.5
_SPEEDUP_FACTOR = 0.97  # applied to the interval after each success
_MIN_INTERVAL = 0.001  # seconds; shorter intervals become 0
_INITIAL_PAUSE = 1.0  # seconds
_MAX_PAUSE = 30.0  # seconds, unless the service requests a longer pause
_WAVE_INTERVAL = 1.0  # seconds; refusals within it count as one


class Pacer:
    """Spaces the requests of a run evenly, whichever process sends them.

    No period of 60 seconds has more requests than the rate. One in a hundred requests may be sent early, to catch up
    after a delay; in return the interval is a little longer than `60 / rate` seconds. No request is early at the start
    of a run, so a restarted run keeps the rate too.

    A refusal (HTTP 429) pauses all requests. A refusal because of too many requests also makes the interval longer, and
    each success makes it shorter again.

    Args:
        rate: Maximum number of requests per minute, or `None` for no limit.
        early: The minimum number of requests per minute by which the rate is lowered. A run needs it if its workers may
            keep a permit for a while before they send the request.
    """

    def __init__(self, rate: float | None = None, *, early: int = 0) -> None:
        self._base_interval = 0.0
        self._tolerance = 0.0
        if rate is not None:
            share = int(rate // _REQUESTS_PER_EARLY_ONE)
            burst = max(early, share)
            self._base_interval = 60.0 / (rate - burst if rate > burst + 1 else rate)
            # One less than the interval allows: the time between here and the service varies too.
            self._tolerance = self._base_interval * max(share - 1, 0)
        self._interval = self._base_interval
        self._next = -math.inf  # when the next request is due
        self._paused_until = -math.inf
        self._last_refusal = -math.inf
        self._pauses = 0
        self._first: float | None = None
        self._sent = 0

    @property
    def interval(self) -> float:
        """The current interval between requests, in seconds."""
        return self._interval

    def get_delay(self, now: float) -> float:
        """Return the seconds to wait before a request may be sent."""
        return max(0.0, self._next - self._tolerance - now, self._paused_until - now)

    def record_request(self, now: float) -> None:
        """Record that a request is sent."""
        if self._first is None:
            self._first = now
            self._next = now + self._tolerance  # at the start no request is early
        self._sent += 1
        self._next = max(self._next, now) + self._interval

    def record_success(self) -> None:
        """Record that a request succeeded."""
        self._pauses = 0
        if self._interval > self._base_interval:
            shorter = self._interval * _SPEEDUP_FACTOR
            self._interval = max(shorter if shorter > _MIN_INTERVAL else 0.0, self._base_interval)

    def record_refusal(self, now: float, retry_after: float | None, *, rate_limit: bool) -> None:
        """Record that the service refused a request.

        Args:
            now: The time.
            retry_after: The seconds of the `Retry-After` header, or `None`.
            rate_limit: Whether it refused because of too many requests, not because of lacking capacity.
        """
        same_wave = now - self._last_refusal < _WAVE_INTERVAL or now < self._paused_until
        if not same_wave:
            self._last_refusal = now
            if rate_limit:
                self._lengthen_interval(now)
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + retry_after)
        elif not same_wave:
            self._paused_until = max(self._paused_until, now + min(_INITIAL_PAUSE * 2**self._pauses, _MAX_PAUSE))
            self._pauses = min(self._pauses + 1, 10)

    def _lengthen_interval(self, now: float) -> None:
        observed = 0.0
        if self._interval == 0.0 and self._first is not None:
            observed = (now - self._first) / max(self._sent, 1)
        longer = max(self._interval, observed, _MIN_INTERVAL) * _SLOWDOWN_FACTOR
        self._interval = max(self._base_interval, min(longer, _MAX_INTERVAL))
