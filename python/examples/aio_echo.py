#!/usr/bin/python3
"""An echo for asyncio, and a client of it, in one event loop and without threads.

python3 aio_echo.py 'hello there' again
"""

import asyncio
import sys

import msock
import msock.aio


async def echo(message: msock.Message) -> bytes:
    return message.data


async def main() -> None:
    async with msock.aio.Server("auto://127.0.0.1:0") as server:
        serving = asyncio.ensure_future(server.run(echo))
        async with msock.aio.Client(f"msp://{server.addresses[0]}") as client:
            calls = (client.send(word, reply=True) for word in sys.argv[1:])
            for sent in await asyncio.gather(*calls):
                print((sent.reply or b"").decode())
        server.stop()
        await serving


asyncio.run(main())
