-- tb_rpc_heartbeat: sessions go on, many at once.

local call, pcall_redis = redis.call, redis.pcall
local find, match = string.find, string.match
local tonumber = tonumber

local bad, int, dec, shown = use('text', 'bad', 'int', 'dec', 'shown')
local clock = use('clock', 'clock')
local moving, wrong = use('context', 'moving', 'wrong')


-- -1: another session is attached, 0: none is, nil: it goes on.  "until" is
-- written when half of it is over, the entry in due moves when it fires.

local function beat(prefix, id, session, now, ttl)
    local key = prefix .. 'device:' .. id
    local v = pcall_redis('HMGET', key, 'session', 'until')

    if v.err or not v[1] then
        return 0
    end

    if v[1] ~= session then
        return -1
    end

    local left = (tonumber(v[2] or nil) or 0) - now

    if left * 2 < ttl then
        call('HSET', key, 'until', dec(now + ttl))
    end

    -- it was away: what waits is released by tick

    if left <= 0 then
        call('ZADD', prefix .. 'due', dec(now), '@' .. id)
    end
end


-- tb_rpc_heartbeat Z <ttl> (<deviceId> <session>){1..256}
--
-- keys      Z, <prefix>{s<n>}:due
-- arguments ttl: ms; devices of this shard, each with its session
-- replies   {deviceId, -1 or 0, ...} of those whose session does not go on: -1,
--           another one is attached, 0, none is, or the device is unknown
-- errors    a wrong key or argument, and nothing has changed; -TRYAGAIN

local function heartbeat(keys, a)
    local prefix = #keys == 1 and match(keys[1], '^([^{}]*{s%d%d%d}:)due$')
    local ttl = int(a[1], 4503599627370496)

    if not prefix then
        return bad('1 key is needed, <prefix>{s<n>}:due, not '
                   .. shown(keys[1]))
    end

    if not ttl or ttl == 0 then
        return bad('ttl ' .. shown(a[1]) .. ' is not a number of ms')
    end

    if #a < 3 or #a > 513 or #a % 2 ~= 1 then
        return bad('tb_rpc_heartbeat needs a ttl and 1..256 pairs of device'
                   .. ' and session')
    end

    for i = 2, #a, 2 do
        -- as good as a UUID for a key, at a fifth of the cost

        if #a[i] ~= 36 or find(a[i], '[^%x%-]') or a[i + 1] == ''
           or #a[i + 1] > 256
        then
            return bad('device ' .. shown(a[i]) .. ' is no UUID, or its'
                       .. ' session not 1..256 bytes')
        end
    end

    local err = moving(prefix) or wrong(keys[1], 'zset')

    if err then
        return err
    end

    local now = clock()
    local reply = {}

    for i = 2, #a, 2 do
        local state = beat(prefix, a[i], a[i + 1], now, ttl)

        if state then
            reply[#reply + 1] = a[i]
            reply[#reply + 1] = state
        end
    end

    return reply
end


return { heartbeat = heartbeat }
