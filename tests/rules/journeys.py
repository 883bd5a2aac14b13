"""Small journeys for tests."""

from __future__ import annotations

TRIGGER = """
journey: trigger
entry: {on: order.placed, reentry: always}
steps:
  - {send: email, template: thanks}
"""

DRIP = """
journey: drip
entry:
  on: order.placed
  reentry: REENTRY
exit:
  - {on: order.cancelled, where: event.order_id == entry.event.order_id}
steps:
  - {send: email, template: first}
  - wait: 3d
  - {send: email, template: second}
"""

ASK = """
journey: ask
entry: {on: order.delivered, reentry: always}
steps:
  - {send: email, template: survey}
  - wait_until:
      on: message.responded
      where: event.template == "survey"
      timeout: 7d
    then:
      - {send: email, template: thanks}
    otherwise:
      - {send: email, template: reminder}
  - {send: push, template: after}
"""

ABSENT = """
journey: absent
entry:
  on: {absent: order.placed, for: 90d}
  reentry: always
steps:
  - {send: email, template: miss-you}
"""

SERVICE = """
journey: service
transactional: true
entry:
  on:
    unanswered: inquiry
    for: 5m
    at_once_where: event.sentiment < -0.3 || event.text.contains("refund")
    at_once_when: customer.segment == "high_value"
steps:
  - {send: agent, template: call, priority: high, data: {inquiry: entry.event.inquiry_id}}
"""

NIGHT = """
journey: night
entry: {on: order.placed, reentry: always}
exit:
  - on: order.cancelled
guards: {quiet_hours: 22:00-09:00}
steps:
  - {send: email, template: late, expires: 2d}
  - wait: 1h
  - {send: email, template: later}
"""


COUNT = """
journey: browse
entry:
  on: {count: product.viewed, at_least: 3, within: 1h}
  reentry: always
steps:
  - {send: email, template: need-help}
"""

WEEKLY = """
journey: weekly
entry:
  on: {schedule: "0 9 * * MON"}
  reentry: always
steps:
  - {send: email, template: news}
"""

PER_ORDER = """
journey: per-order
entry:
  on: order.delivered
  per: event.order_id
  reentry: REENTRY
exit:
  - {on: order.refunded, where: event.order_id == entry.event.order_id}
steps:
  - wait: 7d
  - {send: email, template: review}
"""

GOAL = """
journey: goal
entry: {on: order.cancelled, reentry: always}
goal: {on: order.placed, where: event.order_id != entry.event.order_id, within: 30d, value: event.amount}
guards: {holdout: HOLDOUT}
steps:
  - {send: email, template: come-back}
"""


def drip(reentry: str) -> str:
    """Return the two-message journey with a re-entry rule."""
    return DRIP.replace("REENTRY", reentry)
