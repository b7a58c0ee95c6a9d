-- tb:{s}:rpc:<rpcId>, the persistent record (one letter and short values: it
-- stays a listpack):
--
--     t tenantId    d deviceId    c createdTime    e expirationTime
--     o one-way, 0|1              m method and     p params, JSON texts
--     s status code               i requestId
--
-- and when there is one:
--
--     a additionalInfo, JSON text n retries asked  R answer, as it came
--     u retries used              q requestUUID    T traceparent

local call, pcall_redis = redis.call, redis.pcall
local sub, find = string.sub, string.find
local floor, min = math.floor, math.min
local tonumber, unpack = tonumber, unpack

local BAND, QUEUED, STATUS = use('const', 'BAND', 'QUEUED', 'STATUS')
local int, dec, short = use('text', 'int', 'dec', 'short')
local config = use('settings', 'config')


local EVENTS = 10000            -- entries kept in the stream, at most
local EVENTS_BYTES = 4194304    -- that as many entries as the latest would take


-- a key of another type is a broken record; one that is not here is not ours to
-- judge

local function read_record(x, id, ...)
    local v = pcall_redis('HMGET', x.rpc .. id, ...)

    if v.err and not find(v.err, 'WRONGTYPE', 1, true) then
        return call('HMGET', x.rpc .. id, ...)
    end

    return v
end


-- what is known of a persistent call without what it says, or nil when the
-- record can't be used

local function record(x, id)
    local v = read_record(x, id, 'd', 'i', 'o', 's', 'c', 'e', 'n', 'u', 't')

    if v.err or not (v[1] and v[4] and v[9]) or not int(v[5]) or not int(v[6])
    then
        return nil
    end

    return {
        device = v[1], rid = v[2] or nil, oneway = v[3] == '1',
        status = tonumber(v[4]), created = v[5], expiry = v[6],
        retries = v[7] or nil, used = v[8] or nil, tenant = v[9]
    }
end


-- what an envelope is made of, or nil when it can't be

local function envelope_record(x, id)
    local v = read_record(x, id, 't', 'm', 'p', 'c', 'e', 'a', 'T')
    local expiry = not v.err and int(v[5])

    if not expiry or not (v[1] and v[2] and v[3]) or not int(v[4]) then
        return nil
    end

    return v, expiry
end


-- what reports need of the record, or nil when it can't be used

local function brief_record(x, id)
    local v = read_record(x, id, 'c', 'e', 's', 'n', 'u')

    if v.err or not v[3] or not int(v[1]) or not int(v[2]) then
        return nil
    end

    return { created = v[1], expiry = v[2], retries = v[4] or nil,
             used = v[5] or nil }
end


local function event(x, id, name)
    if config(x).events ~= 1 then
        return
    end

    local r = pcall_redis('HGETALL', x.rpc .. id)

    if #r == 0 then
        return
    end

    local bytes = 128

    for i = 1, #r do
        bytes = bytes + #r[i]
    end

    call('XADD', x.p .. 'events', 'MAXLEN', '~',
         dec(min(EVENTS, floor(EVENTS_BYTES / bytes))), '*', 'rpcId', id,
         'event', name, 'time', dec(x.now), unpack(r))
end


local function set_status(x, c, created, code, response)
    local key = x.rpc .. c.id

    call('ZADD', x.status, dec(code * BAND + tonumber(created)), c.id)

    if response and response ~= '' then
        call('HSET', key, 's', short(code), 'R', response)

    else
        call('HSET', key, 's', short(code))
    end

    event(x, c.id, STATUS[code])
end


-- a call that was taken waits again: it is QUEUED, and so in the index of all
-- records only

local function set_queued(x, id)
    call('ZREM', x.status, id)

    -- a broken record is no reason to keep the device's other calls

    pcall_redis('HSET', x.rpc .. id, 's', '0')

    event(x, id, STATUS[QUEUED])
end


-- It is final: tick removes it when there is nothing better to do.  What ends
-- a call writes here first: nobody has looked at the type of "old".

local function keep_record(x, id)
    local ttl = config(x).record_ttl

    if ttl ~= 0 then
        call('ZADD', x.old, dec(x.now + ttl), id)
    end

    call('ZREM', x.due, id)
end


local function purge(x, id)
    local key = x.rpc .. id
    local uuid = call('HGET', key, 'q')

    call('DEL', key)
    call('ZREM', x.index, id)
    call('ZREM', x.status, id)
    call('ZREM', x.due, id)
    call('ZREM', x.old, id)

    if uuid and call('TYPE', x.p .. 'uuid:' .. uuid).ok == 'string'
       and sub(call('GET', x.p .. 'uuid:' .. uuid) or '', 1, 36) == id
    then
        call('DEL', x.p .. 'uuid:' .. uuid)
    end
end


return {
    record = record, envelope_record = envelope_record,
    brief_record = brief_record, event = event,
    set_status = set_status, set_queued = set_queued,
    keep_record = keep_record, purge = purge
}
