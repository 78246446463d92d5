"""Image files: find them, tell what is usable, open them upright, make thumbnails.

Nothing here writes to an image or knows the database. A file that cannot be used is a value (`Checked.problem`) for
the one who walks a folder, and BadInput for the one who asks to see it. Left out: colour management (embedded
profiles are ignored), and every kind of file but JPEG, PNG, WebP, BMP, GIF and TIFF, of which the first frame counts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from labelloop.errors import BadInput

MAX_PIXELS = 178_000_000
"""Larger images are never decoded. Just below Pillow's own hard limit, which some of its readers cannot be spared."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""How names of supported files usually end; what a file is, is decided by its content."""

_LOSSLESS_UP_TO = 96  # pixels: below this a PNG is small anyway and JPEG would smear the few pixels there are

_LITTER = {"thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "lost+found", "@eadir", "__macosx"}

_SIGNATURES: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"GIF87a", GifImageFile),
    (b"GIF89a", GifImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    (b"II+\0", TiffImageFile),  # BigTIFF
    (b"MM\0+", TiffImageFile),
)

# What Pillow raises on a damaged file, by reading its source and by fuzzing every format (see the tests).
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)
_UNUSABLE = (*_DAMAGED, EOFError, RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what brings the pixels upright."""


class NotReadNow(BadInput):
    """A file could not be read for a reason outside of it, such as the disk, the network or memory: try again later."""


# ---------------------------------------------------------------------------------------------------- finding files


def find_files(folder: Path) -> list[str]:
    """Every file below `folder` as a sorted path relative to it, with "/" between the parts.

    Links are followed, but no folder is walked twice; of a folder reached both ways its real path counts. Hidden files
    and the litter of operating systems are left out. Raises BadInput where a folder is missing or cannot be read.
    """
    try:
        if not folder.is_dir():
            raise BadInput(f"{str(folder)!r} is {'not a folder' if folder.exists() else 'missing'}: wanted a folder")
        return sorted(path.relative_to(folder).as_posix() for path in _walk(folder))
    except OSError as error:
        raise BadInput(f"folder {error.filename!r} {_reason(error)}; allow reading it or move it away") from error


def _walk(folder: Path) -> Iterator[Path]:
    visited: set[tuple[int, int | str]] = set()
    real: list[Path] = [folder]
    linked: list[Path] = []  # they wait until all real folders are walked, so that real paths win
    while real or linked:
        here = real.pop() if real else linked.pop(0)
        status = here.stat()
        known_by = (status.st_dev, status.st_ino or os.path.realpath(here))  # 0 where a drive numbers nothing (Windows)
        if known_by in visited:
            continue
        visited.add(known_by)
        for entry in _entries(here):
            kind = _entry_kind(entry)
            if kind == "folder":
                (linked if entry.is_symlink() else real).append(Path(entry.path))
            elif kind == "file":
                yield Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in one folder, in order, without hidden entries and litter."""
    with os.scandir(folder) as entries:
        shown = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _LITTER]
    return sorted(shown, key=lambda entry: entry.name)


def _entry_kind(entry: os.DirEntry[str]) -> str | None:
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else None
    except OSError:
        return "file"  # a link that cannot be followed: listed, so that check() tells why


