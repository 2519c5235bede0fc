"""`masquerade studio`: a local page on which people look at videos, mend and anonymize them."""

import signal
import socket
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from masquerade.cli.readable_help import Box, parse_boxes
from masquerade.errors import MissingError, UsageError
from masquerade.ranges import Checked, above, at_least

GIGABYTE = 2**30
STUDIO_INSTALL = 'pip install -e ".[studio]"'


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """Anonymize videos on a page in your browser: look, point, mend, run.

    The page is served to this machine alone, and needs no network.
    """

    root: Path | None = None  # a folder whose videos the page may open; results are saved in it.
    port: Annotated[int, at_least(0, 65535)] = 0  # of the page's address; 0: any that is free.
    # what parts that are pointed at are compared by, until the page chooses: colour-hog (needs no
    # weights), dino-s8, dino-s16, dinov2-s14.
    keys: str = "colour-hog"
    key_weights: Path | None = None  # file of that network's weights; by default the fetched one.
    most_upload: Annotated[float, above(0, 1e6)] = 32.0  # gigabytes of a video that is uploaded.
    no_browser: bool = False  # print the address, and open no browser.


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    (options,) = parse_boxes(
        argv, {"": Box(Options)}, verb="masquerade studio", description=str(Options.__doc__)
    )
    try:
        import uvicorn

        from masquerade.studio.guard import Guard, new_token
        from masquerade.studio.server import create_app
        from masquerade.studio.studio import Studio
        from masquerade.studio.template_keys import TemplateKeys
    except ModuleNotFoundError as error:
        raise MissingError(
            f"the studio needs {error.name}: install it with {STUDIO_INSTALL}."
        ) from None
    keys = TemplateKeys(first=options.keys, weights=options.key_weights)
    listening = _listen(options.port)
    port = listening.getsockname()[1]
    token = new_token()
    most_bytes = round(options.most_upload * GIGABYTE)
    studio = Studio(root=options.root, most_bytes=most_bytes, keys=keys)
    try:
        config = uvicorn.Config(
            Guard(
                create_app(studio),
                port=port,
                token=token,
                most_upload=studio.most_bytes,
                reports=studio.reports,
            ),
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            limit_concurrency=500,
        )
        server = uvicorn.Server(config)
        address = f"http://127.0.0.1:{port}/?token={token}"
        print(f"The studio runs at {address}", flush=True)
        print("Ctrl+C ends it. Whoever has this address sees your videos.", file=sys.stderr)
        for folder in studio.jobs.kept_aside:
            print(
                "A finished job cannot be shown: its record is damaged, or of another version. "
                f"Its files are kept in {folder}",
                file=sys.stderr,
            )
        if not options.no_browser:
            webbrowser.open(_private_link(address, studio.folder).as_uri())
        # A terminal that is closed ends it as Ctrl+C does, unless it was begun to outlive that.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        server.run(sockets=[listening])
    finally:
        studio.close()
        listening.close()
    return 0


def _private_link(address: str, folder: Path) -> Path:
    """A page that leads to an address: in a browser's arguments every user could read its token."""
    page = folder / "open.html"
    page.touch(mode=0o600)
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={address}">')
    return page


def _listen(port: int) -> socket.socket:
    # asyncio sends parts of an answer at once only where a socket says that its protocol is TCP;
    # else the last part waits 40 ms for the browser to acknowledge the first.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(128)  # so that the address works as soon as it is printed
    except OSError as error:
        listening.close()
        raise UsageError(f"port {port} cannot be used: {error.strerror}; choose another.") from None
    return listening
