// A WebSocket server on Node's ws:
//
//	node echo_ws.mjs [CERTIFICATE KEY]
//
// It listens on a free port of 127.0.0.1 and does what the path asks for: /echo,
// /fragments, /ping, /close?code=C&reason=R, /kill, and before the handshake
// /refuse and /moved. Each line that it prints is a JSON object: the first one
// {event: "listening", port, version}, the others about the connection with the
// id that the query has. It ends when its standard input does.
import {readFileSync} from "node:fs";
import http from "node:http";
import https from "node:https";
import {createRequire} from "node:module";
import {WebSocketServer} from "ws";

const say = (o) => process.stdout.write(JSON.stringify(o) + "\n");
const {version} = createRequire(import.meta.url)("ws/package.json");

const paths = {
	echo(socket) {
		socket.on("message", (data, binary) => socket.send(data, {binary}));
	},
	// Each message comes back as a first half, an empty fragment and a second half,
	// with a Ping in between.
	fragments(socket) {
		socket.on("message", (data, binary) => {
			const half = data.length >> 1;
			socket.send(data.subarray(0, half), {binary, fin: false});
			socket.ping("between");
			socket.send("", {binary, fin: false});
			socket.send(data.subarray(half), {binary, fin: true});
		});
	},
	ping(socket) {
		socket.pong("not asked for");
		socket.on("pong", (data) => socket.send("pong " + data));
		socket.ping("from ws");
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
const wss = new WebSocketServer({
	server,
	perMessageDeflate: true,
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
server.listen(0, "127.0.0.1", () => {
	say({event: "listening", port: server.address().port, version: `ws ${version}, Node ${process.version.slice(1)}`});
});
process.stdin.on("end", () => process.exit()).resume();
