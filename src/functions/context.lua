-- What every function begins with: its key, the names of all others, the types
-- of those, whether its shard is here, and the counters.

local call, pcall_redis = redis.call, redis.pcall
local error_reply = redis.error_reply
local match, gsub = string.match, string.gsub
local select, type = select, type

local bad, dec, is_uuid, shown = use('text', 'bad', 'dec', 'is_uuid', 'shown')
local clock = use('clock', 'clock')
local config = use('settings', 'config')


local UNREAD = 0                -- of x.device


-- x is what the functions work on: a device in a shard, at a moment; a table
-- that has its fields from the start does not grow.  "fields" is the table that
-- device() fills; from "free" on, see create.

local function context(prefix, id, now, text, key)
    local index = prefix .. 'index:' .. id

    return {
        p = prefix, id = id, now = now, time = text or dec(now),
        key = key or prefix .. 'device:' .. id,
        inflight = prefix .. 'inflight:' .. id,
        pending = prefix .. 'pending:' .. id,
        body = prefix .. 'body:' .. id,
        index = index, status = index .. ':status',
        due = prefix .. 'due', old = prefix .. 'old', rpc = prefix .. 'rpc:',
        config = false, device = UNREAD, fields = {},
        none = prefix .. 'none', none2 = prefix .. 'none2',
        queue = false, bridge = false, record = false, wrap = '0', room = 0,
        room_from = 0,
        free = 0, free_from = 0, free_of = false, last = 0, stored = false,
        open = false
    }
end


-- The devices that were seen lately: the names of their keys are not made anew
-- for each call, and creates know what they have counted.

local SEEN = 1024
local seen, seen_n = {}, 0


local function remember(prefix, id, key)
    if seen_n == SEEN then
        seen, seen_n = {}, 0
    end

    local x = context(prefix, id, 0, '', key)

    seen[key] = x
    seen_n = seen_n + 1

    return x
end


-- another device of a shard

local function context_of(prefix, id, now, time)
    local key = prefix .. 'device:' .. id
    local x = seen[key] or remember(prefix, id, key)

    x.now, x.time = now, time
    x.config, x.device = false, UNREAD

    return x
end


-- D: <prefix>{s<n>}:device:<deviceId>

local function device_context(keys)
    local key = keys[1]
    local x = #keys == 1 and seen[key]

    if not x then
        local prefix, id

        if #keys == 1 then
            prefix, id = match(key, '^([^{}]*{s%d%d%d}:)device:(.+)$')
        end

        if not is_uuid(id) then
            return nil, bad('1 key is needed, <prefix>{s<n>}:device:'
                            .. '<deviceId>, not ' .. shown(key))
        end

        x = remember(prefix, id, key)
    end

    x.now, x.time = clock()
    x.config, x.device, x.open = false, UNREAD, false

    return x
end


-- No shard moves where there is no cluster, and a server joins none while it
-- runs: only there a function of one shard can't touch a key of another one.
-- The first 7.0 refused no more than both in one command: that is asked last,
-- as Valkey 9.1, after it has refused that, refuses every later script.

local clustered


local function in_cluster(none)
    if clustered == nil then
        local other = gsub(none, '{s%d%d', '{s77')

        if other == none then
            other = gsub(none, '{s%d%d', '{s00')
        end

        clustered = type(pcall_redis('EXISTS', other)) == 'table'
                    or type(pcall_redis('EXISTS', none, other)) == 'table'
    end

    return clustered
end


-- Is the shard all here?  While a cluster moves it, keys that have gone look
-- as if they were missing: touching two that never exist is an error then, at
-- either end.  Every function that writes asks before its first write.

local function probe(prefix, none, none2)
    if in_cluster(none)
       and type(pcall_redis('EXISTS', none, none2)) == 'table'
    then
        return error_reply('TRYAGAIN tb_rpc: the shard ' .. prefix
                           .. ' is not all here, try again')
    end
end


local function moving(prefix)
    return probe(prefix, prefix .. 'none', prefix .. 'none2')
end


-- for functions that write

local function writing(keys)
    local x, err = device_context(keys)

    if x then
        err = probe(x.p, x.none, x.none2)
    end

    if err then
        return nil, err
    end

    return x
end


local function record_key(keys)
    local prefix, id

    if #keys == 1 then
        prefix, id = match(keys[1], '^([^{}]*{s%d%d%d}:)rpc:(.*)$')
    end

    if not is_uuid(id) then
        return nil, bad('1 key is needed, <prefix>{s<n>}:rpc:<rpcId>')
    end

    return prefix, id
end


-- A WRONGTYPE in the middle of a function would leave half of its work: it is
-- met before the first write.  A number costs half of what TYPE replies with.

local SIZE = { hash = 'HLEN', list = 'LLEN', zset = 'ZCARD' }


local function wrong(...)
    for i = 1, select('#', ...), 2 do
        local key, want = select(i, ...)
        local size = pcall_redis(SIZE[want] or 'EXISTS', key)

        if size ~= 0 and (type(size) == 'table' or not SIZE[want]) then
            local have = call('TYPE', key).ok

            if have ~= want and have ~= 'none' then
                return bad('key ' .. shown(key) .. ' is a ' .. have
                           .. ', not a ' .. want .. '; remove it')
            end
        end
    end
end


-- nothing is worth to fail for a counter

local function stat(x, name)
    pcall_redis('HINCRBY', x.p .. 'stats', name, 1)
end


-- a report that is late, duplicate or not possible

local function ignored(x, name)
    stat(x, 'ignored_' .. name)

    return 0
end


-- what is read before anything is written needs no look

local function wrong_device(x)
    return wrong(x.key, 'hash', x.inflight, 'hash', x.body, 'hash',
                 x.pending, 'zset', x.due, 'zset', x.old, 'zset',
                 x.index, 'zset', x.status, 'zset')
           or (config(x).events == 1 and wrong(x.p .. 'events', 'stream'))
end


return {
    UNREAD = UNREAD, context_of = context_of, device_context = device_context,
    moving = moving, writing = writing, record_key = record_key, wrong = wrong,
    wrong_device = wrong_device, stat = stat, ignored = ignored
}
