"""Journeys in Chinese."""

from __future__ import annotations

from collections.abc import Sequence

from engine.authoring.show.chinese_cron import say_cron
from engine.authoring.show.chinese_names import EVENTS, say_path
from engine.authoring.show.words import Words
from engine.rules.limits import DEFAULT_EXPIRES_MS
from engine.rules.parsing.parsed import (
    DEFAULT_PRIORITY,
    ParsedEntry,
    ParsedExit,
    ParsedGoal,
    ParsedGuards,
    ParsedLeave,
    ParsedRun,
    ParsedSend,
    ParsedSet,
    ParsedSplit,
    ParsedTable,
    ParsedWait,
    ParsedWaitUntil,
)
from engine.rules.text.yaml_nodes import Scalar
from engine.rules.times.units import UNIT_MS, Cap, write_time
from engine.rules.times.until import Until
from engine.rules.times.windows import SendWindow

_HEADINGS = {
    "enters": "谁进入",
    "leaves": "谁提前离开",
    "goal": "目标",
    "guards": "什么会拦下消息",
    "steps": "步骤",
    "owner": "负责人",
    "off": "已停用：不再有人进入",
    "end": "结束",
    "start": "进入",
    "sequence": "子流程",
}
_COMPARED = {"<": "低于", "<=": "不高于", ">": "高于", ">=": "不低于", "==": "为", "!=": "不为"}
_TESTED = {"contains": "包含", "startsWith": "开头是", "endsWith": "结尾是", "matches": "匹配"}
_UNITS = (("d", "天"), ("h", "小时"), ("m", "分钟"), ("s", "秒"))
_DAYS = ("周一", "周二", "周三", "周四", "周五", "周六", "周日")
_CHANNELS = {
    "email": "邮件",
    "sms": "短信",
    "push": "推送",
    "in_app": "应用内消息",
    "wechat": "微信",
    "agent": "人工任务",
}
_PURPOSES = {
    "marketing": "营销",
    "analytics": "分析",
    "personalization": "个性化",
    "third_party": "第三方",
}


