-- tb_rpc_take: a bridge takes calls out of its queue.
--
-- tb:{s}:taken:<claimer> keeps the last batch, a ticket and references, so that
-- a bridge that has got no reply asks for the same once more.  A batch is in
-- nobody's hands at no time: it is claimed when it leaves the queue.

local call, pcall_redis = redis.call, redis.pcall
local gmatch, match, find = string.gmatch, string.match, string.find
local max_of = math.max
local concat = table.concat
local pcall, type = pcall, type

local BRIDGE = use('const', 'BRIDGE')
local bad, int, dec, short, shown =
    use('text', 'bad', 'int', 'dec', 'short', 'shown')
local clock = use('clock', 'clock')
local config = use('settings', 'config')
local context_of, moving, wrong, stat =
    use('context', 'context_of', 'moving', 'wrong', 'stat')
local open_call = use('call', 'open_call')
local envelope_of = use('envelope', 'envelope_of')
local referred, is_meant = use('queue', 'referred', 'is_meant')
local action = use('machine', 'action')


local LOOK = 16                 -- references looked at, at least
local BYTES = 262144            -- envelopes of a batch, if it is more than one
local KEPT = 60000              -- ms a batch is kept, at least


-- The call of a reference, in this state, and its envelope; nothing when it is
-- stale, has expired or is broken.

local function look(t, text)
    local rid, attempt, id, dev = referred(text)

    if not rid then
        return
    end

    local x = context_of(t.p, dev, t.now, t.time)
    local c = open_call(x, rid)

    if is_meant(c, t.state, attempt, id) then
        return x, c, envelope_of(x, c, attempt, c.queued)
    end
end


-- puts the good ones of these references into the batch; how many of them were
-- looked at

local function gather(t, list)
    local bytes = 0

    for i = 1, #list do
        if #t == t.max then
            return i - 1
        end

        local ok, x, c, item = pcall(look, t, list[i])

        if ok and item then
            bytes = bytes + #item

            if bytes > BYTES and #t > 0 then
                return i - 1
            end

            t[#t + 1] = { text = list[i], x = x, c = c, item = item }
        end
    end

    return #list
end


-- The reply, and the batch as it is kept.  One call that can't be claimed does
-- not stop the others.

local function claim(t, event)
    local reply, kept = { 0 }, { t.ticket }

    for i = 1, #t do
        local f = t[i]

        if pcall(action(event, f.c), f.x, f.c) then
            reply[#reply + 1] = f.item
            kept[#kept + 1] = f.text

        else
            stat(f.x, 'broken')
        end
    end

    return reply, kept
end


-- the last batch once more, as far as it is still with the claimer

local function repeated(t, kept)
    local list = {}

    for text in gmatch(kept, '\n([^\n]+)') do
        list[#list + 1] = text
    end

    t.max, t.state = #list, 's'
    gather(t, list)

    local reply = claim(t, 'again')

    reply[1] = call('LLEN', t.queue) > 0 and 1 or 0

    return reply
end


local function new_batch(t)
    local look_at = max_of(t.max, LOOK)
    local list = pcall_redis('LRANGE', t.queue, '0', short(look_at - 1))

    if list.err then
        return wrong(t.queue, 'list')
    end

    local n = gather(t, list)

    if n > 0 then
        call('LTRIM', t.queue, short(n), '-1')
    end

    local reply, kept = claim(t, 'taken')

    if #kept > 1 then
        call('SET', t.slot, concat(kept, '\n'), 'PX',
             dec(max_of(KEPT, config(t).ack_timeout)))
    end

    -- all that was there has been seen, nearly always

    if n < #list or (#list == look_at and call('LLEN', t.queue) > 0) then
        reply[1] = 1
    end

    return reply
end


-- the batch to be: what the arguments say, and what is gathered behind that

local function batch(keys, a)
    local prefix, bridge =
        match(#keys == 1 and keys[1] or '', '^([^{}]*{s%d%d%d}:)queue:(.+)$')

    if not prefix or #bridge > 64 or not find(bridge, BRIDGE) then
        return nil, bad('1 key is needed, <prefix>{s<n>}:queue:<bridge>, not '
                        .. shown(keys[1]))
    end

    local claimer, ticket, max = a[1] or '', int(a[2]), int(a[3], 256)

    if claimer == '' or #claimer > 256 or find(claimer, '[%s%c]') then
        return nil, bad('claimer is not 1..256 bytes without blanks')
    end

    if not ticket or ticket == 0 then
        return nil, bad('ticket ' .. shown(a[2]) .. ' is not a number')
    end

    if not max or max == 0 then
        return nil, bad('max ' .. shown(a[3]) .. ' is not 1..256')
    end

    local now, time = clock()

    return {
        p = prefix, queue = keys[1], slot = prefix .. 'taken:' .. claimer,
        claimer = claimer, ticket = dec(ticket), number = ticket, max = max,
        state = 'q', now = now, time = time
    }
end


-- tb_rpc_take Q <claimer> <ticket> <max>
--
-- keys      Q, <prefix>{s<n>}:queue:<bridge>
-- arguments claimer: 1..256 bytes, of one start of one process; ticket: a
--           number that grows with each batch, or that of the last one, to get
--           it again; max: 1..256 calls
-- replies   {left, envelope ...}: left is 1 when the queue is not empty yet,
--           however few envelopes there are
-- errors    a wrong key or argument; a ticket that is older than the last one,
--           and nothing was taken; a key of another type; -TRYAGAIN

local function take(keys, a)
    local t, err = batch(keys, a)

    if not t then
        return err
    end

    err = moving(t.p)

    if err then
        return err
    end

    local kept = pcall_redis('GET', t.slot)

    if type(kept) == 'table' then
        return wrong(t.slot, 'string')
    end

    kept = kept or ''

    local last = int(match(kept, '^(%d+)') or nil) or 0

    if t.number < last then
        return bad('ticket ' .. t.ticket .. ' of claimer ' .. shown(t.claimer)
                   .. ' is older than ' .. dec(last)
                   .. ', the last one that got calls')
    end

    if t.number == last then
        return repeated(t, kept)
    end

    return new_batch(t)
end


return { take = take }
