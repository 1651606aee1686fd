"""What zoo says when something the user gave cannot be used: one line, and the remedy."""

from __future__ import annotations

import contextlib
import difflib
import warnings
from collections.abc import Iterable, Iterator


class UserError(ValueError):
    """Bad input: what was expected, what came, where, and what to do. The command line prints it and exits with 2."""

    def __init__(self, message: str, remedy: str | None = None):
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}; {remedy}" if remedy else message)


class ZooWarning(UserWarning):
    """Something about the table or the fit that the user should know; nothing was refused."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without notes: whoever is meant has had them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        yield


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one is likely to mean, if there is one."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.5)), None)


def nearest(word: str, known: Iterable[str]) -> str:
    """A did-you-mean for a misspelt word: the nearest known one and the list of what is legal."""
    names = sorted(set(known))
    if not names:
        return "nothing is legal here"
    close = closest(word, names)
    listed = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
    return f"did you mean {close!r}? legal: {listed}" if close else f"legal: {listed}"


def line_of(error: BaseException) -> str:
    """The first line of an exception."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
