"""Tables come in as they are written, and what cannot be read is refused with the place and the remedy."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from zoo.errors import UserError, ZooWarning
from zoo.table.files import ENDINGS
from zoo.table.reader import read_table
from zoo.table.text import MISSING
from zoo.table.writer import write_table

Writer = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Write text or bytes to a file of the test's folder."""

    def write(content: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def rows(frame: pd.DataFrame) -> list[list[Any]]:
    return frame.astype(object).where(frame.notna(), None).values.tolist()


# ---- separators


@pytest.mark.parametrize("sep", [",", ";", "\t", "|", " ", "   "])
@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.data.gz"])
def test_separator_is_found(write: Writer, sep: str, name: str) -> None:
    text = "\n".join(sep.join(row) for row in (("x", "name", "y"), ("1", "ann", "2.5"), ("-3", "bob", "1e3"))) + "\n"
    frame = read_table(write(text, name))
    assert list(frame) == ["x", "name", "y"]
    assert rows(frame) == [[1, "ann", 2.5], [-3, "bob", 1000.0]]


def test_comma_wins_over_words_in_cells(write: Writer) -> None:
    frame = read_table(write("full name\nann lee\nbob ray\n"))
    assert rows(frame) == [["ann lee"], ["bob ray"]]
    frame = read_table(write('when,text\n2020-01-01 10:00,"a; b"\n2020-01-02 11:00,"c; d"\n'))
    assert list(frame) == ["when", "text"]
    assert rows(read_table(write("text\na; b\nc; d\n"))) == [["a; b"], ["c; d"]]


def test_quoted_cells_may_hold_separators_and_newlines(write: Writer) -> None:
    frame = read_table(write('a,b\n"x,1\ny",2\n"""q""",3\n'))
    assert rows(frame) == [["x,1\ny", 2], ['"q"', 3]]


@pytest.mark.parametrize("sep", ["tab", "\\t", "\t"])
def test_separator_by_name(write: Writer, sep: str) -> None:
    assert rows(read_table(write("a\tb,c\n1\t2\n"), sep=sep)) == [[1, 2]]


def test_separator_must_be_one_character(write: Writer) -> None:
    with pytest.raises(UserError, match="'::' is not one character"):
        read_table(write("a::b\n1::2\n"), sep="::")


def test_decimal_commas(write: Writer) -> None:
    with pytest.warns(ZooWarning, match="decimal commas"):
        frame = read_table(write("a;b\n1,5;x\n-2,25;y\n"))
    assert rows(frame) == [[1.5, "x"], [-2.25, "y"]]


# ---- headers


@pytest.mark.parametrize("text", ["1,2,M\n3,4,F\n5,6,M\n", "1.5 2\n2.5 3\n", "?,1\n2,3\n4,5\n"])
def test_numbers_in_the_first_row_mean_no_header(write: Writer, text: str) -> None:
    with pytest.warns(ZooWarning, match="no header.*--columns.*--header"):
        frame = read_table(write(text))
    assert list(frame) == [f"column_{i + 1}" for i in range(frame.shape[1])]
    assert len(frame) == text.count("\n")


@pytest.mark.parametrize("text", ["age,sex\n1,M\n2,F\n", "a,b\nx,y\nz,w\n", "id,1990,1991\n7,1,2\n8,3,4\n"])
def test_text_in_the_first_row_means_a_header(write: Writer, text: str) -> None:
    frame = read_table(write(text))
    assert list(frame) == text.split("\n")[0].split(",")
    assert len(frame) == 2


def test_header_can_be_forced(write: Writer) -> None:
    path = write("1990,1991\n1,2\n3,4\n")
    assert list(read_table(path, header=True)) == ["1990", "1991"]
    assert len(read_table(path, header=False)) == 3
    assert list(read_table(write("a,b\nc,d\n"), header=False)) == ["column_1", "column_2"]


def test_row_names_as_r_writes_them(write: Writer) -> None:
    with pytest.warns(ZooWarning, match="rownames"):
        frame = read_table(write('"x" "y"\n"a" 1 2\n"b" 3 4\n', "t.txt"))
    assert frame.to_dict("list") == {"rownames": ["a", "b"], "x": [1, 3], "y": [2, 4]}


def test_nameless_column_is_named(write: Writer) -> None:
    assert list(read_table(write(",x\n0,5\n1,6\n"))) == ["Unnamed: 0", "x"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.json", json.dumps(["sex", "length"])),
        ("names.json", json.dumps({"other.csv": ["a"], "table.csv": ["sex", "length"]})),
        ("names.json", json.dumps({"table.csv.gz": ["sex", "length"]})),
        ("names.txt", "sex\nlength\n\n"),
    ],
)
def test_names_from_a_file(write: Writer, name: str, content: str) -> None:
    names = write(content, name)
    frame = read_table(write("M,0.5\nF,0.25\n"), columns=names)
    assert frame.to_dict("list") == {"sex": ["M", "F"], "length": [0.5, 0.25]}


