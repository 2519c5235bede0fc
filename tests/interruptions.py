"""Interrupt code at each place at which Python hears a signal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dis import opname
from types import FrameType, ModuleType
from typing import Any

import pytest

HEARD = {"CALL", "CALL_FUNCTION_EX", "RESUME", "JUMP_BACKWARD"}  # behind these of Python 3.11
KNOWN = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="instructions of Python 3.11")


def interrupted_at(point: int, work: Callable[[], Any], *modules: ModuleType) -> bool:
    """Raise KeyboardInterrupt at one of the places of these modules; whether it was reached.

    The places are counted from 1: after calls, at the start of functions, at the end of loops.
    """
    code, count = {one.__file__ for one in modules}, 0
    before: dict[FrameType, str] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in code:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            last = before.get(frame)
            before[frame] = opname[frame.f_code.co_code[frame.f_lasti]]
            count += last in HEARD
            if last in HEARD and count == point:
                raise KeyboardInterrupt
        elif event in ("exception", "return"):
            before.pop(frame, None)
        return trace

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
        before.clear()
    return count >= point
