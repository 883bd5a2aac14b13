"""What a purchase log's columns are called, and how their cells are read."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from engine.errors import ConfigError
from engine.events import EARLIEST_MS, LATEST_MS, MAX_AMOUNT

KNOWN: Final = {
    "customer": (
        "customer_id", "customer", "customerid", "user_id", "userid", "user", "client_id", "client",
        "member_id", "account_id", "buyer_id", "cust_id", "shopper_id", "visitor_id",
        "客户", "客户id", "用户id",
    ),
    "time": (
        "time", "timestamp", "event_time", "order_time", "purchase_time", "order_date", "purchase_date",
        "invoice_date", "transaction_date", "order_purchase_timestamp", "created_at", "datetime",
        "date", "day", "ordered_at", "purchased_at", "时间", "日期", "下单时间",
    ),
    "amount": (
        "amount", "total", "order_total", "order_amount", "total_amount", "revenue", "sales", "spend",
        "value", "monetary_value", "payment_value", "total_price", "price",
        "金额",
    ),
    "type": ("type", "event_type", "event"),
    "id": ("id", "order_id", "orderid", "event_id", "transaction_id", "invoice_no", "invoice"),
}  # fmt: skip
"""Names looked for, the likeliest first; upper and lower case, blanks, `-` and `_` make no difference."""
_NEEDED: Final = ("customer", "time")
_SECONDS_BELOW: Final = 10**11
_UTC: Final = dt.UTC
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=_UTC)
_MS: Final = dt.timedelta(milliseconds=1)


class Wanted(msgspec.Struct, frozen=True):
    """What a person said about the columns; an empty name is looked for.

    Args:
        customer: column of the customer's id.
        time: column of the time.
        amount: column of the amount.
        type: column of the event type, if the log has more than purchases.
        id: column of the order's id; a second row with the same one counts once.
        time_format: as of `strptime`, or empty for ISO 8601, YYYYMMDD and epochs.
        time_zone: IANA name; that of times without one.
    """

    customer: str = ""
    time: str = ""
    amount: str = ""
    type: str = ""
    id: str = ""
    time_format: str = ""
    time_zone: str = "UTC"


def find_columns(names: Sequence[str], wanted: Wanted, where: str) -> dict[str, str]:
    """Tell which column is which.

    Args:
        names: of the log's columns.
        wanted: what was said.
        where: the file, for errors.

    Returns:
        Role to column; `amount`, `type` and `id` may be missing.

    Raises:
        ConfigError: a column that was named is not there, or the customer or time cannot be told.
    """
    found = {}
    plain = {_plain(name): name for name in reversed(names)}
    for role, known in KNOWN.items():
        said = getattr(wanted, role)
        if said:
            if said not in names:
                raise ConfigError(f"{where}: there is no column {said!r}; it has {', '.join(names)}")
            found[role] = said
            continue
        name = next((plain[_plain(each)] for each in known if _plain(each) in plain), None)
        if name is not None and name not in found.values():
            found[role] = name
    for role in _NEEDED:
        if role not in found:
            raise ConfigError(
                f"{where}: which column is the {role}? it has {', '.join(names)}; say --{role} NAME"
            )
    return found


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


class Cells:
    """Reads cells; each distinct time is worked out once.

    Args:
        wanted: time format and zone.
        latest_ms: times after it are refused.

    Raises:
        ConfigError: the zone does not exist.
    """

    def __init__(self, wanted: Wanted, latest_ms: int = LATEST_MS) -> None:
        self._latest_ms = latest_ms
        self._format = wanted.time_format
        try:
            self._zone = ZoneInfo(wanted.time_zone)
        except (KeyError, ValueError, OSError):
            raise ConfigError(
                f"--time-zone {wanted.time_zone}: no such zone; write it as Europe/Berlin"
            ) from None
        self._known: dict[Any, int] = {}

    def time_ms(self, cell: Any) -> int:
        """Return an instant, milliseconds since the epoch.

        Raises:
            ValueError: saying what is wrong and what to do.
        """
        known = self._known.get(cell)
        if known is None:
            known = self._time_ms(cell)
            if not EARLIEST_MS <= known <= LATEST_MS:
                raise ValueError(f"time {cell!r} lies outside 1990 to 2106; is it another unit or format?")
            if known > self._latest_ms:
                raise ValueError(
                    f"time {cell!r} has not come yet; mend the row, or leave such rows out with --skip-bad"
                )
            if len(self._known) < 1_000_000:
                self._known[cell] = known
        return known

    def _time_ms(self, cell: Any) -> int:
        if isinstance(cell, str):
            return self._of_text(cell.strip())
        if isinstance(cell, dt.datetime):
            return self._of_datetime(cell)
        if isinstance(cell, dt.date):
            return self._of_datetime(dt.datetime(cell.year, cell.month, cell.day))  # noqa: DTZ001 - zone follows
        if isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell):
            return self._of_number(cell)
        raise ValueError("time is missing; mend the row, or leave such rows out with --skip-bad")

    def _of_text(self, text: str) -> int:
        if not text:
            raise ValueError("time is missing; mend the row, or leave such rows out with --skip-bad")
        try:
            if self._format:
                return self._of_datetime(dt.datetime.strptime(text, self._format))  # noqa: DTZ007 - zone follows
            if text.isdigit() and len(text) != len("YYYYMMDD"):
                return self._of_number(int(text))
            return self._of_datetime(dt.datetime.fromisoformat(text))
        except ValueError:
            how = f"does not fit --time-format {self._format!r}" if self._format else "cannot be read"
            raise ValueError(
                f"time {text[:40]!r} {how}; write 2026-01-31, 2026-01-31T12:00:00Z or seconds since 1970, "
                "or say --time-format '%d.%m.%Y'"
            ) from None

    def _of_number(self, number: float) -> int:
        if 19_000_000 <= number < 22_000_000:
            return self._of_datetime(dt.datetime.strptime(str(int(number)), "%Y%m%d"))  # noqa: DTZ007
        return int(number * 1000) if number < _SECONDS_BELOW else int(number)

    def _of_datetime(self, value: dt.datetime) -> int:
        aware = value if value.tzinfo is not None else value.replace(tzinfo=self._zone)
        return (aware - _EPOCH) // _MS

    @staticmethod
    def amount(cell: Any) -> float:
        """Return an amount; a negative one is a refund, one beyond the engine's bound is the bound.

        Raises:
            ValueError: saying what is wrong and what to do.
        """
        try:
            number = float(cell)
        except (TypeError, ValueError):
            shown = f"{cell!r:.40} is no number" if cell not in (None, "") else "is missing"
            raise ValueError(
                f"amount {shown}; write it as 1234.5 without currency or thousands separator, "
                "or leave such rows out with --skip-bad"
            ) from None
        if not math.isfinite(number):
            raise ValueError(f"amount {number} is not finite; mend the row, or leave it out with --skip-bad")
        return max(min(number, MAX_AMOUNT), -MAX_AMOUNT)
