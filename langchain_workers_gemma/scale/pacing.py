"""When the next request may be sent: a rate limit, and the service's own refusals. Pure: the time is an argument."""

from __future__ import annotations

import math

_BURST_SHARE = 100  # one request in so many may be sent early, to catch up after a delay
_MAX_INTERVAL = 5.0  # seconds between requests, however often the service refuses
_SLOWDOWN_FACTOR = 1.5
_SPEEDUP_FACTOR = 0.97  # one more success
_MIN_INTERVAL = 0.001  # seconds; below it requests are not spaced
_INITIAL_PAUSE = 1.0  # seconds
_MAX_PAUSE = 30.0  # seconds, unless the service asks for more
_WAVE_INTERVAL = 1.0  # seconds within which refusals count as one


class Pacer:
    """Spaces the requests of a run evenly, whoever sends them.

    In no 60 seconds are there more requests than the rate: they are `60 / rate` seconds apart, but for a hundredth of
    them, which may be sent early and for which the rest are spaced wider. A restarted run starts without such credit.

    A refusal of the service (HTTP 429) pauses all requests; a rate-limit refusal also widens the spacing, which
    successes narrow again.

    Args:
        rate: Requests a minute, or `None` for no limit of our own.
        early: Requests that may be sent early on top of the hundredth, because they can wait between the moment when
            they are allowed and the moment when they are sent.
    """

    def __init__(self, rate: float | None = None, *, early: int = 0) -> None:
        self._least = 0.0
        self._tolerance = 0.0
        if rate is not None:
            share = int(rate // _BURST_SHARE)
            burst = max(early, share)
            self._least = 60.0 / (rate - burst if rate > burst + 1 else rate)
            # One less than is spaced for: requests also take their time between here and the service.
            self._tolerance = self._least * max(share - 1, 0)
        self._interval = self._least
        self._next = -math.inf  # when the next request is due
        self._paused_until = -math.inf
        self._last_refusal = -math.inf
        self._pauses = 0
        self._first: float | None = None
        self._sent = 0

    @property
    def interval(self) -> float:
        """Seconds between requests, now."""
        return self._interval

    def delay(self, now: float) -> float:
        """Return the seconds to wait before a request may be sent."""
        return max(0.0, self._next - self._tolerance - now, self._paused_until - now)

    def take(self, now: float) -> None:
        """Count a request as sent."""
        if self._first is None:
            self._first = now
            self._next = now + self._tolerance  # no credit at the start
        self._sent += 1
        self._next = max(self._next, now) + self._interval

    def succeed(self) -> None:
        """Note that the service has answered."""
        self._pauses = 0
        if self._interval > self._least:
            narrower = self._interval * _SPEEDUP_FACTOR
            self._interval = max(narrower if narrower > _MIN_INTERVAL else 0.0, self._least)

    def refuse(self, now: float, retry_after: float | None, *, rate_limit: bool) -> None:
        """Note that the service has refused a request.

        Args:
            now: The time.
            retry_after: The seconds the service asks to wait, or `None`.
            rate_limit: Whether it refused because of too many requests, rather than for lack of capacity.
        """
        same_wave = now - self._last_refusal < _WAVE_INTERVAL or now < self._paused_until
        if not same_wave:
            self._last_refusal = now
            if rate_limit:
                self._widen(now)
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + retry_after)
        elif not same_wave:
            self._paused_until = max(self._paused_until, now + min(_INITIAL_PAUSE * 2**self._pauses, _MAX_PAUSE))
            self._pauses = min(self._pauses + 1, 10)

    def _widen(self, now: float) -> None:
        observed = 0.0
        if self._interval == 0.0 and self._first is not None:
            observed = (now - self._first) / max(self._sent, 1)
        widened = max(self._interval, observed, _MIN_INTERVAL) * _SLOWDOWN_FACTOR
        self._interval = max(self._least, min(widened, _MAX_INTERVAL))
