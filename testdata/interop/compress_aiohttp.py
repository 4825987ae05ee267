"""Exchanges compressed messages with the client of aiohttp:

    python3 compress_aiohttp.py 'CONFIG'

Arguments and output are those of compress_ws.mjs. aiohttp compresses every message,
and sends it in one frame. Of the terms it can offer a window for the server alone;
of what was agreed it knows its own side.
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

import aiohttp

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


async def exchange(session, url, terms):
    bits = terms.get("server_max_window_bits", 15)
    async with session.ws_connect(url, compress=bits, max_msg_size=1 << 24) as ws:
        sent = 0

        async def send(message):
            nonlocal sent
            await (ws.send_str if isinstance(message, str) else ws.send_bytes)(message)
            sent += 1

        for message in ROW:
            await send(message)
        for message in ROW:
            expect(await ws.receive_str(), message)
        for message in MESSAGES:
            await send(message)
            expect((await ws.receive()).data, message)
        agreed = None
        if ws.compress:
            agreed = {"client_no_context_takeover": ws.client_notakeover, "client_max_window_bits": ws.compress}
        return {"agreed": agreed, "compressed": sent}


async def main():
    say(event="version", version=f"{aiohttp.__version__}, Python {platform.python_version()}")
    async with aiohttp.ClientSession() as session:
        for case in config["cases"]:
            try:
                say(event="case", name=case["name"], ok=True, **await exchange(session, case["url"], case["terms"]))
            except Exception:
                say(event="case", name=case["name"], ok=False, detail=traceback.format_exc())
    say(event="done")


def end():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end, daemon=True).start()
asyncio.run(main())
