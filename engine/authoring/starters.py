"""The files an author begins with: a journey and its first case, blank or after a shipped journey."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

_BLANK = """\
# What this journey is for, and what it must never do.
journey: {name}
description: One sentence on who gets what, and when.
owner: {owner}

entry:
  on: {event}
  reentry: after 30d

guards:
  consent: marketing
  cap: [1 per 7d]
  quiet_hours: 22:00-09:00

steps:
  - send: {channel}
    template: {template}
"""
_BLANK_CASES = """\
# Run them with: engage rules test {name}.yaml --coverage
fixtures: {name}
start: 2026-03-02T10:00:00+01:00
customer: {{time_zone: Europe/Berlin, consent: {{marketing: true}}}}

cases:
  - name: who should get it gets it
    events:
      - {{at: 0s, {event}: }}
    expect:
      - {{at: 0s, entered: {name}}}
      - {{at: 0s, send: {channel}, template: {template}}}
      - {{at: 0s, completed: {name}}}

  - name: without consent nothing is sent
    customer: {{consent: {{marketing: false}}}}
    events:
      - {{at: 0s, {event}: }}
    expect:
      - {{at: 0s, suppressed: consent, template: {template}}}
"""
_NAMING = "fixtures|journey|entered|not_entered|held_out|completed|exited|converted"


@dataclass(frozen=True, slots=True)
class Starter:
    """Two files to begin with: the journey's text and that of its cases."""

    journey: str
    cases: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the author wants.

    Args:
        name: the journey's name.
        owner: who answers for it.
        event: for a blank one, the event it begins with.
        channel: for a blank one, the channel of its message.
        template: for a blank one, the template of its message.
    """

    name: str
    owner: str
    event: str = "order.delivered"
    channel: str = "email"
    template: str = ""


def blank(wishes: Wishes) -> Starter:
    """Return a journey of one message and its first two cases.

    Args:
        wishes: what the author wants.
    """
    values = {
        "name": wishes.name,
        "owner": wishes.owner,
        "event": wishes.event,
        "channel": wishes.channel,
        "template": wishes.template or wishes.name,
    }
    return Starter(_BLANK.format(**values), _BLANK_CASES.format(**values))


def after(journey: str, cases: str, name: str, wishes: Wishes) -> Starter:
    """Return a journey and its cases after a present one, under the new name and owner.

    Args:
        journey: the present one's text.
        cases: its cases' text.
        name: its name.
        wishes: what the author wants; only name and owner count.
    """
    text = re.sub(r"^journey:.*$", f"journey: {wishes.name}", journey, count=1, flags=re.MULTILINE)
    text = re.sub(r"^version:.*\n", "", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^owner:.*$", f"owner: {wishes.owner}", text, count=1, flags=re.MULTILINE)
    naming = re.compile(rf"\b({_NAMING}): {re.escape(name)}(?![\w-])")
    named = naming.sub(rf"\1: {wishes.name}", cases)
    return Starter(text, named.replace(f"/{name}.yaml", f"/{wishes.name}.yaml"))


def without_others(starter: Starter, present: Collection[str]) -> tuple[Starter, list[str]]:
    """Leave out the cases that need other journeys which are not there.

    Args:
        starter: with cases after a present journey's, which may run beside others (`with`).
        present: names of the journeys that are there.

    Returns:
        the starter, and the names of the journeys that are missing.
    """
    first, *cases = re.split(r"(?m)^(?=  - name:)", starter.cases)
    kept, missing = [first], []
    for case in cases:
        needs = re.search(r"(?m)^    with: \[(.*)\]$", case)
        absent = [name for name in re.findall(r"[\w-]+", needs[1]) if name not in present] if needs else []
        missing += absent
        if not absent:
            kept.append(case)
    return replace(starter, cases="".join(kept)), list(dict.fromkeys(missing))
