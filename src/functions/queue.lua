-- Where calls wait: tb:{s}:pending:<deviceId>, requestIds in their order, and
-- tb:{s}:queue:<bridge>, references to calls; and their ways between the two.
--
-- A reference is "<requestId> <attempt> <8 hex of the rpcId> <deviceId>".  It
-- stays in the queue when its call leaves otherwise than by being taken: who
-- finds it sees that by the call.

local call, pcall_redis = redis.call, redis.pcall
local sub, match = string.sub, string.match
local min = math.min
local tonumber, type = tonumber, type

local RELEASE, DRAIN, RETRY = use('const', 'RELEASE', 'DRAIN', 'RETRY')
local short = use('text', 'short')
local config = use('settings', 'config')
local device, online, held, strategy, queue_key, take_turn, drop_turn,
      set_wait, drop_wait, arm =
    use('device', 'device', 'online', 'held', 'strategy', 'queue_key',
        'take_turn', 'drop_turn', 'set_wait', 'drop_wait', 'arm')
local parse, open_call, turn_taken, window, store, rank, due_within =
    use('call', 'parse', 'open_call', 'turn_taken', 'window', 'store', 'rank',
        'due_within')
local pushed = use('bell', 'pushed')
local polls = use 'poll'


local TRIM = 16                 -- stale references dropped at once


local function reference(x, c)
    return c.rid .. ' ' .. short(c.attempt) .. ' ' .. sub(c.id, 1, 8) .. ' '
           .. x.id
end


-- requestId, attempt as a number, 8 hex digits, device; nothing when it is none

local function referred(text)
    local rid, attempt, id, dev =
        match(text, '^(%d+) (%d+) (%x%x%x%x%x%x%x%x) ([%x%-]+)$')

    if rid and #dev == 36 and #attempt < 10 then
        return rid, tonumber(attempt), id, dev
    end
end


-- is a call what was referred to, and in this state?

local function is_meant(c, state, attempt, id)
    return c and c.state == state and c.attempt == attempt
           and sub(c.id, 1, 8) == id
end


-- Drops stale references at the head; how many, and whether a good one is
-- there now.

local function trim(prefix, key)
    for n = 0, TRIM - 1 do
        local text = call('LINDEX', key, '0')

        if not text then
            return n, false
        end

        local rid, attempt, id, dev = referred(text)

        if rid then
            local v = pcall_redis('HGET', prefix .. 'inflight:' .. dev, rid)

            if type(v) == 'string'
               and is_meant(parse({ id = dev }, rid, v), 'q', attempt, id)
            then
                return n, true
            end
        end

        call('LPOP', key)
    end

    return TRIM, false
end


-- a call leaves the place where it has waited

local function take_back(x, c, from)
    if from == 'p' then
        call('ZREM', x.pending, c.rid)

    elseif from == 'q' and device(x) and device(x).bridge then
        local key = queue_key(x)

        -- what ends first was nearly always pushed first

        if call('LINDEX', key, '0') == reference(x, c) then
            call('LPOP', key)

        else
            trim(x.p, key)
        end
    end
end


local function push(x, c)
    local key = queue_key(x)

    c.attempt = c.attempt + 1

    store(x, c, 'q')
    pushed(x, key, x.bridge, call('RPUSH', key, reference(x, c)))
end


-- how many calls the queue still takes: with none its bridge does not read, and
-- its devices count as offline

local function room(x)
    return config(x).max_queue - call('LLEN', queue_key(x))
end


local function place(x, c)
    if c.state == 'p' then
        return (polls.open(x) or online(x) and room(x) > 0) and 'turn'
               or 'offline'
    end

    return c.state == 'q' and 'queued' or 'sent'
end


-- how many calls may be pushed now, and whether one more will do later

local function allowed(x)
    if not online(x) or held(x) then
        return 0
    end

    if strategy(x) ~= 'burst' then
        return turn_taken(x) and 0 or 1
    end

    return window(x)
end


-- the same, at most max, and as the queue has room: else it is tried again

local function free(x, max)
    local may = max > 0 and min(max, allowed(x)) or 0

    if may > 0 and room(x) < may then
        may = room(x)
        arm(x, x.now + RETRY)
    end

    return may
end


-- hands to an open poll, and pushes, what waits for the device, as far as
-- strategy, window and queue allow

local function release(x, max)
    local d = device(x)

    if not d or not d.wait then
        return 0
    end

    if call('ZCARD', x.pending) == 0 then
        drop_wait(x)
        return 0
    end

    local n = polls.offer(x) and 1 or 0
    local may = free(x, max - n)

    -- whoever has the turn, or a place in the window, gives it away

    if may <= 0 then
        return n
    end

    for _ = 1, max + RELEASE do

        -- the window may have been taken for smaller than it is

        if may == 0 then
            may = free(x, max - n)
        end

        local rid = may > 0 and call('ZPOPMIN', x.pending)[1]

        if not rid then
            break
        end

        local c = open_call(x, rid)

        -- an expired lightweight one must not take the turn with it

        if c and c.state == 'p' and (c.kind == 'P' or c.expiry > x.now) then
            push(x, c)
            take_turn(x, rid)
            n = n + 1
            may = may - 1
        end
    end

    if call('ZCARD', x.pending) == 0 then
        drop_wait(x)

    elseif (n >= max or may > 0) and allowed(x) > 0 and room(x) > 0 then
        arm(x, x.now + DRAIN)
    end

    return n
end


-- acknowledged: does the call keep its turn until it is answered?

local function await_answer(x, c, from)
    if strategy(x) == 'response' then

        -- it had been taken back, and its turn with it

        if from == 'p' and not turn_taken(x) then
            take_turn(x, c.rid)
        end

        due_within(x, c, config(x).response_timeout)
        return
    end

    due_within(x, c)
    drop_turn(x, c.rid)
    release(x, RELEASE)
end


-- back into pending, at its place

local function wait(x, c)
    local from = c.state

    set_wait(x)
    call('ZADD', x.pending, rank(c), c.rid)
    store(x, c, 'p')

    if from ~= 'q' then
        due_within(x, c)
    end

    drop_turn(x, c.rid)
end


-- the same call once more, ahead of all others

local function push_again(x, c)
    if online(x) and not held(x) and room(x) > 0 then
        push(x, c)
        due_within(x, c)
        return
    end

    wait(x, c)

    if online(x) then
        arm(x, x.now + RETRY)
    end
end


return {
    referred = referred, is_meant = is_meant, trim = trim,
    take_back = take_back, place = place, release = release,
    await_answer = await_answer, wait = wait, push_again = push_again
}
