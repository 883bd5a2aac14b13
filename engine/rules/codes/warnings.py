"""W0401-W0499: what is possible, but hardly meant."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

_TWO_SENDS: Final = """\
guards:
  consent: marketing
  cap: [1 per 7d]
steps:
  - send: email
    template: hello
  - wait: {}
  - send: email
    template: hello-again
"""

CODES: Final[tuple[Code, ...]] = (
    Code(
        "W0401",
        "a silence that nothing needs",
        "The file silences a warning that the check does not give. Left in, it would hide the warning "
        "should it ever come for another reason.",
        "Remove the line from `silence`.",
        "silence:\n  W0402: our shop asks for consent at the till\nguards: {consent: marketing}\n",
        "guards: {consent: marketing}\n",
    ),
    Code(
        "W0402",
        "messages that ask for no consent",
        "The journey sends messages to customers, is not `transactional`, and names no consent. It would "
        "write to people who never agreed to it.",
        "Name the purpose with `guards: {consent: marketing}`. Receipts and service messages are "
        "`transactional`.",
        "guards:\n  cap: [1 per 7d]\n",
        "guards:\n  consent: marketing\n  cap: [1 per 7d]\n",
    ),
    Code(
        "W0403",
        "a comparison that can never be true",
        "The value never is what it is compared with: a probability is never above 1, a count "
        "never below 0, and `event.type` is one of those that the entry, exit, goal or wait names. "
        "Nobody would ever enter, or no event would ever match.",
        "Correct the number or text; the hint says what the value can be.",
        "entry:\n  on: order.placed\n  when: customer.churn_risk > 60\n",
        "entry:\n  on: order.placed\n  when: customer.churn_risk > 0.6\n",
    ),
    Code(
        "W0404",
        "a condition that is always true",
        "Whatever the customer or event is like, this part holds: it decides nothing. `a != x || a != y` "
        "is the classical case; `&&` is meant.",
        "Correct it, or leave it out.",
        "entry:\n  on: order.placed\n  when: customer.orders_30d >= 0\n",
        "entry:\n  on: order.placed\n  when: customer.orders_30d >= 1\n",
    ),
    Code(
        "W0405",
        "conditions that contradict each other",
        "Two parts joined by `&&` can never hold together, so the whole is never true.",
        "Correct one of them; `||` may be meant.",
        'entry:\n  on: order.placed\n  when: customer.segment == "new" && customer.segment == "regular"\n',
        'entry:\n  on: order.placed\n  when: customer.segment == "new" || customer.segment == "regular"\n',
    ),
    Code(
        "W0406",
        "a journey that outlasts the history it rests on",
        "Added up, the waits on one way through the journey are longer than the 400 days for which a "
        "customer's history is kept in detail. By its end nothing is known any more of what began it.",
        "Shorten the waits, or let a second journey begin later.",
        "steps:\n  - wait: 300d\n  - wait: 300d\n  - send: email\n    template: hello\n",
        "steps:\n  - wait: 300d\n  - send: email\n    template: hello\n",
    ),
    Code(
        "W0407",
        "a cap that always stops this message",
        "Whoever got the messages before it cannot get this one: on every way to it, the journey's own "
        "cap is used up, and not enough time lies between. Caps suppress, they do not put off.",
        "Wait longer before the step, or allow more contacts.",
        _TWO_SENDS.format("3d"),
        _TWO_SENDS.format("7d"),
    ),
    Code(
        "W0408",
        "an exclusion group with one member",
        "No other enabled journey is in this group, so it excludes nothing. Told only when several files "
        "are checked together.",
        "Correct the group's name, or leave it out.",
    ),
    Code(
        "W0409",
        "two journeys that answer the same entry with the same template",
        "Both journeys begin with the same entry, nothing in their conditions keeps them apart, and both "
        "send this template: a customer in both gets it twice. Told only when several files are checked "
        "together.",
        "Join the two, tell their conditions apart, or put them into one `exclusion_group`.",
    ),
    Code(
        "W0410",
        "personal data where it is logged or kept",
        "Constants of conditions stand in the reasons of decisions, values of messages in the action "
        "topics, traits with the customer. An e-mail address or phone number in a rule, or a customer's "
        "own words copied into a trait or message, would be readable and kept there.",
        "Ask for a segment or trait instead of a person. A task for `agent` may have the customer's "
        "words; elsewhere say what they are about.",
        'entry:\n  on: order.placed\n  where: event.coupon == "ann@example.com"\n',
        "entry:\n  on: order.placed\n  when: has(customer.traits.tester) && customer.traits.tester == true\n",
    ),
    Code(
        "W0411",
        "an expression that costs much",
        "The expression is judged for many customers, and costs more than the budget of 400: a name, "
        "constant or operator counts 1, a search in a text 8, a regular expression 10 and one more for "
        "each of its characters. That is about as many microseconds on a text of 500 characters.",
        "Shorten its regular expressions, or put them behind a cheap condition with `&&`, and silence the "
        "warning.",
    ),
    Code(
        "W0412",
        "long runs side by side",
        "With `per` a customer is inside a journey once for each order, inquiry or product. Where a run "
        "lasts more than 60 days these add up, and a customer can be inside 16 runs of all journeys at a "
        "time: further entries are suppressed by the guard `bound`.",
        "Shorten the waits, let a later event begin a second journey, or silence the warning where few come "
        "so often.",
        "entry:\n  on: order.delivered\n  per: event.order_id\nsteps:\n  - wait: 90d\n"
        "  - {send: email, template: hello}\n",
        "entry:\n  on: order.delivered\n  per: event.order_id\nsteps:\n  - wait: 14d\n"
        "  - {send: email, template: hello}\n",
    ),
    Code(
        "W0413",
        "what comes again and again, for each customer once",
        "A schedule or a yearly date comes again, but without `reentry` a customer enters a journey once "
        "only: everybody would get the first one, and nobody a second.",
        "Say `reentry: always` (or `after 30d`); `reentry: never` where once is meant.",
        'entry:\n  on: {schedule: "0 9 * * MON"}\n',
        'entry:\n  on: {schedule: "0 9 * * MON"}\n  reentry: always\n',
    ),
    Code(
        "W0414",
        "a condition that the entry rules out",
        "The condition is asked when somebody enters, and what makes them enter says that it does "
        "not hold. At an `order.placed` that order is the last one, 0 days ago, and counts "
        "already; when no order has come for 90 days there is none in the last 30; whoever enters "
        "because a number rises above a level has it above. Of events that come more than a day "
        "late it may hold.",
        "Ask for what is meant: at an order, `customer.orders_30d == 1 && customer.orders_lifetime "
        "> 1` is the first one for 30 days, `customer.orders_lifetime == 1` the first of all.",
        "entry:\n  on: order.placed\n  when: customer.days_since_order > 30\n",
        "entry:\n  on: order.placed\n  when: customer.orders_30d == 1 && customer.orders_lifetime > 1\n",
    ),
    Code(
        "W0415",
        "a division by what can be 0",
        "The number that divides is 0 for some customers, and no condition of the journey asks for "
        "it. Numbers of customers are decimal: divided by 0 they are infinite, which is above "
        "every number, so `>` holds; 0 divided by 0 is no number, and only `!=` holds. Whole "
        "numbers (`int(…)`) have no result then: a condition is not true. A message whose value is "
        "infinite, no number or without a result is suppressed.",
        "Ask first: `customer.orders_30d > 0 && …` in a condition, `customer.orders_30d > 0 ? … : "
        "0` in a value.",
        "entry:\n  on: cart.added\n  when: customer.sessions_30d / customer.orders_30d > 5\n",
        "entry:\n  on: cart.added\n"
        "  when: customer.orders_30d > 0 && customer.sessions_30d / customer.orders_30d > 5\n",
    ),
    Code(
        "W0416",
        "a message that quiet hours drop",
        "`quiet_hours` put a message off until they end, but not beyond `expires`. Where that is "
        "the shorter of the two, a message that is due early in the quiet hours is dropped "
        "(`expired`). Not told of journeys that wait for a time of day or begin at one.",
        "Let the message live as long as the quiet hours last. Silence the warning where it is of "
        "no use in the morning.",
        "guards:\n  consent: marketing\n  quiet_hours: 22:00-09:00\nsteps:\n"
        "  - {send: push, template: hello, expires: 2h}\n",
        "guards:\n  consent: marketing\n  quiet_hours: 22:00-09:00\nsteps:\n"
        "  - {send: push, template: hello, expires: 12h}\n",
    ),
    Code(
        "W0417",
        "a holdout of everybody",
        "The share of `holdout` enters and gets nothing. With 100% nobody gets anything, and there "
        "is nobody to compare with.",
        "Write the share that is to get nothing, such as `10%`. `enabled: false` keeps a journey from taking "
        "anybody.",
        "guards:\n  consent: marketing\n  holdout: 100%\n",
        "guards:\n  consent: marketing\n  holdout: 10%\n",
    ),
    Code(
        "W0418",
        "a day that is over when it is learned",
        "An entry by `date` comes on the very day the trait names. A birthday names the day of birth, and "
        "`customer_since` the first day: they are over, and without `yearly` nobody ever enters.",
        "Say `yearly: true`, and `reentry: always` for every year.",
        'entry:\n  on: {date: birthday, at: "09:00"}\n',
        'entry:\n  on: {date: birthday, yearly: true, at: "09:00"}\n  reentry: always\n',
    ),
)
