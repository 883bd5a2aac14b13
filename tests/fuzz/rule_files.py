"""Mutated rule files: each is refused with places, or accepted and runs."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

from engine.errors import RuleErrors
from engine.events import EVENT_TYPES
from engine.rules.limits import MAX_FILE_BYTES
from tests.fuzz.mutate import mutate_bytes, mutate_text
from tests.fuzz.world import compile_text, definitions, run_rules, sent_compiled, vocabulary
from tests.rules.random_journeys import random_journey
from tests.rules.random_layout import write_yaml

MAX_S = 1.0
RUN_EVERY = 20  # of the accepted ones so many share one run: most differ from a valid file in a constant
_ROOT = Path(__file__).parents[2]
_BYTES_SHARE = 0.1
OWN = 300  # valid journeys thought up for each run, beside the shipped ones


def corpus() -> list[str]:
    """Return the shipped journeys, and every wrong file of the golden tests."""
    shipped = sorted((_ROOT / "deploy" / "journeys").glob("*.yaml"))
    golden = sorted((_ROOT / "tests" / "rules" / "golden").rglob("*.yaml"))
    cookbook = sorted((_ROOT / "deploy" / "cookbook").glob("*.yaml"))
    files = [*(shipped + cookbook) * 20, *golden]
    return [
        path.read_text("utf-8", "replace")
        for path in files
        if not path.name.endswith(".test.yaml") and path.stat().st_size < MAX_FILE_BYTES // 50
    ]


def fuzz(seed: int, count: int) -> Counter[str]:
    """Check so many mutated files; return how many came out how.

    Args:
        seed: the same seed mutates the same way.
        count: how many.

    Raises:
        AssertionError: one crashed or took a second of processor time; the file's text is in the message.
    """
    rng = random.Random(seed)
    texts, found = corpus(), definitions()
    texts += [write_yaml(rng, random_journey(rng)) for _ in range(OWN)]
    whole = vocabulary(found)
    words = [
        *EVENT_TYPES,
        *sorted(whole.customer)[::17],
        *whole.segments,
        "event.amount",
        "customer.traits.tier",
    ]
    results: Counter[str] = Counter()
    for number in range(count):
        text = mutate_text(rng, texts, words).encode("utf-8", "surrogatepass")
        if rng.random() < _BYTES_SHARE:
            text = mutate_bytes(rng, text)
        begun_s = time.process_time()
        try:
            rules = compile_text(text, found, whole)
            results["accepted"] += 1
            if results["accepted"] % RUN_EVERY == 0 and rules.journeys:
                journey = rules.journeys[0]
                rules = sent_compiled(rules, found)
                types = [kind.name for kind in EVENT_TYPES.values() if kind.name in text.decode()]
                results["actions"] += run_rules(rng, rules, found, types)
                results["run"] += 1
                assert journey.name, "a journey has a name"
        except RuleErrors as errors:
            results["refused"] += 1
            places = [(each.line, each.column) for each in errors.errors]
            results["without a place"] += not places or min(places) < (1, 1)
        except Exception as error:
            raise AssertionError(f"seed {seed}, file {number}: {type(error).__name__}\n{text!r}") from error
        took_s = time.process_time() - begun_s
        assert took_s < MAX_S, f"seed {seed}, file {number} took {took_s:.1f} s\n{text!r}"
    return results
