"""Photos of inspections: told by their content, drawn anew without metadata, kept in the database beside what they show.

The file that a phone sends is never stored. Its pixels are decoded, turned as its orientation says, made smaller where they are many,
and written as a new JPEG: position, time, device and whatever else stood in the file are gone.
"""

import hashlib
import io
import uuid
import warnings
from dataclasses import dataclass

import sqlalchemy as sa
from PIL import Image, ImageOps, UnidentifiedImageError
from sqlalchemy.engine import Connection

from gis.errors import Conflict, InputError, LimitExceeded, NotFound

__all__ = ["PHOTO_MAX_BYTES", "Photo", "keep_photo", "photo_of", "redraw"]

#: Of a file as it is sent.
PHOTO_MAX_BYTES = 15_000_000
#: Of an inspection.
PHOTOS_MAX = 12
_PIXELS_MAX = 60_000_000
_SIDE_PX = 2048
_FORMATS = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class Photo:
    """A photo as it is stored."""

    jpeg: bytes
    width_px: int
    height_px: int
    sent_sha256: str


def redraw(data: bytes) -> Photo:
    r"""Decode a photo by its content and write it anew, without metadata, at most 2,048 pixels a side.

    Raises
    ------
    InputError
        It is no JPEG, PNG or WebP, or broken.
    LimitExceeded
        It is larger than 15 MB, or has more than 60 million pixels.

    Examples
    --------
    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (8, 4), "red").save(buffer, "PNG")
    >>> photo = redraw(buffer.getvalue())
    >>> photo.width_px, photo.height_px, photo.jpeg[:2]
    (8, 4, b'\xff\xd8')
    """
    if len(data) > PHOTO_MAX_BYTES:
        raise LimitExceeded("A photo may have 15 MB at most.", zh="一张照片不得超过 15 MB。")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pictures that are large: the limit below decides
            with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
                if opened.width * opened.height > _PIXELS_MAX:
                    raise LimitExceeded("A photo may have 60 million pixels at most.", zh="一张照片不得超过 6000 万像素。")
                opened.draft("RGB", (_SIDE_PX, _SIDE_PX))
                turned = ImageOps.exif_transpose(opened)
                turned.thumbnail((_SIDE_PX, _SIDE_PX))
                plain = Image.new("RGB", turned.size, "white")
                rgba = turned.convert("RGBA")
                plain.paste(rgba, mask=rgba)
    except LimitExceeded:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise InputError(
            "The file is not a photo that can be read; JPEG, PNG or WebP is expected.", zh="文件不是可读取的照片，应为 JPEG、PNG 或 WebP。"
        ) from error
    written = io.BytesIO()
    plain.save(written, "JPEG", quality=85, optimize=True)
    return Photo(written.getvalue(), plain.width, plain.height, hashlib.sha256(data).hexdigest())


def keep_photo(connection: Connection, photo_id: uuid.UUID, inspection_id: uuid.UUID, data: bytes) -> bool:
    """Store a photo of an inspection under the running role; False where it is there already, sent before.

    Raises
    ------
    NotFound
        The role sees no such inspection.
    Conflict
        The id belongs to another photo.
    InputError, LimitExceeded
        As `redraw`; or the inspection has 12 photos.
    """
    # The lock lets two sendings of one photo, or of a thirteenth, wait for each other.
    there = connection.execute(
        sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:i, 8)), id FROM baige.outfall_inspection WHERE id = cast(:i AS uuid)"),
        {"i": str(inspection_id)},
    ).first()
    if there is None:
        raise NotFound("There is no such inspection.", zh="没有该巡查记录。")
    known = connection.execute(
        sa.text("SELECT inspection_id, sent_sha256 FROM baige_sys.inspection_photo WHERE id = :id"), {"id": photo_id}
    ).first()
    if known is not None:
        if (known[0], known[1]) != (inspection_id, hashlib.sha256(data).hexdigest()):
            raise Conflict("This id belongs to another photo.", zh="该编号属于另一张照片。")
        return False
    photo = redraw(data)
    count = connection.execute(
        sa.text("SELECT count(*) FROM baige_sys.inspection_photo WHERE inspection_id = :i"), {"i": inspection_id}
    ).scalar_one()
    if count >= PHOTOS_MAX:
        raise LimitExceeded(f"An inspection may have {PHOTOS_MAX} photos.", zh=f"一次巡查最多 {PHOTOS_MAX} 张照片。")
    connection.execute(
        sa.text(
            "INSERT INTO baige_sys.inspection_photo (id, inspection_id, sent_sha256, width_px, height_px, jpeg)"
            " VALUES (:id, :i, :sha, :w, :h, :jpeg)"
        ),
        {"id": photo_id, "i": inspection_id, "sha": photo.sent_sha256, "w": photo.width_px, "h": photo.height_px, "jpeg": photo.jpeg},
    )
    return True


def photo_of(connection: Connection, photo_id: uuid.UUID) -> bytes:
    """The JPEG of a photo that the running role may see.

    Raises
    ------
    NotFound
        There is none for this role.
    """
    found = connection.execute(sa.text("SELECT jpeg FROM baige_sys.inspection_photo WHERE id = :id"), {"id": photo_id}).scalar()
    if found is None:
        raise NotFound("There is no such photo.", zh="没有该照片。")
    return bytes(found)
