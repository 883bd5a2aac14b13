"""The `table` of a `send` step."""

from __future__ import annotations

from engine.rules.limits import MAX_TABLE_COLUMNS, MAX_TABLE_ROWS
from engine.rules.parsing.parsed import ParsedRow, ParsedTable
from engine.rules.text.reader import Fields, Reader, kind_of
from engine.rules.text.source import Placed
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar

TABLE_KEYS = ("on", "give", "rows")


def parse_table(node: Node | None, read: Reader) -> ParsedTable | None:
    """Read `table: {on: […], give: […], rows: [[…], …]}`."""
    if node is None:
        return None
    fields = read.fields(node, TABLE_KEYS, "table")
    if not isinstance(node, Mapping):
        return None
    columns = [
        scalar
        for each in _listed(fields, "on", MAX_TABLE_COLUMNS, read)
        if (scalar := read.expression(each, "a column")) is not None
    ]
    give = _give(fields, read)
    width = len(columns) + len(give)
    rows = []
    listed = _listed(fields, "rows", MAX_TABLE_ROWS, read)
    for each in listed:
        nodes = read.listed(each, 2 * MAX_TABLE_COLUMNS, "a row")
        cells = tuple(cell for cell in nodes if _plain(cell, read) and isinstance(cell, Scalar))
        if len(nodes) != width:
            said = f"the row has {len(nodes)} cells, it must have {width}: one for each of `on` and `give`"
            read.errors.add("E0230", said, each.place)
        elif len(cells) == width:
            rows.append(ParsedRow(cells[: len(columns)], cells[len(columns) :], each.place))
    return ParsedTable(tuple(columns), give, tuple(rows), len(rows) == len(listed), node.place)


def _listed(fields: Fields, name: str, limit: int, read: Reader) -> tuple[Node, ...]:
    node = read.required(fields, name, "table")
    found = read.listed(node, limit, name)
    if node is not None and not found and not read.errors.errors:
        read.errors.add("E0202", f"`{name}` of the table is empty", node.place)
    return found


def _give(fields: Fields, read: Reader) -> tuple[Placed[str], ...]:
    names: list[Placed[str]] = []
    for each in _listed(fields, "give", MAX_TABLE_COLUMNS, read):
        name = read.name(each, "a data value")
        if name is not None and any(name.value == other.value for other in names):
            read.errors.add("E0233", f"the table gives {name.value!r} twice", name.place)
        elif name is not None:
            names.append(name)
    return tuple(names)


def _plain(cell: Node, read: Reader) -> bool:
    if isinstance(cell, Scalar) and cell.value is not None:
        return True
    said = f"a cell must be one text, number or truth value, not {kind_of(cell)}"
    read.errors.add("E0203", said, cell.place)
    return False
