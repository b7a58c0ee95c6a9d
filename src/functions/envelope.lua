-- What a bridge or a poll is handed: a call as one line of JSON.

local call = redis.call

local short, kept_dec = use('text', 'short', 'kept_dec')
local envelope_record = use('record', 'envelope_record')


-- one concatenation: the server hashes every byte of each string made

local function envelope(x, rid, id, tenant, method, params, oneway,
    persistent, created, expiry, info, trace, tail)

    return '{"requestId":' .. rid .. ',"rpcId":"' .. id .. '","deviceId":"'
           .. x.id .. '","tenantId":"' .. tenant .. '","method":' .. method
           .. ',"params":' .. params
           .. (oneway and ',"oneway":true' or ',"oneway":false')
           .. (persistent and ',"persistent":true,"createdTime":'
                          or ',"persistent":false,"createdTime":')
           .. created .. ',"expirationTime":' .. expiry
           .. ',"additionalInfo":' .. (info or 'null')
           .. (trace and ',"traceparent":"' .. trace .. '"' or '') .. tail
end


-- The envelope of a call that is handed out now; nil when it has expired or is
-- broken.  No two attempts share the members at its end.

local function envelope_of(x, c, attempt, queued)
    local tail = ',"attempt":' .. short(attempt) .. ',"queuedTime":'
                 .. kept_dec(4, queued) .. ',"takenTime":' .. x.time .. '}'

    if c.kind == 'L' then
        local head = c.expiry > x.now and call('HGET', x.body, c.rid)

        return head and head .. tail or nil
    end

    local r, expiry = envelope_record(x, c.id)

    if not r or expiry <= x.now then
        return nil
    end

    c.expiry = expiry
    c.created = r[4]

    return envelope(x, c.rid, c.id, r[1], r[2], r[3], c.oneway, true, r[4],
                    r[5], r[6], r[7], tail)
end


return { envelope = envelope, envelope_of = envelope_of }
