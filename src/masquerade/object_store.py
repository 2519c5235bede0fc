"""Files of object stores, such as s3://bucket/folder/a.mp4, by fsspec: found, fetched and put.

Credentials are those that the store's own package finds: in the environment or in its files. An
address never holds any, since addresses are printed and recorded.
"""

import asyncio
import errno
import glob
import hashlib
import posixpath
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PosixPath
from typing import Any

from masquerade.errors import MasqueradeError, MissingError, UsageError, VideoError
from masquerade.storage import MARK, file_digest

REMOTE_INSTALL = 'pip install -e ".[remote]"'
ATOMIC_PUTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
"""Stores that show a file once all of it is there; in others it gets its name at the end."""
BUCKETS = ATOMIC_PUTS | {"adl", "oss"}  # stores whose addresses name a bucket in place of a host
STORES = ATOMIC_PUTS | {"adl", "oss", "hdfs", "sftp", "ssh", "smb"}
SAME_STORE = {"s3a": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs", "ssh": "sftp"}
"""Other names of one store."""
CHUNK = 1 << 20
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
ENDED_WITHIN = 10.0  # seconds, in which a store's package gives up what it sends
_ADDRESS = re.compile(r"([a-z][a-z0-9]*)://?", re.IGNORECASE)
_SCHEME = re.compile(  # also of a chain, such as simplecache::s3
    r"((?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]+)://", re.IGNORECASE
)


class RemotePath(PosixPath):
    """The path of a file in an object store; as text it is the file's address."""

    def __str__(self) -> str:
        scheme, _, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}"

    def exists(self, **_: Any) -> bool:
        """Whether there is such a file."""
        with _translated_errors(self):
            files, key = _filesystem_and_key(self)
            return bool(files.exists(key))

    def read_text(self, *_: Any, **__: Any) -> str:
        """What is in the file, which is UTF-8."""
        with _translated_errors(self):
            files, key = _filesystem_and_key(self)
            content = files.cat_file(key)
        return str(content.decode("utf-8"))


def path_of(text: str) -> Path:
    """The path that a user names: of a file, or by the address of a store.

    Raises:
        UsageError: the address holds a password, or a query, or is of no store.
    """
    scheme, rest = _split(text)
    if scheme in ("file", "local") and "://" in text:
        return Path(rest)
    if not is_address(text):
        refuse_no_store(text)
        return Path(text)
    if "?" in text and not _may_hold_password(scheme, rest):
        raise UsageError(
            f"an address of {scheme}:// takes no '?': give * in a pattern, and what a query says, "
            "which would be printed and recorded, to the store's package by its environment or "
            "its files."
        )
    if _may_hold_password(scheme, rest):
        raise UsageError(
            f"an address of {scheme}:// with a password or a query would be printed and recorded: "
            "leave it out, and give it to the store's package by its environment or its files."
        )
    if _is_changed(rest):
        raise UsageError(f"{text} holds '..', '.' or '//'; write the address without it.")
    # by one name, so that an output is known to be a source
    return RemotePath(f"{SAME_STORE.get(scheme, scheme)}://{rest}")


def scheme_of(text: str) -> str:
    """Return the scheme of an address, such as "rtsp", or "" if the text is no address."""
    match = _SCHEME.match(text)
    return match[1].lower() if match else ""


def refuse_no_store(place: str | Path, error: type[MasqueradeError] = UsageError) -> None:
    """Refuse an address, also as a path, by its scheme alone: the rest may hold a password."""
    # a path has one slash of two
    text = str(place).replace(":/", "://", 1) if isinstance(place, Path) else place
    if scheme := scheme_of(text):
        raise error(
            f"no file is read or written at {scheme}://: download it and name the file, or use "
            "`masquerade live` for a stream."
        )


def is_address(text: str) -> bool:
    """Whether a text names a file of an object store."""
    return "://" in text and _split(text)[0] in STORES


def is_remote(path: Path) -> bool:
    """Whether a path is of an object store."""
    return isinstance(path, RemotePath)


