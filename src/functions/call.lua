-- tb:{s}:inflight:<deviceId>, requestId -> an open call, one text:
--
--     P<state><oneway><rpcId> <attempt> <wrap> <time> <waited>
--     L<state><oneway><rpcId> <attempt> <wrap> <time> <waited> <expiry>
--         <worker>
--
-- P is a persistent call, L a lightweight one.  Time is the moment the call
-- came into its state, waited how long before that it was pushed to the queue.
-- <wrap> is how often the requestIds have begun anew since 1970: with it a
-- requestId tells a call's place among all others.  A P stays below the 64
-- bytes up to which Redis keeps a listpack.
--
-- States, and what happens to a call in them: machine.lua.
--
-- tb:{s}:body:<deviceId>, requestId -> of a lightweight call, its envelope up
-- to the attempt; until it is acknowledged or ends.
--
-- tb:{s}:due holds what must be looked at again: <rpcId>,
-- <deviceId>/<requestId> of a lightweight call, @<deviceId> of a session or
-- a poll, #<bridge> of a queue.  A call that waits, in pending or in a queue,
-- is there with its expiry only.

local call, pcall_redis = redis.call, redis.pcall
local match, sub = string.match, string.sub
local tonumber, type = tonumber, type

local GRACE, IDS, WINDOW, CONFIG_TTL =
    use('const', 'GRACE', 'IDS', 'WINDOW', 'CONFIG_TTL')
local int, dec, short, kept_dec =
    use('text', 'int', 'dec', 'short', 'kept_dec')
local device, strategy = use('device', 'device', 'strategy')


local COUNTED = { q = 1, s = 1 }        -- see window()
local NOBODY = '='                      -- no worker has this name


local OPEN = '^([PL])([pqshdx])([01])([%x%-]+) (%d+) (%d+) (%d+) (%d+)(.*)$'


local function parse(x, rid, v)
    if not v then
        return nil
    end

    local kind, state, oneway, id, attempt, wrap, time, waited, rest =
        match(v, OPEN)

    if not kind or #id ~= 36 or #attempt > 9 or #wrap > 6 or #time > 15
       or #waited > 15
    then
        return nil
    end

    local c = {
        rid = rid, kind = kind, state = state, oneway = oneway == '1',
        id = id, attempt = tonumber(attempt), wrap = wrap,
        time = tonumber(time), due = id
    }

    c.queued = c.time - tonumber(waited)

    if kind == 'P' then
        return c
    end

    local expiry, worker = match(rest, '^ (%d+) ([^ ]+)$')

    if not expiry or #expiry > 16 then
        return nil
    end

    c.due = x.id .. '/' .. rid
    c.expiry = tonumber(expiry)
    c.worker = worker

    return c
end


-- is this text the call with the rpcId, if it is one?

local function names(v, id)
    return sub(v, 4, 39) == id
end


-- of the device, for tb_rpc_create, which asks more than once before it writes

local function open_calls(x)
    x.open = x.open or call('HLEN', x.inflight)

    return x.open
end


local function open_call(x, rid)
    return parse(x, rid, call('HGET', x.inflight, rid))
end


-- under a sequential strategy: does a call have the turn?

local function turn_taken(x)
    local turn = device(x).turn
    local c = turn and open_call(x, turn)

    -- the strategy may have changed since the call was pushed

    return c and (c.state ~= 'd' or strategy(x) == 'response')
end


-- A one-way caller has its answer as soon as a bridge has claimed the call;
-- from a poll it may still come back.  What comes back from a bridge has no
-- worker any more.

local function is_answered(c)
    return c.oneway and (c.worker == NOBODY
           or c.state ~= 'p' and c.state ~= 'q' and c.state ~= 'h')
end


-- Under burst a device has at most WINDOW calls in its queue or with its bridge
-- and not acknowledged: how many more may leave?  They are counted only while
-- the device has as many calls outside of pending: "out" is there then.

local function count(x)
    local all = call('HGETALL', x.inflight)
    local n = 0

    for i = 2, #all, 2 do
        if COUNTED[match(all[i], '^[PL](.)') or ''] then
            n = n + 1
        end
    end

    return n
end


local function beyond_pending(x, open)
    return (open or call('HLEN', x.inflight))
           - (x.device.wait and call('ZCARD', x.pending) or 0)
end


-- open: how many are open, if that is known

local function window(x, open)
    local d = device(x)
    local n = tonumber(d.out or nil)

    if not n then
        n = beyond_pending(x, open)

        if n >= WINDOW then
            n = count(x)
            d.out = dec(n)
            call('HSET', x.key, 'out', d.out)
        end
    end

    return WINDOW - n
end


-- The same question for one call more: what was counted holds for as many as
-- there was room for, as long as creates and releases say what they push.

local function has_room(x)
    if x.room > 0 and x.now >= x.room_from and x.now < x.room_from + CONFIG_TTL
       and not x.device.out
    then
        x.room = x.room - 1
        return true
    end

    x.room, x.room_from = window(x, x.open) - 1, x.now

    return x.room >= 0
end


-- a call has come into another state, or has ended

local function counted(x, from, to)
    local n = (COUNTED[to] or 0) - (COUNTED[from] or 0)
    local d = n ~= 0 and device(x)

    if not d or not d.out then
        return
    end

    if beyond_pending(x) < WINDOW then
        call('HDEL', x.key, 'out')
        d.out = false
        return
    end

    d.out = dec((tonumber(d.out) or 0) + n)
    call('HSET', x.key, 'out', d.out)
end


local function store(x, c, state)
    local from = c.state

    if state == 'q' or state == 'h' then
        c.queued = x.now
        x.room = x.room - 1
    end

    c.state = state
    c.time = x.now

    local text = c.kind .. state .. (c.oneway and '1' or '0') .. c.id .. ' '
                 .. short(c.attempt) .. ' ' .. c.wrap .. ' ' .. x.time .. ' '
                 .. short(c.time - c.queued)

    if c.kind == 'L' then
        text = text .. ' ' .. dec(c.expiry) .. ' ' .. c.worker
    end

    call('HSET', x.inflight, c.rid, text)

    counted(x, from, state)
end


-- it is not open any more

local function remove(x, c)
    call('HDEL', x.inflight, c.rid)

    if c.kind == 'L' then
        call('HDEL', x.body, c.rid)
        call('ZREM', x.due, c.due)
    end

    counted(x, c.state, '')
end


-- where it is among the calls that wait

local function rank(c)
    return dec(tonumber(c.wrap) * IDS + tonumber(c.rid))
end


local function due(x, c, time)
    call('ZADD', x.due, kept_dec(5, time), c.due)
end


-- the moment at which tick must have ended the call

local function last_moment(x, c)
    if c.kind == 'L' then
        return c.expiry + GRACE
    end

    if not c.expiry then
        local v = pcall_redis('HGET', x.rpc .. c.id, 'e')

        c.expiry = int(type(v) == 'string' and v or nil) or 0
    end

    return c.expiry
end


local function due_within(x, c, ms)
    local last = last_moment(x, c)

    due(x, c, (ms and x.now + ms < last) and x.now + ms or last)
end


return {
    NOBODY = NOBODY, parse = parse, names = names, open_calls = open_calls,
    open_call = open_call, turn_taken = turn_taken, is_answered = is_answered,
    window = window, has_room = has_room, counted = counted, store = store,
    remove = remove, rank = rank, due = due, due_within = due_within
}
