-- tb_rpc_cancel: the caller of a lightweight call does not wait any more.

local call = redis.call
local find = string.find

local IDS = use('const', 'IDS')
local bad, int, is_uuid, shown = use('text', 'bad', 'int', 'is_uuid', 'shown')
local writing, wrong_device = use('context', 'writing', 'wrong_device')
local open_call, is_answered = use('call', 'open_call', 'is_answered')
local place = use('queue', 'place')
local happens = use('machine', 'happens')


local function find_call(x, id, rid)
    if rid ~= '' then
        local c = open_call(x, rid)

        return c and c.id == id and c or nil
    end

    local all = call('HGETALL', x.inflight)

    for i = 1, #all, 2 do
        if find(all[i + 1], id, 1, true) == 4 then
            return open_call(x, all[i])
        end
    end
end


-- tb_rpc_cancel D <rpcId> <requestId or "">
--
-- keys      D, the device
-- arguments requestId spares a search
-- replies   {offline}, {turn}, {queued} or {sent}: where the call was;
--           {answered, <answer>}: it has just been; {gone}
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function cancel(keys, a)
    local x, err = writing(keys)

    if not x then
        return err
    end

    if not is_uuid(a[1]) then
        return bad('rpcId ' .. shown(a[1]) .. ' is not a UUID')
    end

    local rid = a[2] or ''

    if rid ~= '' and not int(rid, IDS) then
        return bad('requestId ' .. shown(rid) .. ' is not a number')
    end

    err = wrong_device(x)

    if err then
        return err
    end

    local key = x.p .. 'answer:' .. a[1]
    local text = call('GET', key)

    if text then
        call('DEL', key)
        return { 'answered', text }
    end

    local c = find_call(x, a[1], rid)

    -- a one-way call that was answered keeps its turn

    if not c or c.kind ~= 'L' or is_answered(c) then
        return { 'gone' }
    end

    local word = place(x, c)

    happens('cancel', x, c)

    return { word }
end


return { cancel = cancel }
