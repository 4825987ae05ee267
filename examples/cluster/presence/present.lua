-- Returns the order of a room's last change, and the names in it. KEYS are as in
-- change.lua.
return {redis.call('GET', KEYS[3]) or '0', redis.call('HKEYS', KEYS[2])}
