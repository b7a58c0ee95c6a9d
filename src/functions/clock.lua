-- The server's clock.

local call = redis.call
local sub = string.sub
local tonumber = tonumber


-- {s, us}; asked for here and nowhere else

local function server_time()
    return call('TIME')
end


-- kept for as long as the ms is the same

local last_s, last_ms, now, time = '', '', 0, ''


local function micros()
    local t = server_time()

    return t[1] * 1000000 + t[2]
end


-- ms since the epoch, as a number and as text, and us

local function clock()
    local t = server_time()
    local us = t[2]
    local ms = #us > 3 and sub(us, 1, -4) or '0'

    if ms ~= last_ms or t[1] ~= last_s then
        last_s, last_ms = t[1], ms

        if #ms < 3 then
            ms = sub('00' .. ms, -3)
        end

        time = t[1] .. ms
        now = tonumber(time)
    end

    return now, time, t[1] * 1000000 + us
end


return { clock = clock, micros = micros }