# ---------------------------------------------------------------------------------------------------- checking files


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of one file after reading it; it can be used where `problem` is None."""

    path: str  # relative to the folder
    bytes: int = 0
    mtime_ns: int = 0
    sha256: str | None = None  # None where the file was not read to its end: missing, forbidden, not an image
    width: int | None = None  # as shown, EXIF-upright
    height: int | None = None
    format: str | None = None  # "JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"
    problem: str | None = None  # in plain words why it cannot be used


def check(folder: Path, path: str) -> Checked:
    """Read and decode one file. Whatever is wrong with it stands in `problem`; nothing is raised."""
    checked = Checked(path)
    try:
        with _reasons(), (folder / path).open("rb") as file:
            status = os.fstat(file.fileno())
            checked = replace(checked, bytes=status.st_size, mtime_ns=status.st_mtime_ns)
            reader = _reader(file)
            checked = replace(checked, sha256=_sha256(file), format=reader.format)
            image = reader(file)
            checked = replace(checked, width=image.width, height=image.height)
            _refuse_huge(image)
            width, height = _decoded_size(image)
            return replace(checked, width=width, height=height)
    except BadInput as error:
        return replace(checked, problem=str(error))


def _sha256(file: BufferedReader) -> str:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def _decoded_size(image: ImageFile) -> tuple[int, int]:
    """Decode everything, as cheaply as still shows damage; width and height as shown."""
    width, height = image.size
    image.draft("L", (1, 1))  # JPEG: all bytes are read, an eighth of the pixels in grey are made of them
    image.load()
    if not isinstance(image, JpegImageFile):
        width, height = image.size  # a TIFF is brought upright by Pillow while it loads
    return (height, width) if _orientation(image) >= 5 else (width, height)


# ----------------------------------------------------------------------------------------------------- opening files


def open_upright(path: Path, longest: int | None = None) -> Image.Image:
    """The image as people see it: RGB, 8 bit, EXIF-upright, transparency over white, at most `longest` pixels a side.

    Greys of more than 8 bits are stretched between their 0.5th and 99.5th percentile. Never enlarges. Raises BadInput
    naming the file and the reason, NotReadNow where that is not in the file.
    """
    return _open(path, (lambda image: image) if longest is None else (lambda image: _shrunk(image, longest)))


def open_for(path: Path, side: int) -> Image.Image:
    """The image like open_upright, for one who looks at `side` × `side` pixels and resamples it by himself.

    The shorter side keeps 1.5 × `side` pixels or more, of those it has. A large image is made smaller by whole factors
    only, for a JPEG by its decoder, so that nothing is resampled twice: several times faster. The longer side is at
    most 4 × `side`. Raises BadInput like open_upright.
    """
    return _open(path, lambda image: _reduced(image, side * 3 // 2, 4 * side))


def _open(path: Path, shrunk: Callable[[Image.Image], Image.Image]) -> Image.Image:
    try:
        with _reasons(), path.open("rb") as file:
            image = _reader(file)(file)
            _refuse_huge(image)
            # Before conversion, because the JPEG decoder itself makes an image smaller, nearly for free.
            small = shrunk(image) if isinstance(image, JpegImageFile) else image
            small.load()
            upright = shrunk(_rgb(small))
            turn = _UPRIGHT.get(_orientation(image))
            return upright if turn is None else upright.transpose(turn)
    except BadInput as error:
        raise type(error)(f"image {str(path)!r}: {error}") from error


def thumbnail(path: Path, longest: int) -> tuple[bytes, str]:
    """An image for the browser, at most `longest` pixels a side, and its media type. Carries no metadata.

    Small ones are lossless PNG, others JPEG. Raises BadInput like open_upright.
    """
    image = open_upright(path, longest)
    image.info = {}  # Pillow would carry over colour profile and comment
    encoded = BytesIO()
    if max(image.size) <= _LOSSLESS_UP_TO:
        image.save(encoded, "PNG", compress_level=3)
        return encoded.getvalue(), "image/png"
    image.save(encoded, "JPEG", quality=90)
    return encoded.getvalue(), "image/jpeg"


def _shrunk(image: Image.Image, longest: int) -> Image.Image:
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _reduced(image: Image.Image, shorter: int, longer: int) -> Image.Image:
    """By a whole factor, to at least `shorter` pixels; where it is still longer than `longer`, to that."""
    factor = min(image.size) // shorter
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))  # a JPEG that is not decoded yet
        factor = min(image.size) // shorter
    if factor > 1:
        image = image.reduce(factor)
    return _shrunk(image, longer) if max(image.size) > longer else image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1–8 of a loaded image; 1 where there is none, or none that can be read."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except (*_DAMAGED, EOFError, struct.error):
        return 1  # damaged EXIF beside good pixels: every viewer shows the pixels as they are stored
    return orientation if orientation in range(1, 9) else 1


# ------------------------------------------------------------------------------------------------- colours and greys


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow to 8 bit RGB."""
    if image.mode.startswith(("I", "F")):
        return _stretched(image).convert("RGB")
    if image.mode == "LAB":
        return image.convert("RGB")
    if image.has_transparency_data:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # Pillow knows no direct way
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _stretched(image: Image.Image) -> Image.Image:
    """A grey image of 16 or 32 bits as 8 bits. A few hot or dead pixels must not turn all others black or white."""
    exact = np.float32 if image.mode.startswith("I;16") else np.float64
    grey: NDArray[np.floating] = np.array(image, dtype=exact)  # (height, width)
    step = max(1, int((grey.size / 1e6) ** 0.5))  # a million pixels tell the percentiles well enough
    known = grey[::step, ::step]
    known = known[np.isfinite(known)]
    if not known.size:
        raise BadInput("damaged: no pixel holds a finite number")
    low, high = np.percentile(known, [0.5, 99.5])
    if low == high:  # nearly all pixels are equal: what differs is the picture
        low, high = known.min(), known.max()
    if low == high:
        return Image.new("L", image.size, 128)
    np.clip(grey, low, high, out=grey)  # in place: a large image fits into memory once, not thrice
    np.subtract(grey, low, out=grey)
    np.multiply(grey, 255 / (high - low), out=grey)
    return Image.fromarray(np.nan_to_num(grey.round(), copy=False).astype(np.uint8))


# --------------------------------------------------------------------------------- what Pillow raises, in plain words


@contextmanager
def _reasons() -> Iterator[None]:
    """Inside, every way in which a file or Pillow can fail becomes BadInput with the reason in plain words.

    Pillow's warnings (odd metadata, many pixels) are no reason: whether an image can be used is decided by its size
    and by decoding it. The filter names Pillow alone, because it holds for other threads, too.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield
        except _UNUSABLE as error:
            # EINVAL: a damaged file sent Pillow to a place before its beginning.
            outside = isinstance(error, MemoryError) or getattr(error, "errno", None) not in (None, errno.EINVAL)
            raise (NotReadNow if outside else BadInput)(_reason(error)) from error


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {(error.strerror or text).lower()}"
    if isinstance(error, MemoryError):
        return f"cannot be read: not enough memory is left for it{text and f' ({text})'}"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: {text}"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "truncated"
    return f"damaged: {text or type(error).__name__}"


def _reader(file: BufferedReader) -> type[ImageFile]:
    """Pillow's class for the content of `file`, by its first bytes; raises BadInput where there is none.

    Not Image.open: it refuses large images without telling their size, and turns phone pictures into two frames.
    """
    start = file.read(18)
    file.seek(0)
    if not start:
        raise BadInput("empty file")
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return WebPImageFile
    if start.startswith(b"BM") and start[15:18] == b"\0\0\0":  # the size of the second header; texts begin with BM, too
        return BmpImageFile
    for signature, reader in _SIGNATURES:
        if start.startswith(signature):
            return reader
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"avif"):
        raise BadInput("a HEIC or AVIF image: convert it to JPEG or PNG")
    raise BadInput("not an image (JPEG, PNG, WebP, BMP, GIF or TIFF)")


def _refuse_huge(image: ImageFile) -> None:
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} × {image.height} pixels"
        raise BadInput(
            f"too large: {size}, at most {MAX_PIXELS // 1_000_000} megapixels; scale it down or cut it into tiles"
        )
