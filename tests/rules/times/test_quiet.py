"""Laws of quiet hours, also on the days the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from engine.rules.times.local_time import MIN_DEFERRAL_MS, zone_of
from engine.rules.times.quiet import quiet_until
from engine.rules.times.units import QuietHours

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "Asia/Kathmandu")
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(22 * 60, 9 * 60)


def ms(*parts: int, zone: ZoneInfo = BERLIN, fold: int = 0) -> int:
    """Return an instant given in local time."""
    return int(datetime(*parts, tzinfo=zone, fold=fold).timestamp() * 1000)  # type: ignore[arg-type, misc]


def minute_of(instant_ms: int, zone: ZoneInfo) -> int:
    """Return the local minute of the day."""
    local = datetime.fromtimestamp(instant_ms / 1000, UTC).astimezone(zone)
    return local.hour * 60 + local.minute


def inside(quiet: QuietHours, minute: int) -> bool:
    """Tell whether a minute of the day is quiet, by walking from the start to the end."""
    length = (quiet.end_min - quiet.start_min) % 1440
    return (minute - quiet.start_min) % 1440 < length


@given(
    st.integers(1_500_000_000, 1_900_000_000),
    st.sampled_from(ZONES),
    st.integers(0, 1439),
    st.integers(0, 1439).filter(bool),
)
def test_quiet_hours_hold_and_end(now_s: int, name: str, start: int, length: int) -> None:
    """There is a deferral exactly within quiet hours, at most a day and an hour long, to where they end."""
    zone = ZoneInfo(name)
    quiet = QuietHours(start, (start + length) % 1440)
    until = quiet_until(quiet, now_s * 1000, zone)
    assert bool(until) == inside(quiet, minute_of(now_s * 1000, zone))
    if until:
        ahead_ms = until - now_s * 1000
        assert MIN_DEFERRAL_MS <= ahead_ms <= 25 * 3_600_000
        # The shortest deferral may pass the end by a little, and into the next span when that is near.
        if ahead_ms > MIN_DEFERRAL_MS and length < 1200:
            assert not inside(quiet, minute_of(until, zone))


def test_the_night_the_clocks_go_forward_is_shorter() -> None:
    """From 22:00 to 09:00 it is ten hours on the night summer time begins, and eleven otherwise."""
    assert quiet_until(NIGHT, ms(2024, 3, 30, 22, 0), BERLIN) - ms(2024, 3, 30, 22, 0) == 10 * 3_600_000
    assert quiet_until(NIGHT, ms(2024, 4, 1, 22, 0), BERLIN) - ms(2024, 4, 1, 22, 0) == 11 * 3_600_000


def test_the_night_the_clocks_go_back_is_longer() -> None:
    """From 22:00 to 09:00 it is twelve hours on the night summer time ends."""
    assert quiet_until(NIGHT, ms(2024, 10, 26, 22, 0), BERLIN) - ms(2024, 10, 26, 22, 0) == 12 * 3_600_000


def test_an_end_that_does_not_exist_is_after_the_gap() -> None:
    """Quiet hours to 02:30 on the night 02:00-03:00 is skipped end at 03:30, half an hour after the gap."""
    until = quiet_until(QuietHours(22 * 60, 150), ms(2024, 3, 31, 0, 0), BERLIN)
    assert minute_of(until, BERLIN) == 210


def test_an_end_that_exists_twice_lies_ahead() -> None:
    """In the second of the two hours 02:00-03:00 the end 02:30 is the second one."""
    second = ms(2024, 10, 27, 2, 10, fold=1)
    assert quiet_until(QuietHours(22 * 60, 150), second, BERLIN) - second == 20 * 60_000


def test_an_unknown_zone_falls_back() -> None:
    """A zone that does not exist is taken as the default one, and that as UTC."""
    assert zone_of("Mars/Olympus", "Asia/Shanghai") == ZoneInfo("Asia/Shanghai")
    assert zone_of("", "Europe/Berlin") == BERLIN
    assert zone_of("../../etc/passwd", "") is UTC
