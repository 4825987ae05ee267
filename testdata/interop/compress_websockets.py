"""Exchanges compressed messages with the client of websockets:

    python3 compress_websockets.py 'CONFIG'

Arguments and output are those of compress_ws.mjs. websockets compresses every
message.
"""

import asyncio
import base64
import json
import os
import platform
import random
import sys
import threading
import traceback

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.legacy.client import connect
from websockets.version import version

config = json.loads(sys.argv[1])


def say(**event):
    print(json.dumps(event), flush=True)


def expect(got, want):
    if got != want:
        raise AssertionError(f"got {len(got)}, {got!r:.100}, want {len(want)}, {want!r:.100}")


# Of the messages that are sent in a row, what does not compress is the same in all.
TOKEN = base64.b64encode(os.urandom(330)).decode()
ROW = [
    f'{{"token":"{TOKEN}","id":{i},"text":"message {i * i} of the room, which everyone has seen, or will see, and then see again"}}'
    for i in range(50)
]

WORDS = 'the quick brown fox jumps over a lazy dog Ελληνικά 你好 🙂 {"user":"alice"}'.split()
MESSAGES = []
for size in [0, 1, 511, 512, 5000, 100 << 10]:
    prose = " ".join(random.choices(WORDS, k=size))[:size]
    repeated = ("1234567" * (size // 7 + 1))[:size]
    letters = base64.b64encode(os.urandom(size)).decode()[:size]
    MESSAGES += [prose, prose.encode(), repeated, repeated.encode(), os.urandom(size), letters]


async def parts(ws, message):
    half = len(message) // 2
    yield message[:half]
    await ws.ping()
    yield message[:0]
    yield message[half:]


async def exchange(url, terms):
    factory = ClientPerMessageDeflateFactory(**terms)
    async with connect(url, compression=None, extensions=[factory], max_size=1 << 24) as ws:
        sent = 0

        async def send(message):
            # Of two messages one goes in fragments.
            nonlocal sent
            await ws.send(parts(ws, message) if sent % 2 else message)
            sent += 1

        for message in ROW:
            await send(message)
        for message in ROW:
            expect(await ws.recv(), message)
        for message in MESSAGES:
            await send(message)
            expect(await ws.recv(), message)
        agreed = None
        for extension in ws.extensions:
            agreed = {
                "server_no_context_takeover": extension.remote_no_context_takeover,
                "client_no_context_takeover": extension.local_no_context_takeover,
                "server_max_window_bits": extension.remote_max_window_bits,
                "client_max_window_bits": extension.local_max_window_bits,
            }
        return {"agreed": agreed, "compressed": sent}


async def main():
    say(event="version", version=f"{version}, Python {platform.python_version()}")
    for case in config["cases"]:
        try:
            say(event="case", name=case["name"], ok=True, **await exchange(case["url"], case["terms"]))
        except Exception:
            say(event="case", name=case["name"], ok=False, detail=traceback.format_exc())
    say(event="done")


def end():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end, daemon=True).start()
asyncio.run(main())
