"""Tables out of databases: SQLite, and a PostgreSQL server that these tests start and stop themselves."""

from __future__ import annotations

import contextlib
import datetime
import glob
import importlib.util
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import zoo
from zoo import cli
from zoo.errors import UserError, ZooWarning
from zoo.table import sql
from zoo.table.infer import infer_schema
from zoo.table.reader import read_table

sqlalchemy = pytest.importorskip("sqlalchemy")

N = 60
RNG = np.random.default_rng(0)
ROWS = [(i, float(x), "ab"[i % 2] if i != 3 else None) for i, x in enumerate(RNG.normal(size=N))]
FRAME = pd.DataFrame(ROWS, columns=["n", "x", "s"]).astype({"s": "str"})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A working folder with shop.db, which holds FRAME as `items`."""
    with contextlib.chdir(tmp_path):
        execute("shop.db", "create table items(n integer, x double precision, s text)")
        execute("shop.db", "insert into items values (?, ?, ?)", ROWS)
        yield tmp_path


def execute(file: str, statement: str, rows: list[Any] | None = None) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.executemany(statement, rows) if rows else connection.execute(statement)


def refused(url: str, query: str | None = None) -> str:
    """The one line in which a source is refused."""
    with pytest.raises(UserError) as error:
        read_table(url, query=query)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- SQLite


def test_the_only_table_is_read(folder: Path) -> None:
    pd.testing.assert_frame_equal(read_table("sqlite:///shop.db"), FRAME)
    pd.testing.assert_frame_equal(read_table(f"sqlite:///{folder / 'shop.db'}"), FRAME)
    execute("shop.db", "create view ends as select * from items where n < 2")
    pd.testing.assert_frame_equal(read_table("sqlite:///shop.db"), FRAME)


def test_a_name_that_needs_quotes(folder: Path) -> None:
    execute("odd.db", 'create table "my ""items" (a)')
    execute("odd.db", 'insert into "my ""items" values (?)', [(1,), (2,)])
    assert read_table("sqlite:///odd.db")["a"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select n, x from items where n < 2 order by n desc", [[1, ROWS[1][1]], [0, ROWS[0][1]]]),
        ("select s, count(*) as many from items group by s order by s", [[None, 1], ["a", 30], ["b", 29]]),
        ("select s from items where s like 'a%' and s != ':x' and n = 0;", [["a"]]),
        ("with two as (select n from items limit 2) select n * 2 as m from two", [[0], [2]]),
    ],
)
def test_a_query_is_taken_as_it_is(folder: Path, query: str, expected: list[list[Any]]) -> None:
    frame = read_table("sqlite:///shop.db", query=query)
    assert frame.astype(object).where(frame.notna(), None).to_numpy().tolist() == expected


def test_many_tables_are_listed(folder: Path) -> None:
    execute("shop.db", "create table clients(a)")
    message = refused("sqlite:///shop.db")
    assert "holds 2 tables: clients, items; say which rows: --query 'select * from clients'" in message
    assert len(read_table("sqlite:///shop.db", query="select * from items")) == N


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select * from itmes", "no such table: itmes; its tables: items"),
        ("selec * from items", 'near "selec": syntax error; its tables: items'),
        ("select y from items", "no such column: y"),
        ("select 1; select 2", "one statement"),
        ("", "the query gives no table: ''"),
        ("select n, n from items", "more than once: 'n'; rename them (select a as b)"),
        ("select * from items where n > 1000", "has no rows"),
    ],
)
def test_a_query_that_fails(folder: Path, query: str, said: str) -> None:
    assert said in refused("sqlite:///shop.db", query)


@pytest.mark.parametrize("query", ["delete from items", "drop table items", "create table more(a)", "vacuum"])
def test_nothing_is_written(folder: Path, query: str) -> None:
    before = (folder / "shop.db").read_bytes()
    refused("sqlite:///shop.db", query)
    assert (folder / "shop.db").read_bytes() == before


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///shpo.db", "no file 'shpo.db'; did you mean 'shop.db'?"),
        ("sqlite:///nowhere/shop.db", "there is no folder 'nowhere'"),
        ("sqlite://", "holds no table"),
        ("sqlite:///notes.txt", "file is not a database"),
        ("postgresql://me:secret@localhost:1/shop", "cannot connect to 'postgresql://me:***@localhost:1/shop'"),
        ("http://host/table.csv", "no database is known by 'http'; give the path of a file"),
        ("oracle+nothing://host/shop", "no database is known by 'oracle+nothing'"),
        ("postgresql://host:port/shop", "is not the URL of a database"),
    ],
)
def test_a_database_that_cannot_be_reached(folder: Path, url: str, said: str) -> None:
    (folder / "notes.txt").write_text("no database, and long enough to be looked into " * 20)
    message = refused(url)
    assert said in message
    assert "secret" not in message
    assert not (folder / "shpo.db").exists()


def test_a_driver_that_is_not_installed() -> None:
    if importlib.util.find_spec("MySQLdb"):
        pytest.skip("it is installed here")
    assert "needs the package 'MySQLdb'; install it, or name another driver" in refused("mysql://me:secret@host/shop")


def test_without_sqlalchemy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "find_spec", lambda name: None)
    assert refused("sqlite:///shop.db").endswith("needs SQLAlchemy; pip install 'zoo-density[sql]'")


def test_without_psycopg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert refused("postgresql://host/shop").endswith("needs the package 'psycopg'; pip install 'zoo-density[sql]'")


def test_options_of_text_and_missing_tokens(folder: Path) -> None:
    with pytest.raises(UserError, match="carries its own column names"):
        read_table("sqlite:///shop.db", sep=",")
    assert read_table("sqlite:///shop.db", missing=["a"])["s"].isna().sum() == 31
    with pytest.raises(UserError, match=r"a query needs a database, and 'shop\.csv' is none"):
        read_table("shop.csv", query="select 1")


# ---- the command line


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, output and errors."""
    monkeypatch.setattr("sys.argv", ["zoo", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


@pytest.mark.slow
def test_every_command_that_reads_a_table_takes_a_query(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    execute("shop.db", "create table more(a)")
    table = ("sqlite:///shop.db", "--query", "select x, s from items")
    quick = ("--set", "components=2", "--set", "restarts=1", "--set", "fit.steps=5")
    for command in (
        ("inspect", *table),
        ("fit", "mixture", *table, "-o", "run", *quick),
        ("compare", *table, "-m", "mixture", "-o", "runs", *quick),
        ("score", "run", *table, "-o", "score.csv"),
        ("cluster", "run", *table, "-o", "cluster.csv"),
        ("impute", "run", *table, "-o", "impute.csv"),
        ("fit", "ppca", *table, "-o", "ppca", "--set", "dim=1", "--set", "fit.steps=5"),
        ("embed", "ppca", *table, "-o", "embed.csv"),
    ):
        code, _, said = run(capsys, monkeypatch, *command)
        assert code == 0, said
    for name in ("score", "cluster", "impute", "embed"):
        assert len(pd.read_csv(f"{name}.csv")) == N
    assert '"shop.db"' in (folder / "run" / "manifest.json").read_text()
    code, out, said = run(capsys, monkeypatch, "inspect", "sqlite:///shop.db")
    assert (code, out) == (2, "")
    assert "holds 2 tables: items, more" in said.splitlines()[-1]


# ---- PostgreSQL


def programs() -> Path | None:
    """The folder of PostgreSQL's newest programs."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: float(Path(path).parts[4]))
    here = found[-1] if found else shutil.which("initdb")
    return Path(here).resolve().parent if here else None


def user() -> dict[str, Any]:
    """Who runs the server: root may not."""
    if os.geteuid():
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names.get("nobody")
    if entry is None:
        pytest.skip("there is no user but root to run PostgreSQL")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a database on a server of its own, on a Unix socket in a folder of its own."""
    pytest.importorskip("psycopg")
    if os.name != "posix" or programs() is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    bin_, runner = programs(), user()
    home = Path(tempfile.mkdtemp(prefix="zoo-pg-"))  # pytest's own folder is closed to other users
    if runner:
        os.chown(home, runner["user"], runner["group"])

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(bin_ / program), *arguments], cwd=home, capture_output=True, text=True, timeout=120, **runner
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        call("initdb", "-D", "data", "-U", "zoo", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-k {home} -c listen_addresses= -c fsync=off"
        start = [str(bin_ / "pg_ctl"), "-D", "data", "-l", "log", "-w", "-o", options, "start"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # the server keeps what it is given
        subprocess.run(start, cwd=home, timeout=120, check=True, **quiet, **runner)
        try:
            yield f"postgresql://zoo@/postgres?host={home}"
        finally:
            call("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def database(server: str) -> Iterator[Callable[..., str]]:
    """database(statements): the URL of an empty database in which they were executed."""
    import psycopg

    made: list[str] = []

    def make(*statements: str) -> str:
        name = f"shop{len(made)}"
        host = server.partition("?host=")[2]
        with psycopg.connect(host=host, user="zoo", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"create database {name}")
        made.append(name)
        with psycopg.connect(host=host, user="zoo", dbname=name) as connection:
            for statement in statements:
                connection.execute(statement)
        return server.replace("/postgres?", f"/{name}?")

    yield make
    with psycopg.connect(server, autocommit=True) as connection:
        for name in made:
            connection.execute(f"drop database {name}")


VALUES = """
create type mood as enum ('sad', 'glad');
create table kinds as select
    i::smallint as small, (i * 1000000007::bigint) as big, i / 4.0::real as real_, i / 3.0::float8 as float_,
    (i / 4.0)::numeric(9, 2) as price, i % 2 = 0 as yes, 'ä' || i as text_, ('b' || i)::varchar(9) as short,
    (array['sad', 'glad'])[i % 2 + 1]::mood as mood, date '2020-02-28' + i as day,
    timestamp '2020-02-28 12:00' + i * interval '1 day' as moment,
    timestamptz '2020-03-28 12:00+01' + i * interval '1 day' as zoned,
    convert_to('ä' || i, 'UTF8') as letters, decode('ff00', 'hex') as bytes, gen_random_uuid() as id,
    array[i, i] as list, jsonb_build_object('a', i) as json, interval '1 day' * i as length
from generate_series(1, 40) as i;
insert into kinds (small) values (null);
"""
DTYPES = {
    "small": "float64", "big": "float64", "real_": "float64", "float_": "float64", "price": "float64",
    "yes": "object", "text_": "str", "short": "str", "mood": "str", "day": "datetime64[]",
    "moment": "datetime64[]", "zoned": "datetime64[, UTC]", "letters": "str", "bytes": "object", "id": "str",
    "list": "object", "json": "object", "length": "timedelta64[]",
}  # fmt: skip


@pytest.mark.slow
def test_the_types_of_postgresql(database: Callable[..., str]) -> None:
    url = database(*VALUES.split(";\n")[:-1])
    frame = read_table(url)
    assert {name: re.sub(r"\[(s|us)", "[", str(dtype)) for name, dtype in frame.dtypes.items()} == DTYPES
    assert frame.iloc[-1].isna().all()
    first = frame.iloc[0]
    assert [first[c] for c in ("small", "big", "real_", "price", "text_", "mood")] == [
        1,
        1e9 + 7,
        0.25,
        0.25,
        "ä1",
        "glad",
    ]
    assert first["day"] == pd.Timestamp("2020-02-29")
    assert first["moment"] == pd.Timestamp("2020-02-29 12:00")
    assert first["zoned"] == pd.Timestamp("2020-03-29 11:00", tz="UTC")
    assert first["letters"] == "ä1"
    with pytest.warns(ZooWarning, match=r"list \(object cells that are neither numbers, text nor dates\)"):
        kinds = {column.name: column.kind for column in infer_schema(frame).columns}
    assert kinds["price"] == kinds["real_"] == "continuous"
    assert kinds["day"] == kinds["moment"] == kinds["zoned"] == "time"
    assert kinds["yes"] == kinds["mood"] == "binary"
    assert {kinds[c] for c in ("bytes", "id", "list", "json", "length")} == {"ignored"}


def test_tables_and_queries_of_postgresql(database: Callable[..., str]) -> None:
    url = database("create table items as select i as n, i / 2.0 as x, 'a%b:c' as s from generate_series(1, 20) as i")
    assert read_table(url)["x"].tolist() == [i / 2 for i in range(1, 21)]
    assert len(read_table(url, query="select n::float8 as n, x from items where s like 'a%' and s != ':c'")) == 20
    assert len(read_table(url.replace("postgresql:", "postgres:"))) == 20
    assert len(read_table(url.replace("postgresql:", "postgresql+psycopg:"))) == 20
    assert 'relation "itmes" does not exist; its tables: items' in refused(url, "select * from itmes")
    assert "syntax error" in refused(url, "selec * from items")
    assert "division by zero" in refused(url, "select 1 / (n - n) as n from items")
    assert "read-only transaction" in refused(url, "delete from items")
    assert "read-only transaction" in refused(url, "drop table items")
    assert "date too large" in refused(url, "select 'infinity'::date as d")
    assert "does not exist" in refused(url.replace("/shop0?", "/nothing?"))


def test_tables_outside_the_default_schema(database: Callable[..., str]) -> None:
    make = 'create table "My shop".items as select i as n from generate_series(1, 3) as i'
    url = database('create schema "My shop"', make)
    assert read_table(url)["n"].tolist() == [1, 2, 3]
    assert "holds no table" in refused(database())
    url = database("create table a(x int)", "create table b(x int)", 'create schema "My shop"', make)
    assert "holds 2 tables: a, b; say which rows" in refused(url)
    assert "has no rows" in refused(url, "select * from a")


def test_a_model_of_a_table_in_postgresql(database: Callable[..., str]) -> None:
    day, price = "date '2020-01-01' + (random() * 900)::int", "(random() * 100)::numeric(9, 2)"
    url = database(f"create table items as select {day} as day, {price} as price from generate_series(1, 60) as i")
    model = zoo.fit("mixture", url, settings={"components": 2, "restarts": 1, "fit.steps": 5}, device="cpu")
    sample = model.sample(20)
    assert list(sample) == ["day", "price"]
    assert sample["day"].min() > pd.Timestamp(datetime.date(2000, 1, 1))
    assert np.isfinite(model.score_samples(url)).all()
