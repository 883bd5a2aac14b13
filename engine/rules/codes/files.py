"""E0100-E0199: the file and its YAML."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0100",
        "the file cannot be read",
        "A file or folder given on the command line or in `rules.paths` is not there, or may not be read.",
        "Correct the path, or the rights of the file.",
    ),
    Code(
        "E0101",
        "not UTF-8, or half of a character",
        "Rule files are UTF-8 text, so that every language can be written in them and reads the same "
        "everywhere.",
        "Save the file as UTF-8: most editors offer it under *Save as* or in the status line.",
    ),
    Code(
        "E0102",
        "the file is too large",
        "A rule file may have 1 MiB. A journey needs a few kilobytes; a larger file is most likely "
        "another one.",
        "Look whether the right file was given; split it if it holds several things.",
    ),
    Code(
        "E0103",
        "not valid YAML",
        "The text cannot be read as YAML; the place is where reading stopped, the mistake may lie just "
        "before. Often a text with `: ` or ` #` in it lacks its quotes, a bracket or quote is not closed, "
        "or a line is indented differently from its neighbours.",
        "Put such texts in quotes; close what is open; indent the keys of one block alike.",
        "description: Win back: the second try\n",
        'description: "Win back: the second try"\n',
    ),
    Code(
        "E0104",
        "a tab in the indentation",
        "YAML indents with spaces only; how wide a tab is depends on the editor.",
        "Replace tabs by spaces; most editors can do it for the whole file.",
        "guards:\n\tconsent: marketing\n",
        "guards:\n  consent: marketing\n",
    ),
    Code(
        "E0105",
        "a key stands twice",
        "The same key stands twice in one block. Only one of the two could count, and nobody would see "
        "which.",
        "Remove one, or join the two.",
        "guards:\n  consent: marketing\n  cap: [1 per 7d]\n  cap: [4 per 30d]\n",
        "guards:\n  consent: marketing\n  cap: [1 per 7d, 4 per 30d]\n",
    ),
    Code(
        "E0106",
        "anchors and aliases are not allowed",
        "`&name` and `*name` reuse a part of the file elsewhere. They hide what a line says, and a few of "
        "them can blow a small file up without bound.",
        "Write the value out at each place. A text that begins with `*` or `&` needs quotes.",
        "guards:\n  consent: marketing\n  cap: &caps [1 per 7d]\n",
        "guards:\n  consent: marketing\n  cap: [1 per 7d]\n",
    ),
    Code(
        "E0107",
        "nested too deep, too many values, or a line too long",
        "A rule file may have 32 levels, 10,000 values, and 65,536 characters in a line. No journey comes "
        "near; a generated file may.",
        "Write the journey flatter, or as several.",
    ),
    Code(
        "E0108",
        "empty, or more than one document",
        "A rule file holds one journey: neither nothing, nor several documents with `---` between.",
        "Put each journey in a file of its own.",
    ),
)
