-- tb:{s}:queues, a zset: the bridges whose queues were seen lately, by when;
-- and how much waits for each.

local call, pcall_redis = redis.call, redis.pcall
local match = string.match
local type = type

local bad, shown = use('text', 'bad', 'shown')
local clock = use('clock', 'clock')
local parse = use('call', 'parse')
local referred, is_meant = use('queue', 'referred', 'is_meant')


local MOST = '63'               -- the last one told of, from 0
local AHEAD = '15'              -- the last reference that is looked at


-- ms that the first good one of these references is there; -1: there is none

local function age(prefix, key, now)
    local texts = call('LRANGE', key, '0', AHEAD)

    for i = 1, #texts do
        local rid, attempt, id, dev = referred(texts[i])
        local v = rid and pcall_redis('HGET', prefix .. 'inflight:' .. dev, rid)
        local c = type(v) == 'string' and parse({ id = dev }, rid, v)

        if is_meant(c, 'q', attempt, id) then
            return now > c.time and now - c.time or 0
        end
    end

    return -1
end


-- tb_rpc_queues: what waits for bridges in a shard
--
-- keys      <prefix>{s<n>}:queues
-- arguments none
-- replies   {bridge, references in its queue, ms that the oldest call is there
--           or -1, ...} of the 64 that were pushed to last
-- errors    the key

local function queues(keys)
    local prefix = #keys == 1 and match(keys[1], '^([^{}]*{s%d%d%d}:)queues$')

    if not prefix then
        return bad('1 key is needed, <prefix>{s<n>}:queues, not '
                   .. shown(keys[1]))
    end

    local now = clock()
    local names, reply = call('ZREVRANGE', keys[1], '0', MOST), {}

    for i = 1, #names do
        local key = prefix .. 'queue:' .. names[i]
        local n = call('LLEN', key)

        reply[3 * i - 2] = names[i]
        reply[3 * i - 1] = n
        reply[3 * i] = n > 0 and age(prefix, key, now) or -1
    end

    return reply
end


return { queues = queues }
