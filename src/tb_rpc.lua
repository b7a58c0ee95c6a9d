#!lua name=tb_rpc

--[[

tb_rpc: the state machine of device calls, as a Redis Functions library.
Names, arguments and replies are described in docs/redis-schema.md.

KEYS[1] of every function names the shard: all other keys are made from its
prefix, up to and including "{s<n>}:", so that a function touches one slot.

tb:{s}:rpc:<rpcId>, the persistent record (one letter and short values: it
stays a listpack):
    t tenantId    d deviceId    c createdTime    e expirationTime
    o one-way, 0|1              m method and     p params, JSON texts
    s status code               i requestId
  and when there is one:
    a additionalInfo, JSON text n retries asked  R answer, as it came
    u retries used              q requestUUID    T traceparent

tb:{s}:inflight:<deviceId>, requestId -> an open call, one text:
    P<state><oneway><rpcId> <attempt> <time>[ <claimer>]
    L<state><oneway><rpcId> <attempt> <time> <expiry> <worker> <rest>
  P is a persistent call, L a lightweight one.  Time is the moment the call
  came into its state.  <rest> is the head of the envelope until the call is
  claimed, then the claimer.  States:
    p  waits in pending: the device is offline or it is not its turn
    q  pushed to the bridge's queue, not claimed; time is its queuedTime
    s  claimed by the bridge
    h  handed to the device's open poll, not confirmed; <rest> as before
    d  acknowledged by the device, the answer is awaited
    x  L only: claimed, gave its turn away, the answer is awaited

tb:{s}:due holds what must be looked at again: <rpcId>,
<deviceId>/<requestId> of a lightweight call, @<deviceId> of a session or
a poll.

Values read back are checked: whatever somebody wrote into a key by hand is
skipped or dropped, and never stops tb_rpc_tick.

--]]

local VERSION = 4

local ANSWER_TTL = 30000        -- ms an answer is kept for its worker
local PUBLISH_MAX = 16384       -- bytes; larger answers are fetched
local GRACE = 3000              -- ms a worker has to cancel by itself
local TRIM = 16                 -- stale items dropped at once
local RELEASE = 100             -- calls released by attach and tick
local RELEASE_NEXT = 16         -- calls released when another one ends
local DRAIN = 50                -- ms until the next release of a backlog
local RETRY = 1000              -- ms until a full queue is tried again
local TICK_LOCK = 10            -- ms
local SCAN = 4                  -- open calls searched for a repeated create
local EVENTS = 10000            -- entries kept in the stream
local SORT_RECORDS = 5000       -- sorted on demand at most
local SORT_BYTES = 16777216
local LIST_BYTES = 262144
local CONFIG_TTL = 100          -- ms until settings are read again
local BROKEN = 60000            -- ms until a broken entry is tried again

local QUEUED, SENT, DELIVERED, SUCCESSFUL = 0, 1, 2, 3
local TIMEOUT, EXPIRED, FAILED = 4, 5, 6

local STATUS = { [0] = 'QUEUED', 'SENT', 'DELIVERED', 'SUCCESSFUL',
                 'TIMEOUT', 'EXPIRED', 'FAILED' }

local BAND = 4398046511104      -- 2^42, between two statuses of the index
local IDS = 2147483648          -- 2^31
local AHEAD = 134217728         -- 2^27, ids given ahead of their time

local NO_CUSTOMER = '13814000-1dd2-11b2-8080-808080808080'

local BRIDGE = '^[%w%.%_:@%-]+$'
local UUID = '^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x'
             .. '%-%x%x%x%x%x%x%x%x%x%x%x%x$'

-- Nothing global can be touched while the library is loaded, only once a
-- function runs: setup() fills these in, and what is made with them.

local call, pcall_redis, error_reply
local fmt, sub, gsub, find, match, lower, byte, floor, ceil, min, max_of
local concat, insert, remove, sort
local band, bxor, bnot, rshift
local tonumber, type, select, unpack, pairs, ipairs, pcall
local CRC, HEX, BYTES

-- what has to do with polls: a table, since a chunk has 200 locals at most

local polls = {
    CONFIRM = 1000              -- ms a call that was handed out is left alone
}                               -- when the device polls again

local STRATEGY = {
    burst = 'burst',
    sequential_on_ack = 'ack',
    sequential_on_response = 'response'
}

local SETTINGS = {
    'max_retries', 'ack_timeout', 'response_timeout', 'record_ttl',
    'strategy', 'events', 'max_pending', 'max_records', 'max_queue',
    'max_response', 'shards'
}

local DEFAULTS = {
    max_retries = 5, ack_timeout = 10000, response_timeout = 30000,
    record_ttl = 2592000000, strategy = 'burst', events = 0,
    max_pending = 1000, max_records = 200000, max_queue = 10000,
    max_response = 65536, shards = 0
}

local SETTING_MAX = {
    max_retries = 2147483647, events = 1, shards = 16384
}


-- checks of arguments -------------------------------------------------------

local function bad(text)
    return error_reply('ERR tb_rpc: ' .. text)
end


-- a decimal number without sign, exact in a double

local function int(s, max)
    if not s or #s > 16 or not find(s, '^%d+$') then
        return nil
    end

    local n = tonumber(s)

    if n > (max or 9007199254740992) then
        return nil
    end

    return n
end


-- tostring() and ".." print 14 digits

local function dec(n)
    return fmt('%d', n)
end


local function is_uuid(s)
    return s and #s == 36 and find(s, UUID)
end


-- what an error may show of an argument

local function shown(s)
    return '"' .. gsub(sub(s or '', 1, 64), '[^%w%.%_:@{}/ %-]', '?')
           .. '"'
end


-- Under load many calls come in one ms, with the same timeout: what was made of
-- these numbers last is kept.

local made = { s = '', ms = '', now = 0, time = '', wait = '', waited = 0,
               number = { 0, 0 }, text = { '0', '0' } }


-- ms since the epoch, as a number and as text

local function clock()
    local t = call('TIME')
    local us = t[2]
    local ms = #us > 3 and sub(us, 1, -4) or '0'

    if ms ~= made.ms or t[1] ~= made.s then
        made.s, made.ms = t[1], ms

        if #ms < 3 then
            ms = sub('00' .. ms, -3)
        end

        made.time = t[1] .. ms
        made.now = tonumber(made.time)
    end

    return made.now, made.time
end


-- dec(n), for the i-th number of a function

function made.dec(i, n)
    if n ~= made.number[i] then
        made.number[i], made.text[i] = n, dec(n)
    end

    return made.text[i]
end


-- x is what the functions below work on: a device in a shard, at a moment;
-- a table that has its fields from the start does not grow.  "fields" is the
-- table that device() fills; from "free" on, see creates.

local UNREAD = 0


local function context(prefix, id, now, text, key)
    local index = prefix .. 'index:' .. id

    return {
        p = prefix, id = id, now = now, time = text or dec(now),
        key = key or prefix .. 'device:' .. id,
        inflight = prefix .. 'inflight:' .. id,
        pending = prefix .. 'pending:' .. id,
        index = index, status = index .. ':status',
        due = prefix .. 'due', rpc = prefix .. 'rpc:',
        config = false, device = UNREAD, fields = {},
        queue = false, bridge = false, record = false,
        free = 0, free_from = 0, free_of = false, last = 0, stored = false
    }
end


-- The devices that were seen lately: the names of their keys are not made anew
-- for each call, and creates know what they have counted.

local seen = {
    MAX = 1024,
    device = {}, n = 0
}


function seen.add(keys)
    local prefix, id

    if #keys == 1 then
        prefix, id = match(keys[1], '^([^{}]*{s%d+}:)device:(.+)$')
    end

    if not is_uuid(id) then
        return nil, bad('1 key is needed, <prefix>{s<n>}:device:<deviceId>,'
                        .. ' not ' .. shown(keys[1]))
    end

    if seen.n == seen.MAX then
        seen.device, seen.n = {}, 0
    end

    local x = context(prefix, id, 0, '', keys[1])

    seen.device[keys[1]] = x
    seen.n = seen.n + 1

    return x
end


-- D: <prefix>{s<n>}:device:<deviceId>

local function device_context(keys)
    local x, err = #keys == 1 and seen.device[keys[1]]

    if not x then
        x, err = seen.add(keys)

        if not x then
            return nil, err
        end
    end

    x.now, x.time = clock()
    x.config, x.device = false, UNREAD

    return x
end


local function record_key(keys)
    local prefix, id

    if #keys == 1 then
        prefix, id = match(keys[1], '^(.-{s%d+}:)rpc:(.*)$')
    end

    if not is_uuid(id) then
        return nil, bad('1 key is needed, <prefix>{s<n>}:rpc:<rpcId>')
    end

    return prefix, id
end


-- a WRONGTYPE in the middle of a function would leave half of its work, and
-- so would a key that a cluster is moving: both are met before the first write

local function wrong(...)
    for i = 1, select('#', ...), 2 do
        local key, want = select(i, ...)
        local have = call('TYPE', key).ok

        if have ~= want and have ~= 'none' then
            return bad('key ' .. shown(key) .. ' is a ' .. have .. ', not a '
                       .. want .. '; remove it')
        end
    end
end


-- settings ------------------------------------------------------------------

-- one text a shard; it is read again after CONFIG_TTL, or when it was written
-- by tb_rpc_config here

local known = { text = false, settings = false, shards = {}, n = 0 }


local function parse_settings(text)
    local s = {}

    for i = 1, #SETTINGS do
        local name = SETTINGS[i]
        local value = match(text, '%f[%w_]' .. name .. '=([%w_]+)')

        if name == 'strategy' then
            s[name] = STRATEGY[value] and value or DEFAULTS[name]

        else
            s[name] = int(value, SETTING_MAX[name]) or DEFAULTS[name]
        end
    end

    return s
end


local function settings(x)
    local shard = known.shards[x.p]

    if shard and x.now < shard.till and x.now >= shard.from then
        return shard.settings
    end

    local text = call('HGET', x.p .. 'config', 'settings') or ''

    if text ~= known.text then
        known.settings = parse_settings(text)
        known.text = text
    end

    -- as many as there can be, whatever prefixes are tried

    if known.n > 16384 then
        known.shards, known.n, shard = {}, 0, nil
    end

    if not shard then
        shard = {}
        known.shards[x.p] = shard
        known.n = known.n + 1
    end

    shard.from, shard.till = x.now, x.now + CONFIG_TTL
    shard.settings = known.settings

    return known.settings
end


