-- tb_rpc_heartbeat: sessions go on, many at once.

local call, pcall_redis = redis.call, redis.pcall
local find, match = string.find, string.match
local ceil = math.ceil
local tonumber, type = tonumber, type

local bad, int, dec, shown = use('text', 'bad', 'int', 'dec', 'shown')
local clock = use('clock', 'clock')
local moving, wrong = use('context', 'moving', 'wrong')
local seen, see, text, lasts = use('beats', 'seen', 'see', 'text', 'lasts')


-- -1: another session is attached, 0: none is, or until when it goes on.
-- "until" is written when half of it is over, the entry in due moves when it
-- fires.

local function beat(b, id, session)
    local key = b.prefix .. 'device:' .. id
    local v = pcall_redis('HMGET', key, 'session', 'until')

    if v.err or not v[1] then
        return 0
    end

    if v[1] ~= session then
        return -1
    end

    local left = (tonumber(v[2] or nil) or 0) - b.now

    -- it was away: what waits is released by tick

    if left <= 0 then
        call('ZADD', b.prefix .. 'due', dec(b.now), '@' .. id)
    end

    if left * 2 >= b.ttl then
        return v[2]
    end

    call('HSET', key, 'until', b.till)

    return b.till
end


-- The same for a session that is known to be there: until when it goes on, or
-- nil where it is not after all, because somebody has removed it by hand.

local function extend(b, id)
    local key = b.prefix .. 'device:' .. id
    local new = pcall_redis('HSET', key, 'until', b.till)

    if new == 0 then
        return b.till
    end

    if new == 1 then
        call('HDEL', key, 'until')
    end
end


local function beat_all(b, ids, sessions)
    local texts = seen(b.prefix, ids)
    local reply, new = {}, {}

    for i = 1, #ids do
        local id, session = ids[i], sessions[i]

        if not lasts(texts[i], session, b.half) then
            local state = lasts(texts[i], session, b.next)
                          and extend(b, id) or beat(b, id, session)

            if type(state) == 'number' then
                reply[#reply + 1] = id
                reply[#reply + 1] = state

            else
                new[#new + 1] = id
                new[#new + 1] = text(state, session)
            end
        end
    end

    if new[1] then
        see(b.prefix, new)
    end

    return reply
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

    local ids, sessions = {}, {}

    for i = 2, #a, 2 do
        -- as good as a UUID for a key, at a fifth of the cost

        if #a[i] ~= 36 or find(a[i], '[^%x%-]') or a[i + 1] == ''
           or #a[i + 1] > 256
        then
            return bad('device ' .. shown(a[i]) .. ' is no UUID, or its'
                       .. ' session not 1..256 bytes')
        end

        ids[i / 2], sessions[i / 2] = a[i], a[i + 1]
    end

    local err = moving(prefix) or wrong(keys[1], 'zset')

    if err then
        return err
    end

    local now = clock()

    return beat_all({ prefix = prefix, now = now, ttl = ttl,
                      next = dec(now + 1), half = dec(now + ceil(ttl / 2)),
                      till = dec(now + ttl) }, ids, sessions)
end


return { heartbeat = heartbeat }
