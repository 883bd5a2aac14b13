"""Conditions that can never or must always hold."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.expressions.cel import CelProgram, compile_cel
from engine.rules.expressions.ranges import find_oddities_in
from engine.rules.expressions.syntax import parse_expression
from tests.rules.driver import RANGES

KINDS = {"customer.churn_risk": "double", "customer.nps_last": "double", "customer.consent_marketing": "bool"}
KNOWN = {f"customer.{name}": found for name, found in RANGES.items()}
NUMBERS = st.sampled_from(["-1.0", "0.0", "0.5", "1.0", "5.0", "10.0", "11.0"])
ATOMS = st.one_of(
    st.builds(
        "customer.{} {} {}".format,
        st.sampled_from(["churn_risk", "nps_last"]),
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
        NUMBERS,
    ),
    st.just("customer.consent_marketing"),
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=5,
)


@given(CONDITIONS, st.floats(0, 1), st.floats(-1, 10), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_verdict_on_a_condition_is_true_of_every_customer(
    text: str, risk: float, nps: float, consents: bool
) -> None:
    """What is called never true is false, what is called always true is true, whatever the values."""
    program = compile_cel(text, KINDS)
    assert isinstance(program, CelProgram)
    values = {
        "customer.churn_risk": risk,
        "customer.nps_last": nps,
        "customer.consent_marketing": consents,
    }
    for oddity in find_oddities_in(parse_expression(text), KNOWN, frozenset(KINDS)):
        part = text[oddity.node.start : oddity.node.end]
        if oddity.kind == "contradiction":
            continue  # the part contradicts what stands before it; the golden files show it
        judged = compile_cel(part, {name: kind for name, kind in KINDS.items() if name in part})
        assert isinstance(judged, CelProgram)
        assert judged.holds(values) == (oddity.kind == "always")


@given(st.lists(ATOMS, min_size=2, max_size=4), st.floats(0, 1), st.floats(-1, 10), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_contradiction_is_never_true(atoms: list[str], risk: float, nps: float, consents: bool) -> None:
    """A conjunction said to contradict itself holds for no customer."""
    text = " && ".join(atoms)
    if any(
        each.kind == "contradiction" for each in find_oddities_in(parse_expression(text), {}, frozenset())
    ):
        program = compile_cel(text, {name: kind for name, kind in KINDS.items() if name in text})
        assert isinstance(program, CelProgram)
        assert not program.holds(
            {
                "customer.churn_risk": risk,
                "customer.nps_last": nps,
                "customer.consent_marketing": consents,
            }
        )
