"""The socket that the studio answers on."""

from __future__ import annotations

import asyncio
import socket

from masquerade.cli.studio import _listen


def test_no_part_of_an_answer_waits_for_an_acknowledgement() -> None:
    """Else each answer of more than one packet takes 40 ms longer."""

    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            found.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = _listen(0)
        async with await asyncio.start_server(answer, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            delayless = await asyncio.wait_for(found, 10)
            writer.close()
        return delayless

    assert asyncio.run(accepted())
