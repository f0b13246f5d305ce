"""Check the parts of an Excel workbook before its reader lays out a cell of it.

The reader lays out a dense grid from the first cell to the last, and gives each cell its own copy of a text that is
stored once. So what an archive and its parts say is not believed: every member is inflated and counted, and XML is
read as XML, with whatever quotes, prefixes, references and positions it has.
"""

from __future__ import annotations

import io
import itertools
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final
from xml.parsers import expat

from ecluse.errors import UnreadableTable
from ecluse.sentences import _, num

MAX_XLSX_BYTES: Final = 1 << 30
MAX_XLSX_RATIO: Final = 200
MAX_XLSX_CELLS: Final = 60_000_000
"""The reader of workbooks lays out a dense grid of about 24 bytes a cell before the first row comes back."""
#: Characters of text in all cells of a sheet, a shared one counted in each.
MAX_XLSX_TEXT: Final = 1 << 30
#: What a workbook may hold: 1,000 sheets with their drawings have fewer members.
MAX_MEMBERS: Final = 10_000
#: A sheet has so many rows and columns, in any program.
LAST_ROW, LAST_COLUMN = 1 << 20, 1 << 14
#: Encodings in which `<`, quotes and digits are the bytes that they are in ASCII, so that no two readers differ.
ENCODINGS: Final = frozenset({"utf-8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"})
_OTHER_STARTS: Final = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<", b"\0\0")
_CELL: Final = re.compile(r"([A-Za-z]{1,3})([0-9]{1,7})")
_BOOK, _RELATIONS, _STRINGS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/sharedstrings.xml"
_STEEP_FROM: Final = 50 << 20


def check_parts(path: Path, shown: str) -> None:
    """Read every member of a workbook once, and none of it twice but shared texts that may be too many.

    Raises:
        UnreadableTable: the archive is no workbook, is damaged, encrypted, or unpacks to more than 1 GiB; its XML is
            malformed, declares a document type, or is in an encoding that its reader lacks; a sheet spans more than
            60 million cells, has cells that no sheet has, rows out of order, or more than 1 GiB of text.
    """
    with path.open("rb") as file:
        _Workbook(file, shown, path).check()


