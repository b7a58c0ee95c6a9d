-- The arguments of tb_rpc_create.

local find = string.find

local int, is_uuid, shown = use('text', 'int', 'is_uuid', 'shown')


-- Of the arguments, those that are empty at the end may be left out; a call
-- that has none of what is optional is "plain": it has just the first eleven.

local function fill(a)
    if #a == 11 and a[9] == '' and a[10] == '' then
        return true
    end

    for i = #a + 1, 17 do
        a[i] = ''
    end

    return false
end


local function more_error(a, persistent)
    if a[10] ~= '' and not int(a[10], 2147483647) then
        return 'retries ' .. shown(a[10]) .. ' is not a number'
    end

    if a[13] ~= '' and not int(a[13]) then
        return 'maxHold ' .. shown(a[13]) .. ' is not a number of ms'
    end

    if a[14] ~= '' and a[14] ~= 'wait' and a[14] ~= 'reject' then
        return 'offline is wait or reject'
    end

    if a[15] ~= '' and not is_uuid(a[15]) then
        return 'requestUUID ' .. shown(a[15]) .. ' is not a UUID'
    end

    if a[16] ~= '' and (#a[16] > 128 or find(a[16], '%X')) then
        return 'hash is not hex'
    end

    if a[15] ~= '' and persistent and a[16] == '' then
        return 'a requestUUID needs a hash'
    end

    if a[17] ~= '' and (#a[17] > 64 or find(a[17], '[^%x%-]')) then
        return 'traceparent is not of hex digits and dashes'
    end
end


-- the number of the latest timeout

local wait, waited = '', 0


-- nil and the number that timeout or expiration is, or what is wrong

local function create_error(a, persistent, plain)
    if not is_uuid(a[1]) then
        return 'rpcId ' .. shown(a[1]) .. ' is not a UUID'
    end

    if (a[3] ~= '0' and a[3] ~= '1') or (a[4] ~= '0' and not persistent) then
        return 'oneway and persistent are 0 or 1'
    end

    if not persistent
       and (#a[2] > 64 or not find(a[2], '^[%w%.%_:%-]+$'))
    then
        return 'replyTo ' .. shown(a[2]) .. ' is not a worker name'
    end

    if a[5] == '' then
        return 'tenantId is empty'
    end

    if a[7] == '' or a[8] == '' then
        return 'method and params are JSON texts, not empty'
    end

    local text = a[11] ~= '' and a[11] or a[12]

    if (a[11] == '') == (plain or a[12] == '') then
        return 'one of timeout and expiration is needed'
    end

    local time = text == wait and waited or int(text)

    if not time then
        return 'timeout or expiration ' .. shown(text)
               .. ' is not a number of ms'
    end

    wait, waited = text, time

    return not plain and more_error(a, persistent) or nil, time
end


return { fill = fill, create_error = create_error }
