#!/usr/bin/env python3
"""Decode the captured streams and write what is in them to expected.json.

The Go tests compare their own parser's results with that file. This program is
therefore written against the RFCs (6455 for frames, 7692 for compression) and
shares nothing with the Go code: another language, Python's zlib, a loop over
bytes for the mask. It needs Python 3.8 and nothing besides.

    python3 testdata/expect.py            write capture/expected.json anew
    python3 testdata/expect.py --check    fail if that would change it
    python3 testdata/expect.py --print deno.c2s ...    show streams to a person

It is strict: a stream that breaks a rule of the RFC ends it with an error, so
what is in expected.json is valid. README.md describes the file.
"""

import base64
import hashlib
import json
import pathlib
import sys
import zlib

HERE = pathlib.Path(__file__).resolve().parent / "capture"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NAMES = {0: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}


def read_records(raw):
    """Return the data of all records, joined, and how the stream ended."""
    magic, _, raw = raw.partition(b"\n")
    assert magic == b"wsi-capture 1", magic
    data, last = [], 0
    while True:
        line, newline, raw = raw.partition(b"\n")
        assert newline, "the end is missing"
        at, what = line.split(b" ")
        assert int(at) >= last, "time runs backwards"
        last = int(at)
        if what in (b"end", b"reset"):
            assert not raw, "something follows the end"
            return b"".join(data), what.decode()
        n = int(what)
        assert len(raw) > n and raw[n : n + 1] == b"\n", "a record is cut short"
        data.append(raw[:n])
        raw = raw[n + 1 :]


def headers(head):
    """Return the header fields of a handshake, names in lower case."""
    fields = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), []).append(value.strip())
    return {name: ", ".join(values) for name, values in fields.items()}


def frames(data, masked):
    """Yield opcode, FIN, RSV (as a number, RSV1 is 4) and payload of each frame,
    and how many bytes follow it."""
    while data:
        first, second = data[0], data[1]
        length, at = second & 0x7F, 2
        if length == 126:
            length, at = int.from_bytes(data[2:4], "big"), 4
            assert length >= 126, "length not minimal"
        elif length == 127:
            length, at = int.from_bytes(data[2:10], "big"), 10
            assert 65536 <= length < 1 << 63, "length not minimal"
        assert bool(second & 0x80) == masked, "mask"
        key = b"\0\0\0\0"
        if masked:
            key, at = data[at : at + 4], at + 4
        payload = bytes(b ^ key[i % 4] for i, b in enumerate(data[at : at + length]))
        assert len(payload) == length, "a frame is cut short"
        data = data[at + length :]
        yield first & 0x0F, first >> 7, first >> 4 & 7, payload, len(data)


class Inflater:
    """Decompresses the messages of one direction."""

    def __init__(self, takeover):
        self.takeover = takeover
        self.window = b""

    def message(self, payload):
        data, out = payload + b"\x00\x00\xff\xff", b""
        window = self.window if self.takeover else b""
        while data:
            # A block with BFINAL set ends zlib's stream, but not the message.
            z = zlib.decompressobj(wbits=-15, zdict=window)
            piece = z.decompress(data)
            piece += z.flush() if z.eof else b""
            out += piece
            window = (window + piece)[-32768:]
            data = z.unused_data if z.eof else b""
        self.window = window
        return out


def decode(data, masked, inflater):
    """Return the frames of a stream, its messages and control frames in the order
    in which they were complete, and how many bytes follow a Close frame."""
    seen, events = [], []
    opcode, parts, compressed = None, [], False
    for op, fin, rsv, payload, left in frames(data, masked):
        seen.append((op, fin, rsv, payload))
        if op >= 8:
            assert op in (CLOSE, PING, PONG) and fin and not rsv and len(payload) <= 125, "control frame"
            events.append((op, payload, 1, False))
            if op == CLOSE:
                assert len(payload) != 1, "close code"
                payload[2:].decode("utf-8")
                return seen, events, left
            continue
        if op == 0:
            assert opcode is not None and rsv == 0, "continuation"
        else:
            assert opcode is None and op in (TEXT, BINARY) and rsv in (0, 4), "data frame"
            assert rsv == 0 or inflater, "compressed without an agreement"
            opcode, parts, compressed = op, [], rsv == 4
        parts.append(payload)
        if fin:
            message = b"".join(parts)
            if compressed:
                message = inflater.message(message)
            if opcode == TEXT:
                message.decode("utf-8")
            events.append((opcode, message, len(parts), compressed))
            opcode = None
    assert opcode is None, "a message is not finished"
    return seen, events, 0


