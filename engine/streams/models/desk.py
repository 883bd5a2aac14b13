"""What operators do with the churn model: promote a version, roll back, hold it still, let it go on."""

from __future__ import annotations

import msgspec

from engine.errors import ConfigError, EngineError
from engine.features.churn.snapshot import Snapshot, encode_snapshot, shipped_prior
from engine.settings import Settings
from engine.streams.kafka import KafkaSettings
from engine.streams.models.topic import (
    DESK_KEY,
    MODEL_KEY,
    Desk,
    Kept,
    ModelBoard,
    kept_key,
    now_ms,
    read_models,
    write_models,
)


class ModelDesk:
    """Reads the model topic, writes what was decided, and returns what it says then.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.
        author: who it is, for those who read it later.
    """

    def __init__(self, settings: Settings, kafka: KafkaSettings, author: str) -> None:
        self._settings = settings
        self._kafka = kafka
        self._topic = settings.topics.models
        self._author = author

    def read(self) -> ModelBoard:
        """Return what the topic says.

        Raises:
            ConfigError: there is no such topic.
            TransientError: Kafka does not answer.
        """
        return read_models(self._kafka, self._topic, self._settings.kafka.timeout_ms / 1000)

    def promote(self, version: int | None, message: str = "") -> ModelBoard:
        """Make a version live whatever its trial said; None = the newest. If frozen it stays so, on this one.

        Raises:
            EngineError: there is no such version, it is live already, or it is for another horizon.
        """
        board = self.read()
        if version is None:
            if not board.kept:
                raise EngineError("the trainer has published no snapshot yet; there is nothing to promote")
            version = max(board.kept)
        chosen = self._chosen(board, version)
        promoted = version, 0 if board.live is None else board.live.version
        return self._write(board, chosen, message, frozen=board.frozen, promoted=promoted)

    def roll_back(self, version: int | None, message: str = "") -> ModelBoard:
        """Bring back a version (None = what was live before) and hold it, or the trainer's next would follow.

        Raises:
            EngineError: there is no such version, it is live already, or it is for another horizon.
        """
        board = self.read()
        if version is None:
            version = self._before(board)
        return self._write(board, self._chosen(board, version), message, frozen=True)

    def freeze(self, message: str = "") -> ModelBoard:
        """Hold what is live until `thaw`: the trainer goes on learning, workers do not switch.

        Raises:
            EngineError: it is frozen already.
        """
        board = self.read()
        if board.frozen:
            raise EngineError("the model is frozen already; `engage model freeze --off` lets it go on")
        live, held = board.live or self._prior(), board.desk.promoted if board.desk is not None else None
        return self._write(board, live, message, frozen=True, promoted=held)

    def thaw(self, message: str = "") -> ModelBoard:
        """Let the trainer decide again; what is live stays until a snapshot passes its trial against it.

        Raises:
            EngineError: it is not frozen.
        """
        board = self.read()
        live = board.live
        if not board.frozen or live is None:
            raise EngineError("the model is not frozen")
        held = board.desk.promoted if board.desk is not None else None
        return self._write(board, live, message, frozen=False, promoted=held)

    @staticmethod
    def _before(board: ModelBoard) -> int:
        """Return what was live before: what a promotion replaced, else the version before."""
        if board.replaced is not None:
            return board.replaced
        live = board.live
        if live is None or not live.version:
            raise EngineError(
                "the prior that ships (version 0) is live, nothing was before it; `engage model promote N`"
                " makes another one live, `engage model list` tells which there are"
            )
        before = board.before(live.version)
        return 0 if before is None else before.version

    def _chosen(self, board: ModelBoard, version: int) -> Snapshot:
        live = board.live
        if version == (0 if live is None else live.version):
            raise EngineError(f"version {version} is live already")
        if version == 0:
            return self._prior()
        if version not in board.kept:
            known = ", ".join(map(str, sorted(board.kept))) or "none"
            raise EngineError(f"no version {version}; kept are: {known}, and 0, the prior that ships")
        return board.kept[version].snapshot

    def _prior(self) -> Snapshot:
        return shipped_prior(self._settings.churn.horizon_days)

    def _write(
        self,
        board: ModelBoard,
        chosen: Snapshot,
        message: str,
        *,
        frozen: bool,
        promoted: tuple[int, int] | None = None,
    ) -> ModelBoard:
        horizon_days = self._settings.churn.horizon_days
        if chosen.horizon_days != horizon_days:
            raise ConfigError(
                f"version {chosen.version} is for {chosen.horizon_days} days,"
                f" churn.horizon_days is {horizon_days}"
            )
        desk = Desk(chosen if frozen else None, self._author, now_ms(), message, promoted)
        records: dict[bytes, bytes | None] = {}
        if not frozen:
            records[MODEL_KEY] = encode_snapshot(chosen)
        kept = board.kept.get(chosen.version)
        if kept is not None and not kept.went_live:
            lived = Kept(kept.snapshot, kept.time_ms, went_live=True)
            records[kept_key(chosen.version)] = msgspec.json.encode(lived)
        # last: a worker that sees only a part of these goes on with what it has
        records[DESK_KEY] = msgspec.json.encode(desk)
        write_models(self._kafka, self._topic, records)
        return self.read()
