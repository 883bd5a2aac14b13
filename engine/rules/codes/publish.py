"""E0601-E0649: publishing."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0601",
        "fixtures fail",
        "The rules pass the check, but a fixture beside them expects something else than what they do."
        " Rules that fail their own fixtures are not published.",
        "Run `engage rules test` and mend the journey or the fixture.",
    ),
    Code(
        "E0602",
        "somebody else published first",
        "Two people published on the same version. The first one won; the other publication has no effect.",
        "Look at theirs with `engage rules history`, take it over into your files and publish again.",
    ),
    Code(
        "E0603",
        "the rules are too large",
        "A publication travels as one record. It may have 64 MiB of text, 8 MiB when packed; older versions"
        " kept for those inside count, too.",
        "Remove journeys nobody needs any more.",
    ),
    Code(
        "E0604",
        "a stage is not finished",
        "The live version is for a share of the customers only. Another one on top of it would leave three"
        " versions taking entries, and nobody could tell who is in which.",
        "Finish it with `engage rules stage 100%`, or go back with `engage rules rollback`.",
    ),
    Code(
        "E0605",
        "nothing has changed",
        "The rules say what the live version says; comments, layout and the order of keys don't count.",
        "There is nothing to do.",
    ),
    Code(
        "E0606",
        "a journey stands twice",
        "Two files give the same journey. With published rules older versions are kept for those inside by"
        " themselves; only the first publication takes several versions of one journey over.",
        "Remove one of the files.",
    ),
    Code(
        "E0607",
        "no such version",
        "There is no published version of this number; of the oldest only the last hundred are kept.",
        "Take a number from `engage rules history`.",
    ),
    Code(
        "E0608",
        "nothing published yet",
        "The rules topic is empty, so nothing can be staged, approved, paused or rolled back.",
        "Begin with `engage rules publish`.",
    ),
    Code(
        "E0609",
        "not to be approved",
        "The version waits for no approval, or who approves it is who published it.",
        "`engage rules status` says which version waits; ask somebody else to approve it.",
    ),
    Code(
        "E0610",
        "the migration does not fit",
        "With `--migrate` everybody inside an older version goes on in the new one, so each step they can"
        " stand at (waits and messages) must lead to a step of the same kind, or to `exit`.",
        "Give a map of steps with `--migrate FILE`, or publish without migration: those inside then finish"
        " the version they entered.",
    ),
    Code(
        "E0611",
        "no such journey to pause or resume",
        "The journey is not published, is paused already, or is not paused.",
        "`engage rules status` lists the journeys and says which are paused.",
    ),
    Code(
        "E0612",
        "a share only grows",
        "The version is for that share of the customers already, or for a larger one. Taking customers out of"
        " a version they may have entered is a rollback.",
        "Give a larger share, or use `engage rules rollback`.",
    ),
    Code(
        "E0613",
        "a stage cannot migrate",
        "`--migrate` moves everybody who is inside, `--to` is for a share of the customers: both together"
        " would move customers to a version that is not theirs.",
        "Publish with `--to` first; migrate with the publication after it.",
    ),
    Code(
        "E0614",
        "somebody else's change would be undone",
        "Since your own last version somebody else has published changes to the same journeys or files. Yours"
        " may be older copies: publishing them would take the other changes back, and nobody would notice.",
        "Look with `engage rules diff live`, take their changes over, and publish with `--over N`, N being"
        " the live version. What is published after N is still refused.",
    ),
)
