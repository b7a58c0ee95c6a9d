-- tb_rpc_list: a page of a device's records.

local pcall_redis = redis.pcall
local lower = string.lower
local min = math.min
local tonumber, pairs = tonumber, pairs

local STATUS = use('const', 'STATUS')
local bad, int, shown = use('text', 'bad', 'int', 'shown')
local device_context = use('context', 'device_context')
local device = use('device', 'device')
local page = use('page', 'page')


local LIST_BYTES = 262144


local function list_error(a, status)
    if #a < 7 then
        return 'tb_rpc_list needs 7 arguments, not ' .. #a
    end

    if a[3] ~= '' and not STATUS[status or -1] then
        return 'status ' .. shown(a[3]) .. ' is unknown'
    end

    if a[4] ~= 'createdTime' and a[4] ~= 'expirationTime'
       and a[4] ~= 'request' and a[4] ~= 'response' and a[4] ~= 'status'
    then
        return 'property ' .. shown(a[4]) .. ' can\'t be sorted by'
    end

    if a[5] ~= 'asc' and a[5] ~= 'desc' then
        return 'order is asc or desc'
    end

    if not int(a[6]) or not int(a[7]) or (a[8] and not int(a[8])) then
        return 'offset, count or maxbytes is not a number'
    end
end


-- tb_rpc_list D <tenantId> <customer> <status or ""> <property> <asc|desc>
--             <offset> <count> [<maxbytes>]
--
-- keys      D, the device
-- arguments customer: "*" for a tenant's administrator; status: code or name;
--           property: createdTime, expirationTime, request, response or
--           status
-- replies   {ok, total, returned, <n>, <rpcId>, <n texts: fields and values>,
--           <n>, <rpcId>, ...}, {unknown}, {customer}, {toomany, total}
-- errors    a wrong key or argument

local function list(keys, a)
    local x, err = device_context(keys)

    if not x then
        return err
    end

    local status = tonumber(a[3])

    for code, name in pairs(STATUS) do
        if a[3] == name then
            status = code
        end
    end

    err = list_error(a, status)

    if err then
        return bad(err)
    end

    local d = device(x)

    if not d then
        return { 'unknown' }
    end

    if d.tenant ~= lower(a[1]) then
        return { 'unknown', 'tenant' }
    end

    if a[2] ~= '*' and (a[2] == '' or d.customer ~= lower(a[2])) then
        return { 'customer' }
    end

    -- no page is larger than what a reply may carry

    local bytes, left = 0, int(a[8] or '') or LIST_BYTES
    local ids, total = page(x, a[3] ~= '' and status or nil, a[4],
                            a[5] == 'desc', int(a[6]),
                            min(int(a[7]), 4096))

    if not ids then
        return { 'toomany', total }
    end

    local out, n = { 'ok', total, 0 }, 3

    for i = 1, #ids do
        local r = pcall_redis('HGETALL', x.rpc .. ids[i])

        for k = 1, #r do
            bytes = bytes + #r[k]
        end

        if bytes > left and out[3] > 0 then
            break
        end

        out[n + 1], out[n + 2] = #r, ids[i]
        n = n + 2

        for k = 1, #r do
            n = n + 1
            out[n] = r[k]
        end

        out[3] = out[3] + 1
    end

    return out
end


return { list = list }
