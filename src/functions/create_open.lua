-- The places a call has while it is open, all but its record; and requestIds.

local call, pcall_redis = redis.call, redis.pcall
local tonumber, type = tonumber, type

local GRACE, IDS = use('const', 'GRACE', 'IDS')
local dec, kept_dec = use('text', 'dec', 'kept_dec')
local config = use('settings', 'config')
local queue_key = use('device', 'queue_key')
local FIRST_PUSH, envelope = use('envelope', 'FIRST_PUSH', 'envelope')


local AHEAD = 134217728         -- 2^27, ids given ahead of their time
local BURST = 64                -- ids of a burst that are stored at once


-- What is stored is the last id, or, when ids run ahead of the clock in a
-- burst, the last one of some more: x knows how many of them were given.

local function next_id(x)
    local id = x.now % IDS
    local last = x.device.last

    last = last and (last == x.stored and x.last or tonumber(last))

    if last and (last - id) % IDS < AHEAD then
        id = (last + 1) % IDS
    end

    return id == 0 and 1 or id
end


-- the text to store, or nil

local function last_id(x, id)
    local stored = x.device.last

    x.last = id

    if stored and stored == x.stored
       and (tonumber(stored) - id) % IDS < BURST
    then
        return nil
    end

    if id ~= x.now % IDS then
        id = (id + BURST - 1) % IDS
    end

    x.stored = dec(id)

    return x.stored
end


-- takes back what create_open() has written

local function create_undo(x, c, pushed)
    call('HDEL', x.inflight, c.rid)

    if pushed then
        call('RPOP', pushed)
    end
end


local function create_due(x, c, light, queued)
    local time = light and c.expiry + GRACE or c.expiry

    if queued and x.now + config(x).ack_timeout < time then
        time = x.now + config(x).ack_timeout
    end

    local member = light and x.id .. '/' .. c.rid or c.id
    local n = pcall_redis('ZADD', x.due,
                          time == c.expiry and c.expiry_text
                          or kept_dec(2, time), member)

    if type(n) == 'table' then
        return n
    end
end


-- The places a call has while it is open.  Their keys are written in an order
-- that lets each failure be taken back: to ask for their types first would
-- cost more than all the rest.

local function create_open(x, c, a, word)
    local rid = next_id(x)
    local queued = word == 'queued'
    local light = c.kind == 'L'
    local expiry = c.expiry_text
    local tail = light and ' ' .. expiry .. ' ' .. a[2] .. ' ' or ''
    local text = c.kind .. (queued and 'q' or 'p') .. a[3] .. c.id
                 .. (queued and ' 1 ' or ' 0 ') .. x.time .. tail
    local item

    repeat
        c.number = rid
        c.rid = dec(rid)
        rid = rid % (IDS - 1) + 1

        if light or queued then
            item = envelope(x, c.rid, c.id, x.device.tenant, a[7], a[8],
                            c.oneway, not light, x.time, expiry,
                            a[9] ~= '' and a[9] or nil,
                            a[17] ~= '' and a[17] or nil,
                            light and '' or FIRST_PUSH,
                            light and '' or x.time)
        end

    until call('HSETNX', x.inflight, c.rid, light and text .. item or text)
          == 1

    local key = queued and queue_key(x) or x.pending

    if light then
        item = item .. FIRST_PUSH .. x.time .. '}'
    end

    local n = pcall_redis('RPUSH', key, queued and item or c.rid)

    if type(n) == 'table' then
        create_undo(x, c)
        return n
    end

    if queued and n > config(x).max_queue then
        create_undo(x, c, key)
        return nil, 'full'
    end

    n = create_due(x, c, light, queued)

    if n then
        create_undo(x, c, key)
        return n
    end
end


return { last_id = last_id, create_open = create_open }
