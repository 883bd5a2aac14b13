"""`python -m loadtest.rule_files FOLDER`: journeys as people write them, to time `engage rules check`.

About thirty lines each: a condition, exits, guards, a branch, a wait for an answer. Thresholds, names and
messages differ from file to file, and few conditions are the same. The templates they name exist nowhere,
so check them as a deployment's own journeys, which come without any:

    python -m loadtest.rule_files /tmp/rules
    time ENGAGE_RULES_PATHS=/tmp/rules engage rules check
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

_ENTRIES = (
    "on: order.placed\n  where: event.amount >= {amount}\n  when: {when}",
    "on: cart.added\n  where: event.price > {amount}.5\n  when: {when}",
    "on: {{absent: order.placed, for: {days}d, since: last}}\n  when: {when}",
    "on: {{count: product.viewed, at_least: {few}, within: {few}h}}\n  when: {when}",
)
_CONDITIONS = (
    "customer.orders_lifetime >= {few} && customer.churn_risk >= 0.{tenths}",
    'customer.segment != "new" && customer.spend_365d > {amount}',
    "customer.cart_adds_7d >= {few} || customer.product_views_7d >= {days}",
)
_JOURNEY = """\
# Generated: {name}
journey: {name}
description: Ask customers at risk {tenths}, then offer something.
owner: retention@example.com

entry:
  {entry}
  reentry: after {days}d

exit:
  - on: order.placed
    where: event.amount >= {less}
  - on: consent.withdrawn
    where: event.purpose == "marketing"

guards:
  consent: marketing
  cap: [1 per {few}d, 4 per 30d]
  quiet_hours: 22:00-09:00
  holdout: 5%

steps:
  - send: email
    template: {name}-survey
    data: {{coupon: SURVEY{few}, days: int(customer.days_since_order)}}
  - wait_until: {{on: message.responded, where: 'event.template == "{name}-survey"', timeout: {days}d}}
    otherwise:
      - branch:
          - when: customer.churn_risk >= 0.{tenths} && customer.spend_365d > {amount}
            steps:
              - {{send: email, template: {name}-offer, data: {{coupon: BACK{few}, minimum: {amount}}}}}
        else: [exit]
"""


def rule_files(count: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of so many journey files.

    Args:
        count: how many.
        seed: the same seed gives the same files.
    """
    rng = random.Random(seed)
    for number in range(count):
        amount = rng.randint(20, 2000)
        values = {
            "name": f"generated-{number:05d}",
            "days": rng.randint(14, 180),
            "few": rng.randint(2, 12),
            "tenths": rng.randint(1, 89),
            "amount": amount,
            "less": amount // 2,
        }
        when = rng.choice(_CONDITIONS).format(**values)
        entry = rng.choice(_ENTRIES).format(when=when, **values)
        yield f"{values['name']}.yaml", _JOURNEY.format(entry=entry, **values)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.rule_files", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to; made when it is not there")
    parser.add_argument("--count", type=int, default=1000, help="how many files (1000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same files (1)")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    lines = 0
    for name, text in rule_files(asked.count, asked.seed):
        (asked.folder / name).write_text(text, "utf-8")
        lines += text.count("\n")
    sys.stdout.write(f"{asked.count} files of {lines / asked.count:.0f} lines in {asked.folder}\n")


if __name__ == "__main__":
    main()
