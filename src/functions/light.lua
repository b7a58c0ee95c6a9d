-- Lightweight calls, when their time has come.

local call = redis.call

local GRACE, RELEASE_NEXT = use('const', 'GRACE', 'RELEASE_NEXT')
local config = use('settings', 'config')
local drop_turn = use('device', 'drop_turn')
local open_call, is_answered, store, due, due_within =
    use('call', 'open_call', 'is_answered', 'store', 'due', 'due_within')
local place, release = use('queue', 'place', 'release')
local close, answer = use('ending', 'close', 'answer')
local overdue = use 'overdue'


-- no acknowledgement in time: the call gives its turn away, its caller goes on
-- waiting for the answer

local function unacknowledged(x, c)
    if c.oneway then
        close(x, c)
        return
    end

    store(x, c, 'x')
    due_within(x, c)
    drop_turn(x, c.rid)
    release(x, RELEASE_NEXT)
end


local function tick(x, rid, member)
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
        overdue.queued(x, c)

    elseif c.state == 'h' and x.now < c.expiry then
        overdue.handed(x, c)

    elseif c.state == 's' then
        overdue.turn(x, c, 'ack', set.ack_timeout)

    elseif c.state == 'd' then
        overdue.turn(x, c, 'response', set.response_timeout)

    else
        due_within(x, c)
    end
end


return { unacknowledged = unacknowledged, tick = tick }
