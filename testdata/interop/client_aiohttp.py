"""Runs the cases below with the client of aiohttp:

    python3 client_aiohttp.py 'CONFIG'

Arguments and output are those of client_ws.mjs. aiohttp sends every message in
one frame, so nothing comes to us in fragments.
"""

import asyncio
import json
import os
import platform
import ssl
import sys
import threading
import traceback
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType

config = json.loads(sys.argv[1])
cases = []


def say(**event):
    print(json.dumps(event), flush=True)


def add(name):
    def decorate(f):
        cases.append((name, f))

    return decorate


def dial(session, url, **options):
    if config["ca"]:
        options["ssl"] = ssl.create_default_context(cafile=config["ca"])
    return session.ws_connect(url, compress=15 if config["deflate"] else 0, max_msg_size=1 << 24, **options)


def expect(got, want):
    if got != want:
        raise AssertionError(f"got {got!r:.100}, want {want!r:.100}")


def pattern(size):
    """Returns a payload in which every position matters."""
    return bytes((i * 31 + (i >> 8) * 7 + (i >> 16)) & 255 for i in range(size))


async def echo(session, data):
    async with dial(session, config["echo"]) as ws:
        if isinstance(data, str):
            await ws.send_str(data)
            expect(await ws.receive_str(), data)
        else:
            await ws.send_bytes(data)
            expect(await ws.receive_bytes(), data)


TEXTS = {
    "ASCII": "Hello, WebSocket! ~!@#$%^&*()_+",
    "Chinese": "网络套接字协议，双向通信。" * 1000,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈👍🏽" * 1000,
    "0": "",
}
for name, text in TEXTS.items():
    add(f"text {name}")(lambda session, text=text: echo(session, text))
for size in [0, 1, 125, 126, 65535, 65536, 1 << 20]:
    add(f"binary {size}")(lambda session, size=size: echo(session, pattern(size)))


@add("fragments from us")
async def _(session):
    data = pattern(200000)
    # aiohttp 3.8 takes what follows a Ping between compressed fragments for data
    # that is not compressed.
    path = "fragments" if config["deflate"] else "fragments?ping"
    async with dial(session, config["scripted"] + path) as ws:
        await ws.send_bytes(data)
        expect(await ws.receive_bytes(), data)


@add("ping to us")
async def _(session):
    async with dial(session, config["echo"], autoping=False) as ws:
        await ws.pong(b"not asked for")
        await ws.ping(b"payload")
        message = await ws.receive()
        expect((message.type, bytes(message.data)), (WSMsgType.PONG, b"payload"))


@add("ping from us")
async def _(session):
    async with dial(session, config["scripted"] + "ping") as ws:
        expect(await ws.receive_str(), "pong came")


for closing in config["closings"]:
    code, reason = closing["code"], closing["reason"]

    @add(f"close {code} to us")
    async def _(session, id=closing["id"], code=code, reason=reason):
        ws = await dial(session, config["scripted"] + "echo?id=" + id)
        await ws.close(code=code, message=reason.encode())
        expect(ws.close_code, code)

    @add(f"close {code} from us")
    async def _(session, code=code, reason=reason):
        ws = await dial(session, config["scripted"] + "close?" + urlencode({"code": code, "reason": reason}))
        message = await ws.receive()
        expect((message.type, message.data, message.extra), (WSMsgType.CLOSE, code, reason))


@add("end without close from us")
async def _(session):
    ws = await dial(session, config["scripted"] + "kill")
    message = await ws.receive()
    expect((message.type, ws.close_code), (WSMsgType.CLOSED, 1006))


@add("2000 messages pipelined")
async def _(session):
    async with dial(session, config["echo"]) as ws:

        async def send():
            for i in range(2000):
                await ws.send_str(f"message {i}")

        sending = asyncio.create_task(send())
        for i in range(2000):
            expect(await ws.receive_str(), f"message {i}")
        await sending


@add("50 connections at once")
async def _(session):
    async def one(i):
        async with dial(session, config["echo"]) as ws:
            for j in range(10):
                await ws.send_str(f"connection {i} message {j}")
                expect(await ws.receive_str(), f"connection {i} message {j}")

    await asyncio.gather(*map(one, range(50)))


@add("subprotocol")
async def _(session):
    async with dial(session, config["scripted"] + "echo", protocols=["other", "chat.v1"]) as ws:
        expect(ws.protocol, "chat.v1")


@add("subprotocol not offered")
async def _(session):
    async with dial(session, config["scripted"] + "echo") as ws:
        expect(ws.protocol, None)


for refusal in config["refusals"]:

    @add(f"refused with {refusal['status']}")
    async def _(session, refusal=refusal):
        try:
            await dial(session, config["scripted"] + refusal["path"])
        except aiohttp.WSServerHandshakeError as e:
            expect(e.status, refusal["status"])
        else:
            raise AssertionError("accepted")


@add("extensions")
async def _(session):
    async with dial(session, config["echo"]) as ws:
        # Compression or none; aiohttp knows of nothing else.
        return "permessage-deflate" if ws.compress else "none"


async def main():
    say(event="version", version=f"{aiohttp.__version__}, Python {platform.python_version()}")
    async with aiohttp.ClientSession() as session:
        for name, f in cases:
            try:
                say(event="case", name=name, ok=True, detail=await f(session))
            except Exception:
                say(event="case", name=name, ok=False, detail=traceback.format_exc())
    say(event="done")


def end():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end, daemon=True).start()
asyncio.run(main())
