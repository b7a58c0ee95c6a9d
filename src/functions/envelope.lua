-- What a bridge or a poll is handed: a call as one line of JSON.

local sub, match = string.sub, string.match
local tonumber = tonumber

local record = use('record', 'record')


-- one concatenation: the server hashes every byte of each string made

local function envelope(x, rid, id, tenant, method, params, oneway,
    persistent, created, expiry, info, trace, tail, queued)

    return '{"requestId":' .. rid .. ',"rpcId":"' .. id .. '","deviceId":"'
           .. x.id .. '","tenantId":"' .. tenant .. '","method":' .. method
           .. ',"params":' .. params
           .. (oneway and ',"oneway":true' or ',"oneway":false')
           .. (persistent and ',"persistent":true,"createdTime":'
                          or ',"persistent":false,"createdTime":')
           .. created .. ',"expirationTime":' .. expiry
           .. ',"additionalInfo":' .. (info or 'null')
           .. (trace and ',"traceparent":"' .. trace .. '"' or '') .. tail
           .. queued .. (queued == '' and '' or '}')
end


-- what comes before queuedTime, at the end of an envelope: no two pushes share
-- these members

local FIRST_PUSH = ',"attempt":1,"queuedTime":'


local function pushed(attempt)
    return ',"attempt":' .. attempt .. ',"queuedTime":'
end


-- the members that we wrote, at both ends: what lies between is the caller's

local function queued_time(item)
    return tonumber(match(sub(item, -64), '"queuedTime":(%d+)}$'))
end


local function item_of(item)
    local rid, id, dev = match(sub(item, 1, 160),
                               '^{"requestId":(%d+),"rpcId":"([%x%-]+)"'
                               .. ',"deviceId":"([%x%-]+)"')
    local attempt = match(sub(item, -96), '"attempt":(%d+),"queuedTime":%d+}$')

    if rid and attempt then
        return rid, id, dev, tonumber(attempt)
    end
end


-- the envelope for the next attempt; nothing is done with a call that has
-- expired or is broken

local function next_envelope(x, c)
    local tail = pushed(c.attempt + 1)

    if c.kind == 'L' then
        return c.expiry > x.now and c.rest .. tail .. x.time .. '}'
    end

    local r = record(x, c.id)

    if not r or tonumber(r.expiry) <= x.now then
        return nil
    end

    c.expiry = tonumber(r.expiry)
    c.created = r.created
    c.rest = ''

    return envelope(x, c.rid, c.id, r.tenant, r.method, r.params, c.oneway,
                    true, r.created, r.expiry, r.info, r.trace, tail, x.time)
end


return {
    FIRST_PUSH = FIRST_PUSH, envelope = envelope, queued_time = queued_time,
    item_of = item_of, next_envelope = next_envelope
}
