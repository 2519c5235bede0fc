"""The command `masquerade`: one small file a verb. It parses, calls one function and prints."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, pairwise
from typing import Any

VERBS = (
    *("anonymize", "attack", "train", "evaluate", "benchmark", "data", "templates", "methods"),
    *("doctor", "demo", "studio", "live", "export"),
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAIT_FOR_TORCH = 0.05  # seconds after which a signal that came during its import is sent again


class Interruption(KeyboardInterrupt):
    """Raised where a signal asks the process to end.

    A plain KeyboardInterrupt that leaves code made of a string, as a dataclass's, has Python end by
    SIGINT in the end, whatever exit code `main` returned.
    """


INTERRUPTED = threading.Event()
"""Set when a signal asks the process to end."""

USAGE = """\
usage: masquerade VERB ...

  masquerade anonymize holiday.mp4 -o safe.mp4

verbs:
  anonymize   hide people in videos and images
  live        hide people in a camera or stream while it is filmed
  studio      the same on a page in your browser: look, point, mend, run
  attack      try to recover what was hidden in published videos
  train       train an anonymizer against networks that read private attributes
  evaluate    attack a method's outputs and report what is left, beside the floors
  benchmark   whole tables of methods and datasets by one command
  data        check, convert and vote on labels; floors; a synthetic benchmark
  templates   mark a part of a picture once, and hide it by name
  export      a method or a recognizer as an ONNX file, for other programs and web pages
  methods     what each method hides, needs and leaves
  doctor      what works on this machine, and how to add what does not
  demo        make a clip, anonymize it, and show before and after

`masquerade VERB --help` lists its options, `masquerade VERB --help-all` all of them;
`masquerade --version` prints the version.
"""

MAY_BE_EMPTY = ("benchmark", "doctor", "methods")  # verbs whose empty arguments name no file
OTHER_SCHEMES = ("", "file", "local", "ray")  # of words that name files, or Ray's cluster


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit code.

    0 all done, 1 an input failed, 2 wrong usage, 3 a model or device is missing, 4 an output
    failed its verification or something was recovered from it, 130 interrupted.
    """
    from masquerade.cli.standard_streams import keep_standard_streams
    from masquerade.core_dumps import forbid_core_dumps
    from masquerade.errors import MasqueradeError, as_masquerade_error
    from masquerade.freed_memory import keep_freed_memory
    from masquerade.openmp_waiting import shorten_spinning

    if argv is None:
        keep_standard_streams()
    words = sys.argv[1:] if argv is None else argv
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints its settings otherwise
    forbid_core_dumps()
    keep_freed_memory()
    shorten_spinning()
    INTERRUPTED.clear()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _end)
    with suppress(AttributeError):  # a stream of another kind was put in its place
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    hook, sys.unraisablehook = sys.unraisablehook, _report_unraisable
    code = 0
    try:
        code = _verb(words)
        print(end="", flush=True)  # flush here, where a full disk is still reported
        return code
    except (KeyboardInterrupt, Exception) as error:
        if INTERRUPTED.is_set() or isinstance(error, KeyboardInterrupt):
            if _reports():
                notice = "interrupted; nothing half-made was left"
                hint = ": run the same command again to resume" if _resumes(words) else ""
                print(f"masquerade: {notice}{hint}.", file=sys.stderr)
            return 130
        error = as_masquerade_error(error)
        if not isinstance(error, MasqueradeError):
            raise
        if _reports():
            print(f"masquerade: {error}", file=sys.stderr)
        return code or error.exit_code  # what could not be printed takes nothing back
    finally:
        sys.unraisablehook = hook
        if argv is None:  # the process ends, and Python gives up our handlers before it does
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)


def _resumes(words: Sequence[str]) -> bool:
    """Whether an interrupted command resumes when it is run again; `train` tells it itself."""
    named = any(word.startswith(("-o", "--output")) for word in words)
    return named and words[0] in ("benchmark", "evaluate")


def _reports() -> bool:
    """Whether this process says what is wrong: of those that torchrun started, the first."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return True
    from masquerade.training.distributed import claim_failure

    return claim_failure()


def _verb(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    verb, rest = words[0], words[1:]
    if verb in ("--version", "-V"):
        from masquerade import __version__

        print(f"masquerade {__version__}")
        return 0
    if verb in VERBS:
        from importlib import import_module

        _check_words(verb, rest)
        _check_current_folder()
        return int(import_module(f"masquerade.cli.{verb}").main(rest))
    import difflib

    near = difflib.get_close_matches(verb, VERBS, 1)
    hint = f"; did you mean {near[0]}?" if near else "; see masquerade --help."
    print(f"masquerade: there is no verb {verb!r}{hint}", file=sys.stderr)
    return 2


def _check_words(verb: str, words: list[str]) -> None:
    """Refuse empty file names, "-" as an output, and addresses where a verb reads local files only.

    Raises:
        UsageError: a name is empty, an output is "-", or an address stands where only files are
            read.
    """
    from masquerade.errors import UsageError
    from masquerade.object_store import STORES, refuse_no_store, scheme_of

    values = [w.partition("=")[2] if w.startswith("--") and "=" in w else w for w in words]
    parts = list(chain.from_iterable(w.split("=", 1) if w[:1] == "-" else [w] for w in words))
    for flag, value in pairwise(["", *parts]):
        if verb != "live" and flag in ("-o", "--output") and value == "-":
            from masquerade.output_paths import refuse_standard_output

            refuse_standard_output(value, flag)
        if value or verb in MAY_BE_EMPTY or flag == "--suffix":  # which may add nothing to a name
            continue
        if flag.startswith("-"):
            raise UsageError(
                f"{flag} is an empty name, as an unset variable gives: name what is meant, or "
                "leave it out."
            )
        raise UsageError(
            "an empty name, as an unset variable gives, would stand for the current folder: name "
            "what is meant, or write `.`."
        )
    if verb == "live":  # which reads and sends streams
        return
    for word in values:
        scheme = scheme_of(word)
        if scheme in OTHER_SCHEMES or (verb == "anonymize" and scheme in STORES):
            continue
        if verb == "anonymize":
            refuse_no_store(word)
        raise UsageError(  # by its scheme alone, as the rest may hold a password
            f"{verb} reads and writes files of this machine alone, and no {scheme}:// address: "
            "copy what is there to this machine, or name a file."
        )


def _check_current_folder() -> None:
    """Refuse a current folder that was removed: torch's libraries end the process there."""
    from masquerade.errors import MasqueradeError

    try:
        os.getcwd()
    except FileNotFoundError:
        raise MasqueradeError(
            "the current folder is not there any more; go to another one."
        ) from None


def _end(number: int, frame: Any) -> None:
    """Handle the first signal as an interruption, so that half-made outputs are removed.

    FFmpeg may swallow the exception where it calls back into Python and fail for another reason, so
    the request is remembered too.
    """
    if INTERRUPTED.is_set():  # a second one would interrupt the removal
        return
    if _imports_torch():  # whose C++ code ends the process by SIGABRT where it is interrupted
        threading.Timer(WAIT_FOR_TORCH, os.kill, (os.getpid(), number)).start()
        return
    INTERRUPTED.set()
    raise Interruption


def _imports_torch() -> bool:
    """Whether PyTorch is being imported, as the import system notes of modules."""
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _report_unraisable(lost: Any) -> None:
    """Report an exception that cannot be raised, as in a finalizer; an interruption is remembered.

    It ends the run at the next step of its progress.
    """
    if not (INTERRUPTED.is_set() and issubclass(lost.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)
