-- Where calls wait: tb:{s}:pending:<deviceId> and tb:{s}:queue:<bridge>, and
-- their ways between the two.

local call, pcall_redis = redis.call, redis.pcall
local remove, sort = table.remove, table.sort
local min = math.min
local tonumber, type, unpack = tonumber, type, unpack

local RELEASE, DRAIN, RETRY, IDS =
    use('const', 'RELEASE', 'DRAIN', 'RETRY', 'IDS')
local config = use('settings', 'config')
local device, online, strategy, queue_key, take_turn, drop_turn, set_wait,
      drop_wait, arm =
    use('device', 'device', 'online', 'strategy', 'queue_key', 'take_turn',
        'drop_turn', 'set_wait', 'drop_wait', 'arm')
local parse, open_call, turn_taken, store, due_within =
    use('call', 'parse', 'open_call', 'turn_taken', 'store', 'due_within')
local queued_time, item_of, next_envelope =
    use('envelope', 'queued_time', 'item_of', 'next_envelope')
local polls = use 'poll'


local TRIM = 16                 -- stale items dropped at once


-- when the head of each queue was pushed, false if it is empty: read once in a
-- tick

local heads


local function keep_heads(on)
    heads = on and {} or nil
end


local function head_time(key)
    local head = heads[key]

    if head == nil then
        local item = call('LINDEX', key, 0)

        head = item and (queued_time(item) or 0)
        heads[key] = head
    end

    return head
end


local function trim(x, key)
    for _ = 1, TRIM do
        local item = call('LINDEX', key, 0)

        if not item then
            break
        end

        local rid, id, dev, attempt = item_of(item)

        if rid then
            local v = pcall_redis('HGET', x.p .. 'inflight:' .. dev, rid)
            local c = type(v) == 'string' and parse(rid, v)

            if c and c.state == 'q' and c.id == id and c.attempt == attempt
            then
                break
            end
        end

        call('LPOP', key)
    end

    if heads then
        heads[key] = nil
    end
end


local function take_back(x, c, from)
    if from == 'p' then
        call('LREM', x.pending, 1, c.rid)

    elseif from == 'q' and device(x) and device(x).bridge then
        trim(x, queue_key(x))
    end
end


local function push(x, c)
    local item = next_envelope(x, c)

    if not item then
        return false
    end

    local key = queue_key(x)

    c.attempt = c.attempt + 1

    store(x, c, 'q')
    call('RPUSH', key, item)
    due_within(x, c, config(x).ack_timeout)

    if heads and heads[key] == false then
        heads[key] = x.now
    end

    return true
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


-- hands to an open poll, and pushes, what waits for the device, as far as
-- strategy and queue allow

local function release(x, max)
    if call('LLEN', x.pending) == 0 then
        drop_wait(x)
        return 0
    end

    local n = polls.offer(x) and 1 or 0

    if not online(x) then
        return n
    end

    local sequential = strategy(x) ~= 'burst'
    local left = room(x)

    for _ = 1, max + RELEASE do

        if n >= max or (sequential and turn_taken(x)) then
            break
        end

        if left <= 0 then
            arm(x, x.now + RETRY)
            return n
        end

        local rid = call('LPOP', x.pending)

        if not rid then
            return n
        end

        local c = open_call(x, rid)

        if c and c.state == 'p' and push(x, c) then
            n = n + 1
            left = left - 1
            take_turn(x, rid)
        end
    end

    -- whoever has the turn gives it away; all else is for tick

    if call('LLEN', x.pending) == 0 then
        drop_wait(x)

    elseif not (sequential and turn_taken(x)) then
        arm(x, x.now + DRAIN)
    end

    return n
end


-- oldest first: the ids of the open calls end with the device's last one

local function by_age(x, list)
    local d = device(x)
    local last = tonumber(d and d.last or 0) or 0

    sort(list, function(a, b)
        return (last - tonumber(a)) % IDS > (last - tonumber(b)) % IDS
    end)
end


-- back into pending, before all calls that are younger

local function wait_again(x, list)
    local all = call('LRANGE', x.pending, 0, -1)

    for i = 1, #list do
        all[#all + 1] = list[i]
    end

    for i = #all, 1, -1 do
        if not tonumber(all[i]) then
            remove(all, i)
        end
    end

    by_age(x, all)
    set_wait(x)
    call('DEL', x.pending)

    for i = 1, #all, 1000 do
        call('RPUSH', x.pending, unpack(all, i, min(i + 999, #all)))
    end
end


local function wait_one(x, c)
    store(x, c, 'p', c.kind == 'P' and '' or nil)
    due_within(x, c)
    drop_turn(x, c.rid)

    if call('LLEN', x.pending) == 0 then
        set_wait(x)
        call('RPUSH', x.pending, c.rid)

    else
        wait_again(x, { c.rid })
    end
end


-- the same call once more, ahead of all others

local function push_again(x, c)
    if online(x) and room(x) > 0 and push(x, c) then
        return
    end

    wait_one(x, c)

    if online(x) then
        arm(x, x.now + RETRY)
    end
end


-- the device leaves its bridge: what was not claimed, and what was claimed
-- but not acknowledged and must not be lost, waits for the next one

local function move_out(x)
    local d = device(x)
    local all = call('HGETALL', x.inflight)
    local moved = {}
    local queued = false

    for i = 1, #all, 2 do
        local c = parse(all[i], all[i + 1])

        if c and (c.state == 'q' or (c.kind == 'P' and c.state == 's')) then
            c.due = c.kind == 'P' and c.id or x.id .. '/' .. c.rid
            queued = queued or c.state == 'q'
            store(x, c, 'p', c.kind == 'P' and '' or nil)
            due_within(x, c)
            drop_turn(x, c.rid)
            moved[#moved + 1] = c.rid
        end
    end

    if #moved > 0 then
        wait_again(x, moved)
    end

    if queued and d.bridge then
        trim(x, queue_key(x))
    end
end


return {
    keep_heads = keep_heads, head_time = head_time, trim = trim,
    take_back = take_back, place = place, release = release,
    wait_one = wait_one, push_again = push_again, move_out = move_out
}
