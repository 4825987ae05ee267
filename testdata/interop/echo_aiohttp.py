"""A WebSocket server on aiohttp:

    python3 echo_aiohttp.py [CERTIFICATE KEY]

Paths and output are those of echo_ws.mjs. There is no /fragments: aiohttp sends
every message in one frame. It takes no terms for compression, either, but those of
the client, and knows of its own side alone.
"""

import asyncio
import json
import os
import platform
import ssl
import sys
import threading

import aiohttp
from aiohttp import WSMsgType, web


def say(**event):
    print(json.dumps(event), flush=True)


async def messages(request, ws):
    """Yields what comes, answers Pings, and tells of the end."""
    id = request.query.get("id")
    while True:
        message = await ws.receive()
        if message.type == WSMsgType.PING:
            await ws.pong(message.data)
            say(event="ping", id=id)
        elif message.type == WSMsgType.CLOSE:
            say(event="closed", id=id, code=message.data, reason=message.extra)
            return
        elif message.type in (WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            say(event="closed", id=id, code=ws.close_code, reason="")
            return
        else:
            yield message


async def accept(request):
    ws = web.WebSocketResponse(autoping=False, protocols=["chat.v2", "chat.v1"], max_msg_size=1 << 24)
    await ws.prepare(request)
    return ws


async def echo(request):
    ws = await accept(request)
    async for message in messages(request, ws):
        if message.type == WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


async def compress(request):
    ws = await accept(request)
    agreed = None
    if ws.compress:
        takeover = "server_no_context_takeover" not in ws.headers["Sec-WebSocket-Extensions"]
        agreed = {"server_no_context_takeover": not takeover, "server_max_window_bits": ws.compress}
    say(event="opened", id=request.query["id"], agreed=agreed)
    async for message in messages(request, ws):
        if message.type == WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


async def ping(request):
    ws = await accept(request)
    await ws.pong(b"not asked for")
    await ws.ping(b"from aiohttp")
    async for message in messages(request, ws):
        if message.type == WSMsgType.PONG:
            await ws.send_str("pong " + message.data.decode())
    return ws


async def close(request):
    ws = await accept(request)
    await ws.close(code=int(request.query["code"]), message=request.query.get("reason", "").encode())
    say(event="closed", id=request.query.get("id"), code=ws.close_code, reason="")
    return ws


async def kill(request):
    ws = await accept(request)
    request.transport.abort()
    return ws


async def refuse(request):
    return web.Response(status=401, text="who are you?\n", headers={"WWW-Authenticate": "Basic realm=interop"})


async def moved(request):
    raise web.HTTPFound(str(request.rel_url).replace("/moved", "/echo"))


async def main():
    context = None
    if sys.argv[1:]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[1:])
    app = web.Application()
    app.add_routes([web.get("/" + f.__name__, f) for f in (echo, ping, compress, close, kill, refuse, moved)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    say(event="listening", port=port, version=f"{aiohttp.__version__}, Python {platform.python_version()}")
    await asyncio.Future()


def end():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end, daemon=True).start()
asyncio.run(main())
