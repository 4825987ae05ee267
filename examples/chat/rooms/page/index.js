"use strict";

// The name is kept for this tab: another one may be somebody else.
const room = document.getElementById("room"), person = document.getElementById("name");

if (person) person.value = sessionStorage.getItem("name") || "";

document.getElementById("enter").addEventListener("submit", (e) => {
	e.preventDefault();
	if (person) {
		if (!person.value.trim()) return;
		sessionStorage.setItem("name", person.value.trim());
	}
	location.assign("/room/" + encodeURIComponent(room.value));
});
