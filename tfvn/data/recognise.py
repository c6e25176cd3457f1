"""Files before they are believed: what they are, why one cannot be read, what memory they may take.

Only what is damaged is called damaged, and only that is to be copied again: a missing permission, a
program that still writes, a web page in place of the data have other remedies.
"""

import contextlib
import errno
import importlib
import os
import re
import stat

import h5py

__all__ = [
    "ALWAYS",
    "FileError",
    "MOST_PACKED",
    "NoNumbersError",
    "RefusedError",
    "cannot_read",
    "check_size",
    "format_of",
    "head",
    "kind_of",
    "missing_filter",
    "reading",
    "seems",
]

# Sizes that a file declares cost it a few bytes. An array may take as much as this in any case, and
# else so many times the bytes that hold it: masks and empty images pack well, k-space hardly.
ALWAYS = 2**26
MOST_PACKED = 100

_HEAD = 4096
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_PLACES = (0, 512, 1024, 2048)
_MATLAB_73 = b"MATLAB 7.3 MAT-file"
_KINDS = {
    ".mat": "a MATLAB file",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".npy": "a NumPy file",
}
_KINDS.update(dict.fromkeys((".keras", ".pt", ".pth", ".index"), "a network"))
_COPY = "Copy it again from its origin."
_DOWNLOAD = "Download it again: the server may have asked for a login."
_UNPACK = "Unpack it first."
_DECRYPT = "Decrypt it first."
_CONVERT = "Arrays are read from .mat, .h5, .hdf5 and .npy files: write it as one of them."
# What files begin with that stand where data are expected: (bytes, what it is, what to do).
_OTHERS = (
    (
        b"version https://git-lfs",
        "it is the text that Git LFS leaves in place of the data",
        "Fetch them: git lfs pull.",
    ),
    (
        b"/annex/objects/",
        "it is the text that git-annex leaves in place of the data",
        "Fetch them: git annex get.",
    ),
    (b"\x1f\x8b", "it is compressed by gzip", _UNPACK),
    (b"BZh", "it is compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ", "it is compressed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd", _UNPACK),
    (b"7z\xbc\xaf", "it is a 7-Zip archive", _UNPACK),
    (b"Rar!", "it is a RAR archive", _UNPACK),
    (b"Salted__", "it is encrypted by OpenSSL", _DECRYPT),
    (b"age-encryption.org", "it is encrypted by age", _DECRYPT),
    (b"-----BEGIN PGP", "it is encrypted by PGP", _DECRYPT),
    (b"\x85\x01", "it is encrypted by PGP", _DECRYPT),
    (b"\x80\x02", "it is a pickle, which is never opened, as it may run code", _CONVERT),
    (b"\x80\x03", "it is a pickle, which is never opened, as it may run code", _CONVERT),
    (b"\x80\x04", "it is a pickle, which is never opened, as it may run code", _CONVERT),
    (b"\x80\x05", "it is a pickle, which is never opened, as it may run code", _CONVERT),
    (b"%PDF", "it is a PDF document", _CONVERT),
    (b"# Created by Octave", "it is Octave's text format", "Save it by save -v7."),
)
# Filters of HDF5 by the number that a file gives, as The HDF Group lists them.
_FILTERS = {4: "szip", 305: "LZO", 307: "BZIP2", 32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle"}
_FILTERS.update({32013: "ZFP", 32015: "Zstandard", 32017: "SZ", 32024: "SZ3", 32026: "Blosc2"})


class RefusedError(ValueError):
    """What a file holds is understood, and is nothing that can be read here.

    The text says what it is, and what to do.
    """


class FileError(ValueError):
    """A whole sentence about a file, which no reader around adds to."""


class NoNumbersError(RefusedError):
    """What is there is no array of numbers."""


def head(path):
    """The first bytes of a file that can be opened.

    Raises:
        ValueError: naming the file, if it is missing, empty, a folder or no file, or may not be
            read.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ValueError(f"{path} is a folder{_listed(path)}. Name a file.")
        # To open a pipe would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is no file but a device or a pipe. Name a file.")
        with open(path, "rb") as file:
            content = file.read(_HEAD)
    except OSError as error:
        raise ValueError(_unreadable(path, error)) from error
    except TypeError as error:
        raise ValueError(
            f"expected the path of a file. Received: path={str(path)[:200]!r}"
        ) from error
    if not content:
        raise ValueError(cannot_read(path, f"it is empty (0 bytes). {_COPY}"))
    return content


def format_of(path):
    """'hdf5', 'matlab 7.3' (HDF5 too), 'matlab 5', 'npy' or 'zip', by the content of a file.

    Raises:
        ValueError: as `head`; also for anything else, with what the file seems to be.
    """
    content = head(path)
    if any(content[place:].startswith(_HDF5) for place in _HDF5_PLACES) or h5py.is_hdf5(path):
        return "matlab 7.3" if content.startswith(_MATLAB_73) else "hdf5"
    if content[126:128] in (b"IM", b"MI") and not content.startswith(_MATLAB_73):
        return "matlab 5"
    if content.startswith(b"\x93NUMPY"):
        return "npy"
    if content.startswith(b"PK\x03\x04"):
        return "zip"
    meaning, advice = seems(content)
    raise ValueError(cannot_read(path, f"{meaning}. {advice}"))


def cannot_read(path, reason, kind=None):
    """The sentence for a file that is not what it should be.

    Args:
        path: the file.
        reason: why it is not, and what to do.
        kind: what it should be, such as 'a MATLAB file'; None: what its name says.
    """
    return f"{path} cannot be read as {kind or kind_of(path)}: {reason}"


def kind_of(path):
    """What a file should be by its name: 'a MATLAB file'."""
    return _KINDS.get(os.path.splitext(os.fspath(path))[1].lower(), "a file of arrays")


def seems(content):
    """(what a file of no known format seems to be, what to do), by its first bytes."""
    for beginning, meaning, advice in _OTHERS:
        if content.startswith(beginning):
            return meaning, advice
    text = content.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page or XML", _DOWNLOAD
    if content.startswith(_MATLAB_73) or not content.strip(b"\0"):
        return "it is damaged or cut short", _COPY
    if content[128:132] == b"DICM":
        return "it is a DICOM file", _CONVERT
    if _is_matlab_4(content):
        return "it is a MATLAB file of version 4", "Save it in MATLAB by save(name, '-v7')."
    if len(content) < 128 and b"MATLAB 5.0 MAT-file".startswith(content[:19]):
        return "it is cut short", _COPY
    printable = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in content)
    if printable > 0.95 * len(content):
        return f"it is text that begins with {content[:40].decode('latin-1')!r}", _CONVERT
    meaning = (
        f"it begins with the bytes {content[:8].hex(' ')}, as none of the formats that are read"
    )
    return meaning, f"{_CONVERT} If it should be one of them, it is damaged: copy it again."


def _is_matlab_4(content):
    number = int.from_bytes(content[:4], "little")
    swapped = int.from_bytes(content[:4], "big")
    fits = [
        value % 10 <= 2 and value // 10 % 10 <= 5 and value < 5000 and value // 100 % 10 == 0
        for value in (number, swapped)
    ]
    complex_flag = content[12:16]
    return (
        len(content) > 20 and any(fits) and complex_flag in (b"\0\0\0\0", b"\1\0\0\0", b"\0\0\0\1")
    )


def _listed(path, most=5):
    """What a folder holds, for a message."""
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return ""
    if not names:
        return " that is empty"
    text = f" that holds {', '.join(names[:most])}"
    if len(names) > most:
        text += f" and {len(names) - most} more"
    return text


def _unreadable(path, error):
    """The sentence for a file that the system does not open or read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if os.path.islink(path):
            return f"no such file: {path}. It is a link to {os.readlink(path)}, which is not there."
        return f"no such file: {path}. Check the path."
    reason = str(error)
    if error.errno:
        reason = os.strerror(error.errno)
    advice = "Try again; if it stays, ask who runs this drive."
    if error.errno in (errno.EACCES, errno.EPERM):
        advice = "Ask its owner for the permission to read it (and the folders above it)."
    elif error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        advice = "Check the path."
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        advice = "Allow more open files (ulimit -n)."
    elif error.errno == errno.ENOMEM:
        advice = "Close other programs."
    return f"{path} cannot be read: {reason}. {advice}"


@contextlib.contextmanager
def reading(path, kind=None):
    """Round a reader of a file that was recognised.

    Whatever it raises becomes one ValueError, a sentence with the file's name.
    """
    try:
        yield
    except FileError:
        raise
    except RefusedError as error:
        raise FileError(f"{path}: {_line(error)}") from error
    # Readers of damaged files raise nearly anything: OSError, KeyError, TypeError, zlib.error,
    # RecursionError, ...
    except Exception as error:
        raise FileError(_failure(path, kind, error)) from error


def _line(text):
    """A text on one line, without what moves the cursor of a terminal.

    Names in files may be anything.
    """
    letters = list(" ".join(str(text).split()))
    for place, letter in enumerate(letters):
        if not letter.isprintable():
            letters[place] = "?"
    return "".join(letters)


def _failure(path, kind, error):
    text = _line(error)
    if "unable to lock file" in text:
        return (
            f"{path} is open in another program, which writes it, or its drive knows no locks. Wait"
            " until it is written. Where nothing writes, HDF5_USE_FILE_LOCKING=FALSE reads it."
        )
    if "file is already open for write" in text:
        return (
            f"{path} is being written, or what wrote it was stopped before the end. Wait until it"
            " is written; else clear its mark (h5clear -s) or copy it again from its origin."
        )
    cut = re.search(r"truncated file: eof = (\d+), .*stored_eof = (\d+)", text)
    if cut:
        reason = (
            f"it is cut short, {cut[1]} of {cut[2]} bytes. {_COPY} Or wait until it is written."
        )
        return cannot_read(path, reason, kind)
    number = re.search(r"errno = (\d+)", text)
    if isinstance(error, OSError) and (error.errno or number):
        return _unreadable(path, OSError(error.errno or int(number[1]), text[:200]))
    if isinstance(error, MemoryError):
        return (
            f"{path} needs more memory than there is. Close other programs, or read it on a larger"
            " machine."
        )
    reason = f"{type(error).__name__}: {text[:200]}. It is damaged or cut short. {_COPY}"
    return cannot_read(path, reason, kind)


def check_size(name, needed, stored, always=ALWAYS):
    """Checks the size of an array, before memory is taken for it.

    Args:
        name: of the array.
        needed: bytes that it takes.
        stored: bytes that the file holds of it.
        always: bytes that are granted in any case.

    Raises:
        RefusedError: if the array is larger than this machine, or much larger than what holds it.
    """
    if needed > max(always, MOST_PACKED * stored):
        raise RefusedError(
            f"{name} would take {needed / 1e9:.3g} GB, of which the file holds {stored} bytes, less"
            f" than 1 in {MOST_PACKED}: most of it was never written, or it was made to fill the"
            f" memory. {_COPY}"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise RefusedError(
            f"{name} would take {needed / 1e9:.3g} GB, more than the memory of this machine"
            f" ({memory / 1e9:.3g} GB). Read it on a larger one, or write a part of it to a file of"
            " its own."
        )


def missing_filter(dataset):
    """A sentence for an HDF5 dataset whose compression is not known here, else ''.

    The filters of the package hdf5plugin are there once it was imported.
    """
    filters = dataset.id.get_create_plist()
    for number in range(filters.get_nfilters()):
        code, _, _, name = filters.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            with contextlib.suppress(ImportError):
                importlib.import_module("hdf5plugin")
        if not h5py.h5z.filter_avail(code):
            known = _FILTERS.get(code) or name.decode("latin-1")[:50] or "unknown"
            return (
                f"{dataset.name[1:]} is compressed by the HDF5 filter {code} ({known}), which is"
                " not installed here. Install it (pip install hdf5plugin), or write the file anew"
                " without it where it is (h5repack -f NONE OLD NEW)."
            )
    return ""
