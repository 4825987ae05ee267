"use strict";

const room = document.body.dataset.room;
// Whoever signed in has a name. Others chose one for this tab.
const signedIn = document.body.dataset.name !== "";
const chosen = signedIn ? "" : sessionStorage.getItem("name");
if (!signedIn && !chosen) location.replace("/?room=" + encodeURIComponent(room));

const $ = (id) => document.getElementById(id);

// ---- The connection -------------------------------------------------------

const longestWait = 30000; // ms

let ws = null;        // the connection that counts; events of earlier ones do not
let welcomed = false; // it may be used
let attempt = 0;      // failed ones in a row
let timer = 0;        // of the next attempt, or of what it may take

function connect() {
	clearTimeout(timer);
	welcomed = false;
	changes.clear();
	show("connecting", "Connecting…");
	const url = new URL("/ws/room/" + encodeURIComponent(room), location);
	url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
	if (!signedIn) url.searchParams.set("name", chosen);
	const own = ws = new WebSocket(url, ["chat.v1"]);
	let opened = 0;
	timer = setTimeout(() => own.close(), 10000);
	own.onopen = () => {
		clearTimeout(timer);
		opened = Date.now();
	};
	own.onmessage = (e) => {
		if (ws === own) receive(JSON.parse(e.data));
	};
	own.onclose = (e) => {
		if (ws !== own) return;
		if (opened && Date.now() - opened > 5000) attempt = 0;
		lost(e.code, opened > 0);
	};
}

// lost waits, longer each time, and for a random time, so that not everybody
// comes back at the same moment.
async function lost(code, opened) {
	welcomed = false;
	clearTimeout(timer);
	const own = ws;
	if (code === 4401 || !opened && signedIn && await refused()) {
		location.assign("/login?room=" + encodeURIComponent(room));
		return;
	}
	if (ws !== own) return;
	const limit = Math.min(longestWait, 1000 * 2 ** attempt++);
	const until = Date.now() + limit * (0.2 + 0.8 * Math.random());
	const tick = () => {
		const left = until - Date.now();
		if (left <= 0) return connect();
		show("waiting", "Retrying in " + Math.ceil(left / 1000) + " s");
		timer = setTimeout(tick, Math.min(left, 1000));
	};
	tick();
}

// refused reports whether the server wants another session. Browsers do not show
// the status of a handshake.
async function refused() {
	try {
		return (await fetch("/session", {cache: "no-store"})).status === 401;
	} catch {
		return false; // it is not there
	}
}

function disconnect() {
	clearTimeout(timer);
	const own = ws;
	ws = null;
	welcomed = false;
	if (own) own.close(1000);
	show("closed", "Closed");
	people.clear();
	showPeople();
}

function send(message) {
	if (!welcomed || ws.readyState !== WebSocket.OPEN) return false;
	ws.send(JSON.stringify(message));
	return true;
}

addEventListener("online", () => {
	if (ws && ws.readyState === WebSocket.CLOSED) connect();
});

// ---- What comes -----------------------------------------------------------

let me = "";
let life = "";     // of the room; numbers from another life mean nothing
let last = 0;      // number of the last event
let messages = 0;  // how many there were, up to it
const people = new Set();
let greeted = null; // the connection of the last welcome

// Joins and leaves that several processes tell of may come in another order, and
// before the welcome. Where they have an order, the last one of a name counts.
const changes = new Map(); // by name: {order, here}

function changed(name, here, order) {
	if (order) {
		if (order < changes.get(name)?.order) return;
		changes.set(name, {order, here});
	}
	if (here) people.add(name); else people.delete(name);
}

function receive(event) {
	if (event.n && event.type !== "welcome") {
		// Where a number is missing, the server dropped what this page did not take
		// in time. The next welcome tells how much of it was messages.
		if (event.n !== last + 1) send({type: "who"});
		last = event.n;
	}
	switch (event.type) {
	case "welcome": return welcome(event);
	case "message": return message(event);
	case "join":
	case "leave": {
		const here = event.type === "join";
		for (const name of event.names ?? [event.name]) {
			const known = people.has(name);
			changed(name, here, event.order);
			if (people.has(name) !== known) note(name, here ? " joined" : " left", event.time);
		}
		return showPeople();
	}
	case "gap":
		gap("Messages may have been missed");
		// And joins and leaves. Not everybody asks at once, and not before the other
		// processes have found back as well.
		setTimeout(() => send({type: "who"}), 1000 + 4000 * Math.random());
		return;
	case "error": return problem(event.text);
	}
}

