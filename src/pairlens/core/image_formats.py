"""The picture formats that are read, and the suffixes of their files."""

from functools import cache

from PIL import Image

# Pillow opens more formats, but EPS runs Ghostscript, WMF runs drawing code of Windows, and photos do not come in the
# rest. DIB is BMP without its file header. HEIF (HEIC) is read where the package pillow-heif is installed.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP")
HEIF = "HEIF"

# Suffixes in use that Pillow does not list: stereo JPEGs (read as their first picture).
_MORE_SUFFIXES = {".mpo": "JPEG"}
# Suffixes of pictures that people have and that are not read, or only with another package; each with what to do.
_REMEDIES = {
    **dict.fromkeys(
        (".heic", ".heif", ".hif", ".heics", ".heifs"), "install pillow-heif: pip install 'pairlens[heif]'"
    ),
    **dict.fromkeys((".avif", ".avifs"), "install a Pillow that reads AVIF"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"), "convert camera raw to JPEG"),
    **dict.fromkeys((".svg", ".eps", ".psd", ".jxl", ".wmf", ".pdf"), "convert it to PNG or JPEG"),
}


@cache
def readable_formats() -> tuple[str, ...]:
    """Return the names of the formats that this installation reads.

    An older Pillow, or one built without a library, lacks some of `FORMATS`.
    """
    Image.init()
    formats = (*FORMATS, HEIF) if _register_heif() else FORMATS
    return tuple(name for name in formats if name in Image.OPEN)


def _register_heif() -> bool:
    """Let Pillow open HEIF files, if the package pillow-heif is installed; return whether it is."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


@cache
def photo_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of the formats that this installation reads.

    >>> {".jpg", ".jpe", ".png", ".ppm", ".pgm", ".jp2", ".tga"} <= photo_suffixes()
    True
    """
    readable = readable_formats()
    suffixes = {**Image.registered_extensions(), **_MORE_SUFFIXES}
    return frozenset(suffix for suffix, name in suffixes.items() if name in readable)


def unread_suffix_reason(suffix: str) -> str:
    """Return why files of a suffix that is not in `photo_suffixes` are not read, and what can be done.

    >>> unread_suffix_reason(".txt")
    'not a picture format that is read'
    """
    remedy = _REMEDIES.get(suffix)
    return "not a picture format that is read" + ("" if remedy is None else f"; {remedy}")