class Chinese(Words):
    """See `Words`."""

    def heading(self, name: str) -> str:
        """See `Words`."""
        return _HEADINGS[name]

    def event(self, name: str) -> str:
        """See `Words`."""
        return EVENTS.get(name, name)

    def name(self, path: Sequence[str]) -> str:
        """See `Words`."""
        return say_path(path)

    def compare(self, subject: str, operator: str, constant: str) -> str:
        """See `Words`."""
        said = f"{subject}{_COMPARED[operator]}"
        if constant.startswith('"'):
            return f"{said}{_quoted(constant)}"
        return f"{said} {constant}" if constant.isascii() else f"{said}{constant}"

    def flag(self, subject: str, *, wanted: bool) -> str:
        """See `Words`."""
        return f"{subject}为{'是' if wanted else '否'}"

    def known(self, subject: str, *, wanted: bool) -> str:
        """See `Words`."""
        return f"{subject}{'已知' if wanted else '未知'}"

    def text_test(self, subject: str, function: str, text: str) -> str:
        """See `Words`."""
        return f"{subject}{_TESTED.get(function, function)}“{text}”"

    def one_of(self, subject: str, values: Sequence[str]) -> str:
        """See `Words`."""
        return f"{subject}为{'或'.join(_quoted(value) for value in values)}"

    def all_of(self, parts: Sequence[str]) -> str:
        """See `Words`."""
        return "，且".join(parts)

    def any_of(self, parts: Sequence[str]) -> str:
        """See `Words`."""
        return "，或".join(parts)

    def bracket(self, said: str) -> str:
        """See `Words`."""
        return f"（{said}）"

    def none_of(self, said: str) -> str:
        """See `Words`."""
        return f"并非（{said}）"

    def with_condition(self, event: str, where: Scalar) -> str:
        """See `Words`."""
        return f"{event}（{self.condition(where)}）"

    def entry(self, entry: ParsedEntry) -> list[str]:
        """See `Words`."""
        said = [f"{self._enters(entry)}，客户进入旅程"]
        if entry.where is not None and entry.kind != "count":
            said.append(f"仅当该事件的{self.condition(entry.where)}")
        if entry.when is not None:
            said.append(f"仅当{self.condition(entry.when)}")
        at_once = [self.condition(each) for each in (entry.at_once_where, entry.at_once_when) if each]
        if at_once:
            said.append(f"若{self.any_of(at_once)}，则立即进入")
        if entry.per is not None:
            said.append(f"每个{self.name(entry.per.value.split('.'))}各自并行一次")
        said.append(self._again(entry))
        return said

    def _enters(self, entry: ParsedEntry) -> str:
        events = entry.events or ((entry.event,) if entry.event else ())
        event = "或".join(self.event(each.value) for each in events)
        length = say_duration(entry.for_ms) if entry.for_ms else ""
        segment = entry.segment.value if entry.segment else ""
        match entry.kind:
            case "absent":
                return {
                    "last": f"距上次{event}满 {length}仍未再次{event}时",
                    "first": f"首次{event}后 {length}内没有第二次时",
                    "signup": f"注册后 {length}内没有{event}时",
                }[entry.since]
            case "unanswered":
                return f"咨询满 {length}无人回复时"
            case "segment_entered" | "segment_exited":
                return f"客户{'进入' if entry.kind == 'segment_entered' else '离开'}分群 {segment} 时"
            case "count":
                where = f"（{self.condition(entry.where)}）" if entry.where is not None else ""
                return f"{length}内第 {entry.at_least} 次{event}{where}时"
            case "schedule" | "date" | "rises" | "falls":
                return self._of_itself(entry, segment)
            case _:
                return f"每次{event}时"

    def _of_itself(self, entry: ParsedEntry, segment: str) -> str:
        """Say an entry that no event makes: a level crossed, a date, a schedule."""
        if entry.feature is not None:
            moves = "升到高于" if entry.kind == "rises" else "降到低于"
            return f"{self.name(entry.feature.value.split('.'))}{moves} {entry.level:g} 时"
        if entry.until is not None:
            return f"在{_until(entry.until)}"
        assert entry.schedule is not None
        whose = f"{entry.zone} 时间" if entry.zone else "按客户当地时间"
        inside = f"，且客户属于分群 {segment}" if segment else ""
        return f"{whose}{say_cron(entry.schedule.text)}{inside}"

    def _again(self, entry: ParsedEntry) -> str:
        same = "同一个" if entry.per is not None or entry.kind == "unanswered" else ""
        match entry.reentry.rule:
            case "always":
                return "可以重复进入"
            case "after":
                return f"{same}最早 {say_duration(entry.reentry.after_ms)}后可再次进入"
            case _:
                return f"{same}只进入一次"

    def leaves(self, leave: ParsedExit) -> str:
        """See `Words`."""
        if leave.segment is not None:
            moves = "进入" if leave.event.value == "segment_entered" else "离开"
            return f"客户{moves}分群 {leave.segment.value} 时立即离开"
        return f"{self.awaited(leave)}时立即离开"

    def goal(self, goal: ParsedGoal) -> str:
        """See `Words`."""
        event = self.event(goal.event.value)
        said = self.with_condition(event, goal.where) if goal.where is not None else event
        worth = f"，价值为{self.value(goal.value)}" if goal.value is not None else ""
        return f"进入后 {say_duration(goal.within_ms)}内{said}{worth}"

    def guards(self, guards: ParsedGuards, *, transactional: bool) -> list[str]:
        """See `Words`."""
        said = self._held_messages(guards)
        if transactional:
            said.insert(0, "事务性消息：不受授权、频次上限和免打扰时段限制，但黑名单始终有效")
        if guards.exclusion_group is not None:
            said.append(f"互斥组 {guards.exclusion_group.value}：同一时间只在其中一个旅程")
        if guards.exclusion_group is not None or guards.priority != DEFAULT_PRIORITY:
            said.append(f"优先级 {guards.priority}（满分 100）")
        if guards.entry_cap is not None:
            span = say_duration(guards.entry_cap.window_ms)
            said.append(f"全部客户合计每 {span}最多 {guards.entry_cap.count:,} 人次进入")
        if guards.holdout:
            said.append(f"{guards.holdout * 100:g}% 的客户留作对照，不发送任何消息")
        return said

    @staticmethod
    def _held_messages(guards: ParsedGuards) -> list[str]:
        said = []
        if guards.consent is not None:
            said.append(f"须有{_PURPOSES.get(guards.consent.value, guards.consent.value)}授权")
        if guards.contact is not None:
            said.append(f"在触达策略中计为 {guards.contact.value}")
        if guards.caps:
            said.append(f"本旅程最多{'、'.join(_cap(cap) for cap in guards.caps)}")
        if guards.quiet_hours is not None:
            said.append(f"客户当地时间 {guards.quiet_hours} 免打扰：推迟到时段结束")
        if guards.send_windows:
            windows = "、".join(_window(window) for window in guards.send_windows)
            said.append(f"只在客户当地时间{windows} 发送：否则推迟到下一个时段")
        return said

    def send(self, step: ParsedSend) -> tuple[str, list[str]]:
        """See `Words`."""
        urgent = "（高优先级）" if step.priority == "high" else ""
        notes = [f"{name}：{self.value(value)}" for name, value in step.data]
        if step.table is not None:
            notes.extend(self.table(step.table))
        if step.expires_ms != DEFAULT_EXPIRES_MS:
            notes.append(f"最迟 {say_duration(step.expires_ms)}内发送")
        channel = _CHANNELS.get(step.channel.value, step.channel.value)
        return f"{channel}：{step.template}{urgent}", notes

    def table(self, table: ParsedTable) -> list[str]:
        """See `Words`."""
        columns = [self.value(column) for column in table.columns]
        lines = []
        for row in table.rows:
            given = "，".join(
                f"{name.value} {cell.text}" for name, cell in zip(table.give, row.values, strict=False)
            )
            asked = self.row(columns, row)
            lines.append(f"若{asked}：{given}" if asked else f"其余：{given}")
        return lines

    def wait(self, step: ParsedWait) -> str:
        """See `Words`."""
        if step.until is not None:
            return f"等到{_until(step.until)}"
        return f"等待 {say_duration(step.wait_ms)}"

    def wait_until(self, step: ParsedWaitUntil) -> tuple[str, str, str]:
        """See `Words`."""
        events = self.any_of([self.awaited(each) for each in step.awaited])
        limit = f"最晚到 {_until(step.until)}" if step.until else f"最多 {say_duration(step.timeout_ms)}"
        return f"等待{events}，{limit}", "发生了", "没有发生"

    def branch(self) -> str:
        """See `Words`."""
        return "按条件分支（取第一个成立的）"

    def arm(self, when: Scalar | None) -> str:
        """See `Words`."""
        return f"若{self.condition(when)}" if when is not None else "否则"

    def split(self, step: ParsedSplit) -> str:
        """See `Words`."""
        return f"按比例分流（{step.name}）" if step.name else "按比例分流"

    def variant(self, name: str, share: float) -> str:
        """See `Words`."""
        return f"{name}：{share * 100:g}%"

    def run(self, step: ParsedRun) -> str:
        """See `Words`."""
        return f"执行子流程 {step.sequence.value}"

    def set_trait(self, step: ParsedSet) -> str:
        """See `Words`."""
        return f"把属性 {step.trait} 设为 {self.value(step.to)}"

    def leave(self, step: ParsedLeave) -> str:
        """See `Words`."""
        del step
        return "离开旅程"


