// Exchanges compressed messages with the client of Node's ws:
//
//	node compress_ws.mjs 'CONFIG'
//
// CONFIG is JSON: "cases", a list of {name, url, terms}: what to offer, by the names
// of RFC 7692, to a server that echoes. Each line printed is a JSON object: the
// first one {event: "version", version}, one for each case {event: "case", name, ok,
// detail, agreed, compressed}, the last being the number of messages that were sent
// so, and {event: "done"}.
import {randomBytes} from "node:crypto";
import {once} from "node:events";
import {createRequire} from "node:module";
import WebSocket from "ws";

const say = (o) => process.stdout.write(JSON.stringify(o) + "\n");
const {version} = createRequire(import.meta.url)("ws/package.json");
const config = JSON.parse(process.argv[2]);

// Of the 50 messages that are sent in a row, what does not compress is the same in
// all.
const token = randomBytes(330).toString("base64");
const row = Array.from({length: 50}, (_, i) => `{"token":"${token}","id":${i},"text":"message ${i * i} of the room, which everyone has seen, or will see, and then see again"}`);

const words = 'the quick brown fox jumps over a lazy dog Ελληνικά 你好 🙂 {"user":"alice"}'.split(" ");
const messages = [];
for (const size of [0, 1, 511, 512, 5000, 100 << 10]) {
	let prose = "";
	while (prose.length < size) prose += words[Math.floor(Math.random() * words.length)] + " ";
	// Characters outside of the BMP must not be cut in two.
	prose = Buffer.from(prose.slice(0, size)).toString();
	const repeated = "1234567".repeat(size / 7 + 1).slice(0, size);
	messages.push(prose, Buffer.from(prose), repeated, Buffer.from(repeated), randomBytes(size), randomBytes(size).toString("base64").slice(0, size));
}

// camel returns terms by the names of ws's options.
function camel(terms) {
	return Object.fromEntries(Object.entries(terms).map(([k, v]) => [k.replace(/_(.)/g, (_, c) => c.toUpperCase()), v]));
}

async function exchange({url, terms}) {
	const ws = new WebSocket(url, {perMessageDeflate: {threshold: 0, ...camel(terms)}});
	const queue = [];
	let ended = null, compressed = 0, sent = 0;
	ws.on("message", (data, binary) => {
		queue.push(binary ? data : data.toString());
		ws.emit("more");
	});
	ws.on("close", (code, reason) => {
		ended = `closed: ${code} ${reason}`;
		ws.emit("more");
	});
	await once(ws, "open");
	ws.on("error", (e) => console.error(url, e)); // the close event tells, too

	// Of four messages one goes in fragments, and one uncompressed.
	const send = (data) => {
		const mode = sent++ % 4, half = data.length >> 1;
		if (mode !== 3) compressed++;
		if (mode === 1 && !isSurrogate(data, half)) {
			ws.send(data.slice(0, half), {fin: false});
			ws.ping("between");
			ws.send("", {fin: false});
			ws.send(data.slice(half), {fin: true});
		} else {
			ws.send(data, {compress: mode !== 3});
		}
	};
	const receive = async (want) => {
		while (queue.length === 0) {
			if (ended) throw new Error(ended);
			await once(ws, "more");
		}
		const got = queue.shift();
		const same = Buffer.isBuffer(want) ? Buffer.isBuffer(got) && want.equals(got) : got === want;
		if (!same) throw new Error(`got ${got.length}, ${String(got).slice(0, 100)}, want ${want.length}, ${String(want).slice(0, 100)}`);
	};
	row.forEach(send);
	for (const message of row) await receive(message);
	for (const message of messages) {
		send(message);
		await receive(message);
	}
	// What it goes by has no public name.
	const agreed = ws._extensions["permessage-deflate"]?.params;
	ws.close(1000);
	while (!ended) await once(ws, "more");
	return {agreed, compressed};
}

// isSurrogate reports whether a character stands on both sides of a place.
function isSurrogate(data, at) {
	return typeof data === "string" && (data.charCodeAt(at) & 0xfc00) === 0xdc00;
}

say({event: "version", version: `ws ${version}, Node ${process.version.slice(1)}`});
for (const one of config.cases) {
	try {
		say({event: "case", name: one.name, ok: true, ...await exchange(one)});
	} catch (e) {
		say({event: "case", name: one.name, ok: false, detail: e.stack});
	}
}
say({event: "done"});
process.stdin.on("end", () => process.exit()).resume();
