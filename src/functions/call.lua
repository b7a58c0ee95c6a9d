-- tb:{s}:inflight:<deviceId>, requestId -> an open call, one text:
--
--     P<state><oneway><rpcId> <attempt> <time>[ <claimer>]
--     L<state><oneway><rpcId> <attempt> <time> <expiry> <worker> <rest>
--
-- P is a persistent call, L a lightweight one.  Time is the moment the call
-- came into its state.  <rest> is the head of the envelope until the call is
-- claimed, then the claimer.  States:
--
--     p  waits in pending: the device is offline or it is not its turn
--     q  pushed to the bridge's queue, not claimed; time is its queuedTime
--     s  claimed by the bridge
--     h  handed to the device's open poll, not confirmed; <rest> as before
--     d  acknowledged by the device, the answer is awaited
--     x  L only: claimed, gave its turn away, the answer is awaited
--
-- tb:{s}:due holds what must be looked at again: <rpcId>,
-- <deviceId>/<requestId> of a lightweight call, @<deviceId> of a session or
-- a poll.

local call, pcall_redis = redis.call, redis.pcall
local sub, match = string.sub, string.match
local tonumber, type = tonumber, type

local GRACE = use('const', 'GRACE')
local int, dec = use('text', 'int', 'dec')
local device, strategy = use('device', 'device', 'strategy')


local function parse(rid, v)
    if not v then
        return nil
    end

    local kind, state, oneway, id, attempt, time, rest =
        match(v, '^([PL])([pqshdx])([01])([%x%-]+) (%d+) (%d+)(.*)$')

    if not kind or #id ~= 36 or #time > 15 or #attempt > 9 then
        return nil
    end

    local c = {
        rid = rid, kind = kind, state = state, oneway = oneway == '1',
        id = id, attempt = tonumber(attempt), time = tonumber(time)
    }

    if kind == 'P' then
        c.rest = sub(rest, 2)
        c.due = id
        return c
    end

    local expiry, worker, tail = match(rest, '^ (%d+) ([^ ]+) (.*)$')

    if not expiry or #expiry > 16 then
        return nil
    end

    c.expiry = tonumber(expiry)
    c.worker = worker
    c.rest = tail

    return c
end


local function open_call(x, rid)
    local c = parse(rid, call('HGET', x.inflight, rid))

    if c and c.kind == 'L' then
        c.due = x.id .. '/' .. rid
    end

    return c
end


-- under a sequential strategy: does a call have the turn?

local function turn_taken(x)
    local turn = device(x).turn
    local c = turn and open_call(x, turn)

    -- the strategy may have changed since the call was pushed

    return c and (c.state ~= 'd' or strategy(x) == 'response')
end


-- a one-way caller has its answer as soon as a bridge has claimed the call;
-- from a poll it may still come back

local function is_answered(c)
    return c.oneway and c.state ~= 'p' and c.state ~= 'q' and c.state ~= 'h'
end


local function text_of(c, attempt, time)
    local text = c.kind .. c.state .. (c.oneway and '1' or '0') .. c.id .. ' '
                 .. attempt .. ' ' .. dec(time)

    if c.kind == 'L' then
        return text .. ' ' .. dec(c.expiry) .. ' ' .. c.worker .. ' ' .. c.rest
    end

    if c.rest ~= '' then
        return text .. ' ' .. c.rest
    end

    return text
end


local function store(x, c, state, rest)
    c.state = state
    c.time = x.now
    c.rest = rest or c.rest

    call('HSET', x.inflight, c.rid, text_of(c, c.attempt, c.time))
end


local function due(x, c, time)
    call('ZADD', x.due, dec(time), c.due)
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
    parse = parse, open_call = open_call, turn_taken = turn_taken,
    is_answered = is_answered, store = store, due = due,
    due_within = due_within
}
