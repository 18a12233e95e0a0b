"""The text of an export, whatever it was encoded in, in bounded pieces."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from app.tenancy.errors import Refused

FILE_BYTES = 512 * 1024 * 1024
PIECE = 64 * 1024  # bytes
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_FOR_FILES = ("idna", "punycode", "unicode", "raw", "utf-7", "undefined")
_PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip"}


class ExportRefused(Refused):
    """The file is not an export that can be brought in; the message says why and what to do."""

    code = "export_refused"
    status = 422
    title = "This file cannot be brought in"


class Text:
    """The decoded text of a file. `mended` counts the bytes that were not what the file says they are."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.mended = 0

    def pieces(self) -> Iterator[str]:
        """Yield the text; raises `ExportRefused` for packed, empty and over-long files."""
        head = self._file.read(PIECE)
        encoding = _encoding(head)
        errors = "strict" if encoding.startswith("utf-8") else "replace"
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        size, piece = 0, head
        while piece:
            size += len(piece)
            if size > FILE_BYTES:
                raise ExportRefused(f"The file is larger than {FILE_BYTES >> 20} MB. Export it in parts.")
            yield _FORBIDDEN.sub("", self._decoded(decoder, piece))
            piece = self._file.read(PIECE)
        yield _FORBIDDEN.sub("", self._decoded(decoder, b"", final=True))

    def _decoded(self, decoder: codecs.IncrementalDecoder, piece: bytes, *, final: bool = False) -> str:
        kept = decoder.getstate()
        try:
            return decoder.decode(piece, final)
        except UnicodeDecodeError:
            decoder.setstate(kept)
            text, rest = self._mend(kept[0] + piece, final=final)
            decoder.setstate((rest, 0))
            return text

    def _mend(self, data: bytes, *, final: bool) -> tuple[str, bytes]:
        """Read UTF-8 with stray bytes, which come from pasted Windows text, as what their writers saw."""
        parts: list[str] = []
        while data:
            try:
                return "".join([*parts, data.decode()]), b""
            except UnicodeDecodeError as error:
                parts.append(data[: error.start].decode())
                if error.end == len(data) and error.reason == "unexpected end of data" and not final:
                    return "".join(parts), data[error.start :]
                stray = data[error.start : error.start + 1]
                parts.append(stray.decode("windows-1252", "replace"))
                self.mended += 1
                data = data[error.start + 1 :]
        return "".join(parts), b""


def _encoding(head: bytes) -> str:
    if not head.strip():
        raise ExportRefused("The file is empty.")
    for mark, kind in _PACKED.items():
        if head.startswith(mark):
            raise ExportRefused(f"The file is packed ({kind}). Unpack it and bring in the .xml file inside.")
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    declared = _DECLARED.search(head[:500])
    name = declared.group(1).decode() if declared else "utf-8"
    try:
        codec = codecs.lookup(name)
    except LookupError:
        raise ExportRefused(f"The file is written in {name}, which is not known. Save it as UTF-8.") from None
    if not codec._is_text_encoding or codec.name.startswith(_NOT_FOR_FILES):
        raise ExportRefused(f"The file is written in {name}, which is no text. Save it as UTF-8.")
    # utf-16 without its mark is a mistaken declaration: the file was readable as ASCII a moment ago.
    return "utf-8" if codec.name.startswith(("utf-16", "utf-32", "ascii")) else codec.name
