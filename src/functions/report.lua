-- What bridges report about a call.

local sub = string.sub
local min = math.min

local bad, int, shown = use('text', 'bad', 'int', 'shown')
local config = use('settings', 'config')
local unhold = use('device', 'unhold')
local happens = use('machine', 'happens')
local report = use('reported', 'report')


-- tb_rpc_delivered D <requestId> [<attempt>]: the device has acknowledged it
--
-- keys      D, the device
-- arguments attempt: with it a report about an earlier one is ignored
-- replies   1, or 0: unknown, late or duplicate
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function delivered(keys, a)
    local x, c, r = report(keys, a, 'delivered', 2)

    if not x then
        return c
    end

    unhold(x)

    return happens('delivered', x, c, r)
end


-- tb_rpc_timeout D <requestId> [<attempt>]: the device did not acknowledge it
--
-- keys, arguments, replies and errors as tb_rpc_delivered

local function timeout(keys, a)
    local x, c, r = report(keys, a, 'timeout', 2)

    if not x then
        return c
    end

    return happens('timeout', x, c, r)
end


-- tb_rpc_failed D <requestId> <error text> [<attempt>]: it can't be done
--
-- keys      D, the device
-- arguments error text: becomes the answer, cut off at max_response
-- replies   1, or 0: unknown, late or duplicate
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function failed(keys, a)
    if not a[2] then
        return bad('tb_rpc_failed needs requestId and error text')
    end

    local x, c, r = report(keys, a, 'failed', 3)

    if not x then
        return c
    end

    unhold(x)

    local text = a[2] ~= '' and a[2] or '{"error":"failed"}'

    return happens('failed', x, c, r, sub(text, 1, config(x).max_response))
end


-- tb_rpc_respond D <requestId> <payload> [<size>]: the device has answered
--
-- keys      D, the device
-- arguments size: that of the answer, whose payload may have been cut off
-- replies   1, or 0: unknown, late or duplicate
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

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

    unhold(x)

    local max = config(x).max_response
    local large = size > max or size > #payload

    return happens('respond', x, c, r, payload,
                   large and min(max, #payload) or nil)
end


return {
    delivered = delivered, timeout = timeout, failed = failed,
    respond = respond
}
