"""Make files that were written against whoever reads them: more than 200 kinds of tables and images.

Each says what is to become of it: `refused`, `read`, or `either`, where a reader may do one or the other but never
fall over. They are small; what they ask for is not.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from PIL import Image, PngImagePlugin

Fate = Literal["refused", "read", "either"]
MAIN = "xmlns='http://schemas.openxmlformats.org/spreadsheetml/2006/main'"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
SHEET = "xl/worksheets/sheet1.xml"
ROWS = "<row r='1'><c r='A1'><v>1</v></c><c r='B1'><v>2</v></c></row><row r='2'><c r='A2'><v>3</v></c><c r='B2'><v>4</v></c></row>"


@dataclass(frozen=True)
class Hostile:
    """One file: the name a person gave it, how it is made, and what is to become of it."""

    kind: str
    filename: str
    make: Callable[[], bytes]
    fate: Fate = "refused"


# Workbooks


def sheet(rows: str, before: str = "", head: str = "", end: str = "") -> str:
    return f"{head}<worksheet {MAIN}>{before}<sheetData>{rows}</sheetData>{end}</worksheet>"


def book(
    content: str | bytes = "",
    *,
    member: str = SHEET,
    target: str = "worksheets/sheet1.xml",
    mode: str = "",
    strings: str | bytes | None = None,
    workbook: str | None = None,
    relations: str | None = None,
    extra: dict[str, bytes | str] | None = None,
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """A workbook of one sheet, whose parts are as they are given."""
    buffer = io.BytesIO()
    parts: dict[str, bytes | str] = {
        "[Content_Types].xml": f"<Types xmlns='{PACKAGE}/content-types'><Default Extension='xml' ContentType='application/xml'/></Types>",
        "_rels/.rels": f"<Relationships xmlns='{PACKAGE}/relationships'><Relationship Id='rId1' Type='{OFFICE}/officeDocument' Target='xl/workbook.xml'/></Relationships>",
        "xl/workbook.xml": workbook
        or f"<workbook {MAIN} xmlns:r='{OFFICE}'><sheets><sheet name='S' sheetId='1' r:id='rId1'/></sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations
        or f"<Relationships xmlns='{PACKAGE}/relationships'><Relationship Id='rId1' Type='{OFFICE}/worksheet' Target='{target}'{mode}/></Relationships>",
        member: content or sheet(ROWS),
    }
    if strings is not None:
        parts["xl/sharedStrings.xml"] = strings
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, part in (parts | (extra or {})).items():
            archive.writestr(name, part)
    return buffer.getvalue()


def shared(*texts: str) -> str:
    return f"<sst {MAIN}>{''.join(f'<si><t>{text}</t></si>' for text in texts)}</sst>"


def uses(index: str, times: int) -> str:
    return sheet(
        "".join(f"<row r='{row}'><c r='A{row}' t='s'><v>{index}</v></c></row>" for row in range(1, times + 1))
    )


FAR = "<row r='1048576'><c r='XFD1048576'><v>9</v></c></row>"
LAUGHS = (
    "<!DOCTYPE l [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(8))
    + "]>"
)


def _far_cells() -> Iterator[Hostile]:
    forms = {
        "single quotes": FAR,
        "double quotes": FAR.replace("'", '"'),
        "spaces around the sign": FAR.replace("r='XFD", "r = 'XFD"),
        "line breaks between attributes": FAR.replace("<c ", "<c\n\n\t"),
        "another attribute first, of a kilobyte": FAR.replace("<c ", f"<c s='{'1' * 1000}' "),
        "lower case": FAR.replace("XFD", "xfd"),
        "a reference to a character": FAR.replace("XFD", "&#88;FD"),
        "a reference in hexadecimal": FAR.replace("XFD", "X&#x46;D"),
        "cells that are not numbered in a far row": "<row r='1048576'>" + "<c><v>1</v></c>" * 200 + "</row>",
        "a row that is not numbered": "<row r='1048575'/><row><c r='XFD1048576'><v>9</v></c></row>",
        "an empty cell": "<row r='1048576'><c r='XFD1048576'/></row>",
        "a comment before": f"<!-- {'x' * 5000} -->" + FAR,
        "a text of its own": "<row r='1048576'><c r='XFD1048576' t='inlineStr'><is><t>x</t></is></c></row>",
        "a formula": "<row r='1048576'><c r='XFD1048576'><f>A1</f><v>1</v></c></row>",
    }
    for form, rows in forms.items():
        yield Hostile(f"far cell, {form}", "far.xlsx", lambda rows=rows: book(sheet(ROWS + rows)))
    prefixed = sheet(ROWS + FAR).replace("<", "<x:").replace("<x:/", "</x:").replace("xmlns=", "xmlns:x=")
    yield Hostile("far cell, elements with a prefix", "far.xlsx", lambda: book(prefixed))
    places = {
        "another folder": ("xl/other/one.xml", "other/one.xml"),
        "a member that is not called .xml": ("xl/sheet.bin", "sheet.bin"),
        "an absolute relation": (SHEET, "/xl/worksheets/sheet1.xml"),
        "a relation with dots": (SHEET, "./worksheets/../worksheets/sheet1.xml"),
        "a member in capitals": ("XL/WORKSHEETS/SHEET1.XML", "worksheets/sheet1.xml"),
        "a member with backslashes": ("xl\\worksheets\\sheet1.xml", "worksheets/sheet1.xml"),
    }
    for place, (member, target) in places.items():
        yield Hostile(
            f"far cell, {place}",
            "far.xlsx",
            lambda m=member, t=target: book(sheet(ROWS + FAR), member=m, target=t),
        )
    two = book(
        workbook=f"<workbook {MAIN} xmlns:r='{OFFICE}'><sheets><sheet name='S' sheetId='1' r:id='rId1'/><sheet name='T' sheetId='2' state='veryHidden' r:id='rId2'/></sheets></workbook>",
        relations=f"<Relationships xmlns='{PACKAGE}/relationships'><Relationship Id='rId1' Target='worksheets/sheet1.xml'/><Relationship Id='rId2' Target='worksheets/sheet2.xml'/></Relationships>",
        extra={"xl/worksheets/sheet2.xml": sheet(ROWS + FAR)},
    )
    yield Hostile("far cell, in a hidden sheet", "far.xlsx", lambda: two)
    yield Hostile("far cell, gzipped", "far.xlsx.gz", lambda: gzip.compress(book(sheet(ROWS + FAR)), mtime=0))
    for ending in ("xlsb", "ods", "xls", "csv"):
        yield Hostile(f"far cell, called .{ending}", f"far.{ending}", lambda: book(sheet(ROWS + FAR)))
    binary = {"xl/workbook.bin": b"\x83\x01\0", "xl/_rels/workbook.bin.rels": "<Relationships/>"}
    yield Hostile("a binary workbook inside, called .xlsb", "b.xlsb", lambda: book(extra=binary), "either")


def _cells() -> Iterator[Hostile]:
    wrong = {
        "row 0": "<row r='0'><c r='A0'><v>1</v></c></row>",
        "row 4294967295": "<row r='4294967295'><c><v>1</v></c></row>",
        "row -1": "<row r='-1'><c><v>1</v></c></row>",
        "row of Arabic digits": "<row r='٣'><c><v>1</v></c></row>",
        "row of letters": "<row r='abc'><c><v>1</v></c></row>",
        "row of a thousand digits": f"<row r='{'9' * 1000}'><c><v>1</v></c></row>",
        "column AAAAAAA": "<row r='3'><c r='AAAAAAA3'><v>1</v></c></row>",
        "column XFE": "<row r='3'><c r='XFE3'><v>1</v></c></row>",
        "cell 1A": "<row r='3'><c r='1A'><v>1</v></c></row>",
        "cell without a name": "<row r='3'><c r=''><v>1</v></c></row>",
        "cell A": "<row r='3'><c r='A'><v>1</v></c></row>",
        "cell $A$3": "<row r='3'><c r='$A$3'><v>1</v></c></row>",
        "cell A99999999999": "<row r='3'><c r='A99999999999'><v>1</v></c></row>",
        "rows out of order": "<row r='9'><c r='A9'><v>1</v></c></row><row r='3'><c r='A3'><v>1</v></c></row>",
        "a cell of an earlier row": "<row r='9'><c r='A1'><v>1</v></c></row>",
        "17,000 cells in a row, not numbered": "<row r='3'>" + "<c><v>1</v></c>" * 17_000 + "</row>",
    }
    for what, rows in wrong.items():
        yield Hostile(f"cells: {what}", "cells.xlsx", lambda rows=rows: book(sheet(ROWS + rows)))
    odd = {
        "a dimension that lies high": sheet(ROWS, before="<dimension ref='A1:XFD1048576'/>"),
        "a dimension that lies low": sheet(ROWS, before="<dimension ref='A1'/>"),
        "a dimension that is none": sheet(ROWS, before="<dimension ref='ZZZZZZ9:A1'/>"),
        "a merge of everything": sheet(
            ROWS, end="<mergeCells count='1'><mergeCell ref='A1:XFD1048576'/></mergeCells>"
        ),
        "a number that is no number": sheet(ROWS.replace("<v>3<", "<v>1e999999<")),
        "a date of the year 300,000": sheet(ROWS.replace("<c r='A2'>", "<c r='A2' t='d'>")),
        "a type that is none": sheet(ROWS.replace("<c r='A2'>", "<c r='A2' t='zz'>")),
        "an error of a megabyte": sheet(
            ROWS.replace("<c r='A2'><v>3", f"<c r='A2' t='e'><v>#{'N' * 1_000_000}")
        ),
        "a style of a billion": sheet(ROWS.replace("<c r='A2'>", "<c r='A2' s='999999999999'>")),
        "no cell at all": sheet(""),
        "rows without cells": sheet("".join(f"<row r='{row}'/>" for row in range(1, 5000))),
        "a thousand cells of one name": sheet("<row r='1'>" + "<c r='A1'><v>1</v></c>" * 1000 + "</row>"),
        "formulas of everything": sheet(
            ROWS.replace("<v>3</v>", "<f t='shared' ref='A1:XFD1048576' si='0'>A1</f><v>3</v>")
        ),
    }
    for what, content in odd.items():
        yield Hostile(f"cells: {what}", "cells.xlsx", lambda content=content: book(content), "either")


def _xml() -> Iterator[Hostile]:
    plain = sheet(ROWS)
    bomb = LAUGHS + plain.replace("<v>1</v>", "<v>&i;</v>")
    external = "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"
    parameter = "<!DOCTYPE x [<!ENTITY % p SYSTEM 'http://127.0.0.1:1/x.dtd'> %p;]>"
    for what, content in {
        "entities that multiply": bomb,
        "an entity of this machine": external + plain.replace("<v>1</v>", "<v>&e;</v>"),
        "an entity of the network": parameter + plain,
        "an empty document type": "<!DOCTYPE x>" + plain,
    }.items():
        yield Hostile(f"xml: {what}", "x.xlsx", lambda content=content: book(content))
    yield Hostile("xml: entities in shared texts", "x.xlsx", lambda: book(strings=LAUGHS + shared("&i;")))
    yield Hostile("xml: entities in the workbook", "x.xlsx", lambda: book(workbook=LAUGHS + "<workbook/>"))
    yield Hostile(
        "xml: entities in the relations", "x.xlsx", lambda: book(relations=LAUGHS + "<Relationships/>")
    )
    yield Hostile(
        "xml: entities in the styles",
        "x.xlsx",
        lambda: book(extra={"xl/styles.xml": LAUGHS + "<styleSheet/>"}),
    )
    for encoding, name in (
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
    ):
        head = f"<?xml version='1.0' encoding='{name}'?>"
        yield Hostile(
            f"xml: in {encoding}",
            "x.xlsx",
            lambda e=encoding, h=head: book((h + sheet(ROWS + FAR)).encode(e)),
        )
    for name in ("UTF-7", "cp037", "UTF-16", "x-nothing", "utf-8; drop", "shift_jis", "ISO-2022-JP"):
        yield Hostile(
            f"xml: says that it is {name}",
            "x.xlsx",
            lambda n=name: book(f"<?xml version='1.0' encoding='{n}'?>{plain}"),
        )
    for what, content in {
        "cut in the middle": plain[: len(plain) // 2],
        "elements that cross": plain.replace("</row><row r='2'>", "</sheetData><row r='2'>"),
        "an attribute twice": plain.replace("r='A1'", "r='A1' r='XFD1048576'"),
        "a NUL": plain.replace("<v>1", "<v>\0"),
        "no element": " ",
        "nothing": " " * 10,
        "two roots": plain + plain,
        "bytes that are no UTF-8": plain.encode().replace(b"<v>1", b"<v>\xff\xfe"),
        "random bytes": np.random.default_rng(1).bytes(5000),
        "an attribute without quotes": plain.replace("r='A1'", "r=A1"),
    }.items():
        yield Hostile(f"xml: {what}", "x.xlsx", lambda content=content: book(content))
    deep = "<a>" * 50_000 + "</a>" * 50_000
    yield Hostile(
        "xml: 50,000 elements within each other", "x.xlsx", lambda: book(sheet(ROWS, before=deep)), "either"
    )
    long = f"<a b='{'x' * 5_000_000}'/>"
    yield Hostile("xml: an attribute of 5 MB", "x.xlsx", lambda: book(sheet(ROWS, before=long)), "either")
    many = "<a " + " ".join(f"b{i}=''" for i in range(50_000)) + "/>"
    yield Hostile("xml: 50,000 attributes", "x.xlsx", lambda: book(sheet(ROWS, before=many)), "either")
    yield Hostile(
        "xml: a processing instruction", "x.xlsx", lambda: book(f"<?x {'y' * 100_000}?>{plain}"), "either"
    )


def _texts() -> Iterator[Hostile]:
    megabyte = "x" * 1_000_000
    yield Hostile(
        "texts: one of 1 MB used 4,000 times",
        "t.xlsx",
        lambda: book(uses("0", 4000), strings=shared(megabyte)),
    )
    runs = f"<sst {MAIN}><si>{'<r><t>' + 'x' * 1000 + '</t></r>'}</si></sst>".replace("<r>", "<r>", 1)
    yield Hostile("texts: of runs", "t.xlsx", lambda: book(uses("0", 10), strings=runs), "either")
    parts = f"<sst {MAIN}><si>{('<r><t>' + 'x' * 1000 + '</t></r>') * 1000}</si></sst>"
    yield Hostile(
        "texts: one of a thousand runs used 4,000 times",
        "t.xlsx",
        lambda: book(uses("0", 4000), strings=parts),
    )
    split = uses("0", 4000).replace("<v>0</v>", "<v>&#48;</v>")
    yield Hostile(
        "texts: used by references to digits", "t.xlsx", lambda: book(split, strings=shared(megabyte))
    )
    yield Hostile(
        "texts: called sharedstrings.xml",
        "t.xlsx",
        lambda: book(uses("0", 4000), extra={"xl/sharedstrings.XML": shared(megabyte)}),
    )
    for index in ("99", "-1", "x", "1e9", "9" * 100, ""):
        yield Hostile(
            f"texts: number {index[:5]!r} of one",
            "t.xlsx",
            lambda i=index: book(uses(i, 3), strings=shared("a")),
            "either",
        )
    yield Hostile(
        "texts: a count that lies",
        "t.xlsx",
        lambda: book(
            uses("0", 3),
            strings=shared("a").replace("<sst ", "<sst count='4294967295' uniqueCount='4294967295' "),
        ),
        "either",
    )
    yield Hostile("texts: cut", "t.xlsx", lambda: book(uses("0", 3), strings=shared("a" * 100)[:-40]))
    own = sheet(
        "".join(
            f"<row r='{r}'><c r='A{r}' t='inlineStr'><is><t>{'x' * 100_000}</t></is></c></row>"
            for r in range(1, 300)
        )
    )
    yield Hostile("texts: 30 MB in cells", "t.xlsx", lambda: book(own), "either")


def _archives() -> Iterator[Hostile]:
    plain = book()
    bomb = b"\0" * (120 << 20)
    yield Hostile(
        "zip: a sheet that inflates 1,000 times", "z.xlsx", lambda: book(sheet(ROWS + " " * (60 << 20)))
    )
    yield Hostile(
        "zip: a picture that inflates 1,000 times",
        "z.xlsx",
        lambda: book(extra={"xl/media/image1.png": bomb}),
    )
    yield Hostile(
        "zip: styles that inflate 1,000 times",
        "z.xlsx",
        lambda: book(extra={"xl/styles.xml": b" " * (60 << 20)}),
    )
    yield Hostile("zip: sizes that lie", "z.xlsx", lambda: _lying(book(extra={"xl/media/a.bin": bomb})))
    yield Hostile("zip: cut in half", "z.xlsx", lambda: plain[: len(plain) // 2])
    yield Hostile("zip: without its list", "z.xlsx", lambda: plain[: plain.rindex(b"PK\x01\x02")])
    yield Hostile("zip: its first bytes alone", "z.xlsx", lambda: plain[:30])
    yield Hostile("zip: flipped bytes within", "z.xlsx", lambda: _flipped(plain, 60, 300))
    yield Hostile(
        "zip: flipped bytes in its list", "z.xlsx", lambda: _flipped(plain, len(plain) - 200, len(plain) - 22)
    )
    yield Hostile("zip: bytes behind its end", "z.xlsx", lambda: plain + b"\0" * 1000, "either")
    yield Hostile("zip: members that overlap", "z.xlsx", _overlapping)
    yield Hostile("zip: locked", "z.xlsx", lambda: _with_flag(plain, 1))
    for method, name in ((zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")):
        yield Hostile(f"zip: packed by {name}", "z.xlsx", lambda m=method: book(method=m))
    yield Hostile("zip: packed by a method that is none", "z.xlsx", lambda: _with_method(plain, 77))
    yield Hostile("zip: stored plainly", "z.xlsx", lambda: book(method=zipfile.ZIP_STORED), "read")
    for name in ("/xl/evil.xml", "../evil.xml", "..\\evil.xml", "xl/../../evil.xml"):
        yield Hostile(f"zip: a member called {name}", "z.xlsx", lambda n=name: book(extra={n: "<a/>"}))
    for name in ("XL/WORKBOOK.XML", "xl\\workbook.xml"):
        yield Hostile(
            f"zip: the workbook again as {name}", "z.xlsx", lambda n=name: book(extra={n: "<workbook/>"})
        )
    yield Hostile("zip: a sheet twice", "z.xlsx", _doubled)
    yield Hostile(
        "zip: 10,001 members", "z.xlsx", lambda: book(extra={f"xl/m/{i}.bin": b"" for i in range(10_001)})
    )
    yield Hostile("zip: a zip within", "z.xlsx", lambda: _zip({"inner.xlsx": plain}))
    yield Hostile("zip: a table within", "z.zip", lambda: _zip({"table.csv": b"a,b\n1,2\n"}))
    yield Hostile("zip: nothing", "z.xlsx", lambda: _zip({}))
    yield Hostile(
        "zip: an OpenDocument",
        "z.ods",
        lambda: _zip({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": b"<a/>"}),
    )
    yield Hostile(
        "zip: a sheet of another machine",
        "z.xlsx",
        lambda: book(target="http://127.0.0.1:1/sheet.xml", mode=" TargetMode='External'"),
    )
    yield Hostile("zip: a sheet of this machine", "z.xlsx", lambda: book(target="../../../../etc/passwd"))
    yield Hostile("zip: a sheet that is not there", "z.xlsx", lambda: book(target="worksheets/nowhere.xml"))
    yield Hostile(
        "zip: the workbook as its own sheet", "z.xlsx", lambda: book(target="workbook.xml"), "either"
    )
    yield Hostile("zip: no relations", "z.xlsx", lambda: book(relations="<Relationships/>"))
    yield Hostile(
        "zip: relations without end",
        "z.xlsx",
        lambda: book(
            relations="<Relationships>" + "<Relationship Id='a' Target='b'/>" * 100_000 + "</Relationships>"
        ),
    )
    yield Hostile("zip: 2,000 sheets of one part", "z.xlsx", _many_sheets, "either")


def _zip(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return buffer.getvalue()


def _lying(archive: bytes) -> bytes:
    """Every uncompressed size in the list is said to be 9 bytes."""
    data, at = bytearray(archive), 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        data[at + 24 : at + 28] = struct.pack("<I", 9)
        at += 4
    return bytes(data)


def _with_flag(archive: bytes, flag: int) -> bytes:
    data = bytearray(archive)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = 0
        while (at := data.find(mark, at)) >= 0:
            data[at + offset] |= flag
            at += 4
    return bytes(data)


def _with_method(archive: bytes, method: int) -> bytes:
    data, at = bytearray(archive), 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        data[at + 10 : at + 12] = struct.pack("<H", method)
        at += 4
    return bytes(data)


def _overlapping() -> bytes:
    """The list says that all members begin where the first does."""
    data, at = bytearray(book()), 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        data[at + 42 : at + 46] = struct.pack("<I", 0)
        at += 4
    return bytes(data)


def _doubled() -> bytes:
    import warnings

    buffer = io.BytesIO(book())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr(SHEET, sheet(ROWS + FAR))
    return buffer.getvalue()


def _many_sheets() -> bytes:
    listed = "".join(f"<sheet name='S{i}' sheetId='{i}' r:id='rId1'/>" for i in range(1, 2001))
    return book(workbook=f"<workbook {MAIN} xmlns:r='{OFFICE}'><sheets>{listed}</sheets></workbook>")


def _flipped(data: bytes, first: int, last: int, step: int = 7) -> bytes:
    changed = bytearray(data)
    for at in range(first, min(last, len(data)), step):
        changed[at] ^= 0x5A
    return bytes(changed)


# Text


def _csv() -> Iterator[Hostile]:
    plain = b"a,b\n" + b"1,2\n" * 500
    kinds: dict[str, tuple[bytes | Callable[[], bytes], Fate]] = {
        "nothing": (b"", "refused"),
        "blanks": (b" \n\t\n \r\n", "refused"),
        "a header alone": (b"a,b,c\n", "refused"),
        "a NUL": (plain + b"1,\0\n", "refused"),
        "a NUL far in": (b"a,b\n" + b"1,2\n" * 500_000 + b"1,\0\n", "refused"),
        "a quote that stays open": (plain + b'1,"2\n' + b"3,4\n" * 1000, "refused"),
        "a quote that stays open from the first byte": (b'"' + plain, "refused"),
        "a quote inside a value": (b'a,b\n1,"x"\n2,y"z"\n', "refused"),
        "a line of another width": (plain + b"1,2,3\n", "refused"),
        "a line of another width far in": (b"a,b\n" + b"1,2\n" * 500_000 + b"1\n", "refused"),
        "16,385 columns": (
            b",".join(b"c%d" % i for i in range(16_385)) + b"\n" + b"," * 16_384 + b"\n",
            "refused",
        ),
        "a line of 65 MB": (lambda: b"a,b\n1," + b"x" * (65 << 20), "refused"),
        "a value of 1 MB": (b"a,b\n1," + b"x" * 1_000_000 + b"\n", "either"),
        "separators alone": (b",,,\n" * 1000, "either"),
        "line ends of the old kind": (plain.replace(b"\n", b"\r"), "read"),
        "line ends of every kind": (b"a,b\r1,2\n3,4\r\n5,6\n", "either"),
        "no line end": (b"a,b\n1,2", "read"),
        "one column of one letter": (b"a\n" + b"b\n" * 10, "either"),
        "UTF-16 with a byte too many": ("a,b\n1,2\n".encode("utf-16") + b"x", "refused"),
        "UTF-16 of half a pair": ("a,b\n1,".encode("utf-16") + b"\x00\xd8\x0a\x00", "refused"),
        "UTF-16 without a mark": (("a,b\n" + "1,2\n" * 50).encode("utf-16-be"), "either"),
        "UTF-32": (("a,b\n" + "1,2\n" * 50).encode("utf-32"), "either"),
        "UTF-8 cut in a character": (plain + b"1,\xc3\n", "either"),
        "UTF-8 of surrogates": (plain + b"1,\xed\xa0\x80\n", "either"),
        "bytes of no encoding": (plain + bytes(range(128, 256)) * 5 + b",1\n", "either"),
        "a name of a megabyte": (b"a" * 1_000_000 + b",b\n1,2\n", "either"),
        "names that are all the same": (b"a," * 300 + b"a\n" + b"1," * 300 + b"1\n", "read"),
        "a separator that is a quote": (b'sep="\na"b\n1"2\n', "either"),
        "a separator that is a line end": (b"sep=\n\na\nb\n", "either"),
        "control characters": (plain + b"1,\x01\x02\x03\x04\x05\x06\x07" * 50 + b"\n", "refused"),
        "formulas": (b"a,b\n=cmd|' /C calc'!A0,1\n@SUM(1),2\n", "read"),
        "numbers beyond every number": (b"a,b\n1e999,-1e999\n" + b"9" * 400 + b",nan\n", "read"),
        "dates beyond every calendar": (b"a,b\n99999-99-99,0000-00-00\n-1-1-1,2026-02-30\n", "read"),
        "300,000 empty lines": (b"a,b\n" + b"\n" * 300_000 + b"1,2\n", "either"),
        "random bytes": (np.random.default_rng(2).bytes(100_000), "refused"),
    }
    for what, (data, fate) in kinds.items():
        yield Hostile(f"csv: {what}", "t.csv", data if callable(data) else lambda data=data: data, fate)
    foreign = {
        "a PDF": b"%PDF-1.7 x",
        "a web page": b"<!DOCTYPE html><p>a,b",
        "XML": b"<?xml version='1.0'?><a/>",
        "JSON": b'{"a": [1]}' * 10,
        "SQLite": b"SQLite format 3\0",
        "an Excel file of 1997": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
        "7-Zip": b"7z\xbc\xaf\x27\x1c\0\0",
        "RAR": b"Rar!\x1a\x07\x01\0",
        "bzip2": b"BZh91AY&SY" + b"\0" * 20,
        "xz": b"\xfd7zXZ\0\0\x04",
        "Zstandard": b"(\xb5/\xfd\0\0",
        "Arrow": b"ARROW1\0\0",
        "a picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
        "a program": b"\x7fELF\x02\x01\x01" + b"\0" * 500,
        "a pickle": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x05posix\x94.",
    }
    for what, data in foreign.items():
        yield Hostile(f"csv: {what}", "t.csv", lambda data=data: data)


def _gzip() -> Iterator[Hostile]:
    plain = gzip.compress(b"a,b\n1,2\n3,4\n" * 1, mtime=0)
    kinds: dict[str, tuple[Callable[[], bytes], Fate]] = {
        "inflates 1,000 times": (lambda: gzip.compress(b"\0" * (60 << 20), mtime=0), "refused"),
        "inflates 1,000 times to lines": (
            lambda: gzip.compress(b"a,b\n" + b"1,2\n" * (15 << 20), 9, mtime=0),
            "refused",
        ),
        "cut": (lambda: plain[:-6], "refused"),
        "its head alone": (lambda: plain[:10], "refused"),
        "a wrong checksum": (lambda: plain[:-8] + b"\0" * 8, "refused"),
        "flipped bytes": (lambda: _flipped(plain, 10, 20, 1), "refused"),
        "a gzip within": (lambda: gzip.compress(plain, mtime=0), "refused"),
        "two members": (lambda: plain + gzip.compress(b"5,6\n", mtime=0), "read"),
        "bytes behind its end": (lambda: plain + b"garbage", "refused"),
        "a method that is none": (lambda: plain[:2] + b"\x07" + plain[3:], "refused"),
        "flags of everything": (lambda: plain[:3] + b"\xff" + plain[4:], "refused"),
        "a comment without end": (lambda: plain[:3] + b"\x10" + plain[4:10] + b"x" * 100_000, "refused"),
        "an extra field that is longer than the file": (
            lambda: plain[:3] + b"\x04" + plain[4:10] + b"\xff\xff" + b"x" * 9,
            "refused",
        ),
        "nothing within": (lambda: gzip.compress(b"", mtime=0), "refused"),
        "10,000 empty members": (lambda: gzip.compress(b"", mtime=0) * 10_000, "refused"),
        "a zip within": (lambda: gzip.compress(_zip({"a": b"b"}), mtime=0), "refused"),
        "a PDF within": (lambda: gzip.compress(b"%PDF-1.7", mtime=0), "refused"),
    }
    for what, (make, fate) in kinds.items():
        yield Hostile(f"gzip: {what}", "t.csv.gz", make, fate)


# Parquet


def parquet(frame: pl.DataFrame | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if frame is None:
        frame = pl.DataFrame({"a": range(3000), "b": [f"text {i % 50}" for i in range(3000)]})
    frame.write_parquet(buffer, **options)
    return buffer.getvalue()


def _parquet() -> Iterator[Hostile]:
    plain = parquet(compression="uncompressed")
    footer = len(plain) - 8 - struct.unpack("<I", plain[-8:-4])[0]
    for compression in ("uncompressed", "snappy", "gzip", "zstd", "lz4", "brotli"):
        made = parquet(compression=compression)
        start = len(made) - 8 - struct.unpack("<I", made[-8:-4])[0]
        yield Hostile(
            f"parquet: {compression}, flipped pages",
            "p.parquet",
            lambda d=made, s=start: _flipped(d, 4, s, 11),
            "either",
        )
        yield Hostile(
            f"parquet: {compression}, flipped footer",
            "p.parquet",
            lambda d=made, s=start: _flipped(d, s, len(d) - 8, 13),
            "either",
        )
        yield Hostile(
            f"parquet: {compression}, pages of zeros",
            "p.parquet",
            lambda d=made, s=start: d[:4] + b"\0" * (s - 4) + d[s:],
            "either",
        )
    lengths = {
        "nought": 0,
        "more than the file": 1 << 30,
        "all bits": 0xFFFFFFFF,
        "a few bytes": 9,
        "minus one": 0x7FFFFFFF,
    }
    for what, length in lengths.items():
        yield Hostile(
            f"parquet: a footer of {what}",
            "p.parquet",
            lambda n=length: plain[:-8] + struct.pack("<I", n) + b"PAR1",
        )
    cuts = {
        "its first bytes": plain[:4],
        "twelve bytes": plain[:4] + plain[-8:],
        "cut in half": plain[: len(plain) // 2],
        "without a head": plain[100:],
        "without its mark at the end": plain[:-4] + b"XXXX",
        "its footer twice": plain + plain[footer:],
    }
    for what, data in cuts.items():
        yield Hostile(
            f"parquet: {what}",
            "p.parquet",
            lambda data=data: data,
            "either" if "twice" in what else "refused",
        )
    yield Hostile(
        "parquet: a footer of random bytes",
        "p.parquet",
        lambda: plain[:footer] + np.random.default_rng(3).bytes(len(plain) - footer - 8) + plain[-8:],
    )
    yield Hostile("parquet: an encrypted footer", "p.parquet", lambda: plain[:-4] + b"PARE")
    rows = plain.rfind(b"\xf0\x2e")  # 3,000 as a zigzag varint, in the footer
    for what, count in {"2 thousand million": b"\xfe\x9f", "minus": b"\x01\x00"}.items():
        yield Hostile(
            f"parquet: rows said to be {what}",
            "p.parquet",
            lambda c=count: plain[:rows] + c + plain[rows + 2 :],
            "either",
        )
    for at in range(0, 40, 4):
        yield Hostile(
            f"parquet: byte {at} of the footer at its most",
            "p.parquet",
            lambda at=at: plain[: footer + at] + b"\xff" + plain[footer + at + 1 :],
            "either",
        )
    yield Hostile("parquet: a text of 1 MB in 3,000 rows", "p.parquet", _repeated_text)
    yield Hostile(
        "parquet: 16,385 columns",
        "p.parquet",
        lambda: parquet(pl.DataFrame({f"c{i}": [1] for i in range(16_385)})),
    )
    yield Hostile("parquet: no rows", "p.parquet", lambda: parquet(pl.DataFrame({"a": [], "b": []})))
    yield Hostile("parquet: lists alone", "p.parquet", lambda: parquet(pl.DataFrame({"a": [[1], [2]]})))
    nested: Any = 1
    for _ in range(60):
        nested = [nested]
    yield Hostile(
        "parquet: lists in 60 lists",
        "p.parquet",
        lambda: parquet(pl.DataFrame({"a": [nested], "b": [1]})),
        "either",
    )
    yield Hostile(
        "parquet: nothing but missing values",
        "p.parquet",
        lambda: parquet(pl.DataFrame({"a": [None] * 9, "b": [None] * 9})),
        "either",
    )
    yield Hostile(
        "parquet: names of a megabyte",
        "p.parquet",
        lambda: parquet(pl.DataFrame({"a" * 1_000_000: [1, 2], "b": [1, 2]})),
        "either",
    )
    yield Hostile(
        "parquet: 20 million rows of one value",
        "p.parquet",
        lambda: parquet(pl.select(a=pl.repeat(1, 20_000_000, dtype=pl.Int8)), compression="zstd"),
        "either",
    )
    yield Hostile(
        "parquet: bytes that are no text",
        "p.parquet",
        lambda: parquet(pl.DataFrame({"a": [b"\xff\xfe", b"\0"], "b": [1, 2]})),
        "either",
    )
    yield Hostile("parquet: gzipped, cut", "p.parquet.gz", lambda: gzip.compress(plain[:500], mtime=0))


def _repeated_text() -> bytes:
    """The text is stored once, in a dictionary."""
    text = pl.Series("a", ["x" * 1_000_000], dtype=pl.String)
    return parquet(text.gather([0] * 3000).cast(pl.Categorical).to_frame(), compression="zstd")


# Images


def picture(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def image(format: str, of: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (of or picture()).save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *parts: bytes, depth: int = 8, colour: int = 2, interlaced: int = 0
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(parts) + chunk(b"IEND", b"")


def _png() -> Iterator[Hostile]:
    zeros = zlib.compress(b"\0" * (20 << 20), 9)
    rows = chunk(b"IDAT", zlib.compress((b"\0" + b"\x80" * 192) * 64))
    good = png(64, 64, rows)
    kinds: dict[str, tuple[bytes, Fate]] = {
        "30,000 × 30,000": (png(30_000, 30_000, chunk(b"IDAT", zeros)), "refused"),
        "2 thousand million wide": (png(2_000_000_000, 1, chunk(b"IDAT", zeros)), "refused"),
        "of no width": (png(0, 64, rows), "refused"),
        "one row": (png(64, 1, rows), "refused"),
        "more pixels than it needs": (png(64, 64, chunk(b"IDAT", zeros)), "either"),
        "fewer pixels than it needs": (png(4000, 4000, rows), "refused"),
        "interlaced, of too few pixels": (png(5000, 5000, rows, interlaced=1), "refused"),
        "pixels packed as nothing is": (png(64, 64, chunk(b"IDAT", b"\x78\xda" + b"\xff" * 500)), "refused"),
        "a text that inflates": (png(64, 64, chunk(b"zTXt", b"k\0\0" + zeros), rows), "either"),
        "an international text that inflates": (
            png(64, 64, chunk(b"iTXt", b"k\0\1\0\0\0" + zeros), rows),
            "either",
        ),
        "a profile that inflates": (png(64, 64, chunk(b"iCCP", b"k\0\0" + zeros), rows), "either"),
        "a wrong checksum": (good[:40] + b"\0" + good[41:], "refused"),
        "a chunk longer than the file": (png(64, 64, struct.pack(">I", 0x7FFFFFFF) + b"IDAT"), "refused"),
        "20,000 empty chunks": (png(64, 64, chunk(b"tEXt", b"a\0") * 20_000, rows), "either"),
        "20,000 pieces of pixels": (
            png(64, 64, *(chunk(b"IDAT", b"") for _ in range(20_000)), rows),
            "either",
        ),
        "colours without a palette": (png(64, 64, rows, colour=3), "either"),
        "a palette of nothing": (png(64, 64, chunk(b"PLTE", b""), rows, colour=3), "either"),
        "a depth that is none": (png(64, 64, rows, depth=7), "refused"),
        "a colour that is none": (png(64, 64, rows, colour=9), "refused"),
        "frames that are said to be a million": (
            png(64, 64, chunk(b"acTL", struct.pack(">II", 1_000_000, 0)), rows),
            "either",
        ),
        "a head twice": (
            png(64, 64, chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)), rows),
            "either",
        ),
        "no pixels": (png(64, 64), "refused"),
        "its mark alone": (good[:8], "refused"),
        "cut": (good[:-60], "either"),
    }
    for what, (data, fate) in kinds.items():
        yield Hostile(f"png: {what}", "i.png", lambda data=data: data, fate)
    info = PngImagePlugin.PngInfo()
    info.add_text("k", "x" * 900_000)
    yield Hostile("png: a text of 900 kB", "i.png", lambda: image("PNG", pnginfo=info), "either")


def _jpeg() -> Iterator[Hostile]:
    good = image("JPEG", quality=80)
    frame = good.index(b"\xff\xc0")

    def sized(width: int, height: int) -> bytes:
        return good[: frame + 5] + struct.pack(">HH", height, width) + good[frame + 9 :]

    kinds: dict[str, tuple[Callable[[], bytes], Fate]] = {
        "65,500 × 65,500": (lambda: sized(65_500, 65_500), "refused"),
        "of 49 million pixels it lacks": (lambda: sized(7000, 7000), "either"),
        "of no height": (lambda: sized(64, 0), "refused"),
        "cut": (lambda: good[: len(good) // 2], "refused"),
        "its mark alone": (lambda: good[:2], "refused"),
        "a scan without its tables": (lambda: good.replace(b"\xff\xc4", b"\xff\xfe"), "either"),
        "tables of other sizes": (
            lambda: _flipped(good, good.index(b"\xff\xc4") + 4, good.index(b"\xff\xc4") + 60, 3),
            "either",
        ),
        "flipped pixels": (lambda: _flipped(good, len(good) - 400, len(good) - 10, 5), "either"),
        "a segment longer than the file": (lambda: good[:2] + b"\xff\xe1\xff\xff" + good[2:], "refused"),
        "2,000 segments": (lambda: good[:2] + b"\xff\xe2\0\2" * 2000 + good[2:], "refused"),
        "500 passes": (lambda: _passes(image("JPEG", progressive=True), 500), "refused"),
        "a profile of many pieces": (lambda: image("JPEG", icc_profile=b"x" * 2_000_000), "either"),
        "metadata that point at themselves": (
            lambda: _with_exif(good, b"MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\0"),
            "either",
        ),
        "metadata of 60,000 entries": (
            lambda: _with_exif(
                good, b"MM\0*\0\0\0\x08\xff\xff" + b"\1\x0f\0\2\xff\xff\xff\xff\0\0\0\x08" * 4000
            ),
            "either",
        ),
        "a turn that is none": (
            lambda: _with_exif(good, b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\xff\xff\0\0\0\0\0\0"),
            "either",
        ),
        "a zip behind its end": (lambda: good + _zip({"a": b"b"}), "either"),
        "a page behind its end": (lambda: good + b"<script>alert(1)</script>", "either"),
        "a megabyte of nothing before its end": (
            lambda: good[:-2] + b"\0" * 1_000_000 + b"\xff\xd9",
            "either",
        ),
        "of four inks": (lambda: image("JPEG", picture(mode="CMYK")), "read"),
        "arithmetic coding": (lambda: good.replace(b"\xff\xc0", b"\xff\xc9"), "either"),
        "of 16 bits": (lambda: good[: frame + 4] + b"\x10" + good[frame + 5 :], "refused"),
        "of 200 parts": (lambda: good[: frame + 9] + b"\xc8" + good[frame + 10 :], "refused"),
        "parts of no size": (lambda: good[: frame + 11] + b"\0" + good[frame + 12 :], "refused"),
    }
    for what, (make, fate) in kinds.items():
        yield Hostile(f"jpeg: {what}", "i.jpg", make, fate)


def _passes(data: bytes, times: int) -> bytes:
    start = data.index(b"\xff\xda")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    scan = data[start : start + 2 + length] + b"\0"
    return data[:start] + scan * times + b"\xff\xd9"


def _with_exif(data: bytes, told: bytes) -> bytes:
    body = b"Exif\0\0" + told[:60_000]
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def _webp() -> Iterator[Hostile]:
    good, lossless = image("WEBP", quality=80), image("WEBP", lossless=True)
    frames = [picture() for _ in range(12)]

    def canvas(width: int, height: int, body: bytes = good[12:]) -> bytes:
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        inside = b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + size + body
        return b"RIFF" + struct.pack("<I", len(inside)) + inside

    kinds: dict[str, tuple[Callable[[], bytes], Fate]] = {
        "a canvas of 16,384 × 16,384": (lambda: canvas(16_384, 16_384), "refused"),
        "a canvas of 2^24 × 2^24": (lambda: canvas(1 << 24, 1 << 24), "refused"),
        "a canvas of 7,000 × 7,000 without frames": (lambda: canvas(7000, 7000), "either"),
        "a length that lies": (lambda: good[:4] + b"\xff\xff\xff\xff" + good[8:], "either"),
        "cut": (lambda: good[: len(good) // 2], "refused"),
        "its mark alone": (lambda: good[:12], "refused"),
        "flipped": (lambda: _flipped(good, 40, 400, 9), "either"),
        "lossless, flipped": (lambda: _flipped(lossless, 30, 400, 9), "either"),
        "lossless, of 16,384 × 16,384": (
            lambda: lossless[:21] + b"\xff\xff\xff\x0f" + lossless[25:],
            "refused",
        ),
        "animated": (lambda: image("WEBP", frames[0], save_all=True, append_images=frames[1:]), "either"),
        "a profile of 2 MB": (lambda: image("WEBP", icc_profile=b"x" * 2_000_000), "either"),
        "metadata of 2 MB": (lambda: image("WEBP", exif=b"Exif\0\0" + b"x" * 2_000_000), "either"),
    }
    for what, (make, fate) in kinds.items():
        yield Hostile(f"webp: {what}", "i.webp", make, fate)


def _other_images() -> Iterator[Hostile]:
    for format in ("GIF", "BMP", "TIFF", "ICO", "PPM", "TGA"):
        yield Hostile(f"image: {format} called .jpg", "i.jpg", lambda f=format: image(f))
    kinds = {
        "nothing": b"",
        "one byte": b"\xff",
        "random bytes": np.random.default_rng(4).bytes(50_000),
        "a drawing in XML": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
        "entities that multiply": (LAUGHS + "<svg>&i;</svg>").encode(),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 200,
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 60,
        "Photoshop": b"8BPS\0\1" + b"\0" * 60,
        "a zip": _zip({"a.jpg": b"b"}),
        "a web page": b"<!DOCTYPE html><script>alert(1)</script>",
        "a film": b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 60,
    }
    for what, data in kinds.items():
        yield Hostile(f"image: {what}", "i.jpg", lambda data=data: data)


def tables() -> list[Hostile]:
    """Files that are sent as tables."""
    parts = (_far_cells, _cells, _xml, _texts, _archives, _csv, _gzip, _parquet)
    return [one for part in parts for one in part()]


def images() -> list[Hostile]:
    """Files that are sent as images."""
    return [one for part in (_png, _jpeg, _webp, _other_images) for one in part()]
