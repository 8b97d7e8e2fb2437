"""The files of a source, wherever they are: in a folder, in folders of it, or in a zip file that is not unpacked."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from flp_base.errors import SourceError
from flp_base.shown_options import ShowsOptions
from flp_datasets.plain_pickle import one_line

# What is found in a zip file.
_ZIPPED = (".csv", ".jpg", ".jpeg", ".png")


class SourceFiles(ShowsOptions):
    """The files in a folder, and in a zip file, which is read without being unpacked.

    Args:
        folder: where the files are.
        archive: the zip file, if there is one.
    """

    def __init__(self, folder: Path, archive: Path | None = None) -> None:
        self.folder, self._archive = folder, archive
        self._listings: dict[str, set[str]] = {}  # of folders: 60,000 images are not asked for one by one
        self._members: dict[str, zipfile.ZipInfo | None] | None = None

    def find(self, places: Iterable[str]) -> tuple[str, Callable[[], bytes]] | None:
        """The first of some places, relative to the folder, that is there: what it is called and what reads it."""
        places = list(places)
        for place in places:
            parent, name = os.path.split(place)
            if parent not in self._listings:
                self._listings[parent] = _list(self.folder / parent)
            if name in self._listings[parent]:
                return str(self.folder / place), (self.folder / place).read_bytes
        if self._archive is not None:
            if self._members is None:
                self._members = _index_zip(self._archive)
            for place in places:
                member = self._members.get(place)
                if member is not None:
                    return f"{member.filename} in {self._archive}", partial(_unzip, self._archive, member)
        return None


def _list(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except (OSError, ValueError) as error:
        raise SourceError(f"{one_line(folder)} cannot be listed ({one_line(error)}): change its permissions") from None


def _index_zip(archive: Path) -> dict[str, zipfile.ZipInfo | None]:
    """What an archive holds, by path and by every end of a path; none where two share an end."""
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if info.filename.lower().endswith(_ZIPPED)]
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{archive} cannot be opened as a zip file ({one_line(error)}): get it anew") from None
    members: dict[str, zipfile.ZipInfo | None] = {}
    for info in infos:
        parts = info.filename.split("/")
        for end in ("/".join(parts[start:]) for start in range(1, len(parts))):
            members[end] = None if end in members else info
    return members | {info.filename: info for info in infos}


def _unzip(archive: Path, member: zipfile.ZipInfo) -> bytes:
    """A member's content, by a handle of its own: an open ZipFile shares its position with forked processes."""
    with archive.open("rb") as file:
        file.seek(member.header_offset + 26)  # in the local header: the lengths of the two fields after it
        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
        content = file.read(member.compress_size)
    if member.compress_type == zipfile.ZIP_DEFLATED:
        content = zlib.decompress(content, -zlib.MAX_WBITS)
    if zlib.crc32(content) != member.CRC:
        raise zipfile.BadZipFile("damaged, encrypted, or compressed otherwise than by deflate")
    return content
