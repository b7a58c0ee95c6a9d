-- The record of a new persistent call.

local call = redis.call
local lower = string.lower
local tonumber, unpack = tonumber, unpack

local BAND, EXPIRED, STATUS = use('const', 'BAND', 'EXPIRED', 'STATUS')
local dec = use('text', 'dec')
local wrong = use('context', 'wrong')
local event, keep_record = use('record', 'event', 'keep_record')


-- what only some records have

local function create_more(x, c, a)
    local more = {}

    if a[9] ~= '' then
        more[1], more[2] = 'a', a[9]
    end

    if a[10] ~= '' then
        more[#more + 1] = 'n'
        more[#more + 1] = dec(tonumber(a[10]))
    end

    if a[15] ~= '' then
        more[#more + 1] = 'q'
        more[#more + 1] = lower(a[15])
        call('SET', x.p .. 'uuid:' .. lower(a[15]),
             c.id .. ' ' .. x.id .. ' ' .. a[16])
    end

    if a[17] ~= '' then
        more[#more + 1] = 'T'
        more[#more + 1] = a[17]
    end

    return unpack(more)
end


local function create_record(x, c, a, tenant, expiry, status)
    if c.plain then
        call('HSET', x.record, 't', tenant, 'd', x.id, 'c', x.time, 'e', expiry,
             'o', a[3], 'm', a[7], 'p', a[8], 's', status, 'i', c.rid)

    else
        call('HSET', x.record, 't', tenant, 'd', x.id, 'c', x.time, 'e', expiry,
             'o', a[3], 'm', a[7], 'p', a[8], 's', status, 'i', c.rid,
             create_more(x, c, a))
    end

    call('ZADD', x.index, x.time, c.id)
end


-- persistent, and its time was over before it came

local function create_expired(x, c, a, tenant)
    local err = wrong(x.due, 'zset', x.status, 'zset')

    if err then
        return err
    end

    c.rid = 0
    create_record(x, c, a, tenant, c.expiry_text, '5')
    call('ZADD', x.status, dec(EXPIRED * BAND + x.now), c.id)
    keep_record(x, c.id)
    event(x, c.id, STATUS[EXPIRED])

    return { 'expired', c.id, 0, 0, x.now }
end


return { create_record = create_record, create_expired = create_expired }