def refuse_address(path: Path, flag: str) -> None:
    """Refuse an address where only a file of this machine can be written."""
    if not is_remote(path) and _split(str(path))[0] in STORES:
        raise UsageError(f"{flag} is a file of this machine, and no address: give another name.")


def find_remote(address: RemotePath, *, recursive: bool) -> Iterator[tuple[RemotePath, Path]]:
    """The files that an address, a folder or a pattern names, each with its folder below that."""
    with _translated_errors(address):
        (files, key), text = _filesystem_and_key(address), str(address)
        if files.isfile(key):  # whose name may hold what a pattern does
            yield address, Path()
            return
        if not glob.has_magic(text):
            base = key.rstrip("/")
            keys = sorted(files.find(base, maxdepth=None if recursive else 1))
        else:
            while glob.has_magic(str(address)):
                address = address.parent
            base = _key(files, address).rstrip("/")
            keys = sorted(files.glob(key))
    # an empty object by which a store's own tools show a folder
    keys = [k for k in keys if not k.endswith("/")]
    if not keys and address.suffix:
        yield address, Path()  # which fails when its turn comes
    for key in keys:
        below = posixpath.relpath(key, base)
        if _is_changed(key):  # it would be written above the output folder, or be another file
            raise UsageError(
                f"{address} holds a file with '..', '.' or '//' in its name; rename it."
            )
        path = address / below
        assert isinstance(path, RemotePath)
        yield path, Path() if glob.has_magic(text) else Path(below).parent


def fetch(path: RemotePath, folder: Path) -> Path:
    """Copy a file of a store into a folder of this machine."""
    copy = folder / path.name
    with _translated_errors(path):
        files, key = _filesystem_and_key(path)
        size = files.info(key)["size"]
        try:
            files.get_file(key, str(copy))
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise MasqueradeError(
                f"there is no room for a copy of {path} in {tempfile.gettempdir()}; make some, or "
                "set TMPDIR to a folder of another disk."
            ) from error
    if copy.stat().st_size != size:
        raise VideoError(f"{path} came only in part; try again.")
    return copy


class UnconfirmedError(MasqueradeError):
    """A file was sent into a store, and replaced what was there, but was not found to be whole."""


def put(file: Path, path: RemotePath, *, overwrite: bool) -> None:
    """Copy a file into a store, where it appears whole or not at all.

    Raises:
        UsageError: it exists there and `overwrite` is off.
        UnconfirmedError: the store does not say that it is whole; it may be there.
    """
    with _translated_errors(path):
        files, key = _filesystem_and_key(path)
        if path.suffix and not overwrite:
            refuse_existing_remote(path)
        mode = "overwrite" if overwrite else "create"
        if _split(str(path))[0] in ATOMIC_PUTS:
            _send(files, file, key, mode=mode)
        else:
            folder = posixpath.dirname(key)
            part = posixpath.join(folder, f".{secrets.token_hex(8)}{MARK}")
            files.makedirs(folder, exist_ok=True)
            try:
                _send(files, file, part)
                files.mv(part, key)
            except BaseException:
                with suppress(Exception):
                    files.rm_file(part)
                raise
        files.invalidate_cache()
        try:
            whole = files.info(key)["size"] == file.stat().st_size
        except Exception:  # whatever the store's package raises
            raise UnconfirmedError(
                f"{path} was sent, but the store does not say that it came; look whether it is "
                "there, and try again."
            ) from None
        if not whole:
            remove(path)
            raise UnconfirmedError(f"{path} came only in part, and was removed; try again.")


def _send(files: Any, file: Path, key: str, **more: Any) -> None:
    """Put a file into a store; an interruption ends it, where the store's own goes on behind it."""
    if not files.async_impl:
        files.put_file(str(file), key, **more)
        return
    sending: list[asyncio.Future[Any]] = []

    async def send() -> None:
        sending.append(asyncio.ensure_future(files._put_file(str(file), key, **more)))
        await sending[0]

    async def end() -> None:
        for future in sending:
            future.cancel()
            await asyncio.wait([future], timeout=ENDED_WITHIN)

    try:  # around all of it: the interruption may come as soon as it is begun
        asyncio.run_coroutine_threadsafe(send(), files.loop).result()
    except BaseException:
        asyncio.run_coroutine_threadsafe(end(), files.loop).result()
        raise


