"use strict";

const count = document.getElementById("count");
const state = document.getElementById("state");
const again = document.getElementById("again");

function begin() {
	again.hidden = true;
	state.textContent = "Connecting…";
	const ws = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/ws/demo");
	ws.onmessage = (e) => {
		const event = JSON.parse(e.data);
		count.textContent = event.n;
		state.textContent = "sent " + new Date(event.time).toLocaleTimeString();
	};
	ws.onclose = (e) => {
		state.textContent = e.code === 4401 ? "Your session has expired." : "The connection is over.";
		again.hidden = false;
	};
}

again.addEventListener("click", begin);
begin();
