"""Reads the contact policy (`deploy/policy.yaml`): parse, check, compile."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import RuleErrors
from engine.rules.checking.segments import check_segment, check_when
from engine.rules.condition import compile_condition
from engine.rules.limits import MAX_CONTACT_KINDS, MAX_POLICY_ROWS
from engine.rules.parsing.guards import parse_caps
from engine.rules.policy import ANY_KIND, KINDS, Policy, PolicyRow
from engine.rules.scope import Scope, Vocabulary
from engine.rules.text.reader import Reader
from engine.rules.text.source import ErrorList, Placed, nearest
from engine.rules.text.yaml_nodes import Mapping, Node, read_text, read_yaml
from engine.rules.times.units import Cap

POLICY_KEYS = ("contacts", "policy")
ROW_KEYS = ("segment", "when", "caps")


def load_policy(file: str, data: bytes, vocabulary: Vocabulary, *, other_segments: bool = False) -> Policy:
    """Read a contact policy.

    Args:
        file: its path, for messages.
        data: its bytes.
        vocabulary: features and segments.
        other_segments: whether rows of segments the deployment doesn't have are left out, as of the shipped
            policy; else they are errors.

    Raises:
        RuleErrors: every problem found, in file order.
    """
    errors = ErrorList(file)
    source = read_text(file, data, errors)
    node = read_yaml(source, errors) if source is not None else None
    reader = _PolicyReader(vocabulary, Reader(errors), other_segments)
    policy = reader.policy(node) if node is not None else Policy()
    if errors.errors:
        raise RuleErrors(errors.in_order())
    return policy


@dataclass(frozen=True, slots=True)
class _PolicyReader:
    vocabulary: Vocabulary
    read: Reader
    other_segments: bool

    def policy(self, node: Node) -> Policy:
        """Read the whole file."""
        fields = self.read.fields(node, POLICY_KEYS, "a policy file")
        kinds = self._kinds(fields.get("contacts"))
        rows_node = self.read.required(fields, "policy", "the file") if isinstance(node, Mapping) else None
        rows: list[PolicyRow] = []
        for item in self.read.listed(rows_node, MAX_POLICY_ROWS, "policy"):
            row = self._row(item, kinds)
            if row is not None:
                self._reachable(row, rows, item)
                rows.append(row)
        return Policy(tuple(rows), kinds)

    def _kinds(self, node: Node | None) -> tuple[str, ...]:
        if node is None:
            return KINDS
        named = (
            self.read.name(item, "a kind of contact")
            for item in self.read.listed(node, MAX_CONTACT_KINDS, "contacts")
        )
        kinds = tuple(each.value for each in named if each is not None)
        if ANY_KIND in kinds:
            self.read.errors.add("E0205", "`any` stands for all kinds, it cannot be one", node.place)
        return kinds

    def _row(self, node: Node, kinds: tuple[str, ...]) -> PolicyRow | None:
        fields = self.read.fields(node, ROW_KEYS, "a row of the policy")
        if not isinstance(node, Mapping):
            return None
        segment = self.read.placed_text(fields.get("segment"), "segment")
        if segment is not None and self.other_segments and segment.value not in self.vocabulary.segments:
            return None
        if segment is not None:
            check_segment(segment, self.vocabulary, self.read.errors)
        scalar = self.read.expression(fields.get("when"), "when")
        scope = Scope("`when`", self.vocabulary.customer, ("customer",))
        when = check_when(scalar, scope, self.vocabulary, self.read.errors)
        caps = self._caps(self.read.required(fields, "caps", "a row of the policy"), kinds)
        if self.read.errors.errors:
            return None
        condition = None
        if when is not None:
            condition = compile_condition(when, self.vocabulary.customer, self.vocabulary.segments)
        return PolicyRow(segment.value if segment else "", condition, caps)

    def _caps(self, node: Node | None, kinds: tuple[str, ...]) -> dict[str, tuple[Cap, ...]]:
        if node is None:
            return {}
        if not isinstance(node, Mapping):
            self.read.fields(node, (), "caps")
            return {}
        caps = {}
        for key, value in node.items:
            kind = Placed(key.text, key.place)
            if kind.value != ANY_KIND and kind.value not in kinds:
                hint = nearest(kind.value, (*kinds, ANY_KIND)) or "kinds: " + ", ".join((*kinds, ANY_KIND))
                message = f"unknown kind of contact {kind.value[:60]!r}"
                self.read.errors.add("E0262", message, kind.place, hint)
            found = parse_caps(value, kind.value[:60], self.read)
            if found:
                caps[kind.value] = found
        return caps

    def _reachable(self, row: PolicyRow, earlier: list[PolicyRow], node: Node) -> None:
        """A row behind one that takes all its customers would never be read."""
        for number, each in enumerate(earlier, 1):
            if each.when is None and each.segment in ("", row.segment):
                message = f"no customer gets as far as this row: row {number} takes {each.who}"
                hint = "the first row that matches counts; put the narrower one first"
                self.read.errors.add("E0263", message, node.place, hint)
                return
