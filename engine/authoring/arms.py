"""Finds customer ids that fall where a test wants them: into a holdout, or a variant of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from engine.actions import deterministic_id
from engine.authoring.fixtures import Case, CaseCustomer
from engine.rules.context import MachineSettings
from engine.rules.guards import held_out, in_control_group
from engine.rules.journey import Journey, Split
from engine.rules.runner import variant_of
from engine.rules.source import ErrorList

MAX_TRIED: Final = 20_000  # ids; a share of 0.1 % is missed by all of them once in 10**8


class IdFinder:
    """Gives each customer of a case an id.

    Args:
        journeys: those that run, the one under test first.
        settings: the share of the control group.
    """

    def __init__(self, journeys: Sequence[Journey], settings: MachineSettings) -> None:
        self._journeys = journeys
        self._settings = settings

    def ids(self, case: Case, errors: ErrorList) -> dict[str, str]:
        """Return the id of each customer of a case, by label; where none falls as wanted it is an error.

        An id nobody gave depends on the names of the case and the customer only: other cases do not move it.

        Args:
            case: the case.
            errors: of the fixture file.
        """
        found: dict[str, str] = {}
        for customer in case.customers:
            given, base = customer.customer_id, f"{customer.label}-{deterministic_id(case.name)[:8]}"
            if given and self._falls(customer, given):
                found[customer.label] = given
                continue
            name = found[customer.label] = self._search(customer, base)
            if given:
                said = f"{given!r} does not fall there ({_wanted(customer)})"
                errors.add("E0512", said, customer.place, f"{name!r} does" if name else "")
            elif not name:
                said = f"no customer can fall there ({_wanted(customer)})"
                errors.add("E0512", said, customer.place, "is there such a share in the journey?")
        return found

    def _search(self, customer: CaseCustomer, base: str) -> str:
        for number in range(1, MAX_TRIED + 1):
            name = base if number == 1 else f"{base}-{number}"
            if self._falls(customer, name):
                return name
        return ""

    def _falls(self, customer: CaseCustomer, customer_id: str) -> bool:
        return self._arm_fits(customer, customer_id) and variants_fit(
            self._journeys[0], customer.split, customer_id
        )

    def _arm_fits(self, customer: CaseCustomer, customer_id: str) -> bool:
        """Whether the id is in the arm; one nobody asked for is left as it is, else treated by all."""
        if not customer.arm and customer.customer_id:
            return True
        control = in_control_group(self._settings, customer_id)
        if customer.arm == "control":
            return control
        if customer.arm == "holdout":
            return not control and held_out(self._journeys[0], customer_id)
        return not control and not any(held_out(journey, customer_id) for journey in self._journeys)


def variants_fit(journey: Journey, wanted: Mapping[str, str], customer_id: str) -> bool:
    """Tell whether a customer falls into the variants wanted of a journey's splits.

    Args:
        journey: the journey.
        wanted: a split's name or step path to the name of a variant; one that is not there fits nobody.
        customer_id: whose.
    """
    variants = {}
    for step in journey.program:
        if isinstance(step, Split):
            name = variant_of(step, customer_id).name
            variants.update({key: name for key in (step.name, step.path) if key})
    return all(variants.get(split) == name for split, name in wanted.items())


def _wanted(customer: CaseCustomer) -> str:
    parts = [f"arm {customer.arm}"] if customer.arm else []
    parts += [f"split {name}: {variant}" for name, variant in customer.split.items()]
    return ", ".join(parts) or "treated by every journey"
