"""Runs the cases below with the client of websockets:

    python3 client_websockets.py 'CONFIG'

Arguments and output are those of client_ws.mjs.
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

import websockets
from websockets.legacy.client import connect
from websockets.version import version

config = json.loads(sys.argv[1])
cases = []


def say(**event):
    print(json.dumps(event), flush=True)


def add(name):
    def decorate(f):
        cases.append((name, f))

    return decorate


def dial(url, **options):
    if config["ca"]:
        options["ssl"] = ssl.create_default_context(cafile=config["ca"])
    if not config["deflate"]:
        options["compression"] = None
    return connect(url, max_size=1 << 24, **options)


def expect(got, want):
    if got != want:
        raise AssertionError(f"got {got!r:.100}, want {want!r:.100}")


def pattern(size):
    """Returns a payload in which every position matters."""
    return bytes((i * 31 + (i >> 8) * 7 + (i >> 16)) & 255 for i in range(size))


async def echo(data):
    async with dial(config["echo"]) as ws:
        await ws.send(data)
        expect(await ws.recv(), data)


TEXTS = {
    "ASCII": "Hello, WebSocket! ~!@#$%^&*()_+",
    "Chinese": "网络套接字协议，双向通信。" * 1000,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈👍🏽" * 1000,
    "0": "",
}
for name, text in TEXTS.items():
    add(f"text {name}")(lambda text=text: echo(text))
for size in [0, 1, 125, 126, 65535, 65536, 1 << 20]:
    add(f"binary {size}")(lambda size=size: echo(pattern(size)))


@add("fragments to us")
async def _():
    data = pattern(200000)
    async with dial(config["echo"]) as ws:

        async def parts():
            yield data[:100000]
            await ws.ping("between")
            yield b""
            yield data[100000:]

        await ws.send(parts())
        expect(await ws.recv(), data)


@add("fragments from us")
async def _():
    data = pattern(200000)
    async with dial(config["scripted"] + "fragments?ping") as ws:
        await ws.send(data)
        expect(await ws.recv(), data)


@add("ping to us")
async def _():
    async with dial(config["echo"]) as ws:
        await ws.pong("not asked for")
        await (await ws.ping("payload"))


@add("ping from us")
async def _():
    async with dial(config["scripted"] + "ping") as ws:
        expect(await ws.recv(), "pong came")


for closing in config["closings"]:
    code, reason = closing["code"], closing["reason"]

    @add(f"close {code} to us")
    async def _(id=closing["id"], code=code, reason=reason):
        ws = await dial(config["scripted"] + "echo?id=" + id)
        await ws.close(code, reason)
        expect(ws.close_code, code)

    @add(f"close {code} from us")
    async def _(code=code, reason=reason):
        ws = await dial(config["scripted"] + "close?" + urlencode({"code": code, "reason": reason}))
        await ws.wait_closed()
        expect((ws.close_code, ws.close_reason), (code, reason))


@add("end without close from us")
async def _():
    ws = await dial(config["scripted"] + "kill")
    await ws.wait_closed()
    expect(ws.close_code, 1006)


@add("2000 messages pipelined")
async def _():
    async with dial(config["echo"]) as ws:

        async def send():
            for i in range(2000):
                await ws.send(f"message {i}")

        sending = asyncio.create_task(send())
        for i in range(2000):
            expect(await ws.recv(), f"message {i}")
        await sending


@add("50 connections at once")
async def _():
    async def one(i):
        async with dial(config["echo"]) as ws:
            for j in range(10):
                await ws.send(f"connection {i} message {j}")
                expect(await ws.recv(), f"connection {i} message {j}")

    await asyncio.gather(*map(one, range(50)))


@add("subprotocol")
async def _():
    async with dial(config["scripted"] + "echo", subprotocols=["other", "chat.v1"]) as ws:
        expect(ws.subprotocol, "chat.v1")


@add("subprotocol not offered")
async def _():
    async with dial(config["scripted"] + "echo") as ws:
        expect(ws.subprotocol, None)


for refusal in config["refusals"]:

    @add(f"refused with {refusal['status']}")
    async def _(refusal=refusal):
        try:
            await dial(config["scripted"] + refusal["path"])
        except websockets.InvalidStatusCode as e:
            expect(e.status_code, refusal["status"])
        else:
            raise AssertionError("accepted")


@add("extensions")
async def _():
    async with dial(config["echo"]) as ws:
        # Compression or none, but nothing else.
        agreed = [e.name for e in ws.extensions]
        if agreed not in ([], ["permessage-deflate"]):
            raise AssertionError(agreed)
        return "".join(agreed) or "none"


async def main():
    say(event="version", version=f"{version}, Python {platform.python_version()}")
    for name, f in cases:
        try:
            say(event="case", name=name, ok=True, detail=await f())
        except Exception:
            say(event="case", name=name, ok=False, detail=traceback.format_exc())
    say(event="done")


def end():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end, daemon=True).start()
asyncio.run(main())
