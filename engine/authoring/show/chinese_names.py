"""What events, fields and features are called in Chinese."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.events import EVENT_TYPES

EVENTS = {
    "page.viewed": "浏览页面",
    "product.viewed": "浏览商品",
    "search.performed": "搜索",
    "cart.added": "加入购物车",
    "cart.removed": "移出购物车",
    "session.started": "开始访问",
    "product.restocked": "商品到货",
    "price.dropped": "商品降价",
    "order.placed": "下单",
    "order.cancelled": "取消订单",
    "order.refunded": "退款",
    "order.delivered": "订单签收",
    "payment.failed": "支付失败",
    "inquiry.opened": "提出咨询",
    "inquiry.replied": "咨询得到回复",
    "inquiry.resolved": "咨询解决",
    "complaint.filed": "投诉",
    "customer.signed_up": "注册",
    "profile.updated": "更新资料",
    "consent.granted": "同意授权",
    "consent.withdrawn": "撤回授权",
    "erasure.requested": "要求删除数据",
    "points.changed": "积分变动",
    "referral.joined": "被推荐人加入",
    "message.delivered": "消息送达",
    "message.opened": "打开消息",
    "message.clicked": "点击消息",
    "message.responded": "回应消息",
    "message.bounced": "消息退回",
    "message.unsubscribed": "退订",
    "feedback.nps": "NPS 评分",
    "feedback.csat": "满意度评分",
}
_STEMS = {kind.stem: EVENTS[kind.name] for kind in EVENT_TYPES.values() if kind.name in EVENTS}
_SINGULARS = {kind.singular: EVENTS[kind.name] for kind in EVENT_TYPES.values() if kind.name in EVENTS}
_STEMS["visits"] = _SINGULARS["visit"] = "访问"
_FIXED = {
    "segment": "客户分群",
    "churn_risk": "流失风险",
    "expected_orders_90d": "未来 90 天的预期订单数",
    "expected_spend_90d": "未来 90 天的预期消费金额",
    "csat_last": "最近一次满意度评分",
    "nps_last": "最近一次 NPS 评分",
    "open_inquiries": "未解决的咨询数",
    "inquiry_waiting_minutes": "咨询等待分钟数",
    "order_gap_mean_days": "平均下单间隔天数",
    "rfm_recency": "RFM 近度",
    "rfm_frequency": "RFM 频度",
    "rfm_monetary": "RFM 金额",
    "days_since_first_order": "距首次下单的天数",
    "days_since_first_seen": "距首次出现的天数",
    "days_since_signup": "距注册的天数",
    "consent_marketing": "营销授权",
    "consent_analytics": "分析授权",
    "consent_personalization": "个性化授权",
    "consent_third_party": "第三方授权",
    "last_channel": "最近活跃渠道",
    "time_zone": "时区",
    "locale": "语言",
    "activity_ratio_7d_30d": "近 7 天相对近 30 天的活跃度",
    "activity_ratio_7d_90d": "近 7 天相对近 90 天的活跃度",
}
_AMOUNTS = {
    "spend": "消费金额",
    "cancelled_amount": "取消金额",
    "refunded_amount": "退款金额",
    "order_value_mean": "平均订单金额",
    "nps_mean": "平均 NPS 评分",
    "csat_mean": "平均满意度评分",
}
FIELDS = {
    "id": "编号",
    "type": "类型",
    "time": "时间",
    "source": "来源",
    "channel": "渠道",
    "amount": "金额",
    "currency": "币种",
    "items": "件数",
    "coupon": "优惠券",
    "reason": "原因",
    "order_id": "订单号",
    "product_id": "商品编号",
    "category": "品类",
    "quantity": "数量",
    "price": "价格",
    "query": "搜索词",
    "url": "网址",
    "session_id": "访问编号",
    "inquiry_id": "咨询编号",
    "subject": "主题",
    "text": "内容",
    "sentiment": "情绪",
    "agent_id": "客服编号",
    "priority": "优先级",
    "purpose": "用途",
    "template": "模板",
    "journey": "旅程",
    "action_id": "消息编号",
    "answer": "回答",
    "score": "评分",
    "locale": "语言",
    "time_zone": "时区",
}
_WINDOWS = {
    "1h": "近 1 小时",
    "24h": "近 24 小时",
    "7d": "近 7 天",
    "30d": "近 30 天",
    "90d": "近 90 天",
    "365d": "近 365 天",
    "lifetime": "累计",
}
_MONTHS = ("本月", "上月", "前 2 个月那月", "前 3 个月那月")
_WINDOWED = re.compile(rf"(.+)_({'|'.join(_WINDOWS)})")
_MONTHLY = re.compile(r"(orders|spend)_month_([0-3])")


def say_path(path: Sequence[str]) -> str:
    """Return a dotted name in Chinese; what has no name of its own stays as written.

    Args:
        path: such as `("customer", "orders_30d")`.
    """
    last = path[-1]
    if "traits" in path:
        return f"属性 {last} "
    if path[0] == "customer":
        return feature(last)
    said = FIELDS.get(last, last) if "props" not in path else last
    return f"入口事件的{said}" if path[0] == "entry" else said


def feature(name: str) -> str:
    """Return a feature in Chinese; one of a deployment's own keeps its name."""
    if name in _FIXED:
        return _FIXED[name]
    if name.startswith("days_since_"):
        thing = _SINGULARS.get(name.removeprefix("days_since_"))
        return f"距上次{thing}的天数" if thing else name
    month = _MONTHLY.fullmatch(name)
    if month:
        what = "下单次数" if month[1] == "orders" else "消费金额"
        return f"{_MONTHS[int(month[2])]}{what}"
    windowed = _WINDOWED.fullmatch(name)
    said = _over_window(windowed[1], _WINDOWS[windowed[2]]) if windowed else ""
    return said or name


def _over_window(stem: str, window: str) -> str:
    if stem in _AMOUNTS:
        return f"{window}{_AMOUNTS[stem]}"
    if stem in _STEMS:
        return f"{window}{_STEMS[stem]}次数"
    thing = _STEMS.get(stem.removesuffix("_days"))
    return f"{window}有{thing}的天数" if thing and stem.endswith("_days") else ""
