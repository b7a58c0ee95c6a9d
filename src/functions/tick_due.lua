-- What tick does with an entry of due, or of old: it gives back how many calls
-- were touched.

local call = redis.call
local match = string.match
local tonumber = tonumber

local GRACE, RELEASE, QUEUED, SENT, TIMEOUT, DELIVERED, FAILED =
    use('const', 'GRACE', 'RELEASE', 'QUEUED', 'SENT', 'TIMEOUT', 'DELIVERED',
        'FAILED')
local is_uuid, dec = use('text', 'is_uuid', 'dec')
local context_of, stat = use('context', 'context_of', 'stat')
local session_device, is_online, held, arm =
    use('device', 'session_device', 'is_online', 'held', 'arm')
local open_call, due_within = use('call', 'open_call', 'due_within')
local record, set_status, keep_record, purge =
    use('record', 'record', 'set_status', 'keep_record', 'purge')
local LOOK, forget = use('bell', 'LOOK', 'forget')
local polls = use 'poll'
local trim, release = use('queue', 'trim', 'release')
local drop_broken = use('ending', 'drop_broken')
local action = use('machine', 'action')
local leave = use('session', 'leave')
local delete_more = use('device_end', 'delete_more')


-- @<deviceId>: a session or a poll may have lapsed, calls wait to be released

local function session(t, id)
    local x = context_of(t.p, id, t.now, t.time)
    local d = session_device(x)

    call('ZREM', x.due, '@' .. id)

    if not d then
        return delete_more(x)
    end

    polls.lapse(x)
    polls.rearm(x)

    if d.session and not is_online(d.bridge, d.till, x.now) then
        stat(x, 'lapsed')
        return 1 + leave(x)
    end

    if d.session then
        arm(x, tonumber(d.till))
    end

    local till = held(x)

    if till then
        arm(x, till)
    end

    return 1 + release(x, RELEASE)
end


-- #<bridge>: what is left in its queue when nobody takes

local function queue(t, bridge)
    local key = t.p .. 'queue:' .. bridge
    local n, good = trim(t.p, key)

    if call('LLEN', key) == 0 then
        call('ZREM', t.key, '#' .. bridge)
        forget(key)

    else
        call('ZADD', t.key, dec(t.now + (good and LOOK or 1)), '#' .. bridge)
    end

    return 1 + n
end


-- event for what is due, or nil: the entry came too early

local function event_of(x, c)
    -- open past its expiry, so that the next one waits for its acknowledgement

    if c.kind == 'L' and c.oneway and c.state == 's' then
        return 'overdue'
    end

    if x.now >= (c.kind == 'L' and c.expiry + GRACE or c.expiry) then
        return 'expired'
    end

    return 'overdue'
end


local function happen(x, c, r)
    local act = action(event_of(x, c), c)

    if act then
        act(x, c, r)

    else
        due_within(x, c)
    end

    return 1
end


-- <deviceId>/<requestId>

local function light(t, id, rid, member)
    local x = context_of(t.p, id, t.now, t.time)
    local c = open_call(x, rid)

    if not c or c.kind ~= 'L' then
        call('ZREM', x.due, member)
        return 1
    end

    return happen(x, c)
end


-- no open call goes with this record

local function lost(x, id, r)
    if r.status ~= QUEUED and r.status ~= SENT and r.status ~= TIMEOUT
       and (r.status ~= DELIVERED or r.oneway)
    then
        keep_record(x, id)
        return
    end

    stat(x, 'broken')
    set_status(x, { id = id }, r.created, FAILED,
               '{"error":"The call was lost."}')
    keep_record(x, id)
end


-- <rpcId>

local function persistent(t, id)
    local r = record({ rpc = t.p .. 'rpc:' }, id)

    if not r or not is_uuid(r.device) then
        local v = call('HMGET', t.p .. 'rpc:' .. id, 'd', 'i')
        local x = context_of(t.p, is_uuid(v[1]) and v[1] or '', t.now, t.time)
        local c = v[2] and open_call(x, v[2])

        purge(x, id)

        if c and c.id == id then
            drop_broken(x, c)
        end

        return 1
    end

    local x = context_of(t.p, r.device, t.now, t.time)
    local c = r.rid and open_call(x, r.rid)

    if not c or c.id ~= id then
        lost(x, id, r)
        return 1
    end

    c.expiry = tonumber(r.expiry)

    return happen(x, c, r)
end


local function due(t, member)
    local id = match(member, '^@([%x%-]+)$')

    if id then
        return session(t, id)
    end

    local bridge = match(member, '^#(.+)$')

    if bridge then
        return queue(t, bridge)
    end

    if is_uuid(member) then
        return persistent(t, member)
    end

    local dev, rid = match(member, '^([%x%-]+)/(%d+)$')

    if dev then
        return light(t, dev, rid, member)
    end

    call('ZREM', t.key, member)

    return 1
end


-- a record whose time is over, unless its call is open

local function purge_old(t, id)
    local v = call('HMGET', t.p .. 'rpc:' .. id, 'd', 'i')

    purge(context_of(t.p, is_uuid(v[1]) and v[1] or '', t.now, t.time), id)

    return 1
end


return { due = due, purge_old = purge_old }