class _Workbook:
    def __init__(self, file: BinaryIO, shown: str, path: Path) -> None:
        self._file, self._shown = file, shown
        self._members = self._listed(path)
        self._left = MAX_XLSX_BYTES

    def check(self) -> None:
        sheets = self._sheets()
        lengths: list[int] = []
        shared: dict[str, int] = {}
        for name, member in self._members.items():
            if name in (_BOOK, _RELATIONS):
                continue
            if name in sheets or (name.startswith("xl/worksheets/") and not name.endswith(".rels")):
                self._parse(member, sheet := _Sheet(self._shown))
                shared[name] = sheet.shared
            elif name == _STRINGS:
                self._parse(member, strings := _Strings(self._shown))
                lengths = strings.lengths
            elif name.endswith((".xml", ".rels")):
                self._parse(member, _Elements(self._shown))
            else:
                for _turn in self._inflated(member):
                    pass
        longest = max(lengths, default=0)
        for name, count in shared.items():
            if count * longest > MAX_XLSX_TEXT:
                self._expect_text(name, lengths)

    def _expect_text(self, name: str, lengths: list[int]) -> None:
        """Count the text of a sheet, each shared one as often as it is used."""
        self._left += self._members[name].file_size
        used = _Uses(self._shown, lengths)
        self._parse(self._members[name], used)
        if used.text > MAX_XLSX_TEXT:
            raise UnreadableTable(
                _(
                    "%(file)s unpacks to %(size)s of text, more than this reads. Leave the long texts out.",
                    file=self._shown,
                    size=_("%(count)s GB", count=num(used.text / 1e9, ".1f")),
                )
            )

    def _sheets(self) -> set[str]:
        """Return the members that sheets lie in, by the relations that the workbook names."""
        book, relations = _Ids(self._shown), _Relations(self._shown)
        self._parse(self._members[_BOOK], book)
        if _RELATIONS in self._members:
            self._parse(self._members[_RELATIONS], relations)
        names = set()
        for id_ in book.ids:
            target, mode = relations.targets.get(id_, ("", ""))
            place = posixpath.normpath(posixpath.join("/xl", target.replace("\\", "/"))).lstrip("/").lower()
            leaves = target.replace("\\", "/").startswith("../..") or ":" in target
            if leaves or mode.lower() == "external":
                raise UnreadableTable(
                    _(
                        "%(file)s has a sheet that lies outside of the file: %(value)s. Save the workbook "
                        "with the sheet in it.",
                        file=self._shown,
                        value=repr(target[:100]),
                    )
                )
            names.add(place)
        return names

    def _listed(self, path: Path) -> dict[str, zipfile.ZipInfo]:
        """List the members by their names as the reader compares them: in lower case, with slashes."""
        shown = self._shown
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
            raise UnreadableTable(_("%(file)s is a damaged workbook. Save it again.", file=shown)) from error
        if len(members) > MAX_MEMBERS:
            raise UnreadableTable(
                _(
                    "%(file)s holds %(count)s files, as no workbook does. Save the table as CSV.",
                    file=shown,
                    count=num(len(members), ","),
                )
            )
        by_name: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            name = member.filename.replace("\\", "/").lower()
            if name in by_name or name.startswith("/") or ".." in name.split("/"):
                raise UnreadableTable(
                    _(
                        "%(file)s holds %(value)s twice, or outside of itself. Save it again.",
                        file=shown,
                        value=repr(member.filename[:100]),
                    )
                )
            by_name[name] = member
        if _BOOK not in by_name:
            raise UnreadableTable(
                _(
                    "%(file)s is a ZIP archive, not an Excel workbook. Unpack it and pick one table.",
                    file=shown,
                )
            )
        if sum(member.file_size for member in members) > MAX_XLSX_BYTES:
            raise self._too_large()
        ordered = sorted(members, key=lambda member: member.header_offset)
        for before, following in itertools.pairwise(ordered):
            if before.header_offset + before.compress_size > following.header_offset:
                raise UnreadableTable(
                    _(
                        "%(file)s is a damaged workbook: %(error)s. Save it again.",
                        file=shown,
                        error=_("its files overlap"),
                    )
                )
        return by_name

    def _parse(self, member: zipfile.ZipInfo, part: _Elements) -> None:
        parser = part.parser()
        first = True
        try:
            for piece in self._inflated(member):
                if first and piece.startswith(_OTHER_STARTS):
                    raise _unusual(self._shown, "UTF-16")
                first = first and not piece
                parser.Parse(piece, False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise UnreadableTable(
                _(
                    "%(file)s is a damaged workbook: %(error)s. Save it again.",
                    file=self._shown,
                    error=_("%(name)s is no XML", name=member.filename[:100]),
                )
            ) from error

    def _inflated(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """Yield the bytes of a member as they come, counted: the sizes that an archive declares may lie."""
        size = 0
        for piece in _unpacked(self._file, member, self._shown):
            size += len(piece)
            self._left -= len(piece)
            if self._left < 0:
                raise self._too_large()
            if size > _STEEP_FROM and size > MAX_XLSX_RATIO * max(member.compress_size, 1):
                raise UnreadableTable(
                    _(
                        "%(file)s unpacks to more than %(count)s times its size, as no real workbook does. "
                        "Save the table as CSV.",
                        file=self._shown,
                        count=MAX_XLSX_RATIO,
                    )
                )
            yield piece

    def _too_large(self) -> UnreadableTable:
        return UnreadableTable(
            _("%(file)s unpacks to more than 1 GiB. Save the table as CSV or Parquet.", file=self._shown)
        )


def _unpacked(file: BinaryIO, member: zipfile.ZipInfo, shown: str) -> Iterator[bytes]:
    file.seek(member.header_offset)
    local = file.read(30)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        raise UnreadableTable(
            _(
                "%(file)s is a damaged workbook: %(error)s. Save it again.",
                file=shown,
                error=_("a file in it has no beginning"),
            )
        )
    file.seek(int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little"), io.SEEK_CUR)
    left = member.compress_size
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        raise UnreadableTable(
            _("%(file)s is encrypted or packed in an unusual way. Save it again without.", file=shown)
        )
    engine = zlib.decompressobj(-15) if member.compress_type == zipfile.ZIP_DEFLATED else None
    try:
        while left > 0 and (packed := file.read(min(left, 1 << 16))):
            left -= len(packed)
            # At most 1,032 times 64 KiB come out at once.
            yield packed if engine is None else engine.decompress(packed)
    except zlib.error as error:
        raise UnreadableTable(_("%(file)s is a damaged workbook. Save it again.", file=shown)) from error


class _Elements:
    """XML of which only the form matters."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.XmlDeclHandler = self._check_encoding
        parser.StartElementHandler = self.start
        return parser

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take the beginning of an element; its name has a prefix or none."""

    def _refuse_doctype(self, *_declared: object) -> None:
        raise UnreadableTable(
            _(
                "%(file)s declares a document type, as no real workbook does. Save the table as CSV.",
                file=self._shown,
            )
        )

    def _check_encoding(self, version: str, encoding: str | None, standalone: int) -> None:
        if (encoding or "utf-8").lower() not in ENCODINGS:
            raise _unusual(self._shown, str(encoding)[:40])


def _unusual(shown: str, encoding: str) -> UnreadableTable:
    return UnreadableTable(
        _(
            "%(file)s is written in %(value)s, which is not read in a workbook. Save the table as CSV.",
            file=shown,
            value=encoding,
        )
    )


class _Ids(_Elements):
    """The sheets of a workbook, as the ids of their relations."""

    def __init__(self, shown: str) -> None:
        super().__init__(shown)
        self.ids: set[str] = set()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if _local(name) == "sheet":
            self.ids |= {value for key, value in attributes.items() if _local(key) == "id"}


class _Relations(_Elements):
    def __init__(self, shown: str) -> None:
        super().__init__(shown)
        self.targets: dict[str, tuple[str, str]] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if _local(name) == "Relationship":
            self.targets[attributes.get("Id", "")] = (
                attributes.get("Target", ""),
                attributes.get("TargetMode", ""),
            )


class _Sheet(_Elements):
    """Which cells a sheet has, and how many of them are shared texts."""

    def __init__(self, shown: str) -> None:
        super().__init__(shown)
        self._row = self._column = self.shared = 0
        self._first: tuple[int, int] | None = None
        self._least = self._most = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = _local(name)
        if local == "c":
            self._cell(attributes.get("r"))
            self.shared += attributes.get("t") == "s"
        elif local == "row":
            self._begin_row(attributes.get("r"))

    def _begin_row(self, written: str | None) -> None:
        row = self._row + 1
        if written is not None:
            if not (written.isascii() and written.isdigit() and len(written) <= 7):
                raise self._no_cell(written)
            row = int(written)
        self._go_to(row, str(written))
        self._column = 0

    def _go_to(self, row: int, written: str) -> None:
        if not 1 <= row <= LAST_ROW:
            raise self._no_cell(written)
        if row < self._row:
            raise UnreadableTable(
                _(
                    "%(file)s has row %(count)s after row %(number)s. Save it again, or as CSV.",
                    file=self._shown,
                    count=num(row, ","),
                    number=num(self._row, ","),
                )
            )
        self._row = row

    def _cell(self, written: str | None) -> None:
        if written is None:
            self._column += 1
        else:
            match = _CELL.fullmatch(written)
            if match is None:
                raise self._no_cell(written)
            self._go_to(int(match[2]), written)
            self._column = column_number(match[1].upper())
        if not 1 <= self._column <= LAST_COLUMN:
            raise self._no_cell(written or str(self._column))
        if self._first is None:
            self._first = (self._row, self._column)
            self._least = self._most = self._column
        self._least, self._most = min(self._least, self._column), max(self._most, self._column)
        rows, columns = self._row - self._first[0] + 1, self._most - self._least + 1
        if rows * columns > MAX_XLSX_CELLS:
            raise UnreadableTable(
                _(
                    "%(file)s spans %(rows)s rows by %(total)s columns, more than %(count)s cells. Delete "
                    "stray far cells, or save the table as CSV.",
                    file=self._shown,
                    rows=num(rows, ","),
                    total=num(columns, ","),
                    count=num(MAX_XLSX_CELLS, ","),
                )
            )

    def _no_cell(self, written: str) -> UnreadableTable:
        return UnreadableTable(
            _(
                "%(file)s names a cell %(value)s, which no sheet has. Save it again, or as CSV.",
                file=self._shown,
                value=repr(written[:40]),
            )
        )


class _Strings(_Elements):
    """How many characters each shared text has."""

    def __init__(self, shown: str) -> None:
        super().__init__(shown)
        self.lengths: list[int] = []

    def parser(self) -> expat.XMLParserType:
        parser = super().parser()
        parser.CharacterDataHandler = self._text
        return parser

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if _local(name) == "si":
            self.lengths.append(0)

    def _text(self, text: str) -> None:
        if self.lengths:
            self.lengths[-1] += len(text)


class _Uses(_Elements):
    """The text that cells take from shared ones."""

    def __init__(self, shown: str, lengths: list[int]) -> None:
        super().__init__(shown)
        self._lengths, self.text = lengths, 0
        self._is_shared = self._is_value = False
        self._index = ""

    def parser(self) -> expat.XMLParserType:
        parser = super().parser()
        parser.CharacterDataHandler = self._said
        parser.EndElementHandler = self._end
        return parser

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = _local(name)
        if local == "c":
            self._is_shared = attributes.get("t") == "s"
        self._is_value, self._index = local == "v" and self._is_shared, ""

    def _said(self, text: str) -> None:
        if self._is_value:
            self._index += text[:20]

    def _end(self, name: str) -> None:
        if self._is_value and self._index.strip().isdecimal():
            index = int(self._index.strip()[:20])
            self.text += self._lengths[index] if index < len(self._lengths) else 0
        self._is_value = False


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def column_number(letters: str) -> int:
    """Return the number of a column: A is 1, XFD is 16,384."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number