def decode_pair(name):
    """Return, for both streams of a capture, how it ended, the extensions
    agreed on, and what decode returns."""
    result, heads, ends, rests = {}, {}, {}, {}
    for side in ("c2s", "s2c"):
        data, ends[side] = read_records((HERE / "streams" / f"{name}.{side}").read_bytes())
        head, blank, rests[side] = data.partition(b"\r\n\r\n")
        assert blank, "no handshake"
        heads[side] = headers(head)

    key = heads["c2s"]["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    assert heads["s2c"]["sec-websocket-accept"] == accept, "accept"

    extensions = heads["s2c"].get("sec-websocket-extensions", "")
    names = [part.split("=")[0].strip() for part in extensions.split(";")]
    for side, sender in (("c2s", "client"), ("s2c", "server")):
        inflater = None
        if names[0] == "permessage-deflate":
            inflater = Inflater(takeover=f"{sender}_no_context_takeover" not in names)
        result[side] = ends[side], extensions, *decode(rests[side], side == "c2s", inflater)
    return result


def short(payload):
    return hashlib.sha256(payload).hexdigest()[:8]


def content(payload):
    """Describe a payload in such a way that it can be made again."""
    entry = {"sha256": hashlib.sha256(payload).hexdigest(), "length": len(payload)}
    for period in range(1, len(payload) // 8 + 1):
        times, remainder = divmod(len(payload), period)
        if remainder == 0 and payload[:period] * times == payload:
            entry["times"], payload = times, payload[:period]
            break
    try:
        text = payload.decode("utf-8")
        if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
            raise ValueError
        entry["text"] = text
    except ValueError:
        entry["hex"] = payload.hex()
    return entry


def build():
    payloads, streams = {}, {}
    for path in sorted((HERE / "streams").glob("*.c2s")):
        name = path.name[: -len(".c2s")]
        try:
            pair = decode_pair(name)
        except Exception as error:
            raise SystemExit(f"{name}: {error!r}")
        for side, (end, extensions, seen, events, left) in sorted(pair.items()):
            for _, payload, _, _ in events:
                if short(payload) not in payloads:
                    payloads[short(payload)] = content(payload)
            streams[f"{name}.{side}"] = {
                "end": end,
                "extensions": extensions,
                "after_close": left,
                "compressed": any(c for _, _, _, c in events),
                "frames": [[op, fin, rsv, len(p), short(p)] for op, fin, rsv, p in seen],
                "events": [[op, short(p), n, int(c)] for op, p, n, c in events],
            }
    return payloads, streams


def render(payloads, streams):
    def line(value):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def table(rows):
        return ",\n".join(f"{line(k)}: {v}" for k, v in sorted(rows.items()))

    bodies = {
        name: "{\n" + ",\n".join(f" {line(k)}: {line(v)}" for k, v in stream.items()) + "}"
        for name, stream in streams.items()
    }
    first = table({k: line(v) for k, v in payloads.items()})
    return '{"payloads": {\n' + first + '},\n"streams": {\n' + table(bodies) + "}}\n"


def main(arguments):
    if arguments[:1] == ["--print"]:
        for stream in arguments[1:]:
            name, _, side = stream.rpartition(".")
            end, extensions, seen, events, left = decode_pair(name)[side]
            print(f"== {stream}, {extensions or 'no extension'}, {end}, {left} bytes after Close")
            for op, fin, rsv, p in seen:
                print(f"  frame {NAMES[op]}{'' if fin else ' unfinished'} rsv {rsv} length {len(p)}")
            for op, p, n, c in events:
                print(f"  {NAMES[op]} in {n}{' compressed' if c else ''}: {len(p)} {p[:60]!r}")
        return
    text = render(*build())
    target = HERE / "expected.json"
    if arguments == ["--check"]:
        if target.read_text("utf-8") != text:
            raise SystemExit("expected.json is not what the streams say; run without --check")
    elif arguments:
        raise SystemExit(__doc__)
    else:
        target.write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
