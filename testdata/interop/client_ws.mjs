// Runs the cases below with the client of Node's ws:
//
//	node client_ws.mjs 'CONFIG'
//
// CONFIG is JSON: "echo", the URL of our echo server; "scripted", that of the
// server in ours_test.go, which does what the path asks for; "ca", the file of a
// certificate to trust or ""; "deflate", whether to offer compression; "closings",
// a list of {id, code, reason} to close with; "refusals", a list of {path, status,
// body} to meet. Each line printed is a JSON object: the first one {event:
// "version", version}, one for each case {event: "case", name, ok, detail}, and
// {event: "done"}.
import {readFileSync} from "node:fs";
import {once} from "node:events";
import {createRequire} from "node:module";
import WebSocket from "ws";

const say = (o) => process.stdout.write(JSON.stringify(o) + "\n");
const {version} = createRequire(import.meta.url)("ws/package.json");
const config = JSON.parse(process.argv[2]);
const options = {perMessageDeflate: config.deflate};
if (config.ca) options.ca = readFileSync(config.ca);

async function open(url, protocols = []) {
	const ws = new WebSocket(url, protocols, options);
	// Messages that come with the handshake must not be missed.
	ws.queue = [];
	ws.on("message", (data, binary) => {
		ws.queue.push(binary ? data : data.toString());
		ws.emit("queued");
	});
	ws.ended = new Promise((resolve) => ws.on("close", (code, reason) => resolve({code, reason: reason.toString()})));
	await once(ws, "open");
	ws.on("error", () => {}); // the close event tells
	return ws;
}

async function next(ws) {
	while (ws.queue.length === 0) {
		const ended = await Promise.race([once(ws, "queued"), ws.ended]);
		if (ended.code) throw new Error(`closed: ${ended.code} ${ended.reason}`);
	}
	return ws.queue.shift();
}

function expect(got, want) {
	const same = Buffer.isBuffer(want) ? Buffer.isBuffer(got) && want.equals(got) : got === want;
	if (!same) throw new Error(`got ${String(got).slice(0, 100)}, want ${String(want).slice(0, 100)}`);
}

async function close(ws, code, reason) {
	ws.close(code, reason);
	return await ws.ended;
}

// pattern is a payload in which every position matters.
function pattern(size) {
	const p = Buffer.alloc(size);
	for (let i = 0; i < size; i++) p[i] = (i * 31 + (i >> 8) * 7 + (i >> 16)) & 255;
	return p;
}

const cases = [];
const add = (name, f) => cases.push({name, f});

const texts = {
	"ASCII": "Hello, WebSocket! ~!@#$%^&*()_+",
	"Chinese": "网络套接字协议，双向通信。".repeat(1000),
	"emoji": "👩‍👩‍👧‍👦🏳️‍🌈👍🏽".repeat(1000),
	"0": "",
};
for (const [name, text] of Object.entries(texts)) {
	add("text " + name, async () => {
		const ws = await open(config.echo);
		ws.send(text);
		expect(await next(ws), text);
		await close(ws, 1000);
	});
}
for (const size of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
	add("binary " + size, async () => {
		const ws = await open(config.echo), data = pattern(size);
		ws.send(data);
		expect(await next(ws), data);
		await close(ws, 1000);
	});
}
add("fragments to us", async () => {
	const ws = await open(config.echo), data = pattern(200000);
	ws.send(data.subarray(0, 100000), {fin: false});
	ws.ping("between");
	ws.send("", {fin: false});
	ws.send(data.subarray(100000), {fin: true});
	expect(await next(ws), data);
	await close(ws, 1000);
});
add("fragments from us", async () => {
	const ws = await open(config.scripted + "fragments?ping"), data = pattern(200000);
	ws.send(data);
	expect(await next(ws), data);
	await close(ws, 1000);
});
add("ping to us", async () => {
	const ws = await open(config.echo);
	ws.pong("not asked for");
	const pong = once(ws, "pong");
	ws.ping("payload");
	expect((await pong)[0], Buffer.from("payload"));
	await close(ws, 1000);
});
add("ping from us", async () => {
	const ws = await open(config.scripted + "ping");
	expect(await next(ws), "pong came");
	await close(ws, 1000);
});
for (const {id, code, reason} of config.closings) {
	add(`close ${code} to us`, async () => {
		const ws = await open(config.scripted + "echo?id=" + id);
		expect((await close(ws, code, reason)).code, code);
	});
	add(`close ${code} from us`, async () => {
		const ws = await open(config.scripted + "close?" + new URLSearchParams({code, reason}));
		const ended = await ws.ended;
		expect(ended.code, code);
		expect(ended.reason, reason);
	});
}
add("close without code to us", async () => {
	const ws = await open(config.echo);
	expect((await close(ws)).code, 1005);
});
add("end without close from us", async () => {
	const ws = await open(config.scripted + "kill");
	expect((await ws.ended).code, 1006);
});
add("2000 messages pipelined", async () => {
	const ws = await open(config.echo);
	for (let i = 0; i < 2000; i++) ws.send("message " + i);
	for (let i = 0; i < 2000; i++) expect(await next(ws), "message " + i);
	await close(ws, 1000);
});
add("50 connections at once", async () => {
	await Promise.all(Array.from({length: 50}, async (_, i) => {
		const ws = await open(config.echo);
		for (let j = 0; j < 10; j++) {
			ws.send(`connection ${i} message ${j}`);
			expect(await next(ws), `connection ${i} message ${j}`);
		}
		await close(ws, 1000);
	}));
});
add("subprotocol", async () => {
	const ws = await open(config.scripted + "echo", ["other", "chat.v1"]);
	expect(ws.protocol, "chat.v1");
	await close(ws, 1000);
});
add("subprotocol not offered", async () => {
	const ws = await open(config.scripted + "echo");
	expect(ws.protocol, "");
	await close(ws, 1000);
});
for (const {path, status, body} of config.refusals) {
	add("refused with " + status, async () => {
		const ws = new WebSocket(config.scripted + path, options);
		const [, response] = await once(ws, "unexpected-response");
		expect(response.statusCode, status);
		let text = "";
		for await (const piece of response) text += piece;
		if (!text.includes(body)) throw new Error(`body ${text}, want ${body}`);
	});
}
add("extensions", async () => {
	const ws = await open(config.echo);
	// Compression or none, but nothing else.
	if (!["", "permessage-deflate"].includes(ws.extensions)) throw new Error(ws.extensions);
	const agreed = ws.extensions;
	await close(ws, 1000);
	return agreed || "none";
});

say({event: "version", version: `ws ${version}, Node ${process.version.slice(1)}`});
for (const {name, f} of cases) {
	try {
		say({event: "case", name, ok: true, detail: await f()});
	} catch (e) {
		say({event: "case", name, ok: false, detail: e.stack});
	}
}
say({event: "done"});
process.stdin.on("end", () => process.exit()).resume();
