"""Figures beside those of earlier calls, in place of those alike: a JSON list of lines, and a page of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def keep(
    file: Path, new: Sequence[Line], key: Sequence[str], page: Callable[[list[Line]], str] | None = None
) -> list[Line]:
    """Write lines into a JSON file, and with `page` beside it as .md; what has a new line's `key` gives way to it.

    The file is read again each time: another call may have written to it in the meantime.
    """
    known: list[Line] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    done = {tuple(line.get(k) for k in key) for line in new}
    lines = [line for line in known if tuple(line.get(k) for k in key) not in done] + list(new)
    file.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    if page is not None:
        file.with_suffix(".md").write_text(page(lines), encoding="utf-8")
    return lines
