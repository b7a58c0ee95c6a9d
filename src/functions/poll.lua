-- A device that polls over HTTP has no bridge: its open poll, the latest one,
-- is named in the device by "<worker> <session> <end>".  A call that waits is
-- handed to the poll, which ends it, by a message to its worker.  Until the
-- worker has confirmed that the response was sent, the call has the state h,
-- and whatever is lost on the way brings it back into pending.

local call = redis.call
local match, gmatch = string.match, string.gmatch
local concat = table.concat
local tonumber, ipairs = tonumber, ipairs

local PUBLISH_MAX, RELEASE, DRAIN, CONFIRM, SENT =
    use('const', 'PUBLISH_MAX', 'RELEASE', 'DRAIN', 'CONFIRM', 'SENT')
local config = use('settings', 'config')
local stat = use('context', 'stat')
local device, strategy, take_turn, arm =
    use('device', 'device', 'strategy', 'take_turn', 'arm')
local open_call, turn_taken, store, due_within =
    use('call', 'open_call', 'turn_taken', 'store', 'due_within')
local set_status = use('record', 'set_status')
local envelope_of = use('envelope', 'envelope_of')


-- worker, session and end of a poll that is open

local function open(x)
    local d = device(x)
    local worker, session, till =
        match(d and d.poll or '', '^([^ ]+) (%d+) (%d+)$')

    if not worker or #till > 15 or tonumber(till) <= x.now then
        return nil
    end

    return worker, session, tonumber(till)
end


local function rearm(x)
    local _, _, till = open(x)

    if till then
        arm(x, till)
    end
end


local function close(x)
    if x.device.poll then
        call('HDEL', x.key, 'poll')
        x.device.poll = false
    end
end


local function lapse(x)
    if x.device.poll and not open(x) then
        close(x)
        stat(x, 'lapsed_polls')
    end
end


-- how many listen: with 0 the worker is gone for certain

local function tell(x, worker, text)
    return call('SPUBLISH', x.p .. 'reply:' .. worker, x.id .. text)
end


-- the calls that were handed out and are not confirmed, oldest first

local function handed(x)
    local list = {}

    for rid in gmatch(call('HGET', x.key, 'handed') or '', '%d+') do
        local c = open_call(x, rid)

        if c and c.state == 'h' then
            list[#list + 1] = c
        end
    end

    return list
end


-- the first one in pending that may be handed out, and its envelope

local function next_call(x)
    if strategy(x) ~= 'burst' and turn_taken(x) then
        return nil
    end

    for _ = 1, RELEASE do
        local rid = call('ZRANGE', x.pending, '0', '0')[1]

        if not rid then
            return nil
        end

        local c = open_call(x, rid)
        local item = c and c.state == 'p'
                     and envelope_of(x, c, c.attempt + 1, x.now)

        if item then
            return c, item
        end

        call('ZREM', x.pending, rid)
    end

    arm(x, x.now + DRAIN)
end


-- one that an earlier poll did not bring to the device; "again": the very
-- same poll asks, and has got nothing

local function unconfirmed(x, again)
    for _, c in ipairs(handed(x)) do

        if again then
            c.attempt = c.attempt - 1
        end

        if not again and x.now < c.time + CONFIRM then
            due_within(x, c, c.time + CONFIRM - x.now)

        else
            local item = envelope_of(x, c, c.attempt + 1, x.now)

            if item then
                return c, item
            end
        end
    end
end


local function claim(x, c)
    local list = {}

    for i, other in ipairs(handed(x)) do
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

local function offer(x)
    local worker, session = open(x)

    if not worker then
        return false
    end

    local c, item = next_call(x)

    if not c then
        return false
    end

    local text = 'P' .. session .. ' ' .. c.rid .. ' ' .. c.attempt + 1

    -- without it the worker asks for it

    if #item <= PUBLISH_MAX then
        text = text .. ' ' .. item
    end

    local listeners = tell(x, worker, text)

    close(x)

    if listeners == 0 then
        stat(x, 'lost_polls')
        return false
    end

    call('ZREM', x.pending, c.rid)
    claim(x, c)

    return true
end


return {
    open = open, rearm = rearm, close = close, lapse = lapse, tell = tell,
    next_call = next_call, unconfirmed = unconfirmed, claim = claim,
    offer = offer
}
