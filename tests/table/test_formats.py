"""One table in every format and packing comes in as the same table; what is broken is refused with its place."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import io
import itertools
import lzma
import sys
import uuid
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from zoo.errors import UserError, ZooWarning
from zoo.table.files import FORMATS, PACKINGS, is_url, name_of, said
from zoo.table.infer import infer_schema
from zoo.table.reader import read_table
from zoo.table.writer import write_table

FRAME = pd.DataFrame({"größe": [0.1 + 0.2, np.nan, -1e-300], "n": [1, 2, 3], "s": ["a,b", 'q"', "ä"]})


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": lambda data: zipped(("t", data)),
}


def feather(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.feather.write_feather(table, file, **options)
    return file.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def stream(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


TABLE = pa.Table.from_pandas(FRAME)
BYTES: dict[str, bytes] = {
    "csv": FRAME.to_csv(index=False).encode(),
    "jsonl": FRAME.to_json(orient="records", lines=True, double_precision=15).encode(),
    **{f"parquet {codec}": parquet(TABLE, compression=codec) for codec in ("none", "snappy", "zstd", "gzip", "brotli")},
    **{f"arrow {codec}": feather(TABLE, compression=codec) for codec in ("uncompressed", "lz4", "zstd")},
    "arrow stream": stream(TABLE),
}


def same(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(frame, FRAME, rtol=1e-14, atol=1e-15)


# ---- formats and packings


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("kind", BYTES)
def test_every_format_in_every_packing(tmp_path: Path, kind: str, packing: str) -> None:
    path = tmp_path / f"t.{kind.split()[0]}{packing}"
    path.write_bytes(PACK[packing](BYTES[kind]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(read_table(path))


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("kind", BYTES)
def test_standard_input_says_by_its_first_bytes_what_it_is(
    monkeypatch: pytest.MonkeyPatch, kind: str, packing: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PACK[packing](BYTES[kind]))))
    same(read_table("-"))


@pytest.mark.parametrize("text", ["{a},b\n1,2\n3,4\n", "BZh,b\n1,2\n3,4\n", "PAR,b\n1,2\n3,4\n", '{"a",b\n1,2\n3,4\n'])
def test_text_on_standard_input_that_begins_like_another_format(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    frame = read_table("-", header=True, sep=",")
    assert frame.shape == (2, 2)
    assert frame.iloc[:, 1].tolist() == [2, 4]


def test_feather_is_arrow_by_another_name(tmp_path: Path) -> None:
    for kind in ("arrow lz4", "arrow stream"):
        (tmp_path / "t.feather").write_bytes(BYTES[kind])
        same(read_table(tmp_path / "t.feather"))
    (tmp_path / "t.ndjson").write_bytes(BYTES["jsonl"])
    same(read_table(tmp_path / "t.ndjson"))


def test_a_zip_file_without_another_ending_is_what_its_member_is(tmp_path: Path) -> None:
    noise = (("__MACOSX/._t.csv", b"x"), (".hidden", b"x"), ("folder/", b""))
    (tmp_path / "t.zip").write_bytes(zipped(*noise, ("folder/t.csv", BYTES["csv"])))
    same(read_table(tmp_path / "t.zip"))
    (tmp_path / "t.zip").write_bytes(zipped(("t.parquet", BYTES["parquet zstd"])))
    same(read_table(tmp_path / "t.zip"))
    (tmp_path / "t.zip").write_bytes(zipped(("t.xlsx", b"x")))
    with pytest.raises(UserError, match=r"'t\.xlsx' has an ending that zoo does not read"):
        read_table(tmp_path / "t.zip")
    with pytest.raises(UserError, match=r"does not say what to write.*\.csv"):
        write_table(FRAME, tmp_path / "t.zip")


def test_a_zip_file_holds_one_table(tmp_path: Path) -> None:
    (tmp_path / "t.zip").write_bytes(zipped(("a.csv", b"x"), ("b.csv", b"x")))
    with pytest.raises(UserError, match=r"holds 2 files: a\.csv, b\.csv; unpack it"):
        read_table(tmp_path / "t.zip")
    (tmp_path / "t.zip").write_bytes(zipped())
    with pytest.raises(UserError, match="holds 0 files; unpack it"):
        read_table(tmp_path / "t.zip")


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_broken_packing_is_refused(tmp_path: Path, packing: str) -> None:
    whole = PACK[packing](BYTES["csv"] * 100)
    path = tmp_path / f"t.csv{packing}"
    for content in (b"a,b\n1,2\n", whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is not a whole|is empty") as refused:
            read_table(path)
        assert "\n" not in str(refused.value)


def test_names_of_a_packed_table(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('{"t.csv": ["a", "b"]}')
    (tmp_path / "t.csv.xz").write_bytes(lzma.compress(b"1,2\n3,4\n"))
    assert list(read_table(tmp_path / "t.csv.xz", columns=tmp_path / "names.json")) == ["a", "b"]


@pytest.mark.parametrize("ending", [f + p for f, p in itertools.product(FORMATS, ("", *PACKINGS))])
def test_equal_tables_are_equal_files_in_every_ending(tmp_path: Path, ending: str) -> None:
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_table(FRAME, tmp_path / folder / f"t{ending}")
        files.append((tmp_path / folder / f"t{ending}").read_bytes())
    assert files[0] == files[1]


# ---- text


@pytest.mark.parametrize(
    ("encoding", "text", "said"),
    [
        ("utf-8", "größe,☃\n1,ä\n", None),
        ("utf-8-sig", "größe,☃\n1,ä\n", None),
        ("utf-16", "größe,☃\n1,ä\n", None),
        ("utf-32", "größe,☃\n1,ä\n", None),
        ("utf-16-le", "größe,☃\n1,ä\n", "no byte-order mark: read as UTF-16"),
        ("utf-16-be", "größe,☃\n1,ä\n", "no byte-order mark: read as UTF-16"),
        ("cp1252", "größe,€\n1,“ä”\n", r"line 1: byte 0xf6 is not UTF-8; read as Windows-1252"),
        ("latin-1", "a,b\n1,\x81ä\n", r"line 2: byte 0x81 is not UTF-8; read as Latin-1"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, text: str, said: str | None) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = read_table(tmp_path / "t.csv")
    header, cells = text.split()
    assert list(frame) == header.split(",")
    assert [str(cell) for cell in frame.iloc[0]] == cells.split(",")
    assert [w.category for w in caught] == [ZooWarning] * (said is not None)
    if said:
        assert said in str(caught[0].message)


def test_single_quotes_are_found_and_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("'x','name'\n1,'ann, lee'\n2,'bob'\n3,''\n")
    with pytest.warns(ZooWarning, match="quotes its cells with '"):
        frame = read_table(path)
    assert frame["name"].tolist()[:2] == ["ann, lee", "bob"]
    assert frame["name"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    "text", ["x,name\n1,'tis\n2,'twas\n", "x,name\n1,o'neill's\n2,bob\n", "x,name\n1,'a'\n2,bob\n3,eve\n"]
)
def test_apostrophes_are_no_quotation_marks(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    frame = read_table(tmp_path / "t.csv")
    assert frame["name"].tolist() == [line.split(",")[1] for line in text.split()[1:]]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a;b\n1,5;x\n-2,25;y\n", 1.5),
        ("a;b\n1,500;x\n2,250;y\n", 1.5),
        ("a\tb\n1,5\tx\n2,25\ty\n", 1.5),
        ("a|b\n1,5e3|x\n2,25|y\n", 1500.0),
    ],
)
def test_decimal_commas(tmp_path: Path, text: str, first: float) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.warns(ZooWarning, match=r"1,5 is read as 1\.5"):
        assert read_table(tmp_path / "t.csv")["a"].iloc[0] == first


@pytest.mark.parametrize("text", ["a\tb\n1,500\tx\n2,250\ty\n", "a;b\n1,5;2.5\n2,5;3.5\n"])
def test_commas_that_may_be_of_thousands_are_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    cells = [line.replace("\t", ";").split(";")[0] for line in text.splitlines()[1:]]
    assert read_table(tmp_path / "t.csv")["a"].tolist() == cells


# ---- a folder of Parquet files


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    for i in (2, 0, 1):
        FRAME.assign(n=FRAME["n"] + 3 * i).to_parquet(tmp_path / f"part-{i}.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".part-0.parquet.crc").touch()
    frame = read_table(tmp_path)
    assert frame["n"].tolist() == list(range(1, 10))
    assert list(frame) == list(FRAME)
    assert frame.index.tolist() == list(range(9))


def test_folders_by_value_are_a_column(tmp_path: Path) -> None:
    for year in (2020, 2021):
        (tmp_path / f"year={year}").mkdir()
        FRAME.to_parquet(tmp_path / f"year={year}" / "0.parquet")
    frame = read_table(tmp_path)
    assert frame["year"].tolist() == [2020] * 3 + [2021] * 3
    same(read_table(tmp_path / "year=2020" / "0.parquet"))
    same(read_table(tmp_path / "year=2020"))


def test_files_of_a_folder_that_differ(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    FRAME.drop(columns="s").assign(n=[1.5, 2.5, 3.5], more="x").to_parquet(tmp_path / "b.parquet")
    with pytest.warns(ZooWarning, match="some of the 2 files of .* lack 's', 'more'"):
        frame = read_table(tmp_path)
    assert frame["n"].tolist() == [1, 2, 3, 1.5, 2.5, 3.5]
    assert frame["s"].isna().tolist() == [False] * 3 + [True] * 3
    FRAME.assign(n="text").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"is not a folder of Parquet files of one table.*n"):
        read_table(tmp_path)
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"is not a folder of Parquet files of one table"):
        read_table(tmp_path)


def test_a_folder_with_something_else_is_no_table(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"is a folder; name a table in it: a\.parquet"):
        read_table(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is a folder; name a file"):
        read_table(tmp_path / "empty")


# ---- types


DAY = datetime.date(2020, 2, 29)
MOMENT = datetime.datetime(2020, 2, 29, 12, 30)
CELLS: dict[str, tuple[pa.DataType, Any, str, Any]] = {
    "decimal": (pa.decimal128(9, 2), decimal.Decimal("1.25"), "float64", 1.25),
    "wide decimal": (pa.decimal256(50, 2), decimal.Decimal("1.25"), "float64", 1.25),
    "date": (pa.date32(), DAY, "datetime64[ms]", pd.Timestamp(DAY)),
    "moment": (pa.timestamp("us"), MOMENT, "datetime64[us]", pd.Timestamp(MOMENT)),
    "moment in a zone": (
        pa.timestamp("us", "UTC"), MOMENT, "datetime64[us, UTC]", pd.Timestamp(MOMENT, tz="UTC"),
    ),
    "text": (pa.string(), "ä", "str", "ä"),
    "view of text": (pa.string_view(), "ä", "str", "ä"),
    "large text": (pa.large_string(), "ä", "str", "ä"),
    "bytes of text": (pa.binary(), "ä".encode(), "str", "ä"),
    "bytes": (pa.binary(), b"\xff\0", "object", b"\xff\0"),
    "levels": (pa.dictionary(pa.int8(), pa.string()), "ä", "category", "ä"),
    "integer": (pa.int16(), 3, "float64", 3.0),
    "half": (pa.float16(), np.float16(1.5), "float16", 1.5),
}  # fmt: skip


@pytest.mark.parametrize("kind", CELLS)
def test_arrow_types_and_missing_cells(tmp_path: Path, kind: str) -> None:
    stored, value, dtype, cell = CELLS[kind]
    table = pa.table({"x": pa.array([value, None, value], stored), "y": [1, 2, 3]})
    (tmp_path / "t.arrow").write_bytes(feather(table) if kind != "view of text" else stream(table))
    frame = read_table(tmp_path / "t.arrow")
    assert str(frame["x"].dtype) == dtype
    assert frame["x"].isna().tolist() == [False, True, False]
    assert frame["x"].iloc[2] == cell


def test_an_index_that_parquet_keeps_is_kept(tmp_path: Path) -> None:
    FRAME.set_axis(pd.Index(["p", "q", "r"], name="id")).to_parquet(tmp_path / "t.parquet")
    frame = read_table(tmp_path / "t.parquet")
    assert frame.index.tolist() == ["p", "q", "r"]
    assert list(frame) == list(FRAME)


def test_uuids_are_text_and_look_like_identifiers() -> None:
    table = pa.table({"u": pa.array([uuid.UUID(int=i).bytes for i in range(60)], pa.uuid()), "x": range(60)})
    frame = read_table(table)
    assert frame["u"].iloc[1] == str(uuid.UUID(int=1))


def test_dates_and_decimals_are_understood() -> None:
    days = [DAY + datetime.timedelta(days=i * i) for i in range(60)]
    prices = [decimal.Decimal(i * i) / 4 for i in range(60)]
    schema = infer_schema(read_table(pa.table({"day": days, "price": prices})))
    assert [c.kind for c in schema.columns] == ["time", "continuous"]


# ---- names


@pytest.mark.parametrize(
    ("source", "name", "in_messages"),
    [
        ("-", "standard input", "standard input"),
        ("a/b.csv", "b.csv", "'a/b.csv'"),
        (Path("a/b.csv"), "b.csv", "'a/b.csv'"),
        ("sqlite:///a/b.db", "b.db", "'sqlite:///a/b.db'"),
        ("postgresql://me:s3:/@cret@host:5/shop", "shop", "'postgresql://me:***@host:5/shop'"),
        ("postgresql://me@host/shop?password=s3&x=1", "shop", "'postgresql://me@host/shop?password=***&x=1'"),
        ("postgresql://me@host", "postgresql://me@host", "'postgresql://me@host'"),
    ],
)
def test_names_hold_no_password(source: str | Path, name: str, in_messages: str) -> None:
    assert name_of(source) == name
    assert said(source) == in_messages


def test_a_path_is_no_url() -> None:
    assert not any(map(is_url, ["a.csv", "/a/b.csv", "C:/a.csv", "C://a.csv", "-", Path("a")]))
