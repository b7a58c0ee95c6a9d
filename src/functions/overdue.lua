-- What tick does with a call whose time has come, whichever kind it is of.

local min = math.min

local RELEASE_NEXT, CONFIRM = use('const', 'RELEASE_NEXT', 'CONFIRM')
local config = use('settings', 'config')
local stat = use('context', 'stat')
local device, strategy, queue_key, drop_turn =
    use('device', 'device', 'strategy', 'queue_key', 'drop_turn')
local store, due_within = use('call', 'store', 'due_within')
local polls = use 'poll'
local head_time, release, wait_one, push_again =
    use('queue', 'head_time', 'release', 'wait_one', 'push_again')


-- A call that is not claimed was popped if and only if the queue is empty, or
-- its head was pushed later.

local function is_lost(x, c)
    local d = device(x)

    if not d or not d.bridge then
        return true
    end

    local head = head_time(queue_key(x))

    return not head or head > c.time
end


local function queued(x, c)
    if is_lost(x, c) then
        stat(x, 'lost_claims')
        push_again(x, c)
        return
    end

    due_within(x, c, config(x).ack_timeout)
end


-- nobody said yet that the device has it

local function handed(x, c)
    local ms = config(x).ack_timeout

    if polls.open(x) then
        ms = min(ms, CONFIRM)
    end

    if x.now < c.time + ms then
        due_within(x, c, c.time + ms - x.now)
        return
    end

    stat(x, 'unconfirmed')
    wait_one(x, c)
    release(x, RELEASE_NEXT)
end


-- Has the turn too long; the caller goes on waiting for the answer.  Under
-- another strategy than at its push the calls behind it may be free to go.

local function turn(x, c, how, ms)
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


return { queued = queued, handed = handed, turn = turn }
