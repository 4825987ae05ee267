-- Keeps a room's entries, and tells who has come and gone by that.
--
-- KEYS[1]  sorted set: "id:name" of each connection, by when it expires (ms)
-- KEYS[2]  hash: how many entries a name has
-- KEYS[3]  the order of the last change
-- ARGV[1]  how long an entry lives (ms)
-- ARGV[2]  "join" or "leave"
-- ARGV[3]  and on: entries
--
-- Returns the order, the names that are new, and those that are gone. The clock
-- is that of Redis alone.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[1])
local joined, left = {}, {}

local function name(entry)
	return string.sub(entry, string.find(entry, ':', 1, true) + 1)
end

local function add(entry)
	if redis.call('ZADD', KEYS[1], now + ttl, entry) == 1 and redis.call('HINCRBY', KEYS[2], name(entry), 1) == 1 then
		joined[#joined + 1] = name(entry)
	end
end

local function remove(entry)
	if redis.call('ZREM', KEYS[1], entry) == 1 and redis.call('HINCRBY', KEYS[2], name(entry), -1) <= 0 then
		redis.call('HDEL', KEYS[2], name(entry))
		left[#left + 1] = name(entry)
	end
end

local change = ARGV[2] == 'join' and add or remove
for i = 3, #ARGV do
	change(ARGV[i])
end
-- After what was added: a name that comes again before its old entry was swept
-- has not been away.
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
	remove(entry)
end

-- Larger than the last one, and after Redis has lost everything, too.
local order = tonumber(redis.call('GET', KEYS[3]) or '0')
if #joined + #left > 0 then
	order = math.max(order + 1, time[1] * 1000000 + time[2])
	redis.call('SET', KEYS[3], string.format('%.0f', order))
end
-- Nothing stays of a room that all processes have left or died in.
for _, key in ipairs(KEYS) do
	redis.call('PEXPIRE', key, 2 * ttl)
end
return {string.format('%.0f', order), joined, left}
