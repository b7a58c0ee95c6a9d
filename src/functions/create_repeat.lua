-- Repeatable creates: by rpcId, and by the client's own requestUUID.

local call = redis.call
local sub, match, lower = string.sub, string.match, string.lower
local max_of = math.max
local tonumber = tonumber

local EXPIRED = use('const', 'EXPIRED')
local bad = use('text', 'bad')
local parse, names, open_calls, open_call, rank =
    use('call', 'parse', 'names', 'open_calls', 'open_call', 'rank')
local record = use('record', 'record')
local place = use('queue', 'place')


local SCAN = 4                  -- open calls searched for a repeated create


-- the first word for a call that is there already

local function repeated(x, id, rid, expiry, created, status)
    local c = open_call(x, rid)
    local word = status == EXPIRED and 'expired' or 'queued'

    if c and c.id == id and c.state == 'p' then
        word = place(x, c)
    end

    if word == 'expired' then
        return { word, id, 0, 0, created }
    end

    return { word, id, tonumber(rid) or 0, max_of(expiry - x.now, 0),
             created }
end


local function repeated_record(x, id)
    local r = record(x, id)

    if not r then
        return bad('record ' .. id .. ' is broken')
    end

    if r.device ~= x.id then
        return bad('rpcId ' .. id .. ' is another device\'s call')
    end

    -- as it is: WAIT waits for what its own connection has written

    call('HSET', x.rpc .. id, 'd', r.device)

    return repeated(x, id, r.rid or '0', tonumber(r.expiry),
                    tonumber(r.created), r.status)
end


local function repeated_light(x, id)
    local all = call('HGETALL', x.inflight)

    for i = 1, #all, 2 do
        local c = names(all[i + 1], id) and parse(x, all[i], all[i + 1])

        if c then
            local created = match(call('HGET', x.body, c.rid) or '',
                                  '"createdTime":(%d+),"expirationTime":%d+'
                                  .. ',"additionalInfo":')

            -- without its envelope: what its requestId was made of

            return repeated(x, id, c.rid, c.expiry,
                            tonumber(created or rank(c)))
        end
    end
end


local function find_repeated(x, a, persistent, plain)
    if not persistent then
        local open = open_calls(x)

        return open > 0 and open <= SCAN and repeated_light(x, a[1])
    end

    x.record = x.rpc .. a[1]

    if call('HLEN', x.record) > 0 then
        return repeated_record(x, a[1])
    end

    if plain or a[15] == '' then
        return nil
    end

    local known = call('GET', x.p .. 'uuid:' .. lower(a[15]))

    if not known then
        return nil
    end

    local id = sub(known, 1, 36)

    if known ~= id .. ' ' .. x.id .. ' ' .. a[16] then
        return { 'conflict' }
    end

    if call('EXISTS', x.rpc .. id) == 0 then
        return nil
    end

    return repeated_record(x, id)
end


return { find_repeated = find_repeated }
