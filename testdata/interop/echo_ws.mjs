// A WebSocket server on Node's ws:
//
//	node echo_ws.mjs [CERTIFICATE KEY]
//
// It listens on a free port of 127.0.0.1 and does what the path asks for: /echo,
// /fragments, /ping, /close?code=C&reason=R, /kill, /compress?terms=T, and before
// the handshake /refuse and /moved. T is JSON: what it is to ask for of
// permessage-deflate, by the names of RFC 7692. Each line that it prints is a JSON
// object: the first one {event: "listening", port, version}, the others about the
// connection with the id that the query has. It ends when its standard input does.
import {readFileSync} from "node:fs";
import http from "node:http";
import https from "node:https";
import {createRequire} from "node:module";
import {WebSocketServer} from "ws";

const say = (o) => process.stdout.write(JSON.stringify(o) + "\n");
const {version} = createRequire(import.meta.url)("ws/package.json");

// sendFragments sends a message as a first half, an empty fragment and a second
// half, with a Ping in between.
function sendFragments(socket, data, binary) {
	const half = data.length >> 1;
	socket.send(data.subarray(0, half), {binary, fin: false});
	socket.ping("between");
	socket.send("", {binary, fin: false});
	socket.send(data.subarray(half), {binary, fin: true});
}

const paths = {
	echo(socket) {
		socket.on("message", (data, binary) => socket.send(data, {binary}));
	},
	fragments(socket) {
		socket.on("message", (data, binary) => sendFragments(socket, data, binary));
	},
	ping(socket) {
		socket.pong("not asked for");
		socket.on("pong", (data) => socket.send("pong " + data));
		socket.ping("from ws");
	},
	// Echoes, of four messages one in fragments and one uncompressed, and tells of
	// what was agreed.
	compress(socket, query) {
		// What it goes by has no public name.
		const agreed = socket._extensions["permessage-deflate"]?.params;
		say({event: "opened", id: query.get("id"), agreed});
		let i = 0;
		socket.on("message", (data, binary) => {
			switch (i++ % 4) {
				case 1:
					sendFragments(socket, data, binary);
					break;
				case 3:
					socket.send(data, {binary, compress: false});
					break;
				default:
					socket.send(data, {binary});
			}
		});
	},
	close(socket, query) {
		if (query.has("code")) socket.close(Number(query.get("code")), query.get("reason"));
		else socket.close();
	},
	kill(socket) {
		socket.terminate();
	},
};

const [cert, key] = process.argv.slice(2);
const server = cert ? https.createServer({cert: readFileSync(cert), key: readFileSync(key)}) : http.createServer();
// accepting returns what does the opening handshakes, with options for
// permessage-deflate.
function accepting(perMessageDeflate) {
	const wss = new WebSocketServer({
		noServer: true,
		perMessageDeflate,
		handleProtocols: (offered) => ["chat.v2", "chat.v1"].find((p) => offered.has(p)) ?? false,
		verifyClient({req}, done) {
			if (req.url.startsWith("/refuse")) done(false, 401, "who are you?\n", {"WWW-Authenticate": "Basic realm=interop"});
			else if (req.url.startsWith("/moved")) done(false, 302, "", {Location: req.url.replace("/moved", "/echo")});
			else done(true);
		},
	});
	wss.on("connection", (socket, req) => {
		const url = new URL(req.url, "http://127.0.0.1"), id = url.searchParams.get("id");
		socket.on("error", (e) => console.error(id, e.message));
		socket.on("ping", () => say({event: "ping", id}));
		socket.on("close", (code, reason) => say({event: "closed", id, code, reason: reason.toString()}));
		paths[url.pathname.slice(1)](socket, url.searchParams);
	});
	return wss;
}

// camel returns terms by the names of ws's options.
function camel(terms) {
	return Object.fromEntries(Object.entries(terms).map(([k, v]) => [k.replace(/_(.)/g, (_, c) => c.toUpperCase()), v]));
}

const asUsual = accepting(true);
server.on("upgrade", (req, socket, head) => {
	const terms = new URL(req.url, "http://127.0.0.1").searchParams.get("terms");
	const wss = terms ? accepting({threshold: 0, ...camel(JSON.parse(terms))}) : asUsual;
	wss.handleUpgrade(req, socket, head, (ws) => wss.emit("connection", ws, req));
});
server.listen(0, "127.0.0.1", () => {
	say({event: "listening", port: server.address().port, version: `ws ${version}, Node ${process.version.slice(1)}`});
});
process.stdin.on("end", () => process.exit()).resume();