def test_names_that_the_first_row_repeats(write: Writer) -> None:
    assert len(read_table(write("sex,length\nM,0.5\n"), columns=["sex", "length"])) == 1
    with pytest.warns(ZooWarning, match="first row.*looks like names"):
        assert len(read_table(write("a,b\nM,0.5\n"), columns=["sex", "length"])) == 2
    frame = read_table(write("a,b\nM,0.5\n"), columns=["sex", "length"], header=True)
    assert frame.to_dict("list") == {"sex": ["M"], "length": [0.5]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a"], "has 2 columns and 1 names; give 2 names"),
        (["a", "b", "c"], "has 2 columns and 3 names"),
        (["a", "a"], "more than once: 'a'"),
    ],
)
def test_wrong_names(write: Writer, columns: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table(write("M,0.5\nF,0.25\n"), columns=columns)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"tible.csv": ["a", "b"]}', "names no columns for 'table.csv'; did you mean 'tible.csv'"),
        ("[1, 2]", "is not a list of names"),
        ('["a",\n', "line 2: not JSON"),
    ],
)
def test_broken_names_file(write: Writer, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table(write("M,0.5\nF,0.25\n"), columns=write(content, "names.json"))


# ---- cells


def test_missing_tokens(write: Writer) -> None:
    frame = read_table(write("a,b,c\n1, ?,x\nNA,2,-999\n3,-999,unknown\n"), missing=["-999", "unknown"])
    assert rows(frame) == [[1, None, "x"], [None, 2, None], [3, None, None]]


def test_missing_tokens_are_those_of_pandas() -> None:
    standard = pd.read_csv(io.StringIO("a,b\n" + "".join(f'"{token}",1\n' for token in MISSING if token != "?")))
    assert standard["a"].isna().all()
    assert len(set(MISSING)) == len(MISSING) == 20


def test_missing_tokens_in_typed_tables() -> None:
    frame = pd.DataFrame({"a": [1.0, -999.0], "b": [-999, 2], "c": ["x", "none"]})
    assert rows(read_table(frame, missing=["-999", "none"])) == [[1, None, "x"], [None, 2, None]]


def test_leading_blanks_are_no_part_of_cells(write: Writer) -> None:
    assert rows(read_table(write("a, b\n1, x\n2, y\n"))) == [[1, "x"], [2, "y"]]


def test_numbers_keep_their_last_digit(write: Writer) -> None:
    values = np.random.default_rng(0).normal(size=500) * 10.0 ** np.random.default_rng(1).integers(-9, 9, 500)
    frame = read_table(write("x\n" + "\n".join(map(repr, values.tolist())) + "\n"))
    np.testing.assert_allclose(frame["x"], values, rtol=5e-16)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode(write: Writer, encoding: str) -> None:
    assert read_table(write("größe,☃\n1,ä\n".encode(encoding))).to_dict("list") == {"größe": [1], "☃": ["ä"]}


def test_latin1_is_read_with_a_warning(write: Writer) -> None:
    with pytest.warns(ZooWarning, match="line 3: byte 0xe9 is not UTF-8"):
        frame = read_table(write("name,x\nabc,1\ncaf\xe9,2\n".encode("latin-1")))
    assert frame["name"].tolist() == ["abc", "caf\xe9"]


# ---- what is refused


@pytest.mark.parametrize("content", [b"", b"  \n\n"])
def test_empty_file(write: Writer, content: bytes) -> None:
    with pytest.raises(UserError, match="is empty"):
        read_table(write(content))


def test_no_rows(write: Writer) -> None:
    with pytest.raises(UserError, match="has no rows"):
        read_table(write("a,b\n"))
    with pytest.raises(UserError, match="has no rows"):
        read_table(pd.DataFrame({"a": []}))
    with pytest.raises(UserError, match="has no columns"):
        read_table(pd.DataFrame(index=[1, 2]))


def test_columns_named_twice(write: Writer) -> None:
    with pytest.raises(UserError, match="more than once: 'a', 'b'"):
        read_table(write("a,b,a,b,c\n1,2,3,4,5\n"))
    with pytest.raises(UserError, match="more than once: '1'"):
        read_table(pd.DataFrame([[1, 2]], columns=[1, "1"]))


def test_uneven_row_is_located(write: Writer) -> None:
    with pytest.raises(UserError, match="line 5 has 3 cells where 2 were expected"):
        read_table(write("a,b\n1,2\n3,4\n5,6\n7,8,9\n" + "1,2\n" * 20))


def test_open_quote_is_located(write: Writer) -> None:
    with pytest.raises(UserError, match=r'a quote \("\) opened near line 3 is never closed'):
        read_table(write('a,b\n1,2\n"3,4\n5,6\n'), sep=",", header=True)


def test_missing_file_and_the_nearest(write: Writer, tmp_path: Path) -> None:
    write("a\n1\n", "penguins.csv")
    with pytest.raises(UserError, match=r"no file .*pengiuns.csv'; did you mean 'penguins.csv'\? in its folder"):
        read_table(tmp_path / "pengiuns.csv")
    with pytest.raises(UserError, match="there is no folder"):
        read_table(tmp_path / "nowhere" / "t.csv")


def test_folder(write: Writer, tmp_path: Path) -> None:
    write("a\n1\n", "penguins.csv")
    with pytest.raises(UserError, match=r"is a folder; name a table in it: penguins\.csv"):
        read_table(tmp_path)


def test_unknown_ending(write: Writer) -> None:
    with pytest.raises(UserError, match=r"did you mean '\.jsonl'"):
        read_table(write("[]", "t.json"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"no parquet", "is not a whole parquet file"),
        ("t.feather", b"no feather", "is not a whole feather file"),
        ("t.parquet", b"", "is empty"),
        ("t.csv", b"a,b\n\x00\x01,2\n", "zero bytes"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2: not JSON"),
        ("t.jsonl", b"[1]\n", "line 1: not a JSON object"),
    ],
)
def test_broken_files(write: Writer, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table(write(content, name))


def test_broken_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n1,2\n" * 100)
    for content in (b"a,b\n1,2\n", whole[: len(whole) // 2]):
        (tmp_path / "t.csv.gz").write_bytes(content)
        with pytest.raises(UserError, match="is not a whole gzip file"):
            read_table(tmp_path / "t.csv.gz")


@pytest.mark.parametrize("option", [{"header": True}, {"columns": ["a"]}, {"sep": ","}])
def test_typed_tables_carry_their_names(option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="carries its own column names"):
        read_table(pd.DataFrame({"a": [1]}), **option)


# ---- frames and standard input


def test_frame_is_copied() -> None:
    frame = pd.DataFrame({1: [1, 2], "b": ["x", None]})
    copy = read_table(frame)
    copy.loc[0, "1"] = 7
    assert list(copy) == ["1", "b"]
    assert list(frame) == [1, "b"]
    assert frame.loc[0, 1] == 1


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a;b\n1;2\n3;4\n")))
    assert read_table("-").to_dict("list") == {"a": [1, 3], "b": [2, 4]}


# ---- writing


@pytest.mark.parametrize("ending", ENDINGS)
def test_round_trip(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"größe": [0.1 + 0.2, np.nan, -1e-300], "n": [1, 2, 3], "s": ["a,b", 'q"', "ä"]})
    path = tmp_path / f"t{ending}"
    write_table(frame, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = read_table(path)
    pd.testing.assert_frame_equal(back, frame, rtol=1e-15, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".feather", ".jsonl"])
def test_index_is_kept_where_it_says_something(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"x": [1.5, 2.5]}, index=pd.Index(["a", "b"], name="id"))
    write_table(frame, tmp_path / f"t{ending}")
    as_index = ending in (".parquet", ".feather")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"t{ending}"), frame if as_index else frame.reset_index())
    write_table(frame.reset_index(drop=True), tmp_path / f"t{ending}")
    assert list(read_table(tmp_path / f"t{ending}")) == ["x"]
    if as_index:
        write_table(frame.rename_axis("x"), tmp_path / f"t{ending}")
        assert read_table(tmp_path / f"t{ending}").index.tolist() == ["a", "b"]
        return
    with pytest.raises(UserError, match="index 'x' is the name of a column"):
        write_table(frame.rename_axis("x"), tmp_path / f"t{ending}")


