"""E0501-E0549: fixture files."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0501",
        "no case in a fixture file",
        "The file has no case, so nothing would be tested.",
        "Add a case under `cases`, with a name, events and what you expect.",
    ),
    Code(
        "E0502",
        "two cases of one name",
        "Two cases of a file have the same name; a failure could not be told from the other.",
        "Give each case a name that says what it shows.",
    ),
    Code(
        "E0503",
        "not an instant",
        "An instant of a case cannot be read, or lies where it makes no sense: what is said of a "
        "customer lies before the start, `time` is not later than `at`, nothing is over 1,200 days "
        "from the start. A local time that the clocks jump over when summer time begins is none, "
        "either.",
        "Write a span after the start (`90d 2h`, `-3d`), a time of day in the customer's zone (`09:00`, "
        "`1d 09:00`: the day after), or a date-time (`2026-03-02T10:00:00+08:00`).",
    ),
    Code(
        "E0504",
        "expected outside of the case",
        "What is expected before the start or after the end of a case can never come.",
        "Give it an instant between the start and `until`, or move these.",
    ),
    Code(
        "E0505",
        "unknown time zone or purpose",
        "A customer's time zone is no IANA name, or the purpose of a consent does not exist.",
        "Use a name such as `Asia/Shanghai`; purposes are `marketing`, `analytics`, `personalization` and "
        "`third_party`, alone or with a channel as in `marketing/email`.",
    ),
    Code(
        "E0506",
        "a value that cannot be given",
        "`given` sets features; this is none. Texts of the profile are no features either.",
        "`engage features` lists the features; locale, time zone and last channel belong under `customer`.",
    ),
    Code(
        "E0507",
        "the wrong kind of value for a feature",
        "A feature is a number or true or false, and `segment` the name of a segment.",
        "Write a value of that kind.",
    ),
    Code(
        "E0508",
        "unknown customer",
        "`who` names a customer this case does not have.",
        "Use a name that stands under `customers`, or leave `who` out to mean the first.",
    ),
    Code(
        "E0509",
        "not one event",
        "An event names exactly one event type that exists, and `every` goes with `times`.",
        "Write `{at: 0d, order.placed: {amount: 100}}`; docs/events.md lists the types.",
    ),
    Code(
        "E0510",
        "not a valid event",
        "The engine would refuse this event: a field is missing, of the wrong kind or out of its range.",
        "Mend the field; docs/events.md says what each may hold. Ids may be left out.",
    ),
    Code(
        "E0511",
        "not one expectation",
        "An expectation is about exactly one thing.",
        "Write one of `send`, `suppressed`, `deferred`, `held_out`, `entered`, `variant`, `not_entered`, "
        "`exited`, `completed`, `converted`, `position`, `set`, `segment`; two expectations for two things.",
    ),
    Code(
        "E0512",
        "no customer falls there",
        "Who is held out and which variant of a split a customer gets is decided by a hash of the id. The id "
        "given falls elsewhere, or no id can fall there.",
        "Leave `id` out, and one that fits is found; or see that the journey has such a holdout or variant.",
    ),
    Code(
        "E0513",
        "no such journey beside the fixtures",
        "`NAME.test.yaml` holds the fixtures of the journey in `NAME.yaml` in the same folder, and "
        "`fixtures` repeats the journey's name.",
        "Move or rename one of the files, or mend the name.",
    ),
    Code(
        "E0514",
        "unknown journey in `with`",
        "`with` names journeys that run beside the one under test; there is no valid one of this name in the "
        "folder or in `rules.paths`.",
        "Mend the name, or the other journey.",
    ),
    Code(
        "E0515",
        "unknown name in an expectation",
        "An expectation names a channel, guard, step, variant, segment or journey that does not "
        "exist, or a step at which nobody can stand: it could never be met.",
        "Take the name the hint gives. `engage rules show` draws the journey; steps are counted "
        "from 0, as in `steps[1].otherwise[0]`, and one stands at a message or a wait.",
    ),
)
