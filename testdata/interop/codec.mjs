// Compresses and decompresses messages for permessage-deflate with Node's zlib.
// Requests and answers are those of codec.py.
import {once} from "node:events";
import zlib from "node:zlib";

const tail = Buffer.from([0, 0, 0xff, 0xff]);

// run gives a stream data, and returns what comes of it.
async function run(z, flush, ...data) {
	const out = [];
	const gather = (piece) => out.push(piece);
	z.on("data", gather);
	try {
		for (const piece of data) z.write(piece);
		const failed = new AbortController();
		const done = new Promise((resolve) => z.flush(flush, resolve));
		await Promise.race([done, once(z, "error", {signal: failed.signal}).then(([e]) => Promise.reject(e))]);
		failed.abort();
	} finally {
		z.off("data", gather);
	}
	return Buffer.concat(out);
}

function compressor(level, windowBits, strategy, flush, takeover) {
	const options = {level, windowBits, strategy};
	if (flush === zlib.constants.Z_FINISH) {
		return (message) => Buffer.concat([zlib.deflateRawSync(message, options), Buffer.from([0])]);
	}
	const z = zlib.createDeflateRaw(options);
	return async (message) => {
		const out = await run(z, flush, message);
		if (!takeover) z.reset();
		return out.subarray(0, -tail.length);
	};
}

function decompressor(windowBits, step, takeover) {
	const z = zlib.createInflateRaw({windowBits, chunkSize: 64 * step});
	return async (message) => {
		if (!takeover) z.reset();
		return await run(z, zlib.constants.Z_SYNC_FLUSH, message, tail);
	};
}

let work;

async function answer(request) {
	const args = request.subarray(1);
	switch (String.fromCharCode(request[0])) {
		case "v":
			return Buffer.from(`zlib ${process.versions.zlib}, Node ${process.version.slice(1)}`);
		case "c":
			work = compressor(...args);
			return Buffer.alloc(0);
		case "d":
			work = decompressor(...args);
			return Buffer.alloc(0);
		default:
			return await work(args);
	}
}

let input = Buffer.alloc(0);
for await (const piece of process.stdin) {
	input = Buffer.concat([input, piece]);
	while (input.length >= 4 && input.length >= 4 + input.readUInt32BE()) {
		const end = 4 + input.readUInt32BE();
		let status = 0, data;
		try {
			data = await answer(input.subarray(4, end));
		} catch (e) {
			status = 1;
			data = Buffer.from(e.message);
		}
		input = input.subarray(end);
		const head = Buffer.alloc(5);
		head.writeUInt32BE(1 + data.length);
		head[4] = status;
		process.stdout.write(Buffer.concat([head, data]));
	}
}
