"""E0260-E0279: guards and the contact policy."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0260",
        "a guard that is not a journey's to say",
        "Rate limits, the caps over all journeys and the control group hold for the whole deployment; a "
        "journey cannot set them, or one careless file would change every other.",
        "Take it out of the file and set it where the hint says (`docs/configuration.md`).",
        "guards:\n  rate_limit: 600 per 1m\n",
        "guards:\n  entry_cap: 1000 per 1d\n",
    ),
    Code(
        "E0261",
        "send windows that leave no time",
        "`send_window` and `quiet_hours` together are open for less than a quarter of an hour a week: every "
        "message would be put off until it expires.",
        "Widen the windows, or shorten the quiet hours.",
        "guards:\n  send_window: 08:00-09:00\n  quiet_hours: 22:00-09:00\n",
        "guards:\n  send_window: 08:00-12:00\n  quiet_hours: 22:00-09:00\n",
    ),
    Code(
        "E0262",
        "unknown kind of contact",
        "The contact policy lists the kinds of contact under `contacts`; one that is not there would be "
        "counted by no cap of its own.",
        "Take the kind the hint names, or add this one to the policy file.",
    ),
    Code(
        "E0263",
        "a row of the policy that is never read",
        "The first row of the contact policy that matches a customer is theirs; an earlier row without "
        "`when` takes all the customers of this one.",
        "Put the row with the narrower condition first, or remove one of the two.",
    ),
)
