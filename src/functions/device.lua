-- tb:{s}:device:<deviceId>: whose it is, where its calls go, and who has the
-- turn.

local call = redis.call
local match = string.match
local tonumber = tonumber

local dec = use('text', 'dec')
local config, STRATEGY = use('settings', 'config', 'STRATEGY')
local UNREAD, wrong, wrong_device =
    use('context', 'UNREAD', 'wrong', 'wrong_device')


local function device(x)
    if x.device ~= UNREAD then
        return x.device
    end

    local v = call('HMGET', x.key, 'tenantId', 'customerId', 'strategy',
                   'bridge', 'until', 'turn', 'last', 'wait', 'poll', 'held',
                   'out')

    if not v[1] then
        x.device = false
        return false
    end

    local d = x.fields

    d.tenant, d.customer, d.strategy, d.bridge = v[1], v[2], v[3], v[4]
    d.till, d.turn, d.last, d.wait = v[5], v[6], v[7], v[8]
    d.poll, d.held, d.out, d.session = v[9], v[10], v[11], nil

    x.device = d

    return d
end


-- the same, with what sessions need

local function session_device(x)
    local d = device(x)

    if d and d.session == nil then
        local v = call('HMGET', x.key, 'session', 'route', 'prev', 'prev2',
                       'prev3', 'prev4', 'ended')

        d.session, d.route, d.ended = v[1], v[2], v[7]
        d.before = { v[3], v[4], v[5], v[6] }
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


-- A bridge without sessions has given a call back: the device is left alone for
-- a while.  Until when, and for how long.

local function held(x)
    local d = device(x)
    local till, step = match(d and d.held or '', '^(%d+) (%d+)$')

    till, step = tonumber(till), tonumber(step)

    if till and till > x.now then
        return till, step
    end

    return nil, step, till
end


local function unhold(x)
    local d = device(x)

    if d and d.held then
        call('HDEL', x.key, 'held')
        d.held = false
    end
end


local function strategy(x)
    local d = device(x)

    return STRATEGY[d and d.strategy or ''] or STRATEGY[config(x).strategy]
end


local function queue_key(x)
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


local function wrong_session(x)
    local d = device(x)

    return wrong_device(x) or (d and d.bridge and wrong(queue_key(x), 'list'))
end


return {
    device = device, session_device = session_device, is_online = is_online,
    online = online, held = held, unhold = unhold, strategy = strategy,
    queue_key = queue_key,
    take_turn = take_turn, drop_turn = drop_turn, set_wait = set_wait,
    drop_wait = drop_wait, arm = arm, wrong_session = wrong_session
}