def may_hold_copy(path: RemotePath, file: Path) -> bool:
    """Whether a store may hold a copy of a file: it does, or it does not answer."""
    try:
        same_size = remote_size(path) == file.stat().st_size
        return same_size and remote_digest(path) == file_digest(file)
    except VideoError:  # it is not there
        return False
    except MasqueradeError:
        return True


def remove(path: RemotePath) -> None:
    """Remove a file of a store."""
    with _translated_errors(path):
        files, key = _filesystem_and_key(path)
        files.rm_file(key)


def refuse_existing_remote(path: RemotePath) -> None:
    """Refuse to put an output where there is one."""
    if path.exists():
        raise UsageError(f"{path} exists already; choose another -o, or give --overwrite.")


def remote_size(path: RemotePath) -> int:
    """How many bytes a file of a store has."""
    with _translated_errors(path):
        files, key = _filesystem_and_key(path)
        return int(files.info(key)["size"])


def remote_digest(path: RemotePath) -> str:
    """The SHA-256 of a file in a store, for which all of it is read."""
    digest = hashlib.sha256()
    with _translated_errors(path):
        files, key = _filesystem_and_key(path)
        with files.open(key, "rb") as file:
            while block := file.read(CHUNK):
                digest.update(block)
    return digest.hexdigest()


def _split(text: str) -> tuple[str, str]:
    """The scheme of an address, such as s3, and the rest; without a scheme "" and the text."""
    match = _ADDRESS.match(text)
    return (match[1].lower(), text[match.end() :]) if match else ("", text)


def _may_hold_password(scheme: str, rest: str) -> bool:
    """Whether an address, less its scheme, may be user:password@host/file.

    A password may hold a slash, too. Keys may hold both signs, where no name of a bucket holds a
    colon but that of an access point.
    """
    host = rest.partition("/")[0]
    if scheme in BUCKETS and (":" not in host or host.startswith("arn:")):
        return False
    return ":" in rest.rpartition("@")[0]


def _is_changed(key: str) -> bool:
    """Whether a path made of a key would name another key, as by `//`, `.` or `..`."""
    return "//" in key.strip("/") or bool({".", ".."}.intersection(key.split("/")))


def _filesystem_and_key(path: RemotePath) -> tuple[Any, str]:
    """The fsspec filesystem of a remote file, and the file's path in it, without the scheme."""
    scheme, rest = _split(str(path))
    try:
        from fsspec import get_filesystem_class

        # url_to_fs would take `::` in a name for the beginning of another address
        store = get_filesystem_class(scheme)
        host = store._get_kwargs_from_urls(f"{scheme}://{rest.partition('/')[0]}/")
        files = store(use_listings_cache=False, **host)
        return files, _key(files, path)
    except ImportError as error:
        known = re.search(r"[Ii]nstall (\w+)", str(error))
        install = REMOTE_INSTALL
        if known is not None and known[1] != "s3fs":
            install = f"pip install {known[1]}"
        raise MissingError(f"{scheme}:// needs a package: {install}") from error


def _key(files: Any, path: RemotePath) -> str:
    """The path of a remote file in its filesystem."""
    scheme, rest = _split(str(path))
    if scheme == "memory":  # whose own way gives a name with `::` no slash in front
        return f"/{rest}"
    if scheme in BUCKETS:
        return str(files._strip_protocol(str(path)))
    return "/" + rest.partition("/")[2]  # what the package makes of a name ends at a `?`


@contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    """Raise errors of a store as one sentence of ours, without what its package says of keys."""
    try:
        yield
    except MasqueradeError:
        raise
    except FileNotFoundError as error:
        raise VideoError(f"{path} does not exist; check the address.") from error
    except FileExistsError as error:
        raise UsageError(f"{path} appeared meanwhile and was kept as it is.") from error
    except Exception as error:  # each store's package has its own
        number = getattr(error, "errno", None)
        why = errno.errorcode.get(number or 0, type(error).__name__)
        raise MasqueradeError(
            f"{path} cannot be reached ({why}); check the address, the network and the credentials."
        ) from error
