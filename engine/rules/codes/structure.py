"""E0201-E0219: keys, values and names of a journey file."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

_SEND = "steps:\n  - send: email\n    template: hello\n"

CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0201",
        "unknown key or step",
        "The language has no such key at this place. A key nobody reads would silently do nothing.",
        "Take the key the hint names; `docs/journeys.md` lists the keys of each place.",
        "steps:\n  - sned: email\n    template: hello\n",
        _SEND,
    ),
    Code(
        "E0202",
        "a key or step is missing",
        "A key without which this place has no meaning is not there.",
        "Add it.",
        "steps:\n  - send: email\n",
        _SEND,
    ),
    Code(
        "E0203",
        "the wrong kind of value",
        "A text stands where a list is needed, a number where a text is, and so on. A list begins each of "
        "its elements with `- ` or stands in `[…]`; keys with values stand on lines of their own or in "
        "`{…}`.",
        "Write the kind of value the message asks for. A number or `true` meant as a text needs quotes.",
        "exit: order.placed\n",
        "exit:\n  - on: order.placed\n",
    ),
    Code(
        "E0204",
        "not a duration",
        "A duration is a whole number with its unit: `s`econds, `m`inutes, `h`ours or `d`ays. A bare "
        "number could mean any of them.",
        "Write `30s`, `5m`, `2h` or `7d`.",
        "steps:\n  - wait: 3\n",
        "steps:\n  - wait: 3d\n",
    ),
    Code(
        "E0205",
        "not a name",
        "Names of journeys, templates, data values and traits appear in topics, metrics and file names. "
        "They are lower case letters, digits, `-` and `_`, begin with a letter and have at most 64 "
        "characters.",
        "Change it to such a name; `description` takes any text.",
        "journey: Win back!\n",
        "journey: win-back\n",
    ),
    Code(
        "E0206",
        "outside of its range or list",
        "The value is of the right kind, but smaller or larger than allowed, or not one of the words "
        "possible here.",
        "Take a value the message or hint names.",
        "steps:\n  - wait: 900d\n",
        "steps:\n  - wait: 30d\n",
    ),
    Code(
        "E0208",
        "too many or too deep",
        "Everything in the language has a bound, so that no file can slow down or fill up a worker. "
        "`docs/journeys.md` lists the limits.",
        "Shorten it, or split the journey in two.",
    ),
    Code(
        "E0209",
        "a guard or `reentry` that cannot be read",
        "The value does not have the form this guard is written in.",
        "Write it as the hint shows.",
        "guards:\n  consent: marketing\n  cap: [one a week]\n",
        "guards:\n  consent: marketing\n  cap: [1 per 7d]\n",
    ),
    Code(
        "E0210",
        "two things that exclude each other",
        "Two keys together contradict each other, or one needs something the other takes away.",
        "Decide for one of the two.",
        "transactional: true\nguards:\n  consent: marketing\n  cap: [1 per 7d]\n",
        "guards:\n  consent: marketing\n  cap: [1 per 7d]\n",
    ),
    Code(
        "E0211",
        "unknown event type",
        "No event of this name exists, so it would never happen. `docs/events.md` lists all of them.",
        "Take the name the hint suggests.",
        "entry: {on: order.plced}\n",
        "entry: {on: order.placed}\n",
    ),
    Code(
        "E0212",
        "unknown segment",
        "The segments file (`segments.path`) defines no segment of this name, so nobody would ever be in it.",
        "Take the name the hint suggests, or define the segment.",
        "entry: {on: {segment_entered: hgh_value}}\n",
        "entry: {on: {segment_entered: high_value}}\n",
    ),
    Code(
        "E0213",
        "a journey of that name and version exists already",
        "Two files give the same journey in the same version; nobody could say which one counts.",
        "Give one another name. If it is a new form of the same journey, raise its `version`.",
    ),
    Code(
        "E0214",
        "a step that can never be reached",
        "The step follows an `exit`: whoever came so far has left.",
        "Remove the step, or the `exit` before it.",
        "steps:\n  - exit\n  - send: email\n    template: hello\n",
        "steps:\n  - send: email\n    template: hello\n  - exit\n",
    ),
)
