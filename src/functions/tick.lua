-- tb_rpc_tick: looks at what is due.  Values read back are checked: whatever
-- somebody wrote into a key by hand is skipped or dropped, and never stops it.

local call, pcall_redis = redis.call, redis.pcall
local match = string.match
local ceil, min, max_of = math.ceil, math.min, math.max
local tonumber, pcall = tonumber, pcall

local RELEASE = use('const', 'RELEASE')
local bad, int, dec, is_uuid, shown =
    use('text', 'bad', 'int', 'dec', 'is_uuid', 'shown')
local clock = use('clock', 'clock')
local context, stat = use('context', 'context', 'stat')
local session_device, is_online, arm =
    use('device', 'session_device', 'is_online', 'arm')
local polls = use 'poll'
local keep_heads, release = use('queue', 'keep_heads', 'release')
local persistent = use 'persistent'
local light = use 'light'
local leave = use('session', 'leave')


local TICK_LOCK = 10            -- ms
local BROKEN = 60000            -- ms until a broken entry is tried again


local function tick_session(x)
    local d = session_device(x)

    call('ZREM', x.due, '@' .. x.id)

    if not d then
        return
    end

    polls.lapse(x)
    polls.rearm(x)

    if d.session and not is_online(d.bridge, d.till, x.now) then
        stat(x, 'lapsed')
        leave(x)
        return
    end

    if d.session then
        arm(x, tonumber(d.till))
    end

    release(x, RELEASE)
end


local function tick_one(prefix, member, now)
    local id = match(member, '^@([%x%-]+)$')

    if id then
        tick_session(context(prefix, id, now))
        return
    end

    local dev, rid = match(member, '^([%x%-]+)/(%d+)$')

    if dev then
        light.tick(context(prefix, dev, now), rid, member)

    elseif is_uuid(member) then
        persistent.tick(prefix, member, now)

    else
        call('ZREM', prefix .. 'due', member)
    end
end


local function tick_next(key, now)
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')

    if #first == 0 then
        return 1000
    end

    return max_of(min(tonumber(first[2]) - now, 1000), 0)
end


-- tb_rpc_tick Z <max>
--
-- keys      Z, <prefix>{s<n>}:due
-- arguments max: how many entries are looked at
-- replies   {handled, ms to the next one}
-- errors    a wrong key or argument

local function tick(keys, a)
    local prefix = #keys == 1 and match(keys[1], '^(.-{s%d+}:)due$')
    local max = int(a[1], 100000)

    if not prefix then
        return bad('1 key is needed, <prefix>{s<n>}:due')
    end

    if not max or max == 0 then
        return bad('max ' .. shown(a[1]) .. ' is not a number of calls')
    end

    local now = clock()
    local ms = tick_next(keys[1], now)

    if ms > 0 then
        return { 0, ceil(ms) }
    end

    local lock = prefix .. 'ticklock'

    if not call('SET', lock, '1', 'NX', 'PX', TICK_LOCK) then
        return { 0, TICK_LOCK }
    end

    local list = call('ZRANGEBYSCORE', keys[1], '-inf', dec(now), 'LIMIT', 0,
                      max)

    keep_heads(true)

    for i = 1, #list do
        local ok = pcall(tick_one, prefix, list[i], now)

        -- what can't be handled must not come again at once, for ever

        if not ok then
            call('ZADD', keys[1], 'XX', dec(now + BROKEN), list[i])
            pcall_redis('HINCRBY', prefix .. 'stats', 'broken', 1)
        end
    end

    keep_heads(false)

    ms = tick_next(keys[1], now)

    if ms == 0 then
        call('DEL', lock)
    end

    return { #list, ceil(ms) }
end


return { tick = tick }
