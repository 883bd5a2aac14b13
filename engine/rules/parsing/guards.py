"""The guards of a journey file, and the caps of the contact policy."""

from __future__ import annotations

from engine.rules.limits import (
    MAX_CAP_COUNT,
    MAX_CAP_WINDOW_MS,
    MAX_CAPS,
    MAX_PRIORITY,
    MAX_SEND_WINDOWS,
    MAX_SHARED_WINDOW_MS,
    MIN_OPEN_MIN,
    MIN_SHARED_WINDOW_MS,
)
from engine.rules.parsing.parsed import DEFAULT_PRIORITY, ParsedGuards
from engine.rules.text.reader import Reader, kind_of
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar, Sequence
from engine.rules.times.units import Cap, QuietHours, read_cap, read_quiet_hours, read_share, write_duration
from engine.rules.times.windows import SendWindow, open_minutes, read_send_window

GUARD_KEYS = (
    "consent",
    "contact",
    "cap",
    "quiet_hours",
    "send_window",
    "priority",
    "exclusion_group",
    "entry_cap",
    "holdout",
)
# Written into a journey by people who look for them there; they hold for all journeys.
_OF_THE_DEPLOYMENT = {
    "rate_limit": "it holds for a channel, over all journeys: see the setting `rate_limits`",
    "global_cap": "see the setting `global_cap`",
    "control_group": "see the setting `control_group`",
    "suppression": "leave it out: the suppression list always holds",
}


def parse_guards(node: Node | None, read: Reader) -> ParsedGuards:
    """Read the `guards` of a journey.

    Args:
        node: the mapping, or None when the author left it out.
        read: takes every problem.
    """
    if node is None:
        return ParsedGuards()
    fields = read.fields(_own(node, read), GUARD_KEYS, "guards")
    quiet = _quiet_hours(fields.get("quiet_hours"), read)
    windows = _send_windows(fields.get("send_window"), quiet, read)
    return ParsedGuards(
        consent=read.name(fields.get("consent"), "a consent purpose"),
        contact=read.name(fields.get("contact"), "a kind of contact"),
        caps=parse_caps(fields.get("cap"), "cap", read),
        quiet_hours=quiet,
        send_windows=windows,
        priority=read.integer(fields.get("priority"), DEFAULT_PRIORITY, 0, MAX_PRIORITY, "priority"),
        exclusion_group=read.name(fields.get("exclusion_group"), "an exclusion group"),
        entry_cap=_entry_cap(fields.get("entry_cap"), read),
        holdout=_holdout(fields.get("holdout"), read),
        lines={name: value.place.line for name, value in fields.by_name.items()},
    )


def _own(node: Node, read: Reader) -> Node:
    """Return the guards without those that are no journey's; each of them is an error."""
    if not isinstance(node, Mapping):
        return node
    for key, _ in node.items:
        if key.text in _OF_THE_DEPLOYMENT:
            message = f"`{key.text}` is not a journey's to say"
            read.errors.add("E0260", message, key.place, _OF_THE_DEPLOYMENT[key.text])
    own = tuple(item for item in node.items if item[0].text not in _OF_THE_DEPLOYMENT)
    return Mapping(own, node.place)


def parse_caps(node: Node | None, what: str, read: Reader) -> tuple[Cap, ...]:
    """Read a cap or a list of them.

    Args:
        node: `1 per 7d`, a list of such, or None.
        what: its key, for messages.
        read: takes every problem.
    """
    if node is None:
        return ()
    nodes = read.listed(node, MAX_CAPS, what) if isinstance(node, Sequence) else (node,)
    found = (_cap(item, what, "1 per 7d", read) for item in nodes)
    caps = [(cap, item) for cap, item in zip(found, nodes, strict=True) if cap is not None]
    for cap, item in caps:
        if not (1 <= cap.count <= MAX_CAP_COUNT and 0 < cap.window_ms <= MAX_CAP_WINDOW_MS):
            limits = f"1 to {MAX_CAP_COUNT} contacts per at most {MAX_CAP_WINDOW_MS // 86_400_000}d"
            read.errors.add("E0206", f"{what} is {cap}, it must be {limits}", item.place)
    return tuple(cap for cap, _ in caps)


def _cap(node: Node, what: str, example: str, read: Reader) -> Cap | None:
    text = node.text if isinstance(node, Scalar) else ""
    cap = read_cap(text)
    if cap is None:
        said = repr(text[:40]) if text else kind_of(node)
        read.errors.add("E0209", f"{what} cannot be {said}", node.place, f"write it as: {example}")
    return cap


def _entry_cap(node: Node | None, read: Reader) -> Cap | None:
    if node is None:
        return None
    cap = _cap(node, "entry_cap", "1000 per 1d", read)
    if cap is None:
        return None
    if not (cap.count >= 1 and MIN_SHARED_WINDOW_MS <= cap.window_ms <= MAX_SHARED_WINDOW_MS):
        low, high = write_duration(MIN_SHARED_WINDOW_MS), write_duration(MAX_SHARED_WINDOW_MS)
        limits = f"it must be at least 1 per {low} to {high}"
        read.errors.add("E0206", f"entry_cap is {cap}, {limits}", node.place)
        return None
    return cap


def _quiet_hours(node: Node | None, read: Reader) -> QuietHours | None:
    if node is None:
        return None
    text = node.text if isinstance(node, Scalar) else ""
    quiet = read_quiet_hours(text)
    if quiet is None or quiet.start_min == quiet.end_min:
        said = repr(text[:40]) if text else kind_of(node)
        read.errors.add("E0209", f"quiet_hours cannot be {said}", node.place, "write it as: 22:00-09:00")
        return None
    return quiet


def _send_windows(node: Node | None, quiet: QuietHours | None, read: Reader) -> tuple[SendWindow, ...]:
    if node is None:
        return ()
    nodes = read.listed(node, MAX_SEND_WINDOWS, "send_window") if isinstance(node, Sequence) else (node,)
    windows = []
    for item in nodes:
        text = item.text if isinstance(item, Scalar) else ""
        window = read_send_window(text)
        if window is None:
            said = repr(text[:40]) if text else kind_of(item)
            hint = "write it as: 09:00-18:00, or MON-FRI 09:00-18:00"
            read.errors.add("E0209", f"send_window cannot be {said}", item.place, hint)
        else:
            windows.append(window)
    open_min = open_minutes(windows, quiet)
    if windows and open_min < MIN_OPEN_MIN:
        message = f"messages could go out for {open_min} minutes a week only"
        hint = f"leave at least {MIN_OPEN_MIN} minutes a week" + (" outside of quiet_hours" if quiet else "")
        read.errors.add("E0261", message, node.place, hint)
    return tuple(windows)


def _holdout(node: Node | None, read: Reader) -> float:
    if node is None:
        return 0.0
    text = node.text if isinstance(node, Scalar) else ""
    share = read_share(text)
    if share is None:
        said = repr(text[:40]) if text else kind_of(node)
        read.errors.add("E0209", f"holdout cannot be {said}", node.place, "a percentage, such as 10%")
        return 0.0
    if share == 1.0:
        hint = "10% leaves nine in ten; `enabled: false` where nobody is to enter"
        read.errors.warn("W0417", "with a holdout of 100% nobody ever gets anything", node.place, hint)
    return share
