"""What the demo's customers are called and what they write, in English and Chinese. All made up."""

from __future__ import annotations

from enum import IntEnum


class Mood(IntEnum):
    """How an inquiry is meant."""

    NEUTRAL = 0
    ANGRY = 1
    HAPPY = 2


# Zone, its offset from UTC in hours (only to draw a plausible time of day), locale, share of the customers.
ZONES = (
    ("America/New_York", -5, "en-US", 0.30),
    ("America/Chicago", -6, "en-US", 0.16),
    ("America/Denver", -7, "en-US", 0.05),
    ("America/Los_Angeles", -8, "en-US", 0.17),
    ("Europe/London", 0, "en-GB", 0.10),
    ("Europe/Berlin", 1, "de-DE", 0.07),
    ("Asia/Shanghai", 8, "zh-CN", 0.10),
    ("Asia/Taipei", 8, "zh-TW", 0.05),
)

FIRST_NAMES = (
    "Ada",
    "Ben",
    "Chloe",
    "Daniel",
    "Emma",
    "Frank",
    "Grace",
    "Henry",
    "Iris",
    "Jack",
    "Lena",
    "Max",
)
FIRST_NAMES_ZH = ("伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "洋", "艳", "勇", "杰")

CATEGORIES = ("rock", "jazz", "classical", "pop", "country", "soundtrack", "hip-hop", "blues")
SEARCHES = (
    "new releases",
    "miles davis",
    "live album",
    "box set",
    "greatest hits",
    "christmas",
    "导演剪辑",
    "古典",
)

# (subject, text) by mood; the text may name the order.
INQUIRIES_EN: dict[Mood, tuple[tuple[str, str], ...]] = {
    Mood.NEUTRAL: (
        ("Where is my order?", "Hello, could you tell me when {order} will arrive?"),
        ("Change of address", "I have moved. Please send {order} to my new address."),
        ("Gift wrapping", "Is it possible to wrap {order} as a gift?"),
        ("Track listing", "Does this edition contain the bonus tracks?"),
        ("Invoice", "I need an invoice for {order} with my company's name."),
    ),
    Mood.ANGRY: (
        ("Damaged disc", "The disc arrived scratched. I am furious and want a refund for {order}."),
        ("Complaint", "This is a complaint: the third wrong delivery in a row, now {order}."),
        ("Refund", "Nobody answers me. Refund {order} at once!"),
    ),
    Mood.HAPPY: (
        ("Thank you", "The rare pressing in {order} made my father's day. Thank you!"),
        ("Praise", "Quick delivery, well packed. Do you have more of the same label?"),
    ),
}
INQUIRIES_ZH: dict[Mood, tuple[tuple[str, str], ...]] = {
    Mood.NEUTRAL: (
        ("订单查询", "您好，请问 {order} 什么时候可以送到？"),
        ("修改地址", "我搬家了，请把 {order} 寄到新的地址。"),
        ("发票", "请为 {order} 开一张公司抬头的发票。"),
    ),
    Mood.ANGRY: (
        ("投诉", "我要投诉！{order} 收到的唱片是坏的，没有人回复我。"),
        ("退款", "非常愤怒，{order} 已经第三次发错货，请立即退款。"),
    ),
    Mood.HAPPY: (("感谢", "{order} 包装很好，送货很快，谢谢！"),),
}
REPLIES_EN = (
    "We have looked into it and will keep you posted.",
    "Thank you for writing; it is taken care of.",
)
REPLIES_ZH = ("您好，我们已经处理，请放心。", "感谢您的来信，问题已解决。")


def is_chinese(locale: str) -> bool:
    """Tell whether a locale's inquiries are in Chinese."""
    return locale.startswith("zh")


def first_name(locale: str, number: int) -> str:
    """Return the made-up first name of a customer."""
    names = FIRST_NAMES_ZH if is_chinese(locale) else FIRST_NAMES
    return names[number % len(names)]


def inquiry_text(locale: str, mood: Mood, choice: int, order_id: str) -> tuple[str, str]:
    """Return subject and text of an inquiry.

    Args:
        locale: the customer's locale.
        mood: how it is meant.
        choice: picks one of the texts.
        order_id: the order it is about, or empty.
    """
    chinese = is_chinese(locale)
    choices = (INQUIRIES_ZH if chinese else INQUIRIES_EN)[mood]
    subject, text = choices[choice % len(choices)]
    order = ("订单 " if chinese else "order ") + order_id if order_id else ("订单" if chinese else "my order")
    return subject, text.format(order=order)


def reply_text(locale: str, choice: int) -> str:
    """Return the text of an agent's reply."""
    replies = REPLIES_ZH if is_chinese(locale) else REPLIES_EN
    return replies[choice % len(replies)]
