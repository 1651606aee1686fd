"""Tables out of databases: a URL, and a query or the only table there is, through SQLAlchemy."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from zoo.errors import UserError, line_of
from zoo.table.files import existing, said
from zoo.table.typed import without_objects

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

MOST_LISTED = 20


def read_sql(url: str, query: str | None = None) -> pd.DataFrame:
    """The rows that a query gives; without one, those of the only table in the database.

    SQLite and PostgreSQL refuse meanwhile to write, and other databases are told to keep nothing.

    Decimals come as floats, dates and times as datetimes (in UTC where they have a time zone), bytes that are text
    and UUIDs as text.

    Raises UserError where SQLAlchemy or the database's driver is not installed, where the database cannot be reached,
    where the query fails or gives no rows and columns, and without a query where there are many tables or none.
    """
    if find_spec("sqlalchemy") is None:
        raise UserError(f"reading {said(url)} needs SQLAlchemy", "pip install 'zoo-density[sql]'")
    from sqlalchemy.exc import SQLAlchemyError

    engine = _engine(url)
    try:
        try:
            connection = engine.connect()
        except SQLAlchemyError as error:
            raise UserError(f"cannot connect to {said(url)}: {_reason(error)}", "check the URL") from None
        with connection:
            return _in_utc(without_objects(_rows(connection, url, query)))
    finally:
        engine.dispose()


# ---- reaching it


def _engine(url: str) -> Engine:
    """The engine of a URL; that of SQLite opens a file that is there."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        address = _address(url)
        if address.get_backend_name() == "sqlite":
            _check_file(address)
        return create_engine(address)
    except NoSuchModuleError:
        remedy = "give the path of a file, or the URL of a database, like sqlite:///shop.db"
        raise UserError(f"{said(url)}: no database is known by {url.partition(':')[0]!r}", remedy) from None
    except ModuleNotFoundError as error:
        ours = error.name == "psycopg"
        remedy = "pip install 'zoo-density[sql]'" if ours else "install it, or name another driver: kind+driver://..."
        raise UserError(f"reading {said(url)} needs the package {error.name!r}", remedy) from None
    except (ArgumentError, ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{said(url)} is not the URL of a database", "write it like sqlite:///shop.db") from None


def _address(url: str) -> URL:
    """A URL with the driver that the extra `sql` installs, where it names none."""
    from sqlalchemy import make_url

    address = make_url(url)
    if address.drivername in ("postgres", "postgresql"):
        return address.set(drivername="postgresql+psycopg")
    return address


def _check_file(address: URL) -> None:
    """Refuse a SQLite file that is not there: SQLite would make it."""
    if address.database not in (None, "", ":memory:") and not str(address.database).startswith("file:"):
        existing(Path(str(address.database)))


# ---- reading it


def _rows(connection: Connection, url: str, query: str | None) -> pd.DataFrame:
    """The rows of a query, or of the only table."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        connection = _read_only(connection)
        statement = _only_table(connection, url) if query is None else query
        result = connection.execution_options(no_parameters=True).exec_driver_sql(statement)
        if not result.returns_rows:
            raise UserError(f"the query gives no table: {query!r}", "give one that starts with select")
        records = [tuple(row) for row in result]
    except SQLAlchemyError as error:
        message = f"{said(url)} refuses {'to be read' if query is None else 'the query'}: {_reason(error)}"
        raise UserError(message, _listed(connection)) from None
    return pd.DataFrame.from_records(records, columns=list(result.keys()))


def _in_utc(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, changed in place: its times in UTC, whatever the zone of the session."""
    for i, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, pd.DatetimeTZDtype):
            frame.isetitem(i, frame.iloc[:, i].dt.tz_convert("UTC").array)
    return frame


def _read_only(connection: Connection) -> Connection:
    """The connection with writing forbidden, where the database can do that."""
    if connection.dialect.name == "postgresql":
        return connection.execution_options(postgresql_readonly=True)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    return connection


def _only_table(connection: Connection, url: str) -> str:
    """The query for the only table of a database."""
    names = _tables(connection)
    if len(names) == 1:
        quote = connection.dialect.identifier_preparer.quote
        return f"select * from {'.'.join(quote(part) for part in names[0])}"
    if not names:
        raise UserError(f"{said(url)} holds no table", "name another database")
    example = f"say which rows: --query 'select * from {'.'.join(names[0])}'"
    raise UserError(f"{said(url)} holds {len(names)} tables: {_joined(names)}", example)


def _tables(connection: Connection) -> list[tuple[str, ...]]:
    """The tables and then the views that need no schema before their names; where there are none, those that do."""
    from sqlalchemy import inspect

    looked = inspect(connection)
    here: list[tuple[str, ...]] = [(name,) for name in (sorted(looked.get_table_names()) or looked.get_view_names())]
    if here:
        return here
    schemas = [s for s in looked.get_schema_names() if s not in ("information_schema", looked.default_schema_name)]
    return [(schema, name) for schema in schemas for name in sorted(looked.get_table_names(schema))]


def _listed(connection: Connection) -> str:
    """The remedy for a query that failed: what there is to be read."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        connection.rollback()
        names = _tables(connection)
    except SQLAlchemyError:
        return "check the database"
    return f"its tables: {_joined(names)}" if names else "it holds no table"


def _joined(names: list[tuple[str, ...]]) -> str:
    return ", ".join(".".join(name) for name in names[:MOST_LISTED]) + (", ..." if len(names) > MOST_LISTED else "")


def _reason(error: Any) -> str:
    """What the database's driver said, in one line."""
    return line_of(getattr(error, "orig", None) or error)
