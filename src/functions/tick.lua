-- tb_rpc_tick: looks at what is due.  Values read back are checked: whatever
-- somebody wrote into a key by hand is skipped or dropped, and never stops it.

local call, pcall_redis = redis.call, redis.pcall
local match = string.match
local ceil, min, max_of = math.ceil, math.min, math.max
local tonumber, pcall = tonumber, pcall

local bad, int, dec, short, shown =
    use('text', 'bad', 'int', 'dec', 'short', 'shown')
local clock, micros = use('clock', 'clock', 'micros')
local moving, wrong = use('context', 'moving', 'wrong')
local due = use('tick_due', 'due')
local purge_old = use('tick_due', 'purge_old')


local BUDGET = 1000             -- us
local BROKEN = 60000            -- ms until a broken entry is tried again


local function first(key)
    local v = call('ZRANGE', key, '0', '0', 'WITHSCORES')

    return tonumber(v[2] or nil)
end


-- works on entries of the list until the budget is used up: what was touched

local function work(t, list, act)
    for i = 1, #list do
        if t.touched >= t.max or micros() - t.start >= BUDGET then
            return
        end

        local ok, n = pcall(act, t, list[i])

        -- what can't be handled must not come again at once, for ever

        if not ok then
            pcall_redis('ZADD', t.key, 'XX', dec(t.now + BROKEN), list[i])
            pcall_redis('HINCRBY', t.p .. 'stats', 'broken', 1)
        end

        t.touched = t.touched + (ok and n or 1)
    end
end


-- what is due in a zset, the oldest first

local function work_on(t, key, act)
    t.key = key

    work(t, call('ZRANGEBYSCORE', key, '-inf', t.time, 'LIMIT', '0',
                 short(t.max - t.touched)), act)
end


-- ms until something is due, at most 1,000

local function next_due(t)
    local a, b = first(t.p .. 'due'), first(t.p .. 'old')
    local time = a and b and min(a, b) or a or b

    return time and ceil(max_of(min(time - t.now, 1000), 0)) or 1000
end


-- tb_rpc_tick Z <max>
--
-- keys      Z, <prefix>{s<n>}:due
-- arguments max: calls that may be touched; the time is limited besides
-- replies   {touched, ms to the next one, us used}
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function tick(keys, a)
    local prefix = #keys == 1 and match(keys[1], '^([^{}]*{s%d%d%d}:)due$')
    local max = int(a[1], 100000)

    if not prefix then
        return bad('1 key is needed, <prefix>{s<n>}:due, not '
                   .. shown(keys[1]))
    end

    if not max or max == 0 then
        return bad('max ' .. shown(a[1]) .. ' is not a number of calls')
    end

    local now, time, start = clock()
    local t = { p = prefix, now = now, time = time, start = start, max = max,
                touched = 0 }
    local ms = next_due(t)

    if ms > 0 then
        return { 0, ms, 0 }
    end

    local err = moving(prefix) or wrong(prefix .. 'old', 'zset')

    if err then
        return err
    end

    work_on(t, keys[1], due)

    -- records whose time is over can wait for everything else

    if t.touched < max then
        work_on(t, prefix .. 'old', purge_old)
    end

    return { t.touched, next_due(t), micros() - start }
end


return { tick = tick }
