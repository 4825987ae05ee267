"""A WebSocket server on websockets:

    python3 echo_websockets.py [CERTIFICATE KEY]

Paths and output are those of echo_ws.mjs. It does not tell of Pings: websockets
answers them and shows them to nobody. The module websockets.legacy is there from
version 10 on, and its API has not changed since.
"""

import asyncio
import json
import os
import platform
import ssl
import sys
import threading
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import websockets
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.legacy.server import WebSocketServerProtocol, serve
from websockets.version import version


def say(**event):
    print(json.dumps(event), flush=True)


async def echo(ws, query):
    async for message in ws:
        await ws.send(message)


async def parts(ws, message):
    half = len(message) // 2
    yield message[:half]
    await ws.ping()
    yield message[:0]
    yield message[half:]


async def fragments(ws, query):
    async for message in ws:
        await ws.send(parts(ws, message))


async def ping(ws, query):
    await ws.pong("not asked for")
    await (await ws.ping("from websockets"))
    await ws.send("pong from websockets")
    await ws.wait_closed()


async def compress(ws, query):
    """Echoes, of two messages one in fragments, and tells of what was agreed."""
    agreed = None
    for extension in ws.extensions:
        agreed = {
            "server_no_context_takeover": extension.local_no_context_takeover,
            "client_no_context_takeover": extension.remote_no_context_takeover,
            "server_max_window_bits": extension.local_max_window_bits,
            "client_max_window_bits": extension.remote_max_window_bits,
        }
    say(event="opened", id=query["id"][0], agreed=agreed)

    i = 0
    async for message in ws:
        await ws.send(parts(ws, message) if i % 2 else message)
        i += 1


async def close(ws, query):
    await ws.close(int(query["code"][0]), query.get("reason", [""])[0])


async def kill(ws, query):
    ws.transport.abort()
    await ws.wait_closed()


PATHS = {"echo": echo, "fragments": fragments, "ping": ping, "compress": compress, "close": close, "kill": kill}


async def handle(ws):
    url = urlsplit(ws.path)
    query = parse_qs(url.query)
    try:
        await PATHS[url.path[1:]](ws, query)
        await ws.wait_closed()
    except websockets.ConnectionClosed:
        pass
    say(event="closed", id=query.get("id", [None])[0], code=ws.close_code, reason=ws.close_reason)


class Protocol(WebSocketServerProtocol):
    async def process_request(self, path, headers):
        if path.startswith("/refuse"):
            return HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Basic realm=interop"}, b"who are you?\n"
        if path.startswith("/moved"):
            return HTTPStatus.FOUND, {"Location": path.replace("/moved", "/echo")}, b""
        terms = parse_qs(urlsplit(path).query).get("terms")
        if terms:
            # What does the handshake has this very list.
            self.available_extensions[:] = [ServerPerMessageDeflateFactory(**json.loads(terms[0]))]


async def main():
    context = None
    if sys.argv[1:]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[1:])
    server = await serve(
        handle, "127.0.0.1", 0, ssl=context, create_protocol=Protocol, subprotocols=["chat.v2", "chat.v1"], max_size=1 << 24
    )
    port = server.sockets[0].getsockname()[1]
    say(event="listening", port=port, version=f"{version}, Python {platform.python_version()}")
    await asyncio.Future()


def end():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end, daemon=True).start()
asyncio.run(main())
