-- Sessions: a device is at a bridge, which keeps saying so.

local call = redis.call
local find = string.find

local RELEASE, BRIDGE = use('const', 'RELEASE', 'BRIDGE')
local bad, int, dec, shown = use('text', 'bad', 'int', 'dec', 'shown')
local device_context, wrong, stat, ignored =
    use('context', 'device_context', 'wrong', 'stat', 'ignored')
local session_device, arm, wrong_session =
    use('device', 'session_device', 'arm', 'wrong_session')
local polls = use 'poll'
local release, move_out = use('queue', 'release', 'move_out')


-- the end of a session: a static route is back then

local function leave(x)
    local d = session_device(x)

    move_out(x)

    call('HDEL', x.key, 'session', 'bridge', 'until')
    call('ZREM', x.due, '@' .. x.id)
    polls.lapse(x)
    polls.rearm(x)

    d.session, d.bridge, d.till = false, false, false

    if d.route then
        call('HSET', x.key, 'bridge', d.route, 'until', '-1')
        d.bridge, d.till = d.route, '-1'
    end

    release(x, RELEASE)
end


-- tb_rpc_attach D <bridge> <session> <ttl>: a session, and its heartbeat
--
-- keys      D, the device
-- arguments bridge: 1..64 of A-Z a-z 0-9 . _ : @ -; session: 1..256 bytes, one
--           for each connection of the device; ttl: ms
-- replies   number of calls released, or -1: superseded, stop
-- errors    a wrong key or argument; an unknown device; a key of another type;
--           -OOM

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


-- tb_rpc_detach D <session>: its end
--
-- keys      D, the device
-- arguments session: as it was attached
-- replies   1, or 0: not the current session
-- errors    a wrong key or argument; a key of another type

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


return { leave = leave, attach = attach, detach = detach }
