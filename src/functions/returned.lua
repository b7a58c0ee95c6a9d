-- tb_rpc_return: a call that could not be brought to its device waits again.

local call = redis.call
local min = math.min

local RELEASE = use('const', 'RELEASE')
local bad, dec = use('text', 'bad', 'dec')
local session_device, held, set_wait, arm =
    use('device', 'session_device', 'held', 'set_wait', 'arm')
local release = use('queue', 'release')
local happens = use('machine', 'happens')
local report = use('reported', 'report')
local leave, move_out = use('session', 'leave', 'move_out')


local HELD = 1000               -- ms, at first
local HELD_MAX = 30000


-- Without a session nothing says that the device is away: it is left alone for
-- a while, which doubles as long as calls come back.

local function hold(x)
    local till, step, last = held(x)

    if till then
        return
    end

    if step and last and x.now - last < step then
        step = min(step * 2, HELD_MAX)

    else
        step = HELD
    end

    till = x.now + step
    x.device.held = dec(till) .. ' ' .. dec(step)

    call('HSET', x.key, 'held', x.device.held)
    set_wait(x)
    arm(x, till)
end


-- tb_rpc_return D <requestId> <attempt> [<session>]: no retry is used
--
-- keys      D, the device
-- arguments attempt: as it was taken, or handed out to a poll; session: the one
--           that the device had at the bridge.  When it is still the current
--           one, the device is away
-- replies   1, or 0: late
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function give_back(keys, a)
    if not a[2] or a[2] == '' then
        return bad('tb_rpc_return needs requestId and attempt')
    end

    local session = a[3] or ''

    if #session > 256 then
        return bad('session is longer than 256 bytes')
    end

    local x, c = report(keys, a, 'return', 2)

    if not x then
        return c
    end

    local from = c.state

    if happens('return', x, c) == 0 then
        return 0
    end

    local d = from == 's' and session_device(x)

    if d and session ~= '' and session == d.session then
        leave(x)
        return 1
    end

    -- what is in the queue behind it must not overtake it

    if d then
        move_out(x, 'q')

        if session == '' or not d.session then
            hold(x)
        end
    end

    release(x, RELEASE)

    return 1
end


return { give_back = give_back }
