"""Sources as messages name them, files that are there, and bytes as the text or the table that they hold."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import UserError, ZooWarning, line_of, nearest

TEXT = (".csv", ".tsv", ".txt", ".data")
LINES = (".jsonl", ".ndjson")
ARROW = (".parquet", ".feather", ".arrow")
FORMATS = (*TEXT, *LINES, *ARROW)
PACKINGS = (".gz", ".bz2", ".xz", ".zip")
ENDINGS = (*FORMATS, *(f"{ending}{packing}" for ending in FORMATS for packing in PACKINGS))
"""Endings of the files zoo reads and writes."""
ARRAYS = (".npy", ".npz", ".idx")
"""Those that it reads only; IDX files have no ending of their own, and are known by their first bytes."""
FOREIGN = (
    *(".json", ".geojson", ".yaml", ".yml", ".toml", ".xml", ".html", ".htm", ".arff", ".md", ".py", ".ipynb", ".pdf"),
    *(".xlsx", ".xls", ".ods", ".pkl", ".pickle", ".joblib", ".pt", ".h5", ".hdf5", ".mat", ".sav", ".dta"),
    *(".sas7bdat", ".rds", ".rda", ".rdata", ".orc", ".avro", ".tar", ".tgz", ".7z", ".png", ".jpg", ".jpeg"),
)
"""Endings of what is no table to zoo, which are refused without a look inside."""

_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
_BROKEN = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_FIRST_BYTES = {
    ".gz": re.compile(rb"\x1f\x8b"),
    ".bz2": re.compile(rb"BZh[1-9]1AY&SY"),
    ".xz": re.compile(rb"\xfd7zXZ\0"),
    ".zip": re.compile(rb"PK\x03\x04"),
    ".parquet": re.compile(rb"PAR1"),
    ".arrow": re.compile(rb"ARROW1|\xff\xff\xff\xff"),
    ".npy": re.compile(rb"\x93NUMPY"),
    ".idx": re.compile(rb"\0\0[\x08\x09\x0b-\x0e][\x01-\x08]"),
}
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SAMPLE_BYTES = 4096


# ---- names


def is_url(source: object) -> bool:
    """Whether a source is the URL of a database and no path."""
    return isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


def said(source: str | Path) -> str:
    """A source as messages name it, passwords left out."""
    if is_url(source):
        return repr(without_password(str(source)))
    return "standard input" if str(source) == "-" else repr(str(source))


def name_of(source: str | Path) -> str:
    """The name of a table by its source: that of the file or of the database."""
    if str(source) == "-":
        return "standard input"
    path = re.sub(r"^[^:]*://[^/]*|[?#].*$", "", str(source)) if is_url(source) else source
    return Path(path).name or without_password(str(source))


def without_password(url: str) -> str:
    """A URL with `***` in the place of passwords."""
    url = re.sub(r"(://[^:/?#]*):.*@", r"\1:***@", url)
    return re.sub(r"([?&][^=&]*pass[^=&]*=)[^&]*", r"\1***", url)


# ---- files


def existing(source: str | Path) -> Path:
    """The path of a file that is there, or of a folder of Parquet files."""
    path = Path(source).expanduser()
    if path.is_dir():
        if _is_dataset(path):
            return path
        tables = [p.name for p in sorted(path.iterdir()) if p.name.lower().endswith((*ENDINGS, *ARRAYS))]
        listed = ", ".join(tables[:10]) + (", ..." if len(tables) > 10 else "")
        raise UserError(f"{str(source)!r} is a folder", f"name a table in it: {listed}" if tables else "name a file")
    if path.is_file():
        return path
    if not path.parent.is_dir():
        raise UserError(f"no file {str(source)!r}: there is no folder {str(path.parent)!r}", "check the path")
    files = [p.name for p in path.parent.iterdir() if p.is_file() and not p.name.startswith(".")]
    remedy = nearest(path.name, files) if files else "the folder is empty"
    raise UserError(f"no file {str(source)!r}", remedy.replace("legal:", "in its folder:"))


def _is_dataset(folder: Path) -> bool:
    """Whether a folder holds Parquet files and nothing else but `name=value` folders of such and hidden files."""
    shown = [p for p in folder.iterdir() if not p.name.startswith((".", "_"))]
    return bool(shown) and all(
        ("=" in p.name and _is_dataset(p)) if p.is_dir() else p.suffix.lower() == ".parquet" for p in shown
    )


def split_ending(path: Path) -> tuple[str, str]:
    """The ending that fixes the format to write, one of FORMATS, and the packing around it, one of PACKINGS or nothing.

    Raises UserError for an ending that is not known. That of a .zip file may be none.
    """
    ending, packing = _split(path, FORMATS)
    if not ending and packing != ".zip":
        raise _unknown_ending(path, packing)
    return ending, packing


def ending_to_read(path: Path) -> tuple[str, str]:
    """The ending that fixes the format to read, one of FORMATS and ARRAYS, and the packing around it.

    No ending where none of these is meant: the file's first bytes say what it is. Raises UserError for one in FOREIGN.
    """
    ending, packing = _split(path, (*FORMATS, *ARRAYS))
    if not ending and Path(path.name.lower().removesuffix(packing)).suffix in FOREIGN:
        raise _unknown_ending(path, packing)
    return ending, packing


def _split(path: Path, endings: tuple[str, ...]) -> tuple[str, str]:
    name = path.name.lower()
    packing = next((p for p in PACKINGS if name.endswith(p)), "")
    return next((e for e in endings if name.removesuffix(packing).endswith(e)), ""), packing


def _unknown_ending(path: Path, packing: str) -> UserError:
    suffix = Path(path.name.lower().removesuffix(packing)).suffix
    remedy = f"{nearest(suffix, FORMATS)}, and {', '.join(PACKINGS)} after these"
    return UserError(f"{str(path)!r} has an ending that zoo does not read or write", remedy)


# ---- bytes


@dataclass(frozen=True)
class Content:
    """The unpacked content of a file, and the ending that fixes its format."""

    data: bytes
    ending: str


def content_of(path: Path) -> Content:
    """The content of a file, unpacked; where its name does not say what it is, its first bytes do."""
    ending, packing = ending_to_read(path)
    data = path.read_bytes()
    if packing:
        data, member = _unpacked(data, packing, said(path))
        ending = ending or (ending_to_read(Path(member))[0] if member else "")
    return Content(data, ending) if ending else sniffed(data, said(path))


def sniffed(data: bytes, where: str) -> Content:
    """Bytes without a name, unpacked: the first of them say what they are."""
    kind = next((kind for kind, first in _FIRST_BYTES.items() if first.match(data)), "")
    if kind == ".zip" and _is_npz(data):
        return Content(data, ".npz")
    if kind in PACKINGS:
        return sniffed(_unpacked(data, kind, where)[0], where)
    return Content(data, kind or (".jsonl" if _is_json_lines(data) else ".csv"))


def _is_npz(data: bytes) -> bool:
    """Whether every file of a zip file is an array."""
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except _BROKEN:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _is_json_lines(data: bytes) -> bool:
    """Whether the first line is a JSON object."""
    first = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1_000_000].partition(b"\n")[0]
    try:
        return first.startswith(b"{") and isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _unpacked(data: bytes, packing: str, where: str) -> tuple[bytes, str]:
    """Unpacked bytes, and their name where the packing has one."""
    try:
        if packing != ".zip":
            return _UNPACK[packing](data), ""
        archive = zipfile.ZipFile(io.BytesIO(data))
        names = [name for name in archive.namelist() if not re.search(r"/$|(^|/)(\.|__MACOSX/)", name)]
        if len(names) == 1:
            return archive.read(names[0]), names[0]
    except _BROKEN as error:
        kind = "gzip" if packing == ".gz" else packing[1:]
        raise UserError(f"{where} is not a whole {kind} file: {line_of(error)}", "fetch or write it again") from None
    listed = ": " + ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else ""
    raise UserError(f"{where} holds {len(names)} files{listed}", "unpack it, and name the table")


def decoded(data: bytes, where: str) -> str:
    """Bytes as text: UTF-8, or UTF-16 and UTF-32 with a byte-order mark, and with a warning what is none of these.

    These are UTF-16 without a mark, and Windows-1252 or Latin-1. Raises UserError for bytes that are no text.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if b"\0" in data:
        return _wide(data, where)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            message = f"{where} ends in the middle of a character: was the file cut off?"
            warnings.warn(message, ZooWarning, stacklevel=2)
            return data[: error.start].decode("utf-8-sig")
        line = data.count(b"\n", 0, error.start) + 1
        found = f"{where}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8"
    try:
        text, encoding = data.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, encoding = data.decode("latin-1"), "Latin-1"
    warnings.warn(f"{found}; read as {encoding} (save the file as UTF-8 if names look odd)", ZooWarning, stacklevel=2)
    return text


def _wide(data: bytes, where: str) -> str:
    """Text whose every second byte tends to be zero: UTF-16 without a byte-order mark."""
    halves = {"utf-16-be": data[:_SAMPLE_BYTES:2], "utf-16-le": data[1:_SAMPLE_BYTES:2]}
    zeros = {encoding: half.count(0) for encoding, half in halves.items()}
    encoding = max(zeros, key=lambda name: zeros[name])
    if min(zeros.values()) == 0 and zeros[encoding] > 0.5 * len(halves[encoding]):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            pass
        else:
            warnings.warn(f"{where} has no byte-order mark: read as UTF-16", ZooWarning, stacklevel=2)
            return text
    raise UserError(f"{where} holds zero bytes: it is not text", "give it the ending of what it is")
