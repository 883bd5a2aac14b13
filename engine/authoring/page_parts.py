"""What all pages we write have in common: one file each, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final

MAX_ROWS: Final = 200  # of a table; the rest is in the JSON
STYLE: Final = """
:root{--ink:#1d2430;--soft:#5c6675;--line:#dfe4ea;--card:#f5f7f9;--page:#fff;--warn:#fff6dd;--warnline:#e5c158;
--good:#1b7a3d;--bad:#b3362b}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b4;--line:#333c48;--card:#1d232b;
--page:#14181e;--warn:#332b14;--warnline:#8d7326;--good:#6fcf8e;--bad:#f08a80}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);margin:0}
main{max-width:1040px;margin:0 auto;padding:2rem 1.5rem 4rem}
h1{font-size:1.7rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2.4rem 0 .6rem}
p{margin:.3rem 0}.soft{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(120px,1fr));gap:.7rem;margin:1.4rem 0}
.tile{background:var(--card);border-radius:8px;padding:.7rem .9rem}
.tile b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.85rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600;white-space:nowrap}
th.t,td.t{text-align:left}td.t:first-child{white-space:nowrap}td.ids{text-align:left;font-size:.8rem;color:var(--soft)}
.plus{color:var(--good);font-weight:600}.minus{color:var(--bad);font-weight:600}
svg{max-width:100%;height:auto;display:block}svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
svg line{stroke:var(--line)}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;font-size:.85rem;margin:.2rem 0 .6rem}
.legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
.notes{background:var(--warn);border-left:4px solid var(--warnline);border-radius:4px;
padding:.6rem 1rem .6rem 2rem}
.notes li{margin:.25rem 0}code{font-size:.85em}
"""


def document(title: str, sections: Sequence[str]) -> str:
    """Return a whole page.

    Args:
        title: plain text.
        sections: HTML.
    """
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style><main>{''.join(sections)}</main></html>\n"
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], total: int) -> str:
    """Write a table.

    Args:
        head: of the columns.
        rows: cells; one that starts with `t:` is text, with `i:` a list of ids, else a number.
        total: how many rows there are; those beyond `MAX_ROWS` are left out.
    """
    header = "".join(_cell("th", each) for each in head)
    body = "".join(f"<tr>{''.join(_cell('td', cell) for cell in row)}</tr>" for row in rows[:MAX_ROWS])
    more = f"<p class=soft>and {total - MAX_ROWS:,} more rows, in the JSON</p>" if total > MAX_ROWS else ""
    return f'<div class="scroll"><table><tr>{header}</tr>{body}</table></div>{more}'


def _cell(tag: str, cell: str) -> str:
    kind, text = (cell[0], cell[2:]) if cell[:2] in {"t:", "i:"} else ("", cell)
    style = {"t": " class=t", "i": " class=ids"}.get(kind, "")
    return f"<{tag}{style}>{text}</{tag}>"


def escaped(text: str) -> str:
    """Return text that means nothing to a browser."""
    return html.escape(text)
