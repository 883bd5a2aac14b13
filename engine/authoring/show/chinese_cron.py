"""Schedules in Chinese: the everyday ones in words, all others as written."""

from __future__ import annotations

_DAYS = {
    "0": "周日",
    "1": "周一",
    "2": "周二",
    "3": "周三",
    "4": "周四",
    "5": "周五",
    "6": "周六",
    "7": "周日",
    "SUN": "周日",
    "MON": "周一",
    "TUE": "周二",
    "WED": "周三",
    "THU": "周四",
    "FRI": "周五",
    "SAT": "周六",
}
_NUMBERS = {"1": "一", "2": "二", "3": "三", "4": "四", "5": "五"}


def say_cron(text: str) -> str:
    """Return a checked cron expression in Chinese.

    Args:
        text: five fields: minute, hour, day of the month, month, day of the week.
    """
    minute, hour, day, month, weekday = text.upper().split()
    if not minute.isdecimal() or not hour.isdecimal():
        return f"按计划 `{text}`"
    time = f"{int(hour):02d}:{int(minute):02d}"
    if (day, month, weekday) == ("*", "*", "*"):
        return f"每天 {time}"
    if (day, month) == ("*", "*"):
        said = _weekdays(weekday)
        return f"每{said} {time}" if said else f"按计划 `{text}`"
    if weekday == "*" and (day.isdecimal() or (day, month) == ("L", "*")):
        if month == "*":
            said = "最后一天" if day == "L" else f" {int(day)} 日"
            return f"每月{said} {time}"
        if month.isdecimal():
            return f"每年 {int(month)} 月 {int(day)} 日 {time}"
    return f"按计划 `{text}`"


def _weekdays(field: str) -> str:
    """Return days of the week in words, or an empty text when they are written in another way."""
    weekday, nth, number = field.partition("#")
    if nth and weekday in _DAYS and number in _NUMBERS:
        return f"月第{_NUMBERS[number]}个{_DAYS[weekday]}"
    said = []
    for part in field.split(","):
        ends = part.split("-")
        if any(end not in _DAYS for end in ends):
            return ""
        said.append("至".join(_DAYS[end] for end in ends))
    return "、".join(said)
