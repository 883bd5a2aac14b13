"""E0220-E0239: steps."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

_SPLIT = (
    "steps:\n  - split:\n"
    "      - {{name: short, weight: 50%, steps: [{{send: email, template: short}}]}}\n"
    "      - {{name: {name}, weight: {weight}, steps: [{{send: email, template: long}}]}}\n"
)
_RUN = (
    "sequences:\n  remind:\n    - {{send: email, template: reminder}}\n{more}"
    "steps:\n  - {{send: email, template: hello}}\n{run}"
)
_TABLE = (
    "steps:\n  - send: email\n    template: offer\n    table:\n"
    "      on: [customer.segment, customer.churn_risk]\n      give: [{give}]\n      rows:\n"
    "        - [high_value, {cell}, {gift}]\n        - [any, {last}, BACK10]\n{data}"
)


def _table(
    cell: str = '">= 0.8"', gift: str = "BACK50", last: str = "any", give: str = "coupon", data: str = ""
) -> str:
    return _TABLE.format(cell=cell, gift=gift, last=last, give=give, data=data)


CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0220",
        "not a time of day",
        "A wait until a time of day needs hours and minutes of the 24-hour clock, both with two digits.",
        'Write it as `"09:00"`; midnight is `"00:00"`.',
        "steps:\n  - wait: {until: 9am}\n",
        'steps:\n  - wait: {until: "09:00"}\n',
    ),
    Code(
        "E0221",
        "not a weekday",
        "Weekdays are written with three capital letters, as everywhere in the language.",
        "Write MON, TUE, WED, THU, FRI, SAT or SUN; several in a list.",
        'steps:\n  - wait: {until: "09:00", weekday: Saturday}\n',
        'steps:\n  - wait: {until: "09:00", weekday: SAT}\n',
    ),
    Code(
        "E0222",
        "unknown time zone",
        "A time zone has an IANA name: a region and a city. Abbreviations such as CET say nothing of summer "
        "time, and some mean several zones.",
        "Write a name such as `Europe/Berlin`, or leave `zone` out: then it is each customer's own.",
        'steps:\n  - wait: {until: "09:00", zone: Europe/Berln}\n',
        'steps:\n  - wait: {until: "09:00", zone: Europe/Berlin}\n',
    ),
    Code(
        "E0223",
        "weights that divide nothing",
        "The variants of a split take all customers between them: their weights are percentages, at most two "
        "decimals, and 100% together.",
        "Change the weights until they are 100% together; a variant may have 0%.",
        _SPLIT.format(name="long", weight="40%"),
        _SPLIT.format(name="long", weight="50%"),
    ),
    Code(
        "E0224",
        "two variants of one name",
        "The name tells the variants of a split apart, in decisions, in reports and in the ids of messages.",
        "Give each variant a name of its own.",
        _SPLIT.format(name="short", weight="50%"),
        _SPLIT.format(name="long", weight="50%"),
    ),
    Code(
        "E0225",
        "unknown sequence",
        "`run` names a sequence that is not under `sequences` in the same file.",
        "Take the name the hint gives, or write the sequence.",
        _RUN.format(more="", run="  - run: remind\n  - run: remimd\n"),
        _RUN.format(more="", run="  - run: remind\n"),
    ),
    Code(
        "E0226",
        "a sequence that runs itself",
        "A sequence that leads back into itself, directly or through others, would never end. The message "
        "names the way round.",
        "Write the steps out as often as they are needed, or let the journey begin anew by `reentry`.",
        _RUN.format(more="    - run: remind\n", run="  - run: remind\n"),
        _RUN.format(more="", run="  - run: remind\n  - wait: 1d\n  - run: remind\n"),
    ),
    Code(
        "E0227",
        "a sequence that is never run",
        "No `run` names this sequence: nobody will ever get what is in it.",
        "Run it where it is needed, or take it out.",
        _RUN.format(more="", run=""),
        _RUN.format(more="", run="  - run: remind\n"),
    ),
    Code(
        "E0230",
        "a table's row with too few or too many cells",
        "Each row has one cell for each column of `on`, in that order, and then one for each value of "
        "`give`.",
        "Add or take out cells; `any` is the cell of a column that does not matter.",
        _table(gift="BACK50, 200"),
        _table(),
    ),
    Code(
        "E0231",
        "a cell that does not suit its column",
        "A text cannot be equal to a number, nor a number lie above a text; such a row would never hold. "
        "What a table gives are constants.",
        'For a number write `0.8`, `">= 0.8"` or `"0.2..0.8"`, for a text the text itself. What has to be '
        "computed goes into `data`.",
        _table(cell="high"),
        _table(),
    ),
    Code(
        "E0232",
        "a table that gives nothing to some",
        "The first row that holds gives the values. Were there a customer none holds for, the message would "
        "have no value to show.",
        "Add a last row whose cells are all `any`.",
        _table(last='"< 0.5"'),
        _table(),
    ),
    Code(
        "E0233",
        "a value given twice, or of several kinds",
        "A message value comes from one place, `data` or one column of the table, and is of one kind for all "
        "customers: a template cannot show both a text and a number in the same place.",
        "Take one of the two out, or write all rows of the column as texts, as numbers or as truth values.",
        _table(data="    data: {coupon: HELLO}\n"),
        _table(),
    ),
)