def say_duration(duration_ms: int) -> str:
    """Return a duration in Chinese, such as `90 天`.

    Args:
        duration_ms: whole seconds.
    """
    for unit, word in _UNITS:
        if duration_ms % UNIT_MS[unit] == 0 and duration_ms:
            return f"{duration_ms // UNIT_MS[unit]} {word}"
    return f"{duration_ms / 1000:g} 秒"


def _quoted(constant: str) -> str:
    return f"“{constant[1:-1]}”" if constant.startswith('"') else constant


def _cap(cap: Cap) -> str:
    return f"每 {say_duration(cap.window_ms)} {cap.count} 条"


def _until(until: Until) -> str:
    said = write_time(until.minute)
    if until.weekdays:
        said = f"{'或'.join(_DAYS[day] for day in until.weekdays)} {said}"
    if until.trait:
        which = "下一个周年" if until.yearly else "日期"
        before = f"前 {until.before_days} 天" if until.before_days else "当天"
        said = f"属性 {until.trait} 的{which}{before} {said}"
    where = f"（{until.zone}）" if until.zone else "（客户当地时间）"
    return f"{said}{where}"


def _window(window: SendWindow) -> str:
    times = str(window).rsplit(" ", maxsplit=1)[-1]
    if len(window.days) == len(_DAYS):
        return f"每天 {times}"
    days = list(window.days)
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{_DAYS[days[0]]}至{_DAYS[days[-1]]} {times}"
    return f"{'、'.join(_DAYS[day] for day in days)} {times}"