@pytest.mark.parametrize("path", ["/proc/t.csv", "nowhere/t.csv", "here/t.csv", f"{'x' * 300}.csv"])
def test_a_path_that_cannot_be_written_to_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "here" / "t.csv").mkdir(parents=True)
    with contextlib.chdir(tmp_path), pytest.raises(UserError, match=re.escape(path.rpartition("/")[2])):
        write_table(pd.DataFrame({"x": [1.5]}), path)
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


# ---- rows that are not whole


@pytest.mark.parametrize("sep", [",", ";", "\t", " "])
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["1 2 3"] * 9 + ["1 2"] + ["4 5 6"] * 9, "line 11: 2 cells where 3 were expected"),
        (["1 2 3"] * 9 + ["1 2", "4 5 6", "1", "3 4"], "line 11: 2 cells .* and so in 2 more lines"),
        (["1 2 3"] * 19 + ["1"], "line 21: 1 cells .* the last one, was the file cut off"),
        (["1 2 3"] * 19 + ["1 2 NA", "1 2 3"], ""),
    ],
)
def test_short_rows_are_told(tmp_path: Path, sep: str, rows: list[str], said: str) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["a b c", *rows]).replace(" ", sep))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        frame = read_table(tmp_path / "t.csv", sep=sep)
    assert frame.shape == (len(rows), 3)
    assert len(notes) == bool(said)
    assert all(re.search(said, str(note.message)) for note in notes)


