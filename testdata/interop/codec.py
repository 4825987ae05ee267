"""Compresses and decompresses messages for permessage-deflate with zlib.

It reads requests and writes as many answers, each with its length in front, four
bytes, highest first. A request begins with a letter:

    v                                         the answer is the version
    c LEVEL WINDOW STRATEGY FLUSH TAKEOVER    a new compressor
    d WINDOW STEP TAKEOVER                    a new decompressor, 64 * STEP bytes at a time
    m MESSAGE                                 what the last one makes of it

Numbers are a byte each; windows are in bits, STRATEGY and FLUSH zlib's. An answer
begins with a byte: 0, and what was asked for follows, or 1, and what is wrong.
"""

import platform
import sys
import zlib

TAIL = b"\x00\x00\xff\xff"


def compressor(level, window, strategy, flush, takeover):
    def new():
        return zlib.compressobj(level, zlib.DEFLATED, -window, zlib.DEF_MEM_LEVEL, strategy)

    z = new()

    def compress(message):
        nonlocal z
        data = z.compress(message) + z.flush(flush)
        if not takeover:
            z = new()
        if flush == zlib.Z_FINISH:
            return data + b"\x00"
        return data.removesuffix(TAIL)

    return compress


def decompressor(window, step, takeover):
    z = zlib.decompressobj(-window)

    def decompress(message):
        nonlocal z
        if not takeover:
            z = zlib.decompressobj(-window)
        message += TAIL
        out = []
        # In large steps, zlib lets distances pass that are beyond the window.
        for i in range(0, len(message), 256):
            rest = message[i : i + 256]
            while rest:
                out.append(z.decompress(rest, 64 * step))
                rest = z.unconsumed_tail
        return b"".join(out)

    return decompress


def version(_):
    return f"zlib {zlib.ZLIB_RUNTIME_VERSION}, Python {platform.python_version()}".encode()


answer = None
while head := sys.stdin.buffer.read(4):
    request = sys.stdin.buffer.read(int.from_bytes(head, "big"))
    try:
        data = b""
        if request[:1] == b"v":
            data = version(request)
        elif request[:1] == b"c":
            answer = compressor(*request[1:])
        elif request[:1] == b"d":
            answer = decompressor(*request[1:])
        else:
            data = answer(request[1:])
        data = b"\x00" + data
    except Exception as e:
        data = b"\x01" + str(e).encode()
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
    sys.stdout.buffer.flush()
