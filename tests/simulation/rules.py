"""The rules of the simulated deployment, compiled once in a process."""

from __future__ import annotations

from engine.pipeline.core import Pipeline
from engine.settings import Settings
from engine.streams.wiring import build_pipeline, machine_settings
from tests.simulation.poison import RaisingMachine

_MADE: dict[str, Pipeline] = {}


def rules_of(settings: Settings) -> Pipeline:
    """Return a pipeline with the rules of a deployment, for others to switch to.

    Args:
        settings: whose.
    """
    name = " ".join(settings.rules.paths)
    if name not in _MADE:
        _MADE[name] = new_pipeline(settings)
    return _MADE[name]


def new_pipeline(settings: Settings) -> Pipeline:
    """Return a pipeline in which a rule raises at some orders.

    Args:
        settings: of the deployment.
    """
    made = build_pipeline(settings)
    made.use(RaisingMachine(made.rules, machine_settings(settings)))
    return made
