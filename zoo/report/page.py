"""The report of a run: one HTML page that needs nothing but itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from zoo import run
from zoo.estimator import Estimator
from zoo.folder import PAGE
from zoo.report.content import comparison_content, model_content
from zoo.report.source import Source

TEMPLATE = "report.html.j2"


def write_report(
    run_folder: Path, models_file: str | None = None, estimators: Mapping[str, Estimator] | None = None
) -> Path:
    """Write `report.html` into a run folder (a comparison or a model), whole or not at all; returns its path.

    models_file  where models of the user's own are named
    estimators   fitted models that need not be loaded again, by name
    """
    folder = Path(run_folder)
    manifest = run.read_manifest(folder)
    source = Source(folder, manifest, models_file, dict(estimators or {}))
    content = comparison_content(source) if manifest["kind"] == "comparison" else model_content(source)
    text = render(content | {"problems": source.problems})
    handle, temporary = tempfile.mkstemp(prefix=f".{PAGE}-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, folder / PAGE)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return folder / PAGE


def render(content: dict[str, Any]) -> str:
    """The page's text; everything that is not Markup is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = code
    return environment.get_template(TEMPLATE).render(content)


def code(text: str) -> Markup:
    """`names` in backticks as code, everything escaped."""
    parts = str(text).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))