local function config(x)
    if not x.config then
        x.config = settings(x)
    end

    return x.config
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


-- What is read before anything is written needs no look.  "none" never exists:
-- in a slot that is moving it is met as an error, whatever has moved.

local function wrong_device(x)
    return wrong(x.p .. 'none', 'none', x.key, 'hash', x.inflight, 'hash',
                 x.pending, 'list', x.due, 'zset', x.index, 'zset',
                 x.status, 'zset')
           or (config(x).events == 1 and wrong(x.p .. 'events', 'stream'))
end


-- devices -------------------------------------------------------------------

local function device(x)
    if x.device ~= UNREAD then
        return x.device
    end

    local v = call('HMGET', x.key, 'tenantId', 'customerId', 'strategy',
                   'bridge', 'until', 'turn', 'last', 'wait', 'poll')

    if not v[1] then
        x.device = false
        return false
    end

    local d = x.fields

    d.tenant, d.customer, d.strategy, d.bridge = v[1], v[2], v[3], v[4]
    d.till, d.turn, d.last, d.wait = v[5], v[6], v[7], v[8]
    d.poll, d.session = v[9], nil

    x.device = d

    return d
end


-- the same, with what sessions need

local function session_device(x)
    local d = device(x)

    if d and d.session == nil then
        local v = call('HMGET', x.key, 'session', 'prev', 'route')

        d.session, d.prev, d.route = v[1], v[2], v[3]
    end

    return d
end


local function is_online(bridge, till, now)
    if not bridge or bridge == '' then
        return false
    end

    return till == '-1' or (tonumber(till) or 0) > now
end


local function online(x)
    local d = device(x)

    return d and is_online(d.bridge, d.till, x.now)
end


local function strategy(x)
    local d = device(x)

    return STRATEGY[d and d.strategy or ''] or STRATEGY[config(x).strategy]
end


local function queue(x)
    local bridge = device(x).bridge or ''

    if bridge ~= x.bridge then
        x.queue = x.p .. 'queue:' .. bridge
        x.bridge = bridge
    end

    return x.queue
end


local function take_turn(x, rid)
    if strategy(x) ~= 'burst' then
        call('HSET', x.key, 'turn', rid)
        x.device.turn = rid
    end
end


local function drop_turn(x, rid)
    local d = device(x)

    if d and d.turn == rid then
        call('HDEL', x.key, 'turn')
        d.turn = nil
    end
end


-- "wait" is set while pending may have something: it spares create a look

local function set_wait(x)
    local d = device(x)

    if d and not d.wait then
        call('HSET', x.key, 'wait', '1')
        d.wait = '1'
    end
end


local function drop_wait(x)
    local d = device(x)

    if d and d.wait then
        call('HDEL', x.key, 'wait')
        d.wait = false
    end
end


-- not later than now: an entry that comes too early puts itself right

local function arm(x, time)
    call('ZADD', x.due, 'LT', dec(time), '@' .. x.id)
end


-- open calls ----------------------------------------------------------------

local function parse(rid, v)
    if not v then
        return nil
    end

    local kind, state, oneway, id, attempt, time, rest =
        match(v, '^([PL])([pqshdx])([01])([%x%-]+) (%d+) (%d+)(.*)$')

    if not kind or #id ~= 36 or #time > 15 or #attempt > 9 then
        return nil
    end

    local c = {
        rid = rid, kind = kind, state = state, oneway = oneway == '1',
        id = id, attempt = tonumber(attempt), time = tonumber(time)
    }

    if kind == 'P' then
        c.rest = sub(rest, 2)
        c.due = id
        return c
    end

    local expiry, worker, tail = match(rest, '^ (%d+) ([^ ]+) (.*)$')

    if not expiry or #expiry > 16 then
        return nil
    end

    c.expiry = tonumber(expiry)
    c.worker = worker
    c.rest = tail

    return c
end


local function open_call(x, rid)
    local c = parse(rid, call('HGET', x.inflight, rid))

    if c and c.kind == 'L' then
        c.due = x.id .. '/' .. rid
    end

    return c
end


-- under a sequential strategy: does a call have the turn?

local function turn_taken(x)
    local turn = device(x).turn
    local c = turn and open_call(x, turn)

    -- the strategy may have changed since the call was pushed

    return c and (c.state ~= 'd' or strategy(x) == 'response')
end


local function text_of(c, attempt, time)
    local text = c.kind .. c.state .. (c.oneway and '1' or '0') .. c.id .. ' '
                 .. attempt .. ' ' .. dec(time)

    if c.kind == 'L' then
        return text .. ' ' .. dec(c.expiry) .. ' ' .. c.worker .. ' ' .. c.rest
    end

    if c.rest ~= '' then
        return text .. ' ' .. c.rest
    end

    return text
end


local function store(x, c, state, rest)
    c.state = state
    c.time = x.now
    c.rest = rest or c.rest

    call('HSET', x.inflight, c.rid, text_of(c, c.attempt, c.time))
end


local function due(x, c, time)
    call('ZADD', x.due, dec(time), c.due)
end


-- the moment at which tick must have ended the call

local function last_moment(x, c)
    if c.kind == 'L' then
        return c.expiry + GRACE
    end

    if not c.expiry then
        local v = pcall_redis('HGET', x.rpc .. c.id, 'e')

        c.expiry = int(type(v) == 'string' and v or nil) or 0
    end

    return c.expiry
end


local function due_within(x, c, ms)
    local last = last_moment(x, c)

    due(x, c, (ms and x.now + ms < last) and x.now + ms or last)
end


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


-- heads of queues, read once in a tick

local heads


local function trim(x, key)
    for _ = 1, TRIM do
        local item = call('LINDEX', key, 0)

        if not item then
            break
        end

        local rid, id, dev, attempt = item_of(item)

        if rid then
            local v = pcall_redis('HGET', x.p .. 'inflight:' .. dev, rid)
            local c = type(v) == 'string' and parse(rid, v)

            if c and c.state == 'q' and c.id == id and c.attempt == attempt
            then
                break
            end
        end

        call('LPOP', key)
    end

    if heads then
        heads[key] = nil
    end
end


local function take_back(x, c, from)
    if from == 'p' then
        call('LREM', x.pending, 1, c.rid)

    elseif from == 'q' and device(x) and device(x).bridge then
        trim(x, queue(x))
    end
end


-- a key of another type is a broken record; one that is not here is not ours to
-- judge

local function read_record(x, id, ...)
    local v = pcall_redis('HMGET', x.rpc .. id, ...)

    if v.err and not find(v.err, 'WRONGTYPE', 1, true) then
        return call('HMGET', x.rpc .. id, ...)
    end

    return v
end


-- the record of a persistent call, or nil when it can't be used

local function record(x, id)
    local v = read_record(x, id, 't', 'm', 'p', 'c', 'e', 's', 'a', 'n', 'u',
                          'T', 'd', 'i', 'o')

    if v.err or not (v[1] and v[2] and v[3] and v[6] and v[11])
       or not int(v[4]) or not int(v[5])
    then
        return nil
    end

    return {
        tenant = v[1], method = v[2], params = v[3], created = v[4],
        expiry = v[5], status = tonumber(v[6]), info = v[7] or nil,
        retries = v[8] or nil, used = v[9] or nil, trace = v[10] or nil,
        device = v[11], rid = v[12] or nil, oneway = v[13] == '1'
    }
end


-- the envelope for the next attempt; nothing is done with a call that has
-- expired or is broken

function polls.item(x, c)
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


local function push(x, c)
    local item = polls.item(x, c)

    if not item then
        return false
    end

    local key = queue(x)

    c.attempt = c.attempt + 1

    store(x, c, 'q')
    call('RPUSH', key, item)
    due_within(x, c, config(x).ack_timeout)

    if heads and heads[key] == false then
        heads[key] = x.now
    end

    return true
end


-- how many calls the queue still takes: with none its bridge does not read, and
-- its devices count as offline

local function room(x)
    return config(x).max_queue - call('LLEN', queue(x))
end


-- hands to an open poll, and pushes, what waits for the device, as far as
-- strategy and queue allow

local function release(x, max)
    if call('LLEN', x.pending) == 0 then
        drop_wait(x)
        return 0
    end

    local n = polls.offer(x) and 1 or 0

    if not online(x) then
        return n
    end

    local sequential = strategy(x) ~= 'burst'
    local left = room(x)

    for _ = 1, max + RELEASE do

        if n >= max or (sequential and turn_taken(x)) then
            break
        end

        if left <= 0 then
            arm(x, x.now + RETRY)
            return n
        end

        local rid = call('LPOP', x.pending)

        if not rid then
            return n
        end

        local c = open_call(x, rid)

        if c and c.state == 'p' and push(x, c) then
            n = n + 1
            left = left - 1
            take_turn(x, rid)
        end
    end

    -- whoever has the turn gives it away; all else is for tick

    if call('LLEN', x.pending) == 0 then
        drop_wait(x)

    elseif not (sequential and turn_taken(x)) then
        arm(x, x.now + DRAIN)
    end

    return n
end


-- oldest first: the ids of the open calls end with the device's last one

local function by_age(x, list)
    local d = device(x)
    local last = tonumber(d and d.last or 0) or 0

    sort(list, function(a, b)
        return (last - tonumber(a)) % IDS > (last - tonumber(b)) % IDS
    end)
end


-- back into pending, before all calls that are younger

