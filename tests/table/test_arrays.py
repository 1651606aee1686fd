"""Arrays in files: numpy's and IDX come in as the same cells; what is broken or not plain is refused in one line."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zoo.errors import UserError, ZooWarning
from zoo.table.reader import read_table

X = np.arange(12.0).reshape(4, 3) / 8
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

Write = Callable[..., Path]


@pytest.fixture
def npz(tmp_path: Path) -> Write:
    def write(**arrays: np.ndarray) -> Path:
        path = tmp_path / "t.npz"
        np.savez_compressed(path, allow_pickle=True, **arrays)
        return path

    return write


def idx(cells: np.ndarray, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, cells.ndim]) + struct.pack(f">{cells.ndim}I", *cells.shape) + cells.tobytes()


def refused(source: object) -> str:
    with pytest.raises(UserError) as error:
        read_table(source)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- numpy


@pytest.mark.parametrize("dtype", ["float64", "float32", ">f8", ">i4", "uint8", "bool"])
def test_npy(tmp_path: Path, dtype: str) -> None:
    cells = (8 * X).astype(dtype)
    np.save(tmp_path / "t.npy", cells)
    frame = read_table(tmp_path / "t.npy")
    assert list(frame) == ["x0", "x1", "x2"]
    assert set(frame.dtypes) == {np.dtype(dtype).newbyteorder("=")}
    np.testing.assert_array_equal(frame.to_numpy(), cells)


def test_npy_of_records_has_names(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([(1, 2.5), (3, 4.5)], dtype=[("n", ">i4"), ("höhe", "f8")]))
    assert read_table(tmp_path / "t.npy").to_dict("list") == {"n": [1, 3], "höhe": [2.5, 4.5]}


def test_npz_with_columns_beside_its_table(npz: Write) -> None:
    frame = read_table(npz(X=X, y=np.array([0, 1, 1, 0]), name=np.array(["a", "b", "ä", "d"])))
    assert list(frame) == ["x0", "x1", "x2", "y", "name"]
    assert frame["name"].tolist() == ["a", "b", "ä", "d"]
    with pytest.warns(ZooWarning, match="'mean', 'n' left out|'n', 'mean' left out"):
        frame = read_table(npz(X=X, mean=X.mean(0), n=np.array(3)))
    assert list(frame) == ["x0", "x1", "x2"]


def test_npz_of_columns_alone(npz: Write) -> None:
    frame = read_table(npz(x=X[:, 0], when=np.array(["2020-01-01", "2020-01-02"] * 2, dtype="datetime64[D]")))
    assert list(frame) == ["x", "when"]
    assert frame["when"].dtype.kind == "M"
    assert "no table" in refused(npz(x=X[:, 0], y=np.zeros(3)))


def test_npz_of_several_tables(npz: Write) -> None:
    path = npz(train=X, test=X[:2], y=np.zeros(4))
    assert "holds 2 tables: train (4, 3), test (2, 3); name one, as in FILE.npz:train" in refused(path)
    for name in ("train", "test"):
        np.testing.assert_array_equal(read_table(f"{path}:{name}"), X[: 4 if name == "train" else 2])
    assert read_table(f"{path}:y").to_dict("list") == {"y": [0.0] * 4}
    assert "no array 'tran' in it; did you mean 'train'?" in refused(f"{path}:tran")
    assert "no file" in refused(f"{path.parent}/nowhere.npz:train")


def test_a_file_called_like_an_array_of_another(npz: Write) -> None:
    path = npz(train=X, test=X[:2])
    np.savez(path.parent / "u.npz", X[:1])
    (path.parent / "u.npz").rename(f"{path}:train")
    assert len(read_table(f"{path}:train")) == 1


def test_python_objects_are_not_loaded(npz: Write, tmp_path: Path) -> None:
    assert "Python objects" in refused(npz(X=np.array([[object()]])))
    np.save(tmp_path / "t.npy", np.array([[{}]]), allow_pickle=True)
    assert "Python objects" in refused(tmp_path / "t.npy")


@pytest.mark.parametrize("shape", [(4,), (4, 0), (0, 4), (2, 2, 3)])
def test_an_array_that_is_no_table(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "t.npy", np.zeros(shape))
    assert "t.npy" in refused(tmp_path / "t.npy")


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_a_broken_array(tmp_path: Path, ending: str) -> None:
    file = io.BytesIO()
    np.save(file, X) if ending == ".npy" else np.savez(file, X)
    path = tmp_path / f"t{ending}"
    for content in (file.getvalue()[:100], file.getvalue()[:-10], b"", b"no array"):
        path.write_bytes(content)
        assert f"is not a whole {ending[1:]} file" in refused(path)


def test_an_array_has_no_header(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", X)
    with pytest.raises(UserError, match="leave out header"):
        read_table(tmp_path / "t.npy", header=True)
    assert read_table(tmp_path / "t.npy", missing=["0"]).isna().sum().sum() == 1


# ---- IDX


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("packed", [True, False])
def test_idx_rows_are_flattened(tmp_path: Path, kind: int, packed: bool) -> None:
    images = np.arange(24).reshape(4, 2, 3).astype(TYPES[kind])
    path = tmp_path / ("images-idx3-ubyte" + ".gz" * packed)
    path.write_bytes(gzip.compress(idx(images, kind)) if packed else idx(images, kind))
    frame = read_table(path)
    assert list(frame) == [f"x{j}" for j in range(6)]
    assert all(dtype.isnative for dtype in frame.dtypes)
    np.testing.assert_array_equal(frame, images.reshape(4, 6))


def test_idx_of_labels_is_one_column(tmp_path: Path) -> None:
    (tmp_path / "labels-idx1-ubyte").write_bytes(idx(np.array([7, 2], dtype="u1")))
    assert read_table(tmp_path / "labels-idx1-ubyte").to_dict("list") == {"x0": [7, 2]}


def test_a_broken_idx(tmp_path: Path) -> None:
    whole = idx(np.zeros((4, 2, 3), dtype="u1"))
    for content, said in ((whole[:-1], "4 x 2 x 3, and it holds 23"), (whole[:9], "cut off"), (whole[:40], "holds 24")):
        (tmp_path / "i").write_bytes(content if len(content) < 40 else content + b"\0")
        assert said in refused(tmp_path / "i") or "holds 25" in refused(tmp_path / "i")


# ---- by the first bytes


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", ["npy", "npz", "idx"])
def test_arrays_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, packed: bool) -> None:
    file = io.BytesIO()
    if kind == "idx":
        file.write(idx(X.astype(">f8"), 0x0E))
    else:
        np.save(file, X) if kind == "npy" else np.savez(file, X)
    data = gzip.compress(file.getvalue()) if packed else file.getvalue()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    np.testing.assert_array_equal(read_table("-"), X)
    (tmp_path / "array").write_bytes(data)
    np.testing.assert_array_equal(read_table(tmp_path / "array"), X)


@pytest.mark.parametrize("name", ["x.labels0.gz", "x.dat", "x", "x.2024", "x.names.bz2"])
def test_text_under_any_name(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 0.25, 0.125]})
    frame.to_csv(tmp_path / name, sep=" ", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), frame)


def test_labels_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "x.labels0.gz").write_bytes(gzip.compress(b"1\n1\n2\n"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        assert read_table(tmp_path / "x.labels0.gz").to_dict("list") == {"column_1": [1, 1, 2]}


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(range(256)))
    assert "zero bytes" in refused(tmp_path / "x.bin")
    for name in ("x.pkl", "x.JSON", "x.xlsx.gz"):
        (tmp_path / name).write_bytes(b"a,b\n1,2\n")
        assert "has an ending that zoo does not read" in refused(tmp_path / name)
