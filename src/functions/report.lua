-- What bridges report about a call.

local sub = string.sub
local min = math.min

local RELEASE_NEXT, SENT, DELIVERED, SUCCESSFUL, FAILED =
    use('const', 'RELEASE_NEXT', 'SENT', 'DELIVERED', 'SUCCESSFUL', 'FAILED')
local bad, int, shown = use('text', 'bad', 'int', 'shown')
local config = use('settings', 'config')
local ignored = use('context', 'ignored')
local strategy, take_turn, drop_turn =
    use('device', 'strategy', 'take_turn', 'drop_turn')
local turn_taken, is_answered, store, due, due_within =
    use('call', 'turn_taken', 'is_answered', 'store', 'due', 'due_within')
local set_status = use('record', 'set_status')
local take_back, release = use('queue', 'take_back', 'release')
local close, finish, answer, fail =
    use('ending', 'close', 'finish', 'answer', 'fail')
local persistent = use 'persistent'
local light = use 'light'
local report = use('reported', 'report')


-- tb_rpc_sent D <requestId> <attempt> [<claimer>]: popped, and about to be
-- written to the device
--
-- keys      D, the device
-- arguments claimer: up to 256 bytes, who may ask again
-- replies   1: write it; 0: drop it, it is late or somebody else's
-- errors    a wrong key or argument; a key of another type

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


-- tb_rpc_delivered D <requestId> [<attempt>]: the device has acknowledged it
--
-- keys      D, the device
-- arguments attempt: with it a report about an earlier one is ignored
-- replies   1, or 0: unknown, late or duplicate
-- errors    a wrong key or argument; a key of another type

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


-- tb_rpc_timeout D <requestId> [<attempt>]: the device did not acknowledge it
--
-- keys, arguments, replies and errors as tb_rpc_delivered

local function timeout(keys, a)
    local x, c, r = report(keys, a, 'timeout', 2)

    if not x then
        return c
    end

    if c.state ~= 's' then
        return ignored(x, 'timeout')
    end

    if r then
        persistent.unacknowledged(x, c, r)

    else
        light.unacknowledged(x, c)
    end

    return 1
end


-- tb_rpc_failed D <requestId> <error text> [<attempt>]: it can't be done
--
-- keys      D, the device
-- arguments error text: becomes the answer, cut off at max_response
-- replies   1, or 0: unknown, late or duplicate
-- errors    a wrong key or argument; a key of another type

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


-- tb_rpc_respond D <requestId> <payload> [<size>]: the device has answered
--
-- keys      D, the device
-- arguments size: that of the answer, whose payload may have been cut off
-- replies   1, or 0: unknown, late or duplicate
-- errors    a wrong key or argument; a key of another type

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


return {
    sent = sent, delivered = delivered, timeout = timeout, failed = failed,
    respond = respond
}