local function wait_again(x, list)
    local all = call('LRANGE', x.pending, 0, -1)

    for i = 1, #list do
        all[#all + 1] = list[i]
    end

    for i = #all, 1, -1 do
        if not tonumber(all[i]) then
            remove(all, i)
        end
    end

    by_age(x, all)
    set_wait(x)
    call('DEL', x.pending)

    for i = 1, #all, 1000 do
        call('RPUSH', x.pending, unpack(all, i, min(i + 999, #all)))
    end
end


local function wait_one(x, c)
    store(x, c, 'p', c.kind == 'P' and '' or nil)
    due_within(x, c)
    drop_turn(x, c.rid)

    if call('LLEN', x.pending) == 0 then
        set_wait(x)
        call('RPUSH', x.pending, c.rid)

    else
        wait_again(x, { c.rid })
    end
end


-- the same call once more, ahead of all others

local function push_again(x, c)
    if online(x) and room(x) > 0 and push(x, c) then
        return
    end

    wait_one(x, c)

    if online(x) then
        arm(x, x.now + RETRY)
    end
end


-- the device leaves its bridge: what was not claimed, and what was claimed
-- but not acknowledged and must not be lost, waits for the next one

local function move_out(x)
    local d = device(x)
    local all = call('HGETALL', x.inflight)
    local moved = {}
    local queued = false

    for i = 1, #all, 2 do
        local c = parse(all[i], all[i + 1])

        if c and (c.state == 'q' or (c.kind == 'P' and c.state == 's')) then
            c.due = c.kind == 'P' and c.id or x.id .. '/' .. c.rid
            queued = queued or c.state == 'q'
            store(x, c, 'p', c.kind == 'P' and '' or nil)
            due_within(x, c)
            drop_turn(x, c.rid)
            moved[#moved + 1] = c.rid
        end
    end

    if #moved > 0 then
        wait_again(x, moved)
    end

    if queued and d.bridge then
        trim(x, queue(x))
    end
end


-- the end of a session: a static route is back then

local function leave(x)
    local d = session_device(x)

    move_out(x)

    call('HDEL', x.key, 'session', 'bridge', 'until')
    call('ZREM', x.due, '@' .. x.id)
    polls.lapse(x)
    polls.arm(x)

    d.session, d.bridge, d.till = false, false, false

    if d.route then
        call('HSET', x.key, 'bridge', d.route, 'until', '-1')
        d.bridge, d.till = d.route, '-1'
    end

    release(x, RELEASE)
end


-- ends of calls -------------------------------------------------------------

local function event(x, id, name)
    if config(x).events ~= 1 then
        return
    end

    local r = call('HGETALL', x.rpc .. id)

    if #r > 0 then
        call('XADD', x.p .. 'events', 'MAXLEN', '~', EVENTS, '*', 'rpcId', id,
             'event', name, 'time', dec(x.now), unpack(r))
    end
end


local function set_status(x, c, created, code, response)
    local key = x.rpc .. c.id

    if response and response ~= '' then
        call('HSET', key, 's', code, 'R', response)

    else
        call('HSET', key, 's', code)
    end

    call('ZADD', x.status, dec(code * BAND + tonumber(created)), c.id)

    event(x, c.id, STATUS[code])
end


-- every call ends here

local function close(x, c)
    call('HDEL', x.inflight, c.rid)

    if c.kind == 'L' then
        call('ZREM', x.due, c.due)
    end

    take_back(x, c, c.state)
    drop_turn(x, c.rid)
    release(x, RELEASE_NEXT)
end


local function keep_record(x, id)
    local ttl = config(x).record_ttl

    if ttl == 0 then
        call('ZREM', x.due, id)

    else
        call('ZADD', x.due, dec(x.now + ttl), id)
    end
end


local function finish(x, c, created, code, response)
    set_status(x, c, created, code, response)
    keep_record(x, c.id)
    close(x, c)
end


-- for the worker that holds the caller

local function answer(x, c, kind, payload)
    local text = kind .. (payload or '')

    call('SET', x.p .. 'answer:' .. c.id, text, 'PX', ANSWER_TTL)

    if #text > PUBLISH_MAX then
        text = 'G'
    end

    call('SPUBLISH', x.p .. 'reply:' .. c.worker, c.id .. text)
end


-- a one-way caller has its answer as soon as a bridge has claimed the call;
-- from a poll it may still come back

local function is_answered(c)
    return c.oneway and c.state ~= 'p' and c.state ~= 'q' and c.state ~= 'h'
end


local function place(x, c)
    if c.state == 'p' then
        return (polls.open(x) or online(x) and room(x) > 0) and 'turn'
               or 'offline'
    end

    return c.state == 'q' and 'queued' or 'sent'
end


-- a record that is gone can't be reported about: the call goes as well

local function drop_broken(x, c)
    call('ZREM', x.due, c.due)
    close(x, c)
    stat(x, 'broken')
end


local function fail(x, c, created, text)
    if c.kind == 'P' then
        finish(x, c, created, FAILED, text)
        return
    end

    if not is_answered(c) then
        answer(x, c, 'F', sub(text, 1, PUBLISH_MAX))
    end

    close(x, c)
end


-- no acknowledgement in time

local function ack_timeout(x, c, r)
    if c.kind == 'L' then
        if c.oneway then
            close(x, c)
            return
        end

        store(x, c, 'x')
        due_within(x, c)
        drop_turn(x, c.rid)
        release(x, RELEASE_NEXT)
        return
    end

    local max = config(x).max_retries
    local used = tonumber(r.used or 0) or 0

    max = min(tonumber(r.retries or max) or max, max)

    if used >= max then
        finish(x, c, r.created, FAILED,
               '{"error":"There was a Timeout and all retry attempts have'
               .. ' been exhausted. Retry attempts set: ' .. max .. '"}')
        return
    end

    call('HSET', x.rpc .. c.id, 'u', used + 1)
    set_status(x, c, r.created, TIMEOUT)
    push_again(x, c)
    stat(x, 'retries')
end


-- polls ---------------------------------------------------------------------

-- A device that polls over HTTP has no bridge: its open poll, the latest one,
-- is named in the device by "<worker> <session> <end>".  A call that waits is
-- handed to the poll, which ends it, by a message to its worker.  Until the
-- worker has confirmed that the response was sent, the call has the state h,
-- and whatever is lost on the way brings it back into pending.

-- worker, session and end of a poll that is open

function polls.open(x)
    local d = device(x)
    local worker, session, till =
        match(d and d.poll or '', '^([^ ]+) (%d+) (%d+)$')

    if not worker or #till > 15 or tonumber(till) <= x.now then
        return nil
    end

    return worker, session, tonumber(till)
end


function polls.arm(x)
    local _, _, till = polls.open(x)

    if till then
        arm(x, till)
    end
end


function polls.close(x)
    if x.device.poll then
        call('HDEL', x.key, 'poll')
        x.device.poll = false
    end
end


function polls.lapse(x)
    if x.device.poll and not polls.open(x) then
        polls.close(x)
        stat(x, 'lapsed_polls')
    end
end


-- how many listen: with 0 the worker is gone for certain

function polls.tell(x, worker, text)
    return call('SPUBLISH', x.p .. 'reply:' .. worker, x.id .. text)
end


-- the calls that were handed out and are not confirmed, oldest first

function polls.handed(x)
    local list = {}

    for rid in polls.gmatch(call('HGET', x.key, 'handed') or '', '%d+') do
        local c = open_call(x, rid)

        if c and c.state == 'h' then
            list[#list + 1] = c
        end
    end

    return list
end


-- the first one in pending that may be handed out, and its envelope

function polls.next(x)
    if strategy(x) ~= 'burst' and turn_taken(x) then
        return nil
    end

    for _ = 1, RELEASE do
        local rid = call('LINDEX', x.pending, 0)

        if not rid then
            return nil
        end

        local c = open_call(x, rid)
        local item = c and c.state == 'p' and polls.item(x, c)

        if item then
            return c, item
        end

        call('LPOP', x.pending)
    end

    arm(x, x.now + DRAIN)
end


-- one that an earlier poll did not bring to the device; "again": the very
-- same poll asks, and has got nothing

function polls.unconfirmed(x, again)
    for _, c in ipairs(polls.handed(x)) do

        if again then
            c.attempt = c.attempt - 1
        end

        if not again and x.now < c.time + polls.CONFIRM then
            due_within(x, c, c.time + polls.CONFIRM - x.now)

        else
            local item = polls.item(x, c)

            if item then
                return c, item
            end
        end
    end
end


function polls.claim(x, c)
    local list = {}

    for i, other in ipairs(polls.handed(x)) do
        list[i] = other.rid ~= c.rid and other.rid or ''
    end

    list[#list + 1] = c.rid

    c.attempt = c.attempt + 1
    store(x, c, 'h')
    due_within(x, c, config(x).ack_timeout)

    -- what was handed out under burst, and again, comes second

    if not turn_taken(x) then
        take_turn(x, c.rid)
    end

    call('HSET', x.key, 'handed', concat(list, ' '))

    if c.kind == 'P' then
        set_status(x, c, c.created, SENT)
    end
end


-- hands the first call that waits to the open poll

function polls.offer(x)
    local worker, session = polls.open(x)

    if not worker then
        return false
    end

    local c, item = polls.next(x)

    if not c then
        return false
    end

    local text = 'P' .. session .. ' ' .. c.rid .. ' ' .. c.attempt + 1

    -- without it the worker asks for it

    if #item <= PUBLISH_MAX then
        text = text .. ' ' .. item
    end

    local listeners = polls.tell(x, worker, text)

    polls.close(x)

    if listeners == 0 then
        stat(x, 'lost_polls')
        return false
    end

    call('LPOP', x.pending)
    polls.claim(x, c)

    return true
end


-- nobody said yet that the device has it

function polls.check(x, c)
    local ms = config(x).ack_timeout

    if polls.open(x) then
        ms = min(ms, polls.CONFIRM)
    end

    if x.now < c.time + ms then
        due_within(x, c, c.time + ms - x.now)
        return
    end

    stat(x, 'unconfirmed')
    wait_one(x, c)
    release(x, RELEASE_NEXT)
end


-- create --------------------------------------------------------------------

local creates = {
    AHEAD = 64                  -- ids of a burst that are stored at once
}


-- Of the arguments, those that are empty at the end may be left out; a call
-- that has none of what is optional is "plain": it has just the first eleven.

function creates.fill(a)
    if #a == 11 and a[9] == '' and a[10] == '' then
        return true
    end

    for i = #a + 1, 17 do
        a[i] = ''
    end

    return false
end


function creates.more_error(a, persistent)
    if a[10] ~= '' and not int(a[10], 2147483647) then
        return 'retries ' .. shown(a[10]) .. ' is not a number'
    end

    if a[13] ~= '' and not int(a[13]) then
        return 'maxHold ' .. shown(a[13]) .. ' is not a number of ms'
    end

    if a[14] ~= '' and a[14] ~= 'wait' and a[14] ~= 'reject' then
        return 'offline is wait or reject'
    end

    if a[15] ~= '' and not is_uuid(a[15]) then
        return 'requestUUID ' .. shown(a[15]) .. ' is not a UUID'
    end

    if a[16] ~= '' and (#a[16] > 128 or find(a[16], '%X')) then
        return 'hash is not hex'
    end

    if a[15] ~= '' and persistent and a[16] == '' then
        return 'a requestUUID needs a hash'
    end

    if a[17] ~= '' and (#a[17] > 64 or find(a[17], '[^%x%-]')) then
        return 'traceparent is not of hex digits and dashes'
    end
end


-- nil and the number that timeout or expiration is, or what is wrong

local function create_error(a, persistent, plain)
    if not is_uuid(a[1]) then
        return 'rpcId ' .. shown(a[1]) .. ' is not a UUID'
    end

    if (a[3] ~= '0' and a[3] ~= '1') or (a[4] ~= '0' and not persistent) then
        return 'oneway and persistent are 0 or 1'
    end

    if not persistent
       and (#a[2] > 64 or not find(a[2], '^[%w%.%_:%-]+$'))
    then
        return 'replyTo ' .. shown(a[2]) .. ' is not a worker name'
    end

    if a[5] == '' then
        return 'tenantId is empty'
    end

    if a[7] == '' or a[8] == '' then
        return 'method and params are JSON texts, not empty'
    end

    local text = a[11] ~= '' and a[11] or a[12]

    if (a[11] == '') == (plain or a[12] == '') then
        return 'one of timeout and expiration is needed'
    end

    local time = text == made.wait and made.waited or int(text)

    if not time then
        return 'timeout or expiration ' .. shown(text)
               .. ' is not a number of ms'
    end

    made.wait, made.waited = text, time

    return not plain and creates.more_error(a, persistent) or nil, time
end


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

    return repeated(x, id, r.rid or '0', tonumber(r.expiry),
                    tonumber(r.created), r.status)
end


local function repeated_light(x, id)
    local all = call('HGETALL', x.inflight)

    for i = 1, #all, 2 do
        local c = parse(all[i], all[i + 1])

        if c and c.id == id then
            local created = match(c.rest, '"createdTime":(%d+),"expiration')

            return repeated(x, id, c.rid, c.expiry,
                            tonumber(created) or x.now)
        end
    end
end


-- repeatable creates: by rpcId, and by the client's own requestUUID

local function find_repeated(x, a, persistent, plain)
    if not persistent then
        local open = call('HLEN', x.inflight)

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


-- What is stored is the last id, or, when ids run ahead of the clock in a
-- burst, the last one of some more: x knows how many of them were given.

local function next_id(x)
    local id = x.now % IDS
    local last = x.device.last

    last = last and (last == x.stored and x.last or tonumber(last))

    if last and (last - id) % IDS < AHEAD then
        id = (last + 1) % IDS
    end

    return id == 0 and 1 or id
end


-- the text to store, or nil

function creates.last_id(x, id)
    local stored = x.device.last

    x.last = id

    if stored and stored == x.stored
       and (tonumber(stored) - id) % IDS < creates.AHEAD
    then
        return nil
    end

    if id ~= x.now % IDS then
        id = (id + creates.AHEAD - 1) % IDS
    end

    x.stored = dec(id)

    return x.stored
end


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


-- device known and caller's, call new, and not one too many?

local function create_refused(x, a, persistent, plain)
    local d = device(x)

    if not d or (d.tenant ~= a[5] and d.tenant ~= lower(a[5])) then
        return { 'unknown' }
    end

    if a[6] ~= '*' and (a[6] == '' or d.customer ~= lower(a[6])) then
        return { 'customer' }
    end

    return find_repeated(x, a, persistent, plain)
end


-- Which cap is reached?  Only tb_rpc_create adds open calls and records, so
-- what was counted holds for as many more; not for long, since another server
-- may have been the master meanwhile.

function creates.capped(x, persistent)
    local set = config(x)

    if x.free > 0 and x.free_of == set and x.now >= x.free_from
       and x.now < x.free_from + CONFIG_TTL
    then
        x.free = x.free - 1
        return nil
    end

    local records = call('ZCARD', x.index)
    local open = call('HLEN', x.inflight)

    x.free = min(set.max_records - records, set.max_pending - open) - 1
    x.free_from, x.free_of = x.now, set

    if persistent and records >= set.max_records then
        return 'records'
    end

    return open >= set.max_pending and 'pending' or nil
end


-- takes back what create_open() has written

local function create_undo(x, c, pushed)
    call('HDEL', x.inflight, c.rid)

    if pushed then
        call('RPOP', pushed)
    end
end


local function create_due(x, c, light, queued)
    local time = light and c.expiry + GRACE or c.expiry

    if queued and x.now + config(x).ack_timeout < time then
        time = x.now + config(x).ack_timeout
    end

    local member = light and x.id .. '/' .. c.rid or c.id
    local n = pcall_redis('ZADD', x.due,
                          time == c.expiry and c.expiry_text
                          or made.dec(2, time), member)

    if type(n) == 'table' then
        return n
    end
end


-- The places a call has while it is open.  Their keys are written in an order
-- that lets each failure be taken back: to ask for their types first would
-- cost more than all the rest.

local function create_open(x, c, a, word)
    local rid = next_id(x)
    local queued = word == 'queued'
    local light = c.kind == 'L'
    local expiry = c.expiry_text
    local tail = light and ' ' .. expiry .. ' ' .. a[2] .. ' ' or ''
    local text = c.kind .. (queued and 'q' or 'p') .. a[3] .. c.id
                 .. (queued and ' 1 ' or ' 0 ') .. x.time .. tail
    local item

    repeat
        c.number = rid
        c.rid = dec(rid)
        rid = rid % (IDS - 1) + 1

        if light or queued then
            item = envelope(x, c.rid, c.id, x.device.tenant, a[7], a[8],
                            c.oneway, not light, x.time, expiry,
                            a[9] ~= '' and a[9] or nil,
                            a[17] ~= '' and a[17] or nil,
                            light and '' or FIRST_PUSH,
                            light and '' or x.time)
        end

    until call('HSETNX', x.inflight, c.rid, light and text .. item or text)
          == 1

    local key = queued and queue(x) or x.pending

    if light then
        item = item .. FIRST_PUSH .. x.time .. '}'
    end

    local n = pcall_redis('RPUSH', key, queued and item or c.rid)

    if type(n) == 'table' then
        create_undo(x, c)
        return n
    end

    if queued and n > config(x).max_queue then
        create_undo(x, c, key)
        return nil, 'full'
    end

    n = create_due(x, c, light, queued)

    if n then
        create_undo(x, c, key)
        return n
    end
end


local function create_new(x, c, a, word)
    local err, full = create_open(x, c, a, word)

    if full then

        -- its bridge does not read: the device counts as offline

        word = 'offline'

        if a[14] == 'reject' and c.kind == 'L' then
            return { 'rejected' }
        end

        err = create_open(x, c, a, word)
    end

    if err then
        return err
    end

    if c.kind == 'P' then
        create_record(x, c, a, x.device.tenant, c.expiry_text, '0')
        event(x, c.id, STATUS[QUEUED])
    end

    local last = creates.last_id(x, c.number)

    if last then
        call('HSET', x.key, 'last', last)
    end

    if word ~= 'queued' then
        set_wait(x)

    else
        take_turn(x, c.rid)
    end

    if full then
        arm(x, x.now + RETRY)
    end

    -- others may have left before it: it is the last one in pending

    if word == 'turn' and polls.open(x) and release(x, RELEASE_NEXT) > 0
       and call('LLEN', x.pending) == 0
    then
        word = 'queued'
    end

    return { word, c.id, c.number, c.expiry - x.now, x.now }
end


-- where does a new call go?

local function create_place(x)
    local d = x.device

    -- from pending it is handed to the poll

    if d.poll and polls.open(x) then
        return 'turn'
    end

    if not is_online(d.bridge, d.till, x.now) then
        return 'offline'
    end

    if (d.wait and call('LLEN', x.pending) > 0)
       or (d.turn and strategy(x) ~= 'burst' and turn_taken(x))
    then
        return 'turn'
    end

    return 'queued'
end


local function create(keys, a)
    local x, err = device_context(keys)

    if not x then
        return err
    end

    if #a < 11 then
        return bad('tb_rpc_create needs 11 to 17 arguments, not ' .. #a)
    end

    local persistent = a[4] == '1'
    local plain = creates.fill(a)
    local wrong_arg, time = create_error(a, persistent, plain)

    if wrong_arg then
        return bad(wrong_arg)
    end

    local reply = create_refused(x, a, persistent, plain)

    if reply then
        return reply
    end

    local capped = creates.capped(x, persistent)

    if capped == 'records' then
        return { capped }
    end

    local expiry = a[11] ~= '' and x.now + time or time

    if not persistent and (tonumber(a[13]) or 0) > 0 then
        expiry = min(expiry, x.now + tonumber(a[13]))
    end

    -- eight fields: a ninth one would double the table

    local c = {
        kind = persistent and 'P' or 'L', id = a[1], oneway = a[3] == '1',
        expiry = expiry, expiry_text = made.dec(1, expiry), rid = '',
        number = 0, plain = plain or a[9] == '' and a[10] == ''
                                     and a[15] == '' and a[17] == ''
    }

    if config(x).events == 1 then
        err = wrong(x.p .. 'events', 'stream')

        if err then
            return err
        end
    end

    if expiry <= x.now then
        if persistent then
            return create_expired(x, c, a, x.device.tenant)
        end

        return { 'expired', c.id, 0, 0, x.now }
    end

    if capped then
        return { capped }
    end

    local word = create_place(x)

    if word == 'offline' and a[14] == 'reject' and not persistent then
        return { 'rejected' }
    end

    return create_new(x, c, a, word)
end


-- cancel --------------------------------------------------------------------

local function find_call(x, id, rid)
    if rid ~= '' then
        local c = open_call(x, rid)

        return c and c.id == id and c or nil
    end

    local all = call('HGETALL', x.inflight)

    for i = 1, #all, 2 do
        if find(all[i + 1], id, 1, true) == 4 then
            return open_call(x, all[i])
        end
    end
end


local function cancel(keys, a)
    local x, err = device_context(keys)

    if not x then
        return err
    end

    if not is_uuid(a[1]) then
        return bad('rpcId ' .. shown(a[1]) .. ' is not a UUID')
    end

    local rid = a[2] or ''

    if rid ~= '' and not int(rid, IDS) then
        return bad('requestId ' .. shown(rid) .. ' is not a number')
    end

    err = wrong_device(x)

    if err then
        return err
    end

    local key = x.p .. 'answer:' .. a[1]
    local text = call('GET', key)

    if text then
        call('DEL', key)
        return { 'answered', text }
    end

    local c = find_call(x, a[1], rid)

    -- a one-way call that was answered keeps its turn

    if not c or c.kind ~= 'L' or is_answered(c) then
        return { 'gone' }
    end

    local word = place(x, c)

    close(x, c)

    return { word }
end


-- reports of bridges --------------------------------------------------------

-- a claim moves nothing but the call

local function wrong_report(x, c, claim)
    local err = wrong(x.due, 'zset')

    if c.kind == 'L' then
        err = err or wrong(x.p .. 'answer:' .. c.id, 'string')
    end

    -- the end of a lightweight call may hand a persistent one to a poll

    if c.kind == 'P' or not claim then
        err = err or wrong(x.status, 'zset')
              or (config(x).events == 1 and wrong(x.p .. 'events', 'stream'))
    end

    if err or claim then
        return err
    end

    return wrong(x.p .. 'none', 'none', x.pending, 'list')
           or (device(x) and device(x).bridge and wrong(queue(x), 'list'))
end


-- what reports need of the record, or nil when it can't be used

function known.record(x, id)
    local v = read_record(x, id, 'c', 'e', 's', 'n', 'u')

    if v.err or not v[3] or not int(v[1]) or not int(v[2]) then
        return nil
    end

    return { created = v[1], expiry = v[2], retries = v[4] or nil,
             used = v[5] or nil }
end


-- the common beginning: x, the open call, its record; or what to return

local function report(keys, a, name, at)
    local x, err = device_context(keys)

    if not x then
        return nil, err
    end

    if not int(a[1], IDS) then
        return nil, bad('requestId ' .. shown(a[1]) .. ' is not a number')
    end

    local attempt

    if at and a[at] and a[at] ~= '' then
        attempt = int(a[at], 999999999)

        if not attempt then
            return nil, bad('attempt ' .. shown(a[at]) .. ' is not a number')
        end
    end

    local c = open_call(x, dec(tonumber(a[1])))

    -- it was pushed, and what is reported is about the latest push

    if not c or c.attempt == 0 or (attempt and attempt ~= c.attempt) then
        return nil, ignored(x, name)
    end

    device(x)
    config(x)

    local r = c.kind == 'P' and known.record(x, c.id) or nil

    -- without its record a call ends

    err = wrong_report(x, c, name == 'sent' and (r or c.kind == 'L'))

    if err then
        return nil, err
    end

    if c.kind == 'P' then
        if not r then
            drop_broken(x, c)
            return nil, ignored(x, name)
        end

        c.expiry = tonumber(r.expiry)
    end

    return x, c, r
end


local function sent(keys, a)
    if not a[2] or a[2] == '' then
        return bad('tb_rpc_sent needs requestId and attempt')
    end

    local claimer = a[3] or ''

    if #claimer > 256 then
        return bad('claimer is longer than 256 bytes')
    end

    local x, c, r = report(keys, a, 'sent', 2)

    if not x then
        return c
    end

    if c.expiry <= x.now then
        return ignored(x, 'sent')
    end

    if c.state == 's' and claimer ~= '' and c.rest == claimer then
        return 1
    end

    if c.state ~= 'q' then
        return ignored(x, 'sent')
    end

    store(x, c, 's', claimer)

    if c.kind == 'P' then
        set_status(x, c, r.created, SENT)
        due_within(x, c, config(x).ack_timeout)
        return 1
    end

    if c.oneway then
        answer(x, c, 'S')
        due(x, c, x.now + config(x).ack_timeout)

    elseif strategy(x) == 'ack' then
        due_within(x, c, config(x).ack_timeout)

    else
        due_within(x, c)
    end

    return 1
end


local function delivered_two_way(x, c, r)
    local how = strategy(x)
    local from = c.state

    store(x, c, 'd', '')
    take_back(x, c, from)

    if r then
        set_status(x, c, r.created, DELIVERED)
    end

    if how == 'response' then

        -- it had been taken back, and its turn with it

        if from == 'p' and not turn_taken(x) then
            take_turn(x, c.rid)
        end

        due_within(x, c, config(x).response_timeout)
        return
    end

    due_within(x, c)
    drop_turn(x, c.rid)
    release(x, RELEASE_NEXT)
end


local function delivered(keys, a)
    local x, c, r = report(keys, a, 'delivered', 2)

    if not x then
        return c
    end

    if c.state == 'd' then
        return ignored(x, 'delivered')
    end

    if not c.oneway then
        delivered_two_way(x, c, r)

    elseif r then
        finish(x, c, r.created, DELIVERED)

    else
        if not is_answered(c) then
            answer(x, c, 'S')
        end

        close(x, c)
    end

    return 1
end


local function timeout(keys, a)
    local x, c, r = report(keys, a, 'timeout', 2)

    if not x then
        return c
    end

    if c.state ~= 's' then
        return ignored(x, 'timeout')
    end

    ack_timeout(x, c, r)

    return 1
end


local function failed(keys, a)
    if not a[2] then
        return bad('tb_rpc_failed needs requestId and error text')
    end

    local x, c, r = report(keys, a, 'failed', 3)

    if not x then
        return c
    end

    local text = a[2] ~= '' and a[2] or '{"error":"failed"}'

    fail(x, c, r and r.created, sub(text, 1, config(x).max_response))

    return 1
end


local function respond(keys, a)
    local payload = a[2]

    if not payload then
        return bad('tb_rpc_respond needs requestId and payload')
    end

    -- given by a bridge that has cut the payload off

    local given = a[3] ~= '' and a[3]
    local size = given and int(given) or #payload

    if given and (not int(given) or size < #payload) then
        return bad('size ' .. shown(a[3]) .. ' is not that of the answer')
    end

    local x, c, r = report(keys, a, 'respond')

    if not x then
        return c
    end

    local max = config(x).max_response
    local large = size > max or size > #payload

    if r then
        if large then
            finish(x, c, r.created, FAILED, '{"error":"The response exceeds'
                   .. ' the limit of ' .. min(max, #payload) .. ' bytes"}')

        else
            finish(x, c, r.created, SUCCESSFUL, payload)
        end

        return 1
    end

    if not c.oneway then
        answer(x, c, large and 'L' or 'A', not large and payload or nil)

    elseif not is_answered(c) then
        answer(x, c, 'S')
    end

    close(x, c)

    return 1
end


-- sessions ------------------------------------------------------------------

local function wrong_session(x)
    local d = device(x)

    return wrong_device(x) or (d and d.bridge and wrong(queue(x), 'list'))
end


local function attach(keys, a)
    local x, err = device_context(keys)

    if not x then
        return err
    end

    local bridge, session, ttl = a[1] or '', a[2] or '', int(a[3])

    if #bridge > 64 or not find(bridge, BRIDGE) then
        return bad('bridge ' .. shown(bridge)
                   .. ' is not 1..64 of A-Z a-z 0-9 . _ : @ -')
    end

    if session == '' or #session > 256 then
        return bad('session is not 1..256 bytes')
    end

    if not ttl or ttl == 0 then
        return bad('ttl ' .. shown(a[3]) .. ' is not a number of ms')
    end

    local d = session_device(x)

    if not d then
        return bad('device ' .. x.id .. ' is unknown')
    end

    if session == d.prev and session ~= d.session then
        stat(x, 'superseded')
        return -1
    end

    local till = dec(x.now + ttl)

    -- a heartbeat, nearly always; the key of another type is written first

    if session == d.session and bridge == d.bridge and not d.wait then
        arm(x, x.now + ttl)
        call('HSET', x.key, 'until', till)
        return 0
    end

    err = wrong_session(x) or wrong(x.p .. 'queue:' .. bridge, 'list')

    if err then
        return err
    end

    if session ~= d.session or bridge ~= d.bridge then

        if d.session and d.session ~= session then
            call('HSET', x.key, 'prev', d.session)
        end

        move_out(x)
        call('HSET', x.key, 'bridge', bridge, 'session', session)
        d.bridge, d.session = bridge, session
    end

    call('HSET', x.key, 'until', till)
    d.till = till
    arm(x, x.now + ttl)

    return release(x, RELEASE)
end


local function detach(keys, a)
    local x, err = device_context(keys)

    if not x then
        return err
    end

    if not a[1] or a[1] == '' or #a[1] > 256 then
        return bad('session is not 1..256 bytes')
    end

    err = wrong_session(x)

    if err then
        return err
    end

    local d = session_device(x)

    if not d or d.session ~= a[1] then
        return ignored(x, 'detach')
    end

    leave(x)

    return 1
end


function polls.arguments(keys, a)
    local x, err = device_context(keys)

    if not x then
        return nil, err
    end

    if #(a[1] or '') > 64 or not find(a[1] or '', '^[%w%.%_:%-]+$') then
        return nil, bad('worker ' .. shown(a[1]) .. ' is not a worker name')
    end

    if not int(a[2], 999999999999999) then
        return nil, bad('session ' .. shown(a[2]) .. ' is not a number')
    end

    err = wrong_session(x)

    if err then
        return nil, err
    end

    return x
end


function polls.poll(keys, a)
    local ttl = int(a[3])

    if not ttl or ttl == 0 then
        return bad('ttl ' .. shown(a[3]) .. ' is not a number of ms')
    end

    local x, err = polls.arguments(keys, a)

    if not x then
        return err
    end

    if not device(x) then
        return { 'unknown' }
    end

    local worker, session = polls.open(x)

    if worker and (worker ~= a[1] or session ~= a[2]) then
        polls.tell(x, worker, 'E' .. session)
    end

    local c, item = polls.unconfirmed(x, a[4] == '1')

    if not c then
        c, item = polls.next(x)

        if c then
            call('LPOP', x.pending)
        end
    end

    if c then
        polls.close(x)
        polls.claim(x, c)

        return { 'call', tonumber(c.rid), c.attempt, item }
    end

    x.device.poll = a[1] .. ' ' .. a[2] .. ' ' .. dec(x.now + ttl)
    call('HSET', x.key, 'poll', x.device.poll)
    arm(x, x.now + ttl)

    return { 'wait' }
end


function polls.unpoll(keys, a)
    local x, err = polls.arguments(keys, a)

    if not x then
        return err
    end

    local worker, session = polls.open(x)

    if worker ~= a[1] or session ~= a[2] then
        return 0
    end

    polls.close(x)

    -- a bridge was the second choice

    release(x, RELEASE)

    return 1
end


-- it was handed to a poll and did not reach the device: no retry is used

function polls.give_back(keys, a)
    if not a[2] or a[2] == '' then
        return bad('tb_rpc_return needs requestId and attempt')
    end

    local x, c = report(keys, a, 'return', 2)

    if not x then
        return c
    end

    if c.state ~= 'h' then
        return ignored(x, 'return')
    end

    wait_one(x, c)
    release(x, RELEASE_NEXT)

    return 1
end


-- provisioning --------------------------------------------------------------

local function crc32(s)
    local c = bnot(0)

    for i = 1, #s do
        c = bxor(rshift(c, 8), CRC[band(bxor(c, byte(s, i)), 255)])
    end

    return bnot(c) % 4294967296
end


local function device_error(x, tenant, customer, fields)
    if not is_uuid(x.id) or x.id ~= lower(x.id) then
        return 'device id ' .. shown(x.id) .. ' is not a lower-case UUID'
    end

    if not is_uuid(tenant) then
        return 'tenantId ' .. shown(tenant) .. ' is not a UUID'
    end

    if customer ~= '' and not is_uuid(customer) then
        return 'customerId ' .. shown(customer) .. ' is not a UUID'
    end

    for name, value in pairs(fields) do
        if name == 'name' then
            if #value > 255 then
                return 'name is longer than 255 bytes'
            end

        elseif name == 'strategy' then
            if value ~= '' and not STRATEGY[value] then
                return 'strategy ' .. shown(value) .. ' is not burst,'
                       .. ' sequential_on_ack or sequential_on_response'
            end

        elseif name ~= 'bridge' then
            return 'field ' .. shown(name)
                   .. ' is not name, strategy or bridge'

        elseif value ~= '' and (#value > 64 or not find(value, BRIDGE)) then
            return 'bridge ' .. shown(value)
                   .. ' is not 1..64 of A-Z a-z 0-9 . _ : @ -'
        end
    end

    local shards = config(x).shards
    local shard = tonumber(match(x.p, '{s(%d+)}:$'))

    if shards > 0 and shard ~= crc32(x.id) % shards then
        return 'device ' .. x.id .. ' belongs to shard '
               .. crc32(x.id) % shards .. ' of ' .. shards .. ', not to '
               .. shard
    end
end


-- a static route holds while no session is attached

local function set_route(x, bridge)
    local d = session_device(x)

    if bridge == (d.route or '') then
        return
    end

    if not d.session then
        move_out(x)
    end

    if bridge == '' then
        call('HDEL', x.key, 'route')
        d.route = false

        if not d.session then
            call('HDEL', x.key, 'bridge', 'until')
            d.bridge, d.till = false, false
        end

        return
    end

    call('HSET', x.key, 'route', bridge)
    d.route = bridge

    if not d.session then
        call('HSET', x.key, 'bridge', bridge, 'until', '-1')
        d.bridge, d.till = bridge, '-1'
    end
end


local function device_put(keys, a)
    local x, err = device_context(keys)

    if not x then
        return err
    end

    if #a < 2 or #a % 2 ~= 0 then
        return bad('tb_rpc_device_put needs tenantId, customerId or "", and'
                   .. ' pairs of field and value')
    end

    local tenant, customer = lower(a[1]), lower(a[2])
    local fields = {}

    for i = 3, #a, 2 do
        fields[a[i]] = a[i + 1]
    end

    if customer == NO_CUSTOMER then
        customer = ''
    end

    err = device_error(x, tenant, customer, fields)

    if err then
        return bad(err)
    end

    err = wrong_session(x)
          or (fields.bridge and wrong(x.p .. 'queue:' .. fields.bridge,
                                      'list'))

    if err then
        return err
    end

    local d = device(x)

    if (not d or d.tenant ~= tenant)
       and (call('ZCARD', x.index) > 0
            or call('HLEN', x.inflight) > 0)
       and (d or call('ZCARD', x.index) > 0)
    then
        local id = call('ZRANGE', x.index, 0, 0)[1]
        local owner = d and d.tenant or (record(x, id or '') or {}).tenant

        if owner ~= tenant then
            return bad('device ' .. x.id .. ' has records or open calls of'
                       .. ' another tenant')
        end
    end

    call('HSET', x.key, 'tenantId', tenant, 'customerId', customer)

    for name, value in pairs(fields) do
        if name ~= 'bridge' then
            if value == '' then
                call('HDEL', x.key, name)

            else
                call('HSET', x.key, name, value)
            end
        end
    end

    x.device = UNREAD

    if fields.bridge then
        set_route(x, fields.bridge)
    end

    release(x, RELEASE)

    return 1
end


local function device_del(keys)
    local x, err = device_context(keys)

    if not x then
        return err
    end

    err = wrong_session(x)

    if err then
        return err
    end

    local d = device(x)
    local all = call('HGETALL', x.inflight)

    for i = 1, #all, 2 do
        local c = parse(all[i], all[i + 1])

        if c and c.kind == 'L' then
            call('ZREM', x.due, x.id .. '/' .. c.rid)

            if not is_answered(c) then
                answer(x, c, 'D')
            end

        elseif c then
            local r = record(x, c.id)

            if r then
                set_status(x, c, r.created, FAILED,
                           '{"error":"The device was deleted."}')
                keep_record(x, c.id)

            else
                call('ZREM', x.due, c.id)
            end
        end
    end

    local worker, session = polls.open(x)

    if worker then
        polls.tell(x, worker, 'E' .. session)
    end

    call('DEL', x.key, x.inflight, x.pending)
    call('ZREM', x.due, '@' .. x.id)

    if d and d.bridge then
        trim(x, x.p .. 'queue:' .. d.bridge)
    end

    return d and 1 or 0
end


local function api_key(keys)
    if #keys ~= 1 or not find(keys[1], '^.-apikey:%x+$')
    then
        return bad('1 key is needed, <prefix>apikey:<sha256 hex>')
    end
end


local function api_key_put(keys, a)
    local err = api_key(keys)

    if err then
        return err
    end

    if #a < 6 then
        return bad('tb_rpc_api_key_put needs 6 arguments, not ' .. #a)
    end

    if not is_uuid(a[1]) or (a[2] ~= '' and not is_uuid(a[2])) then
        return bad('tenantId or customerId is not a UUID')
    end

    if #a[3] > 255 or find(a[3], '%c') then
        return bad('userId is longer than 255 bytes or not printable')
    end

    if a[4] ~= 'TENANT_ADMIN' and a[4] ~= 'CUSTOMER_USER'
       and a[4] ~= 'SYS_ADMIN'
    then
        return bad('authority ' .. shown(a[4]) .. ' is not TENANT_ADMIN,'
                   .. ' CUSTOMER_USER or SYS_ADMIN')
    end

    if (a[5] ~= '0' and a[5] ~= '1') or not int(a[6]) then
        return bad('enabled is 0 or 1, expirationTime ms or 0')
    end

    call('HSET', keys[1], 'tenantId', lower(a[1]), 'customerId', lower(a[2]),
         'userId', a[3], 'authority', a[4], 'enabled', a[5],
         'expirationTime', dec(int(a[6])))

    return 1
end


local function api_key_del(keys)
    return api_key(keys) or call('DEL', keys[1])
end


local function config_text(a)
    local given = {}

    for i = 2, #a, 2 do
        local name, value = a[i], a[i + 1]

        if not DEFAULTS[name] then
            return nil, 'setting ' .. shown(name) .. ' is unknown'
        end

        if name == 'strategy' then
            if not STRATEGY[value] then
                return nil, 'strategy ' .. shown(value) .. ' is unknown'
            end

        else
            local n = int(value, SETTING_MAX[name])

            if not n then
                return nil, name .. ' ' .. shown(value) .. ' is not a number'
                            .. ' in its range'
            end

            value = dec(n)
        end

        given[name] = value
    end

    local text = {}

    for i = 1, #SETTINGS do
        local name = SETTINGS[i]

        if given[name] then
            text[#text + 1] = name .. '=' .. given[name]
        end
    end

    return concat(text, ' ')
end


local function set_config(keys, a)
    local prefix = #keys == 1 and match(keys[1], '^(.-{s%d+}:)config$')

    if not prefix then
        return bad('1 key is needed, <prefix>{s<n>}:config')
    end

    local stamp = int(a[1])

    if not stamp or #a % 2 ~= 1 then
        return bad('tb_rpc_config needs a stamp and pairs of setting and'
                   .. ' value')
    end

    local text, err = config_text(a)

    if not text then
        return bad(err)
    end

    local v = call('HMGET', keys[1], 'stamp', 'settings')
    local stored = int(v[1] or nil) or 0

    if v[2] ~= text and stored > stamp then
        return { 0, stored }
    end

    if v[2] ~= text or stored < stamp then
        call('HSET', keys[1], 'stamp', dec(stamp), 'settings', text)
        known.shards[prefix] = nil
    end

    return { 1 }
end


-- records -------------------------------------------------------------------

local function get(keys, a)
    local prefix, id = record_key(keys)

    if not prefix then
        return id
    end

    local r = call('HGETALL', keys[1])
    local tenant, dev

    for i = 1, #r, 2 do
        if r[i] == 't' then
            tenant = r[i + 1]

        elseif r[i] == 'd' then
            dev = r[i + 1]
        end
    end

    if not tenant or not dev then
        return { 'unknown' }
    end

    if tenant ~= lower(a[1] or '') then
        return { 'tenant' }
    end

    if a[2] ~= '*' then
        local customer = call('HGET', prefix .. 'device:' .. dev,
                              'customerId')

        if not customer or customer == '' or customer ~= lower(a[2] or '')
        then
            return { 'customer' }
        end
    end

    insert(r, 1, 'ok')

    return r
end


-- strings are compared in the server's locale, hex digits are in order in any

local function ordered(text)
    return BYTES and text or (gsub(text, '.', HEX))
end


-- all ids, sorted by what has no index; ties by rpcId, missing last

local function sorted(prefix, ids, property, desc)
    local value, bytes = {}, 0
    local first = property == 'expirationTime' and 'e'
                  or property == 'response' and 'R' or 'm'

    for i = 1, #ids do
        local v = pcall_redis('HMGET', prefix .. 'rpc:' .. ids[i], first, 'p')

        if v.err or not v[1] then
            value[ids[i]] = nil

        elseif first == 'e' then
            value[ids[i]] = tonumber(v[1])

        elseif first == 'm' then
            value[ids[i]] = v[1] .. '\0' .. (v[2] or '')

        else
            value[ids[i]] = v[1]
        end

        local text = value[ids[i]]

        if type(text) == 'string' then
            bytes = bytes + #text

            if bytes > SORT_BYTES then
                return nil
            end

            value[ids[i]] = ordered(text)
        end
    end

    sort(ids, function(a, b)
        local v, w = value[a], value[b]

        if v == w then
            return a < b
        end

        if v == nil or w == nil then
            return w == nil
        end

        if desc then
            return v > w
        end

        return v < w
    end)

    return ids
end


-- A page is cut from a source: the records by createdTime, all or those of one
-- status, with ranks from 0, the oldest one.
--
-- A record that is QUEUED is not in the index of statuses: that is one write
-- less for each call, and for most of them the next one comes in the same ms.
-- What is QUEUED is what the index of all records has more.  It is counted by
-- subtraction, between any two moments, and found by halving what lies between
-- them; nearly always it is the youngest records, where the first look goes.

local pages = {
    LEAF = 64,                  -- records looked at one by one
    QUEUED = 128,               -- QUEUED records of one reply
    NAMES = { DELIVERED, EXPIRED, FAILED, QUEUED, SENT, SUCCESSFUL, TIMEOUT }
}


function pages.source(x, status)
    local s = { index = x.index, status = x.status, key = x.index, base = 0 }

    if status and status ~= QUEUED then
        s.key = x.status
        s.base = call('ZCOUNT', s.key, '-inf', '(' .. dec(status * BAND))
        s.total = call('ZCOUNT', s.key, dec(status * BAND),
                       '(' .. dec((status + 1) * BAND))
        return s
    end

    s.total = call('ZCARD', s.key)

    if status == QUEUED then
        s.all = s.total

        -- what was made before version 4 is there with the code 0

        s.total = max_of(s.all - call('ZCOUNT', s.status, dec(BAND), '+inf'),
                         0)
    end

    return s
end


-- how many of the source are older than the score, or as old if "bound" is ''

function pages.older(s, score, bound)
    local n = call('ZCOUNT', s.key, '-inf', bound .. score) - s.base

    if s.all then
        for code = SENT, FAILED do
            local from = code * BAND

            n = n - call('ZCOUNT', s.status, dec(from),
                         bound .. dec(from + tonumber(score)))
        end
    end

    return n
end


-- the records between two scores that are not QUEUED

function pages.others(s, first, last)
    local others = {}

    for code = SENT, FAILED do
        local from = code * BAND
        local ids = call('ZRANGEBYSCORE', s.status,
                         dec(from + tonumber(first or 0)),
                         dec(from + tonumber(last or 0)))

        for i = 1, #ids do
            others[ids[i]] = true
        end
    end

    return others
end


-- w: the ranks that are wanted, and the members found, with their scores.  The
-- QUEUED ones among the ranks from lo to hi - 1 of the index of all records are
-- counted from "queued" on.

function pages.leaf(s, w, lo, hi, queued)
    for from = lo, hi - 1, pages.LEAF do
        local v = call('ZRANGE', s.index, from,
                       min(from + pages.LEAF, hi) - 1, 'WITHSCORES')
        local others = pages.others(s, v[2], v[#v])

        for i = 1, #v, 2 do
            if not others[v[i]] then
                if queued >= w.first and queued <= w.last then
                    w[#w + 1], w[#w + 2] = v[i], v[i + 1]
                end

                queued = queued + 1
            end
        end
    end
end


-- "till": how many are QUEUED before the rank hi; mid: where to look first.  lo
-- and hi never part the records of one ms: a count can't tell them apart.

function pages.walk(s, w, lo, hi, queued, till, mid)
    if queued >= till or till <= w.first or queued > w.last then
        return
    end

    if till - queued == hi - lo then
        local v = call('ZRANGE', s.index, lo + max_of(w.first - queued, 0),
                       lo + min(w.last + 1, till) - queued - 1, 'WITHSCORES')

        for i = 1, #v do
            w[#w + 1] = v[i]
        end

        return
    end

    if hi - lo <= pages.LEAF then
        pages.leaf(s, w, lo, hi, queued)
        return
    end

    mid = mid or floor((lo + hi) / 2)

    local score = call('ZRANGE', s.index, mid, mid, 'WITHSCORES')[2]
    local a = call('ZCOUNT', s.index, '-inf', '(' .. score)
    local b = a < mid and call('ZCOUNT', s.index, '-inf', score) or mid

    if a == lo and b == hi then
        pages.leaf(s, w, lo, hi, queued)
        return
    end

    local before = a > lo and pages.older(s, score, '(') or queued
    local upto = b == hi and till or b > mid and pages.older(s, score, '')
                 or before

    pages.walk(s, w, lo, a, queued, before)
    pages.walk(s, w, a, b, before, upto)
    pages.walk(s, w, b, hi, upto, till)
end


-- members and scores, the oldest one first

function pages.range(s, first, last)
    if not s.all then
        return call('ZRANGE', s.key, s.base + first, s.base + last,
                    'WITHSCORES')
    end

    local w = { first = first, last = last }

    pages.walk(s, w, 0, s.all, 0, s.total, s.all - s.total)

    return w
end


function pages.oldest(s, first, last)
    if not s.all then
        return call('ZRANGE', s.key, s.base + first, s.base + last)
    end

    local v = pages.range(s, first, last)
    local ids = {}

    for i = 1, #v, 2 do
        ids[#ids + 1] = v[i]
    end

    return ids
end


-- All that are QUEUED, in no order, from the open calls: to find thousands that
-- lie scattered takes too long.  nil when these are not all.

function pages.open(x, s)
    if call('HLEN', x.inflight) > SORT_RECORDS then
        return nil
    end

    local all = call('HGETALL', x.inflight)
    local ids = {}

    for i = 2, #all, 2 do
        local id = match(all[i], '^P[pq][01]([%x%-]+) ')
        local status = id and pcall_redis('HGET', x.rpc .. id, 's')

        if status == '0' then
            ids[#ids + 1] = id
        end
    end

    return #ids == s.total and ids or nil
end


-- Newest first, but the records of one ms in the order of their rpcIds:
-- ranks are exact, so only the groups at both ends of the page are looked up.

function pages.newest(s, first, last)
    local v = pages.range(s, s.total - 1 - last, s.total - 1 - first)
    local ids = {}
    local i = #v - 1

    while i > 0 do
        local score, j = v[i + 1], i

        while v[j - 1] == score do
            j = j - 2
        end

        if i == #v - 1 or j == 1 then
            local above = s.total - pages.older(s, score, '')
            local rank = pages.older(s, score, '(') + first
                         + (#v - 1 - i) / 2 - above

            for _, id in ipairs(pages.oldest(s, rank, rank + (i - j) / 2)) do
                ids[#ids + 1] = id
            end

        else
            for k = j, i, 2 do
                ids[#ids + 1] = v[k]
            end
        end

        i = j - 2
    end

    return ids
end


-- By the names of the statuses, the records of each the oldest first: one
-- source after the other, so that a page costs the same at any depth.

function pages.by_status(x, desc, offset, count)
    local ids, total = {}, 0

    for i = 1, #pages.NAMES do
        local s = pages.source(x, pages.NAMES[desc and #pages.NAMES + 1 - i
                                              or i])
        local first = max_of(offset - total, 0)

        -- to find those that lie scattered takes long: the page ends with them

        if s.all and s.total - first > pages.QUEUED then
            count = min(count, #ids + pages.QUEUED)
        end

        local last = min(first + count - #ids, s.total) - 1

        if first <= last then
            for _, id in ipairs(pages.oldest(s, first, last)) do
                ids[#ids + 1] = id
            end
        end

        total = total + s.total
    end

    return ids, total
end


-- ids of a page, and the total

local function page(x, status, property, desc, offset, count)
    if property == 'status' then
        if not status then
            return pages.by_status(x, desc, offset, count)
        end

        property, desc = 'createdTime', false
    end

    local s = pages.source(x, status)
    local total = s.total

    if offset >= total or count == 0 then
        return {}, total
    end

    if property ~= 'createdTime' then
        if total > SORT_RECORDS then
            return nil, total
        end

        local ids = s.all and pages.open(x, s)
                    or pages.oldest(s, 0, total - 1)

        ids = sorted(x.p, ids, property, desc)

        if not ids then
            return nil, total
        end

        return { unpack(ids, offset + 1, min(offset + count, total)) }, total
    end

    -- to find those that lie scattered takes long

    if s.all then
        count = min(count, pages.QUEUED)
    end

    local last = min(offset + count, total) - 1

    if desc then
        return pages.newest(s, offset, last), total
    end

    return pages.oldest(s, offset, last), total
end


local function list_error(a, status)
    if #a < 7 then
        return 'tb_rpc_list needs 7 arguments, not ' .. #a
    end

    if a[3] ~= '' and not STATUS[status or -1] then
        return 'status ' .. shown(a[3]) .. ' is unknown'
    end

    if a[4] ~= 'createdTime' and a[4] ~= 'expirationTime'
       and a[4] ~= 'request' and a[4] ~= 'response' and a[4] ~= 'status'
    then
        return 'property ' .. shown(a[4]) .. ' can\'t be sorted by'
    end

    if a[5] ~= 'asc' and a[5] ~= 'desc' then
        return 'order is asc or desc'
    end

    if not int(a[6]) or not int(a[7]) or (a[8] and not int(a[8])) then
        return 'offset, count or maxbytes is not a number'
    end
end


local function list(keys, a)
    local x, err = device_context(keys)

    if not x then
        return err
    end

    local status = tonumber(a[3])

    for code, name in pairs(STATUS) do
        if a[3] == name then
            status = code
        end
    end

    err = list_error(a, status)

    if err then
        return bad(err)
    end

    local d = device(x)

    if not d or d.tenant ~= lower(a[1]) then
        return { 'unknown' }
    end

    if a[2] ~= '*' and (a[2] == '' or d.customer ~= lower(a[2])) then
        return { 'customer' }
    end

    -- no page is larger than what a reply may carry

    local bytes, left = 0, int(a[8] or '') or LIST_BYTES
    local ids, total = page(x, a[3] ~= '' and status or nil, a[4],
                            a[5] == 'desc', int(a[6]),
                            min(int(a[7]), 4096))

    if not ids then
        return { 'toomany', total }
    end

    local out, n = { 'ok', total, 0 }, 3

    for i = 1, #ids do
        local r = pcall_redis('HGETALL', x.rpc .. ids[i])

        for k = 1, #r do
            bytes = bytes + #r[k]
        end

        if bytes > left and out[3] > 0 then
            break
        end

        out[n + 1], out[n + 2] = #r, ids[i]
        n = n + 2

        for k = 1, #r do
            n = n + 1
            out[n] = r[k]
        end

        out[3] = out[3] + 1
    end

    return out
end


local function purge(x, id)
    local key = x.rpc .. id
    local uuid = call('HGET', key, 'q')

    call('DEL', key)
    call('ZREM', x.index, id)
    call('ZREM', x.status, id)
    call('ZREM', x.due, id)

    if uuid and call('TYPE', x.p .. 'uuid:' .. uuid).ok == 'string'
       and sub(call('GET', x.p .. 'uuid:' .. uuid) or '', 1, 36) == id
    then
        call('DEL', x.p .. 'uuid:' .. uuid)
    end
end


local function delete(keys, a)
    local prefix, id = record_key(keys)

    if not prefix then
        return id
    end

    local v = call('HMGET', keys[1], 't', 'd', 'i')

    if not v[1] or not v[2] then
        return { 'unknown' }
    end

    if v[1] ~= lower(a[1] or '') then
        return { 'tenant' }
    end

    local x = context(prefix, v[2], clock())
    local err = wrong_session(x)

    if err then
        return err
    end

    local c = open_call(x, v[3] or '')

    event(x, id, 'DELETED')
    purge(x, id)

    if c and c.id == id then
        close(x, c)
    end

    return { 'ok' }
end


-- whose call it is counts: in another shard another tenant may have used it

local function find_uuid(keys, a)
    local prefix = #keys == 1 and match(keys[1], '^(.-{s%d+}:)uuid:')

    if not prefix then
        return bad('1 key is needed, <prefix>{s<n>}:uuid:<requestUUID>')
    end

    local v = call('GET', keys[1])

    if not v or not is_uuid(sub(v, 1, 36)) then
        return { 'unknown' }
    end

    if a[1] and call('HGET', prefix .. 'rpc:' .. sub(v, 1, 36), 't')
                ~= lower(a[1])
    then
        return { 'unknown' }
    end

    return { 'ok', sub(v, 1, 36) }
end


-- tick ----------------------------------------------------------------------

-- A call that is not claimed was popped if and only if the queue is empty, or
-- its head was pushed later.

local function is_lost(x, c)
    local d = device(x)

    if not d or not d.bridge then
        return true
    end

    local key = queue(x)
    local head = heads[key]

    if head == nil then
        local item = call('LINDEX', key, 0)

        head = item and (queued_time(item) or 0)
        heads[key] = head
    end

    return not head or head > c.time
end


local function tick_queued(x, c)
    if is_lost(x, c) then
        stat(x, 'lost_claims')
        push_again(x, c)
        return
    end

    due_within(x, c, config(x).ack_timeout)
end


local function tick_session(x)
    local d = session_device(x)

    call('ZREM', x.due, '@' .. x.id)

    if not d then
        return
    end

    polls.lapse(x)
    polls.arm(x)

    if d.session and not is_online(d.bridge, d.till, x.now) then
        stat(x, 'lapsed')
        leave(x)
        return
    end

    if d.session then
        arm(x, tonumber(d.till))
    end

    release(x, RELEASE)
end


-- Has the turn too long; the caller goes on waiting for the answer.  Under
-- another strategy than at its push the calls behind it may be free to go.

local function tick_turn(x, c, how, ms)
    local d = device(x)

    if not d or d.turn ~= c.rid then
        due_within(x, c)
        return
    end

    if x.now < c.time + ms then
        due_within(x, c, c.time + ms - x.now)
        return
    end

    if strategy(x) == how then
        store(x, c, 'x')
        drop_turn(x, c.rid)

    elseif c.state == 'd' then
        drop_turn(x, c.rid)
    end

    due_within(x, c)
    release(x, RELEASE_NEXT)
end


local function tick_light(x, rid, member)
    local c = open_call(x, rid)

    if not c or c.kind ~= 'L' then
        call('ZREM', x.due, member)
        return
    end

    local set = config(x)

    if c.oneway and is_answered(c) then
        if x.now >= c.time + set.ack_timeout then
            close(x, c)

        else
            due(x, c, c.time + set.ack_timeout)
        end

    elseif x.now >= c.expiry + GRACE then
        answer(x, c, 'X', place(x, c))
        close(x, c)

    elseif c.state == 'q' and x.now < c.expiry then
        tick_queued(x, c)

    elseif c.state == 'h' and x.now < c.expiry then
        polls.check(x, c)

    elseif c.state == 's' then
        tick_turn(x, c, 'ack', set.ack_timeout)

    elseif c.state == 'd' then
        tick_turn(x, c, 'response', set.response_timeout)

    else
        due_within(x, c)
    end
end


-- no open call goes with this record

local function tick_record(x, id, r)
    if r.status ~= QUEUED and r.status ~= SENT and r.status ~= TIMEOUT
       and (r.status ~= DELIVERED or r.oneway)
    then
        purge(x, id)
        return
    end

    stat(x, 'broken')
    set_status(x, { id = id }, r.created, FAILED,
               '{"error":"The call was lost."}')
    keep_record(x, id)
end


local function tick_persistent(prefix, id, now)
    local r = record({ rpc = prefix .. 'rpc:' }, id)

    if not r or not is_uuid(r.device) then
        local v = call('HMGET', prefix .. 'rpc:' .. id, 'd', 'i')
        local x = context(prefix, v[1] or '', now)
        local c = v[2] and open_call(x, v[2])

        purge(x, id)

        if c and c.id == id then
            drop_broken(x, c)
        end

        return
    end

    local x = context(prefix, r.device, now)
    local c = r.rid and open_call(x, r.rid)

    if not c or c.id ~= id then
        tick_record(x, id, r)
        return
    end

    local set = config(x)

    c.expiry = tonumber(r.expiry)

    if now >= c.expiry then
        finish(x, c, r.created, EXPIRED)

    elseif c.state == 'q' then
        tick_queued(x, c)

    elseif c.state == 'h' then
        polls.check(x, c)

    elseif c.state == 's' then
        if now >= c.time + set.ack_timeout then
            ack_timeout(x, c, r)

        else
            due_within(x, c, c.time + set.ack_timeout - now)
        end

    elseif c.state == 'd' and strategy(x) == 'response' then
        if now >= c.time + set.response_timeout then
            finish(x, c, r.created, FAILED, '{"error":"There was a timeout'
                   .. ' awaiting for RPC response from device."}')

        else
            due_within(x, c, c.time + set.response_timeout - now)
        end

    elseif c.state == 'd' then
        tick_turn(x, c, 'response', set.response_timeout)

    else
        due_within(x, c)
    end
end


local function tick_one(prefix, member, now)
    local id = match(member, '^@([%x%-]+)$')

    if id then
        tick_session(context(prefix, id, now))
        return
    end

    local dev, rid = match(member, '^([%x%-]+)/(%d+)$')

    if dev then
        tick_light(context(prefix, dev, now), rid, member)

    elseif is_uuid(member) then
        tick_persistent(prefix, member, now)

    else
        call('ZREM', prefix .. 'due', member)
    end
end


local function tick_next(key, now)
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')

    if #first == 0 then
        return 1000
    end

    return max_of(min(tonumber(first[2]) - now, 1000), 0)
end


local function tick(keys, a)
    local prefix = #keys == 1 and match(keys[1], '^(.-{s%d+}:)due$')
    local max = int(a[1], 100000)

    if not prefix then
        return bad('1 key is needed, <prefix>{s<n>}:due')
    end

    if not max or max == 0 then
        return bad('max ' .. shown(a[1]) .. ' is not a number of calls')
    end

    local now = clock()
    local ms = tick_next(keys[1], now)

    if ms > 0 then
        return { 0, ceil(ms) }
    end

    local lock = prefix .. 'ticklock'

    if not call('SET', lock, '1', 'NX', 'PX', TICK_LOCK) then
        return { 0, TICK_LOCK }
    end

    local list = call('ZRANGEBYSCORE', keys[1], '-inf', dec(now), 'LIMIT', 0,
                      max)

    heads = {}

    for i = 1, #list do
        local ok = pcall(tick_one, prefix, list[i], now)

        -- what can't be handled must not come again at once, for ever

        if not ok then
            call('ZADD', keys[1], 'XX', dec(now + BROKEN), list[i])
            pcall_redis('HINCRBY', prefix .. 'stats', 'broken', 1)
        end
    end

    heads = nil

    ms = tick_next(keys[1], now)

    if ms == 0 then
        call('DEL', lock)
    end

    return { #list, ceil(ms) }
end


local function version()
    return VERSION
end


-- registration --------------------------------------------------------------

local function setup()
    call, pcall_redis, error_reply = redis.call, redis.pcall, redis.error_reply

    sub, gsub, find, match = string.sub, string.gsub, string.find, string.match
    polls.gmatch = string.gmatch
    lower, byte = string.lower, string.byte
    floor, ceil, min, max_of = math.floor, math.ceil, math.min, math.max
    concat, insert, remove = table.concat, table.insert, table.remove
    sort = table.sort
    band, bxor, bnot, rshift = bit.band, bit.bxor, bit.bnot, bit.rshift
    tonumber, type, select, unpack = _G.tonumber, _G.type, _G.select, _G.unpack
    pairs, ipairs, pcall = _G.pairs, _G.ipairs, _G.pcall

    CRC, HEX = {}, {}

    for i = 0, 255 do
        local c = i

        for _ = 1, 8 do
            local odd = band(c, 1) == 1

            c = rshift(c, 1)
            c = odd and bxor(c, 0xEDB88320) or c
        end

        CRC[i] = c
        HEX[string.char(i)] = string.format('%02x', i)
    end

    BYTES = 'B' < 'a' and 'Z' < '_' and '_' < 'a' and 'z' < '\195'

    fmt = string.format
end


local function register(name, callback, flag)
    redis.register_function{
        function_name = 'tb_rpc_' .. name,
        callback = function(keys, args)
            if not fmt then
                setup()
            end

            heads = nil

            return callback(keys, args)
        end,
        flags = flag and { flag } or {}
    }
end


register('version', version, 'no-writes')
register('get', get, 'no-writes')
register('list', list, 'no-writes')
register('uuid', find_uuid, 'no-writes')

register('create', create)
register('attach', attach)
register('device_put', device_put)
register('api_key_put', api_key_put)

register('config', set_config, 'allow-oom')
register('cancel', cancel, 'allow-oom')
register('delete', delete, 'allow-oom')
register('device_del', device_del, 'allow-oom')
register('api_key_del', api_key_del, 'allow-oom')
register('detach', detach, 'allow-oom')
register('sent', sent, 'allow-oom')
register('delivered', delivered, 'allow-oom')
register('timeout', timeout, 'allow-oom')
register('failed', failed, 'allow-oom')
register('respond', respond, 'allow-oom')
register('tick', tick, 'allow-oom')
register('poll', polls.poll, 'allow-oom')
register('unpoll', polls.unpoll, 'allow-oom')
register('return', polls.give_back, 'allow-oom')
