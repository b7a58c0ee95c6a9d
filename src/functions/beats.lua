-- tb:{s}:beats, deviceId -> "<until> <session>": what devices say, once more.
-- So heartbeats of many devices are one command while none has to be written.
-- It is a copy: attach and heartbeats write it, whatever else changes a session
-- or its end forgets it, and the device itself is asked then.

local pcall_redis = redis.pcall
local byte, sub = string.byte, string.sub
local unpack = unpack


local BLANK = 32


-- the texts of these devices, false for those that have none

local function seen(prefix, ids)
    local texts = pcall_redis('HMGET', prefix .. 'beats', unpack(ids))

    -- of another type: nothing but slower

    return texts.err and {} or texts
end


-- texts: deviceId, text, ...

local function see(prefix, texts)
    pcall_redis('HSET', prefix .. 'beats', unpack(texts))
end


local function text(till, session)
    return till .. ' ' .. session
end


-- Does it say that the session lasts until then, at least?  With as many digits
-- the larger number is the larger text.

local function lasts(seen_text, session, till)
    return seen_text and byte(seen_text, #till + 1) == BLANK
           and sub(seen_text, 1, #till) >= till
           and sub(seen_text, #till + 2) == session
end


-- one device

local function keep(x, till, session)
    pcall_redis('HSET', x.p .. 'beats', x.id, text(till, session))
end


local function forget(x)
    pcall_redis('HDEL', x.p .. 'beats', x.id)
end


return {
    seen = seen, see = see, text = text, lasts = lasts, keep = keep,
    forget = forget
}
