"""How a text file is laid out: its separator, its names, and whether its first row is one of names."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from zoo.errors import UserError, ZooWarning

BLANKS = r"\s+"
SEPARATORS = ("\t", ";", "|", ",", BLANKS)
_SPELT = {"\\t": "\t", "tab": "\t", "whitespace": BLANKS, "space": BLANKS, " ": BLANKS}
_SAMPLE_CHARACTERS, _SAMPLE_ROWS = 200_000, 200


@dataclass(frozen=True)
class Layout:
    """How a text file is laid out.

    sep      separator, or BLANKS
    names    column names
    skip     whether the first row holds names and is no data
    decimal  `.` or `,`
    quote    what stands around cells that hold a separator: `"` or `'`
    """

    sep: str
    names: list[str]
    skip: bool
    decimal: str = "."
    quote: str = '"'


def find_layout(
    text: str, where: str, header: bool | None, names: list[str] | None, sep: str | None, tokens: set[str]
) -> Layout:
    """Find the separator, the names and whether the first row is data, from the first rows of the text."""
    quote = _sniff_quote(text, where)
    if sep is None:
        sep = _sniff_separator(text, quote, tokens)
    elif _common_width(_records(text, sep, quote))[0] == 1:
        _warn_one_column(text, sep, quote, tokens, where)
    records = _records(text, sep, quote)
    first, body = records[0], records[1:]
    decimal = "," if _decimal_commas(records, sep, where) else "."
    looks_named = _looks_named(first, body, decimal, tokens)
    width = Counter(map(len, body)).most_common(1)[0][0] if body else len(first)
    if names is not None:
        skip = header is True or first == names
        if looks_named and not skip:
            warnings.warn(f"the first row of {where} looks like names: --header skips it", ZooWarning, stacklevel=2)
    elif header or (header is None and looks_named):
        skip, names = True, _header_names(first, width, where)
    else:
        skip, names = False, [f"column_{i + 1}" for i in range(len(first))]
        if header is None:
            message = f"{where} seems to have no header: columns are {names[0]} ... {names[-1]}"
            warnings.warn(f"{message} (--columns FILE names them, --header if it has one)", ZooWarning, stacklevel=2)
    check_names(names, where)
    if not skip:
        width = len(first)
    if len(names) != width:
        remedy = f"give {width} names, one a line, or name the separator (--sep)"
        raise UserError(f"{where} has {width} columns and {len(names)} names", remedy)
    return Layout(sep, names, skip, decimal, quote)


def widths(text: str, sep: str, quote: str) -> Iterator[tuple[int, int]]:
    """The last line, counted from 1, and the number of cells of every row that is not blank."""
    if sep == BLANKS:
        yield from ((i, len(line.split())) for i, line in enumerate(text.splitlines(), start=1) if line.strip())
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sep, quotechar=quote, skipinitialspace=True)
    with contextlib.suppress(csv.Error):
        for record in reader:
            if len(record) > 1 or any(cell.strip() for cell in record):
                yield reader.line_num, len(record)


def _records(text: str, sep: str, quote: str) -> list[list[str]]:
    """The first rows of a text as cells, blank rows left out."""
    sample = text[:_SAMPLE_CHARACTERS]
    lines: Iterable[str] = io.StringIO(sample, newline="")
    if sep == BLANKS:
        lines, sep = (re.sub(BLANKS, " ", line.strip()) for line in lines), " "
    reader = csv.reader(lines, delimiter=sep, quotechar=quote, skipinitialspace=sep != " ")
    records = list(_take(reader, _SAMPLE_ROWS))
    if len(sample) < len(text) and 1 < len(records) < _SAMPLE_ROWS:
        records.pop()  # cut off in its middle
    return records or [[""]]


def _take(reader: Iterator[list[str]], count: int) -> Iterator[list[str]]:
    """At most `count` rows that are not blank; an overlong cell (an unclosed quote) ends them."""
    try:
        for record in reader:
            if not any(record):
                continue
            yield [cell.strip() for cell in record]
            count -= 1
            if not count:
                return
    except csv.Error:
        return


def separator(sep: str | None) -> str | None:
    """A separator as the user spells it."""
    if sep is None:
        return None
    sep = _SPELT.get(sep, sep)
    if sep != BLANKS and len(sep) != 1:
        raise UserError(f"the separator {sep!r} is not one character", "legal: one character, tab, whitespace")
    return sep


def _sniff_quote(text: str, where: str) -> str:
    """The quotation mark: a single one where nearly every line has a cell in such and none has one in a double one."""
    lines = [line for line in text[:_SAMPLE_CHARACTERS].splitlines()[:_SAMPLE_ROWS] if line.strip()]
    edge, end = r"(?:^|[\t;|,])\s*", r"\s*(?:[\t;|,]|$)"
    single, double = (sum(bool(re.search(f"{edge}{q}[^{q}]*{q}{end}", line)) for line in lines) for q in "'\"")
    if double or single < 0.9 * len(lines) or not single:
        return '"'
    warnings.warn(f"{where} quotes its cells with ': they are read without", ZooWarning, stacklevel=2)
    return "'"


def _sniff_separator(text: str, quote: str, tokens: set[str]) -> str:
    """The separator under which most rows have one same number of cells, a comma where none has two."""
    best, share = ",", 0.0
    for sep in SEPARATORS:
        records = _records(text, sep, quote)
        width, agreeing = _common_width(records)
        if width < 2 or agreeing <= max(share, 0.9 - 1e-9):
            continue
        if sep == BLANKS and not _numeric_columns(records[1:] or records, ".", tokens):
            continue  # words, not cells
        best, share = sep, agreeing
    return best


def _warn_one_column(text: str, sep: str, quote: str, tokens: set[str], where: str) -> None:
    """Warn of a separator that parts nothing, where another one does."""
    other = _sniff_separator(text, quote, tokens)
    width, _ = _common_width(_records(text, other, quote))
    if width > 1:
        spelt = {"\t": "tab", BLANKS: "whitespace"}
        asked, better = (spelt.get(one, one) for one in (sep, other))
        message = f"{where} has one cell in every row with the separator {asked!r}, and {width} with {better!r}"
        warnings.warn(f"{message} (--sep '{better}')", ZooWarning, stacklevel=2)


def _common_width(records: list[list[str]]) -> tuple[int, float]:
    """The usual number of cells, and the share of rows that have it; a header may have one less (row names)."""
    widths = [len(record) for record in records]
    width = Counter(widths[1:] or widths).most_common(1)[0][0]
    row_names = widths[0] == width - 1 > 1
    agreeing = sum(w == width for w in widths) + 0.99 * row_names
    return width, agreeing / len(widths)


def _looks_named(first: list[str], body: list[list[str]], decimal: str, tokens: set[str]) -> bool:
    """Whether the first row holds names: some column is numeric below a first cell that is not, or none is numeric."""
    if not body:
        return not any(is_number(cell, decimal) for cell in first)
    cells = [first[i] for i in _numeric_columns(body, decimal, tokens) if i < len(first) and first[i] not in tokens]
    return not cells or not all(is_number(cell, decimal) for cell in cells)


def _numeric_columns(records: list[list[str]], decimal: str, tokens: set[str]) -> list[int]:
    """Indices of the columns whose cells are all numbers or missing, with one number at least."""
    width = Counter(map(len, records)).most_common(1)[0][0]
    even = [record for record in records if len(record) == width]
    found = []
    for i in range(width):
        cells = [record[i] for record in even if record[i] not in tokens]
        if cells and all(is_number(cell, decimal) for cell in cells):
            found.append(i)
    return found


def is_number(cell: str, decimal: str = ".") -> bool:
    try:
        float(cell.replace(decimal, "."))
    except ValueError:
        return False
    return "_" not in cell


def _decimal_commas(records: list[list[str]], sep: str, where: str) -> bool:
    """Whether the cells write 1,5 for one and a half; 1,500 alone says so only between semicolons."""
    if sep in (",", BLANKS):
        return False
    cells = [cell for record in records for cell in record]
    fractions = re.compile(r"[-+]?\d+,(\d+)(e[-+]?\d+)?", re.IGNORECASE)
    found = [match[1] for match in map(fractions.fullmatch, cells) if match]
    commas = bool(found) and (sep == ";" or any(len(digits) != 3 for digits in found))
    points = any(re.fullmatch(r"[-+]?\d*\.\d+(e[-+]?\d+)?", cell, re.IGNORECASE) for cell in cells)
    if commas and not points:
        warnings.warn(f"{where} writes decimal commas: 1,5 is read as 1.5", ZooWarning, stacklevel=2)
    return commas and not points


def _header_names(first: list[str], width: int, where: str) -> list[str]:
    """Names from a header; where rows have one cell more, they begin with a row name, as R writes them."""
    names = [name or f"Unnamed: {i}" for i, name in enumerate(first)]
    if len(names) == width - 1:
        warnings.warn(f"{where} has one name less than cells: the first column is 'rownames'", ZooWarning, stacklevel=2)
        return ["rownames", *names]
    return names


def check_names(names: Iterable[str], where: str, remedy: str = "rename them (--columns FILE)") -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        listed = ", ".join(map(repr, twice[:10])) + (", ..." if len(twice) > 10 else "")
        raise UserError(f"{where} has these column names more than once: {listed}", remedy)