function welcome(event) {
	me = event.name;
	if (!event.life) {
		// Nothing is numbered, so that nobody knows what came between connections.
		if (greeted && greeted !== ws) gap("Messages may have been missed");
	} else if (life === event.life) {
		const missed = event.messages - messages;
		if (missed > 0) gap(missed === 1 ? "One message was missed" : missed + " messages were missed");
	} else if (life !== "") {
		gap("Messages may have been missed");
	}
	greeted = ws;
	life = event.life ?? "";
	last = event.n;
	messages = event.messages ?? 0;
	people.clear();
	for (const name of event.present) people.add(name);
	for (const [name, change] of changes) {
		if (change.order > event.order) changed(name, change.here, change.order);
		else changes.delete(name);
	}
	showPeople();
	welcomed = true;
	show("connected", "Connected");
}

// ---- What is shown: always as text, never as HTML -------------------------

const log = $("log");
const most = 500; // entries
let block = null; // the last one's messages, if they can get another one

function element(tag, className, text) {
	const e = document.createElement(tag);
	if (className) e.className = className;
	if (text !== undefined) e.textContent = text;
	return e;
}

function time(at) {
	const t = new Date(at), e = element("time", "", t.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"}));
	e.dateTime = at;
	e.title = t.toLocaleString();
	return e;
}

// hue gives each name a colour, far from those of similar names.
function hue(name) {
	let h = 0x811c9dc5;
	for (const c of name) h = Math.imul(h ^ c.codePointAt(0), 0x01000193);
	h = Math.imul(h ^ h >>> 15, 0x2c1b3c6d);
	return (h >>> 8) % 360;
}

function avatar(name) {
	const e = element("span", "avatar", [...name][0].toUpperCase());
	e.ariaHidden = "true";
	e.style.setProperty("--hue", hue(name));
	return e;
}

function message(event) {
	messages++;
	const own = event.name === me && !event.pushed;
	const t = Date.parse(event.time);
	if (!block || block.name !== event.name || block.pushed !== event.pushed || t - block.time > 180000) {
		const entry = element("li", own ? "message own" : "message");
		const head = element("p", "head"), name = element("bdi", "name", event.name);
		name.style.setProperty("--hue", hue(event.name));
		head.append(name);
		if (event.pushed) head.append(element("span", "badge", "pushed"));
		head.append(time(event.time));
		const body = element("div", "texts");
		entry.append(avatar(event.name), head, body);
		append(entry);
		block = {name: event.name, pushed: event.pushed, time: t, body};
	}
	const follow = atEnd();
	const text = element("p", "text", event.text);
	text.dir = "auto";
	text.title = new Date(t).toLocaleString();
	block.body.append(text);
	scroll(follow || own);
}

function note(name, text, at) {
	const entry = element("li", "note");
	entry.append(element("bdi", "", name), text, " ", time(at));
	append(entry);
}

function gap(text) {
	append(element("li", "gap", text));
}

function append(entry) {
	const follow = atEnd();
	block = null;
	log.append(entry);
	while (log.children.length > most) log.firstChild.remove();
	scroll(follow);
}

const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;

function scroll(follow) {
	if (follow) log.scrollTop = log.scrollHeight;
	$("newer").hidden = follow;
}

$("newer").addEventListener("click", () => scroll(true));

// A keyboard that comes up, or a window that changes, leaves the end in sight.
let ended = true;
log.addEventListener("scroll", () => {
	ended = atEnd();
	if (ended) $("newer").hidden = true;
});
new ResizeObserver(() => { if (ended) scroll(true); }).observe(log);

function showPeople() {
	const names = [...people].sort((a, b) => a.localeCompare(b));
	$("number").textContent = names.length || "";
	$("present").replaceChildren(...names.map((name) => {
		const entry = element("li");
		entry.append(avatar(name), element("bdi", "", name));
		if (name === me) entry.append(element("span", "you", "you"));
		return entry;
	}));
}

function show(state, text) {
	$("state").dataset.state = state;
	$("state").textContent = text;
	document.body.classList.toggle("stale", state !== "connected");
	$("send").disabled = state !== "connected";
	$("again").hidden = state !== "waiting" && state !== "closed";
	$("close").hidden = state === "closed";
}

let problemTimer = 0;
function problem(text) {
	clearTimeout(problemTimer);
	$("problem").textContent = text;
	$("problem").hidden = false;
	problemTimer = setTimeout(() => { $("problem").hidden = true; }, 6000);
}

// ---- What is written ------------------------------------------------------

const text = $("text");

function fit() {
	text.style.height = "auto";
	text.style.height = text.scrollHeight + 2 + "px"; // with its border
}

fit();
text.addEventListener("input", fit);
text.addEventListener("keydown", (e) => {
	if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
	e.preventDefault();
	$("write").requestSubmit();
});
$("write").addEventListener("submit", (e) => {
	e.preventDefault();
	if (!text.value.trim()) return;
	if (!send({type: "message", text: text.value})) return problem("Not connected: this has not been sent.");
	text.value = "";
	fit();
	$("problem").hidden = true;
});
$("close").addEventListener("click", disconnect);
$("again").addEventListener("click", () => {
	attempt = 0;
	connect();
});

if (signedIn || chosen) connect();
