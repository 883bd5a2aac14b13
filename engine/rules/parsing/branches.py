"""The steps that lead on in several ways: `branch` and `split`; and `run`."""

from __future__ import annotations

from engine.rules.limits import MAX_ARMS
from engine.rules.parsing.parsed import Nested, ParsedArm, ParsedBranch, ParsedRun, ParsedSplit, ParsedVariant
from engine.rules.text.reader import Fields, Reader, kind_of
from engine.rules.text.source import Place
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar, Sequence
from engine.rules.times.units import read_share

ARM_KEYS = ("when", "steps")
VARIANT_KEYS = ("name", "weight", "steps")
WHOLE = 10_000  # 100 %, in hundredths of a percent


def parse_branch(fields: Fields, path: str, read: Reader, nested: Nested) -> ParsedBranch | None:
    """Read `branch`: a list of `when` and `steps`, and what `else`."""
    arms: list[ParsedArm] = []
    node = fields.get("branch")
    for number, item in enumerate(read.listed(node, MAX_ARMS, "branch")):
        arm_path = f"{path}.branch[{number}]"
        if _only_else(item):
            hint = "write `else:` beside `branch:`, not as one of its list"
            read.errors.add("E0201", "`else` is no arm of `branch`", item.place, hint)
            continue
        arm = read.fields(item, ARM_KEYS, "an arm of `branch`")
        if isinstance(item, Mapping):
            when = read.expression(read.required(arm, "when", "an arm of `branch`"), "when")
            steps = nested(read.required(arm, "steps", "an arm of `branch`"), arm_path)
            arms += [ParsedArm(arm_path, when, steps)] if when else []
    if isinstance(node, Sequence) and not node.items:
        hint = "give it at least one `- {when: …, steps: […]}`"
        read.errors.add("E0202", "the branch leads nowhere", node.place, hint)
    otherwise = nested(fields.get("else"), f"{path}.else")
    return ParsedBranch(path, fields.place, tuple(arms), otherwise) if arms else None


def _only_else(item: Node) -> bool:
    """Whether an arm is `- else: …`, as other languages write it."""
    return isinstance(item, Mapping) and [key.text for key, _ in item.items] == ["else"]


def parse_split(fields: Fields, path: str, read: Reader, nested: Nested) -> ParsedSplit | None:
    """Read `split`: a list of `name`, `weight` and `steps`; the weights are 100 % together."""
    node = fields.get("split")
    name = read.name(fields.get("name"), "a split")
    variants: list[ParsedVariant] = []
    places: dict[str, Place] = {}
    for item in read.listed(node, MAX_ARMS, "split"):
        variant = _variant(item, path, read, nested)
        if variant is None:
            continue
        said = variant.name
        if said.value in places:
            first = places[said.value].line
            read.errors.add(
                "E0224", f"a second variant {said.value!r}", said.place, f"the first is on line {first}"
            )
        places.setdefault(said.value, said.place)
        variants.append(variant)
    if not isinstance(node, Sequence) or len(variants) < len(node.items):
        return None
    if not variants:
        hint = "give it at least one `- {name: …, weight: …, steps: […]}`"
        read.errors.add("E0202", "the split leads nowhere", node.place, hint)
        return None
    if sum(variant.share for variant in variants) != WHOLE:
        total = f"{sum(variant.share for variant in variants) / 100:g}"
        read.errors.add("E0223", f"the weights are {total}% together, they must be 100%", node.place)
    return ParsedSplit(path, fields.place, name.value if name else "", tuple(variants))


def _variant(item: Node, path: str, read: Reader, nested: Nested) -> ParsedVariant | None:
    what = "a variant of `split`"
    fields = read.fields(item, VARIANT_KEYS, what)
    if not isinstance(item, Mapping):
        return None
    name = read.name(read.required(fields, "name", what), "a variant")
    weight = read.required(fields, "weight", what)
    share = read_share(weight.text) if isinstance(weight, Scalar) else None
    if weight is not None and share is None:
        hint = "a percentage, such as 50%"
        read.errors.add("E0223", f"weight cannot be {kind_of(weight)}", weight.place, hint)
    variant_path = f"{path}.split.{name.value}" if name else path
    steps = nested(read.required(fields, "steps", what), variant_path)
    if name is None or share is None:
        return None
    return ParsedVariant(variant_path, name, round(share * WHOLE), steps)


def parse_run(fields: Fields, path: str, read: Reader) -> ParsedRun | None:
    """Read `run: SEQUENCE`."""
    sequence = read.name(fields.get("run"), "a sequence")
    return ParsedRun(path, fields.place, sequence) if sequence else None
