-- tb:{s}:devices, a zset of equal scores: which devices there are, in the order
-- of their tenants and names.

local call = redis.call

local wrong = use('context', 'wrong')


-- as the device is written down now; nil if it is not

local function member(x)
    local v = call('HMGET', x.key, 'tenantId', 'name')

    return v[1] and v[1] .. '/' .. (v[2] or '') .. '/' .. x.id or nil
end


local function wrong_list(x)
    return wrong(x.p .. 'devices', 'zset')
end


-- before: what member() was before the device was written to, or nil

local function list(x, before)
    local now = member(x)

    if before and before ~= now then
        call('ZREM', x.p .. 'devices', before)
    end

    if now then
        call('ZADD', x.p .. 'devices', 0, now)
    end
end


return { member = member, wrong_list = wrong_list, list = list }
