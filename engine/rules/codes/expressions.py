"""E0301-E0399: expressions in CEL."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0301",
        "an expression that is not CEL, or not the part of CEL used here",
        "The expression cannot be read. `&&`, `||` and `!` are and, or, not; `==` compares; texts stand "
        "in quotes. Loops over lists (`all`, `exists`, `map`, `filter`) are not part of the language, so "
        "that every condition costs little.",
        "Write it as the hint says; `docs/journeys.md` lists the operators and functions.",
        "entry:\n  on: order.placed\n  when: customer.orders_30d > 1 and customer.churn_risk > 0.5\n",
        "entry:\n  on: order.placed\n  when: customer.orders_30d > 1 && customer.churn_risk > 0.5\n",
    ),
    Code(
        "E0302",
        "unknown name or function",
        "There is no such feature, field or function. A text without its quotes reads like a name, too.",
        "Take the name the hint suggests; `engage features WORD` finds features, `docs/events.md` lists "
        "the fields.",
        "entry:\n  on: order.placed\n  when: customer.ordrs_30d > 1\n",
        "entry:\n  on: order.placed\n  when: customer.orders_30d > 1\n",
    ),
    Code(
        "E0303",
        "types that do not go together",
        "A number is compared with a text, or an operator is used on something it does not work on.",
        "Compare like with like; `int(…)`, `double(…)` and `string(…)` convert.",
        'entry:\n  on: order.placed\n  when: customer.orders_30d > "1"\n',
        "entry:\n  on: order.placed\n  when: customer.orders_30d > 1\n",
    ),
    Code(
        "E0304",
        "a condition that is not true or false, or a value that is not a scalar",
        "`when` and `where` decide, so their expression must be true or false. A message value must be "
        "one text, number or truth value.",
        "Compare it with something.",
        "entry:\n  on: order.placed\n  when: customer.orders_30d\n",
        "entry:\n  on: order.placed\n  when: customer.orders_30d > 0\n",
    ),
    Code(
        "E0305",
        "a name that cannot be used here",
        "`when` asks about the customer, `where` about the event; at this place the other is not known.",
        "Move the condition to the other key, or use what the hint lists.",
        "entry:\n  on: order.placed\n  when: event.amount > 100\n",
        "entry:\n  on: order.placed\n  where: event.amount > 100\n",
    ),
    Code(
        "E0306",
        "a value that may be missing is read without asking",
        "Traits and `props` need not be there for a customer or event. Read without asking, the condition "
        "would have no result.",
        "Ask with `has(…)` first, or give the value for its absence: `has(x) ? x : 0`.",
        'entry:\n  on: order.placed\n  when: customer.traits.tier == "gold"\n',
        'entry:\n  on: order.placed\n  when: has(customer.traits.tier) && customer.traits.tier == "gold"\n',
    ),
    Code(
        "E0307",
        "not a regular expression",
        "The pattern given to `matches` cannot be read. It is RE2: no look-ahead, no back-references.",
        "Correct the pattern; `\\\\` in a CEL text stands for one backslash.",
        'entry:\n  on: inquiry.opened\n  where: event.text.matches("(refund")\n',
        'entry:\n  on: inquiry.opened\n  where: event.text.matches("(refund)")\n',
    ),
    Code(
        "E0308",
        "a division by zero",
        "A constant 0 divides. Of whole numbers that has no result: the condition is not true for "
        "anybody. Of decimal ones it is infinite, which is above every number, or no number at "
        "all.",
        "Write the number that is meant; a percentage divides by 100.",
        "entry:\n  on: order.placed\n  when: customer.spend_30d / 0 > 5\n",
        "entry:\n  on: order.placed\n  when: customer.spend_30d / 30 > 5\n",
    ),
)
