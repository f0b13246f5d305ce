"""Open delimited text (CSV) of any usual separator, quoting and encoding, and name the line that breaks it.

The separator, the quotes and the header are guessed from the first 4 MiB; text that is not UTF-8 is transcoded
to a temporary copy. `check_lines` streams through the file and keeps none of it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ecluse.errors import UnreadableTable
from ecluse.later import Later
from ecluse.sentences import _, num
from ecluse.tabular.formats import format_names
from ecluse.tabular.layout import Header, Layout, find_header, laid_out, names_of
from ecluse.tabular.source import (
    Compression,
    Scratch,
    Source,
    TableFormat,
    clean_names,
    first_bytes,
    no_such_row,
    refuse_width,
)

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")

MAX_LINE_BYTES = 64 << 20

_HEAD_BYTES = 4 << 20
_CHECKED_AT_OPEN = 1 << 20
_CHUNK = 4 << 20
_SEPARATORS = (",", ";", "\t", "|")


def open_csv(path: Path, shown: str, scratch: Scratch, compression: Compression, layout: Layout) -> Source:
    """Open what the text file at `path` holds, once its first lines are checked; `shown` is its name in messages.

    Raises UnreadableTable when the file is blank, binary, without rows, of more than 16,384 columns, or has a
    malformed line in its first 1 MiB.
    """
    path, encoding, notes = _as_utf8(path, shown, scratch)
    head = first_bytes(path, _HEAD_BYTES).removeprefix(codecs.BOM_UTF8)
    text = head.decode("utf-8", errors="ignore")
    if not text.strip():
        raise UnreadableTable(
            _("%(file)s holds no text but blanks. Pick a file with a header and rows.", file=shown)
        )
    declared = re.match(r"\s*sep=(.)\r?\n", text)
    body = text[declared.end() :] if declared else text
    separator = declared[1] if declared else _sniff_separator(body)
    quote, quote_notes = _sniff_quote(body, separator)
    rows = _first_rows(body, separator, quote, 2_000)
    first_row = 1 + bool(declared)
    header = _find_header(rows, layout, first_row, shown, whole=len(body) < _HEAD_BYTES // 4)
    written = names_of(rows, header)
    refuse_width(len(written), shown)
    names, name_notes = clean_names(written)
    decimal_comma = _uses_decimal_comma(body, separator, quote)
    source = Source(
        path,
        TableFormat("csv", separator, encoding, decimal_comma, compression),
        names,
        (*notes, *quote_notes, *name_notes),
        header.start + bool(declared),
        quote,
        len(names) > 1 and _has_blank_rows(path, separator),
        laid_out(layout, header, rows, first_row),
        is_text=True,
    )
    check_lines(source, shown, stop=_CHECKED_AT_OPEN)
    return source


def check_lines(source: Source, shown: str, stop: int | None = None) -> None:
    """Stream through the file, or its first `stop` bytes; raise UnreadableTable at the first malformed line."""
    check = _LineCheck(
        len(source.columns), source.format.separator, source.quote is not None, source.skip_rows
    )
    carry = b""
    read = 0
    with source.path.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        while piece := file.read(_CHUNK if stop is None else min(_CHUNK, stop)):
            read += len(piece)
            carry += piece
            cut = carry.rfind(b"\n") + 1
            check.feed(carry[:cut])
            carry = carry[cut:]
            if len(carry) > MAX_LINE_BYTES:
                raise UnreadableTable(
                    _("%(file)s has a line longer than 64 MiB. Check its line ends.", file=shown)
                )
            if stop is not None and read >= stop:
                return
    check.feed(carry + b"\n" if carry else b"")
    check.finish()


# The head of the file


def _sniff_separator(text: str) -> str:
    """Return the separator that cuts the most of the first 200 lines into as many values as the header."""

    def consistency(separator: str) -> tuple[float, int]:
        counts = [len(row) for row in _first_rows(text, separator, '"', 200) if row]
        if not counts or counts[0] < 2:
            return 0.0, 0
        return sum(count == counts[0] for count in counts) / len(counts), counts[0]

    def below_titles(separator: str) -> tuple[float, int]:
        """Return the same for the number of values that most lines have: the first may be a title."""
        counts = Counter(len(row) for row in _first_rows(text, separator, '"', 200) if row)
        if not counts or (most := counts.most_common(1)[0])[0] < 2:
            return 0.0, 0
        return most[1] / counts.total(), most[0]

    best = max(_SEPARATORS, key=consistency)
    return best if consistency(best)[1] else max(_SEPARATORS, key=below_titles)


def _first_rows(text: str, separator: str, quote: str | None, limit: int) -> list[list[str]]:
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, quotechar=quote or '"', quoting=quoting
    )
    rows: list[list[str]] = []
    try:
        for row in reader:
            rows.append(row)
            if len(rows) == limit:
                break
    except csv.Error:  # a value beyond 128 KiB: what precedes it tells enough; the check of lines names it
        return rows
    return rows


def _sniff_quote(text: str, separator: str) -> tuple[str | None, tuple[str, ...]]:
    """None where quotes stand only inside values (5" pipe), never around one."""
    edge = re.escape(separator)
    if '"' not in text or re.search(rf'(?:^|{edge})"', text, re.MULTILINE):
        return '"', ()
    return None, (_('Quotes (") stand inside values only and are read as any other character.'),)


def _find_header(
    rows: Sequence[Sequence[str]], layout: Layout, first_row: int, shown: str, *, whole: bool
) -> Header:
    """Find where the names stand among the first records; `whole` says that these are all of the file."""
    filled = [position for position, row in enumerate(rows) if any(cell.strip() for cell in row)]
    if not filled:
        raise _unclosed(1)
    if sum(map(bool, rows)) == 1 and layout.header_row != 0 and len(rows) < 2_000 and whole:
        raise UnreadableTable(
            _("%(file)s has a header and no rows. Add rows, or pick another file.", file=shown)
        )
    asked = layout.header_row
    here = replace(layout, header_row=asked - first_row + 1) if asked else layout
    header = find_header(rows, here)
    if header is None:
        raise no_such_row(shown, asked or 0)
    return header


def _uses_decimal_comma(text: str, separator: str, quote: str | None) -> bool:
    cells = [cell.strip() for row in _first_rows(text, separator, quote, 200)[1:] for cell in row]
    commas = sum(bool(re.fullmatch(r"[+-]?[\d\s.\u00a0\u202f]*\d,\d+\D{0,4}", cell)) for cell in cells)
    points = sum(bool(re.fullmatch(r"[+-]?[\d\s,\u00a0\u202f]*\d\.\d+\D{0,4}", cell)) for cell in cells)
    return commas > points


def _has_blank_rows(path: Path, separator: str) -> bool:
    """Tell whether some line holds nothing but separators; inside quotes too, which only costs time later."""
    filler = re.escape(separator.encode())
    blank = re.compile(rb"\n[\r%s]*\n" % filler)
    tail = b""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            text = tail + piece
            if blank.search(text):
                return True
            tail = text[text.rfind(b"\n") :] if b"\n" in text else b""
    return re.fullmatch(rb"\n[\r%s]+" % filler, tail) is not None


# Lines


@dataclass
class _LineCheck:
    """Counts the values of each line, block by block of whole lines, without keeping any."""

    columns: int
    separator: str
    quoted: bool
    skip_records: int
    line: int = 1
    record_line: int = 1
    values_before: int = 0
    inside: bool = False
    opened: int = 1
    records: int = 0

    def feed(self, block: bytes) -> None:
        if not block:
            return
        data = np.frombuffer(block, np.uint8)
        if 0 in block:
            raise UnreadableTable(
                _(
                    "Line %(line)s has a NUL byte: the file is not text.",
                    line=self._line_at(data, block.index(0)),
                )
            )
        newlines = np.flatnonzero(data == 10)
        separators = np.flatnonzero(data == ord(self.separator))
        ends = newlines
        if self.quoted and (self.inside or 34 in block):
            quotes = np.flatnonzero(data == 34)
            self._check_quotes(data, quotes)
            outside = (np.cumsum(data == 34, dtype=np.uint8) + np.uint8(self.inside)) % 2 == 0
            ends, separators = newlines[outside[newlines]], separators[outside[separators]]
            self.inside ^= bool(len(quotes) % 2)
        self._check_counts(data, newlines, ends, separators)
        self.line += len(newlines)

    def finish(self) -> None:
        if self.inside:
            raise _unclosed(self.opened)

    def _check_quotes(self, data: np.ndarray, quotes: np.ndarray) -> None:
        """Check that a quote opens at the start of a value and closes at its end, or the lines between
        are swallowed.
        """
        first = int(self.inside)
        opening, closing = quotes[first::2], quotes[1 - first :: 2]
        separator = ord(self.separator)
        before = np.where(opening > 0, data[opening - 1], 10)
        stray = opening[~np.isin(before, (separator, 10, 34))]
        after = data[np.minimum(closing + 1, len(data) - 1)]
        loose = closing[~np.isin(after, (separator, 10, 13, 34))]
        if len(loose):
            earlier = opening[opening < loose[0]]
            opened = self._line_at(data, int(earlier[-1])) if len(earlier) else self.opened
            if not len(stray) or loose[0] < stray[0]:
                raise _unclosed(opened)
        if len(stray):
            raise UnreadableTable(
                _(
                    'Line %(line)s has a quote (") inside a value. Double it, or put the whole value in '
                    "quotes.",
                    line=self._line_at(data, int(stray[0])),
                )
            )
        if (len(quotes) + first) % 2 and len(opening):
            self.opened = self._line_at(data, int(opening[-1]))

    def _check_counts(
        self, data: np.ndarray, newlines: np.ndarray, ends: np.ndarray, separators: np.ndarray
    ) -> None:
        if not len(ends):
            self.values_before += len(separators)
            return
        upto = np.searchsorted(separators, ends)
        values = np.diff(upto, prepend=0) + 1
        values[0] += self.values_before
        starts = np.concatenate(([0], ends[:-1] + 1))
        lengths = ends - starts
        blank = (lengths == 0) | ((lengths == 1) & (data[ends - 1] == 13))
        blank[0] &= self.record_line == self.line
        wrong = np.flatnonzero((values != self.columns) & ~blank)
        wrong = wrong[wrong + self.records >= self.skip_records]
        if len(wrong):
            row = int(wrong[0])
            line = self.record_line if row == 0 else self._line_at(data, int(starts[row]))
            raise _ragged(line, int(values[row]), self.columns)
        self.records += len(ends)
        self.values_before = len(separators) - int(upto[-1])
        self.record_line = self.line + int(np.searchsorted(newlines, ends[-1])) + 1

    def _line_at(self, data: np.ndarray, position: int) -> int:
        return self.line + int(np.count_nonzero(data[:position] == 10))


def _ragged(line: int, values: int, columns: int) -> UnreadableTable:
    some = _("1 value") if values == 1 else _("%(count)s values", count=num(values, ","))
    return UnreadableTable(
        _(
            "Line %(line)s has %(some)s; the header has %(count)s. Correct the line and try again.",
            line=line,
            some=some,
            count=num(columns, ","),
        )
    )


def _unclosed(line: int) -> UnreadableTable:
    return UnreadableTable(
        _(
            'Line %(line)s opens a quote (") that is not closed. Close it, or double a quote meant as text.',
            line=line,
        )
    )


# Bytes to UTF-8


def _as_utf8(path: Path, shown: str, scratch: Scratch) -> tuple[Path, str, tuple[str, ...]]:
    """Return the file itself when it is UTF-8 with usual line ends, else a transcoded copy in the scratch directory."""
    encoding = _encoding(path, shown)
    notes: tuple[str, ...] = ()
    if encoding not in ("utf-8", "utf-8-sig"):
        path = _rewrite(path, scratch.file("transcoded"), _transcoder(encoding, shown))
        notes = (_("The text is read as %(encoding)s.", encoding=encoding),)
    head = first_bytes(path, _HEAD_BYTES)
    if b"\r" in head and b"\n" not in head:
        path = _rewrite(path, scratch.file("lines"), lambda piece, _: piece.replace(b"\r", b"\n"))
    return path, encoding, notes


def _rewrite(path: Path, target: Path, change: Callable[[bytes, bool], bytes]) -> Path:
    with path.open("rb") as old, target.open("wb") as new:
        while piece := old.read(_CHUNK):
            new.write(change(piece, False))
        new.write(change(b"", True))
    return target


def _transcoder(encoding: str, shown: str) -> Callable[[bytes, bool], bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()

    def transcode(piece: bytes, final: bool) -> bytes:
        try:
            return decoder.decode(piece, final).removeprefix("\ufeff").encode("utf-8")
        except UnicodeError as error:
            raise UnreadableTable(
                _(
                    "%(file)s looks like %(encoding)s text but is not throughout. Save the table as UTF-8 text, or "
                    "as %(formats)s; a file of another format needs its own ending.",
                    file=shown,
                    encoding=encoding,
                    formats=format_names(),
                )
            ) from error

    return transcode


_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def _encoding(path: Path, shown: str) -> str:
    head = first_bytes(path, 1 << 16)
    for mark, encoding in _BOMS.items():
        if head.startswith(mark) and encoding != "utf-8-sig":
            return encoding
    nulls = np.flatnonzero(np.frombuffer(head, np.uint8) == 0)
    if len(nulls) > 0.3 * len(head) and len(np.unique(nulls % 2)) == 1:
        return "utf-16-le" if nulls[0] % 2 else "utf-16-be"
    _refuse_binary(head, shown)
    invalid = _first_invalid_utf8(path)
    if invalid is None:
        return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"
    return _legacy_encoding(path, invalid, shown)


def _refuse_binary(head: bytes, shown: str) -> None:
    odd = len(head) - len(head.translate(None, bytes(set(range(32)) - {9, 10, 11, 12, 13, 26})))
    if 0 in head or odd > 0.002 * len(head) + 1:
        raise UnreadableTable(
            _(
                "%(file)s holds binary data, not a table. Save the table as %(formats)s.",
                file=shown,
                formats=format_names(),
            )
        )


def _first_invalid_utf8(path: Path) -> int | None:
    """Return the offset near the first bytes that are no UTF-8: an accent may first occur far into the file."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    with path.open("rb") as file:
        while True:
            piece = file.read(_CHUNK)
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                return max(0, done + error.start - 4)
            if not piece:
                return None
            done += len(piece)


_WESTERN = frozenset(
    "àâäáãåæçéèêëíìîïñóòôöõøœßúùûüýÿÀÂÄÁÃÅÆÇÉÈÊËÍÌÎÏÑÓÒÔÖÕØŒÚÙÛÜÝŸ€£¥§°ºª«»’‘“”–—…·²³µ´¿¡©®\u00a0"
)


def _legacy_encoding(path: Path, invalid: int, shown: str) -> str:
    """cp1252 when all it makes of the bytes is western European writing, else charset-normalizer's answer."""
    with path.open("rb") as file:
        file.seek(max(0, invalid - (1 << 15)))
        window = file.read(1 << 16)
    foreign = bytes(byte for byte in window if byte >= 128)
    letters = foreign.decode("cp1252", errors="replace")
    if sum(letter in _WESTERN for letter in letters) >= 0.98 * len(letters):
        return "cp1252"
    import charset_normalizer  # here: seldom needed, and it brings many codecs

    best = charset_normalizer.from_bytes(window).best()
    if best is None:
        raise UnreadableTable(
            _("%(file)s is text in no known encoding, or no text. Save it as UTF-8.", file=shown)
        )
    return str(best.encoding)
