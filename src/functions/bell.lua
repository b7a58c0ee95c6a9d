-- tb:{s}:bell:<bridge>, the shard channel that wakes a bridge: rung when a
-- queue gets its first reference, and once a second while more come.  What is
-- lost (nobody listens, a right is missing) costs the time until the bridge
-- looks by itself.

local call, pcall_redis = redis.call, redis.pcall
local dec = use('text', 'dec')


local AGAIN = 1000              -- ms
local LOOK = 60000              -- ms until tick looks at the queue
local QUEUES = 4096             -- that are remembered
local KEPT = 86400000           -- ms that an empty one is named


local rung, looked, n = {}, {}, 0
local bells = {}


-- For those who want to see what waits: once a minute, so that a FLUSHALL or a
-- failover loses it for that long.  Nothing is worth to fail for it.

local function note(x, bridge)
    local key = x.p .. 'queues'

    pcall_redis('ZADD', key, x.time, bridge)

    local old = pcall_redis('ZRANGE', key, '0', '0', 'WITHSCORES')

    if old[2] and x.now - old[2] > KEPT
       and pcall_redis('LLEN', x.p .. 'queue:' .. old[1]) == 0
    then
        pcall_redis('ZREM', key, old[1])
    end
end


-- a reference was pushed to the queue of x, which has this many now

local function pushed(x, key, bridge, length)
    local last = rung[key]

    if length > 1 and last and x.now - last < AGAIN and x.now >= last then
        return
    end

    if not last then
        if n == QUEUES then
            rung, looked, n = {}, {}, 0
        end

        n = n + 1
    end

    rung[key] = x.now
    bells[#bells + 1] = x.p .. 'bell:' .. bridge

    -- what is left there when its bridge is gone is removed by tick

    if not looked[key] or x.now - looked[key] >= LOOK or x.now < looked[key]
    then
        looked[key] = x.now
        call('ZADD', x.due, 'NX', dec(x.now + LOOK), '#' .. bridge)
        note(x, bridge)
    end
end


-- its entry in due is gone

local function forget(key)
    looked[key] = nil
end


-- the last thing that a function does

local function ring()
    for i = #bells, 1, -1 do
        pcall_redis('SPUBLISH', bells[i], '1')
        bells[i] = nil
    end
end


return {
    LOOK = LOOK, bells = bells, pushed = pushed, forget = forget, ring = ring
}
