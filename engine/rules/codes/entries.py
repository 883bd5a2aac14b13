"""E0240-E0259: entries and goals."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

_MONDAYS = 'entry: {on: {schedule: "0 9 * * MON"}, reentry: always}\n'

CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0240",
        "not a schedule",
        "A schedule is written as for cron, in five fields: minute, hour, day of the month, month, day of "
        "the week. `*` is every one, `1-5` a span, `1,15` a list; months and weekdays have names (`JAN`, "
        "`MON`), `L` is the last day of the month and `MON#1` its first Monday. It must name a day that "
        "exists.",
        'Write it like `"0 9 * * MON"`, in quotes: at 09:00 on Monday.',
        'entry: {on: {schedule: "every monday"}, reentry: always}\n',
        _MONDAYS,
    ),
    Code(
        "E0241",
        "a schedule that comes too often",
        "Each time a schedule comes, every customer it is for is looked at. It may come 24 times a day.",
        "Name fewer hours or minutes. For what follows quickly on something a customer does, let the "
        "journey begin with that event.",
        'entry: {on: {schedule: "*/5 * * * MON"}, reentry: always}\n',
        _MONDAYS,
    ),
    Code(
        "E0242",
        "unknown time zone",
        "A time zone is given by its IANA name, region and city. `customer` stands for each customer's own.",
        "Take `customer`, or a name such as `Europe/Berlin`.",
        'entry: {on: {schedule: "0 9 * * MON", zone: CET+1}, reentry: always}\n',
        'entry: {on: {schedule: "0 9 * * MON", zone: Europe/Berlin}, reentry: always}\n',
    ),
    Code(
        "E0243",
        "`per` where no event happens",
        "`per` tells runs apart by a field of the event that begins them. Absence, a schedule and a change "
        "of segment have no such event; an inquiry that is not answered is a run of its own already.",
        "Leave `per` out.",
        "entry:\n  on: {absent: order.placed, for: 30d}\n  per: event.order_id\n",
        "entry:\n  on: {absent: order.placed, for: 30d}\n",
    ),
    Code(
        "E0244",
        "`per` that is not a field of the event",
        "`per` names one field of the event that begins the journey, `event.FIELD` or `event.props.NAME`.",
        "Take the field the hint suggests; `docs/events.md` lists them.",
        "entry:\n  on: order.placed\n  per: event.order\n",
        "entry:\n  on: order.placed\n  per: event.order_id\n",
    ),
    Code(
        "E0245",
        "a goal's value that is not a number",
        "What a goal is worth is added up over customers, so it must be a number.",
        "Name a number of the event, such as `event.amount`, or leave `value` out.",
        "goal: {on: order.placed, within: 30d, value: event.currency}\n",
        "goal: {on: order.placed, within: 30d, value: event.amount}\n",
    ),
    Code(
        "E0246",
        "a level of what is no number",
        "`rises` and `falls` watch a number of the customer's cross a level: any number `engage features` "
        "lists, with `customer.` before it.",
        "Take the feature the hint suggests. To follow the segment use `segment_entered`.",
        "entry: {on: {rises: customer.segment, above: 1}, reentry: always}\n",
        "entry: {on: {rises: customer.churn_risk, above: 0.7}, reentry: always}\n",
    ),
)
