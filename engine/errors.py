"""One exception tree for the whole engine.

Messages are lower case, name the offending value, and never hold personal data.
"""

from __future__ import annotations

from collections.abc import Sequence


class EngineError(Exception):
    """Base of every error the engine raises on purpose."""


class ConfigError(EngineError):
    """A setting is missing, malformed or outside its range; the process must not start."""


class AccessError(ConfigError):
    """Kafka or Redis refuses our login, our certificate or our user's request; waiting does not help."""


class InvalidEvent(EngineError):  # noqa: N818 - the field's word for a record that goes to the dead letters
    """A record that can never be processed; it goes to the dead letters.

    Args:
        reason: a code of `engine.events.DeadLetterReason`.
        detail: what is wrong and where, without personal data.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class RuleError(EngineError):
    """One problem in a rule file, placed: an error, or a warning by a code that begins with `W`.

    Args:
        code: `E` or `W` and three or four digits, stable across releases.
        message: what is wrong.
        file: path of the rule file.
        line: 1-based line.
        column: 1-based column.
        hint: what to do, or empty.
    """

    def __init__(self, code: str, message: str, file: str, line: int, column: int, hint: str = "") -> None:
        super().__init__(f"{file}:{line}:{column}: {code}: {message}" + (f" ({hint})" if hint else ""))
        self.code = code
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.hint = hint

    def __reduce__(self) -> tuple[type[RuleError], tuple[str, str, str, int, int, str]]:
        """Travel between processes by its parts; an exception's own way knows the text only."""
        return RuleError, (self.code, self.message, self.file, self.line, self.column, self.hint)


class RuleErrors(EngineError):  # noqa: N818 - plural of RuleError
    """Every error found in a set of rule files, in file order.

    Args:
        errors: at least one.
        warnings: what else was found, and would not have stopped.
    """

    def __init__(self, errors: list[RuleError], warnings: Sequence[RuleError] = ()) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors
        self.warnings = tuple(warnings)


class StateError(EngineError):
    """A stored customer state cannot be read, for example because a newer engine wrote it."""


class TransientError(EngineError):
    """A server did not answer; the same call may go through later."""


class FencedError(EngineError):
    """Another worker owns the partition now; what this one computed must not be written."""