def test_a_file_that_ends_in_the_middle_of_a_character(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a,b\n1,grün\n2,grü".encode()[:-1])
    with pytest.warns(ZooWarning, match="ends in the middle of a character"):
        frame = read_table(tmp_path / "t.csv")
    assert frame["b"].tolist() == ["grün", "gr"]


@pytest.mark.parametrize(("sep", "better"), [(";", ","), ("tab", ","), (",", ";"), ("|", "tab"), (",", "whitespace")])
def test_a_separator_that_parts_nothing_is_told(tmp_path: Path, sep: str, better: str) -> None:
    character = {"tab": "\t", "whitespace": " "}.get(better, better)
    (tmp_path / "t.csv").write_text("\n".join(["a b c", *["1 2 3"] * 9]).replace(" ", character))
    with pytest.warns(ZooWarning, match=f"one cell in every row .* and 3 with {re.escape(repr(better))}"):
        assert read_table(tmp_path / "t.csv", sep=sep).shape[1] == 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_utf_16_with_a_mark_or_without(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("größe,b\n1,ä\n2,b\n".encode(encoding))
    with pytest.warns(ZooWarning, match="no byte-order mark") if encoding != "utf-16" else contextlib.nullcontext():
        assert read_table(tmp_path / "t.csv").to_dict("list") == {"größe": [1, 2], "b": ["ä", "b"]}


def test_dates_in_jsonl(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"t": pd.to_datetime(["2020-01-01", None])}), tmp_path / "t.jsonl")
    assert (tmp_path / "t.jsonl").read_text() == '{"t": "2020-01-01T00:00:00"}\n{"t": null}\n'


def test_equal_tables_are_equal_files(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2]})
    for name in ("a.csv.gz", "b.csv.gz"):
        write_table(frame, tmp_path / name)
    a, b = ((tmp_path / name).read_bytes() for name in ("a.csv.gz", "b.csv.gz"))
    assert gzip.decompress(a) == gzip.decompress(b) == b"x\n1\n2\n"
    assert a[4:8] == b"\0\0\0\0"  # no time of writing


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(pd.DataFrame({"x": [1]}), path)
    with pytest.raises(UserError, match="cannot write"):
        write_table(pd.DataFrame({"x": [1, "a", object()]}), path)
    assert read_table(path)["x"].tolist() == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


def test_unwritable_paths(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1]})
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        write_table(frame, tmp_path / "nowhere" / "t.csv")
    with pytest.raises(UserError, match=r"did you mean '\.parquet'"):
        write_table(frame, tmp_path / "t.parq")
    (tmp_path / "f.csv").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        write_table(frame, tmp_path / "f.csv")


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(pd.DataFrame({"x": [1, 2]}), "-")
    assert capsys.readouterr().out == "x\n1\n2\n"
