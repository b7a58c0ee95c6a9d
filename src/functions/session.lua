-- Sessions: a device is at a bridge, which keeps saying so.

local call = redis.call
local find = string.find
local min = math.min

local RELEASE, BRIDGE = use('const', 'RELEASE', 'BRIDGE')
local bad, int, dec, shown = use('text', 'bad', 'int', 'dec', 'shown')
local writing, wrong, stat, ignored =
    use('context', 'writing', 'wrong', 'stat', 'ignored')
local session_device, unhold, queue_key, arm, wrong_session =
    use('device', 'session_device', 'unhold', 'queue_key', 'arm',
        'wrong_session')
local parse = use('call', 'parse')
local keep, forget = use('beats', 'keep', 'forget')
local polls = use 'poll'
local trim, release = use('queue', 'trim', 'release')
local action = use('machine', 'action')


-- The device leaves its bridge: what was not taken, and what was taken but not
-- acknowledged and must not be lost, waits for the next one.
--
-- state: only calls in this state, or nil

local function move_out(x, state)
    local all = call('HGETALL', x.inflight)
    local queued = false

    for i = 1, #all, 2 do
        -- most of many calls are in a state that has no cell

        local c = find(all[i + 1], '^[PL][qs]') and parse(x, all[i], all[i + 1])
        local act = c and (not state or c.state == state) and action('moved', c)

        if act then
            queued = queued or c.state == 'q'
            act(x, c)
        end
    end

    if queued and x.device.bridge then
        trim(x.p, queue_key(x))
    end
end


-- The end of a session: a static route is back then.  It may come back, until
-- another one is attached.

local function leave(x)
    local d = session_device(x)

    move_out(x)

    -- a hold was about this session: its entry in due goes with it

    unhold(x)

    if d.session then
        call('HSET', x.key, 'ended', d.session)
        d.ended = d.session
    end

    call('HDEL', x.key, 'session', 'bridge', 'until')
    forget(x)
    call('ZREM', x.due, '@' .. x.id)
    polls.lapse(x)
    polls.rearm(x)

    d.session, d.bridge, d.till = false, false, false

    if d.route then
        call('HSET', x.key, 'bridge', d.route, 'until', '-1')
        d.bridge, d.till = d.route, '-1'
    end

    return release(x, RELEASE)
end


local function is_superseded(d, session)
    for i = 1, 4 do
        if d.before[i] == session then
            return session ~= d.session
        end
    end
end


-- another session, or another bridge

local function change(x, bridge, session)
    local d = x.device
    local last = d.session or d.ended

    if last and last ~= session then
        local b = d.before

        call('HSET', x.key, 'prev', last, 'prev2', b[1] or '', 'prev3',
             b[2] or '', 'prev4', b[3] or '')
        d.before = { last, b[1], b[2], b[3] }
    end

    if d.ended then
        call('HDEL', x.key, 'ended')
        d.ended = false
    end

    move_out(x)
    call('HSET', x.key, 'bridge', bridge, 'session', session)
    d.bridge, d.session = bridge, session
end


-- tb_rpc_attach D <bridge> <session> <ttl>: a session, or that it goes on
--
-- keys      D, the device
-- arguments bridge: 1..64 of A-Z a-z 0-9 . _ : @ -; session: 1..256 bytes, one
--           for each connection of the device; ttl: ms
-- replies   number of calls released, or -1: superseded, stop
-- errors    a wrong key or argument; an unknown device; a key of another type;
--           -TRYAGAIN

local function attach(keys, a)
    local x, err = writing(keys)

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

    if is_superseded(d, session) then
        stat(x, 'superseded')
        return -1
    end

    err = wrong_session(x) or wrong(x.p .. 'queue:' .. bridge, 'list')

    if err then
        return err
    end

    local till = min(x.now + ttl, 9007199254740991)

    unhold(x)

    if session ~= d.session or bridge ~= d.bridge then
        change(x, bridge, session)
    end

    d.till = dec(till)
    call('HSET', x.key, 'until', d.till)
    keep(x, d.till, session)
    arm(x, till)

    return release(x, RELEASE)
end


-- tb_rpc_detach D <session>: its end
--
-- keys      D, the device
-- arguments session: as it was attached
-- replies   1, or 0: not the current session
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function detach(keys, a)
    local x, err = writing(keys)

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


return {
    move_out = move_out, leave = leave, attach = attach, detach = detach
}
