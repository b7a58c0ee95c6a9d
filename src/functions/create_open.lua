-- The places a call has while it is open, all but its record; and requestIds.

local call, pcall_redis = redis.call, redis.pcall
local sub = string.sub
local tonumber, type = tonumber, type

local GRACE, IDS = use('const', 'GRACE', 'IDS')
local dec, kept_dec = use('text', 'dec', 'kept_dec')
local config = use('settings', 'config')
local queue_key = use('device', 'queue_key')
local remove, counted = use('call', 'remove', 'counted')
local envelope = use('envelope', 'envelope')
local pushed = use('bell', 'pushed')


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

local function undo(x, c, queued)
    if queued then
        call('RPOP', queue_key(x))

    else
        call('ZREM', x.pending, c.rid)
    end

    -- it was not counted as in its queue yet

    c.state, c.due = 'p', x.id .. '/' .. c.rid
    remove(x, c)
end


-- how often requestIds had begun anew when this one was given, which may be
-- ahead of the clock

local function wrap_of(x, rid)
    local ahead = (rid - x.now) % IDS

    if ahead >= IDS / 2 then
        ahead = ahead - IDS
    end

    return kept_dec(3, (x.now + ahead - rid) / IDS)
end


-- takes a requestId: the call is open then

local function take_id(x, c, a, queued)
    local rid = next_id(x)
    local mid = queued and ' 1 ' or ' 0 '
    local text

    repeat
        c.number = rid
        c.rid = dec(rid)
        x.wrap = wrap_of(x, rid)
        rid = rid % (IDS - 1) + 1

        if c.kind == 'P' then
            text = (queued and 'Pq' or 'Pp') .. a[3] .. c.id .. mid .. x.wrap
                   .. ' ' .. x.time .. ' 0'

        else
            text = (queued and 'Lq' or 'Lp') .. a[3] .. c.id .. mid .. x.wrap
                   .. ' ' .. x.time .. ' 0 ' .. c.expiry_text .. ' ' .. a[2]
        end

    until call('HSETNX', x.inflight, c.rid, text) == 1
end


-- when tick has to end it, and the head of its envelope: an error, or nil

local function keep(x, c, a)
    local err

    if c.kind == 'P' then
        err = pcall_redis('ZADD', x.due, c.expiry_text, c.id)

    else
        local info, trace = a[9] or '', a[17] or ''
        local head = envelope(x, c.rid, c.id, x.device.tenant, a[7], a[8],
                              c.oneway, false, x.time, c.expiry_text,
                              info ~= '' and info or nil,
                              trace ~= '' and trace or nil, '')

        err = pcall_redis('HSET', x.body, c.rid, head)

        if type(err) ~= 'table' then
            err = pcall_redis('ZADD', x.due, kept_dec(2, c.expiry + GRACE),
                              x.id .. '/' .. c.rid)
        end
    end

    if type(err) == 'table' then
        return err
    end
end


-- The places a call has while it is open.  Their keys are written in an order
-- that lets each failure be taken back: to ask for their types first would
-- cost more than all the rest.
--
-- nothing; an error; or nil and "full": the queue takes no more

local function create_open(x, c, a, word)
    local queued = word == 'queued'
    local n

    take_id(x, c, a, queued)

    if queued then
        n = pcall_redis('RPUSH', queue_key(x), c.rid .. ' 1 '
                        .. sub(c.id, 1, 8) .. ' ' .. x.id)

    else
        n = pcall_redis('ZADD', x.pending,
                        dec(tonumber(x.wrap) * IDS + c.number), c.rid)
    end

    if type(n) == 'table' then
        call('HDEL', x.inflight, c.rid)
        return n
    end

    if queued and n > config(x).max_queue then
        undo(x, c, queued)
        return nil, 'full'
    end

    local err = keep(x, c, a)

    if err then
        undo(x, c, queued)
        return err
    end

    if queued then
        if x.device.out then
            counted(x, 'p', 'q')
        end

        pushed(x, x.queue, x.bridge, n)
    end
end


return { last_id = last_id, undo = undo, create_open = create_open }
