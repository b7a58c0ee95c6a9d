-- Provisioning of API keys.

local call = redis.call
local find, lower = string.find, string.lower

local clock = use('clock', 'clock')
local bad, int, dec, is_uuid, shown =
    use('text', 'bad', 'int', 'dec', 'is_uuid', 'shown')


local function api_key(keys)
    if #keys ~= 1 or not find(keys[1], '^.-apikey:%x+$')
    then
        return bad('1 key is needed, <prefix>apikey:<sha256 hex>')
    end
end


-- tb_rpc_api_key_put K <tenantId> <customerId or ""> <userId> <authority>
--                    <enabled> <expirationTime> [<label>]
--
-- keys      K, <prefix>apikey:<sha256 hex>
-- arguments authority: TENANT_ADMIN, CUSTOMER_USER or SYS_ADMIN; enabled: 0 or
--           1; expirationTime: epoch ms, 0 = never; label: for people, without
--           it the one that is there stays
-- replies   1
-- errors    a wrong key or argument; -OOM

local function api_key_put(keys, a)
    local err = api_key(keys)

    if err then
        return err
    end

    if #a < 6 then
        return bad('tb_rpc_api_key_put needs 6 arguments, not ' .. #a)
    end

    if not is_uuid(a[1]) or (a[2] ~= '' and not is_uuid(a[2])) then
        return bad('tenantId or customerId is not a UUID')
    end

    if #a[3] > 255 or find(a[3], '%c') then
        return bad('userId is longer than 255 bytes or not printable')
    end

    if a[4] ~= 'TENANT_ADMIN' and a[4] ~= 'CUSTOMER_USER'
       and a[4] ~= 'SYS_ADMIN'
    then
        return bad('authority ' .. shown(a[4]) .. ' is not TENANT_ADMIN,'
                   .. ' CUSTOMER_USER or SYS_ADMIN')
    end

    if (a[5] ~= '0' and a[5] ~= '1') or not int(a[6]) then
        return bad('enabled is 0 or 1, expirationTime ms or 0')
    end

    if #(a[7] or '') > 64 or find(a[7] or '', '%c') then
        return bad('label is longer than 64 bytes or not printable')
    end

    local _, time = clock()

    call('HSETNX', keys[1], 'createdTime', time)

    if a[7] then
        call('HSET', keys[1], 'label', a[7])
    end

    call('HSET', keys[1], 'tenantId', lower(a[1]), 'customerId', lower(a[2]),
         'userId', a[3], 'authority', a[4], 'enabled', a[5],
         'expirationTime', dec(int(a[6])))

    return 1
end


-- tb_rpc_api_key_enable K <enabled>
--
-- keys      K, <prefix>apikey:<sha256 hex>
-- arguments enabled: 0 or 1
-- replies   1, or 0: it is unknown
-- errors    a wrong key or argument

local function api_key_enable(keys, a)
    local err = api_key(keys)

    if err then
        return err
    end

    if a[1] ~= '0' and a[1] ~= '1' then
        return bad('enabled is 0 or 1')
    end

    if call('EXISTS', keys[1]) == 0 then
        return 0
    end

    call('HSET', keys[1], 'enabled', a[1])

    return 1
end


-- tb_rpc_api_key_del K
--
-- keys      K, <prefix>apikey:<sha256 hex>
-- arguments none
-- replies   1, or 0: it was unknown
-- errors    a wrong key

local function api_key_del(keys)
    return api_key(keys) or call('DEL', keys[1])
end


return {
    api_key_put = api_key_put, api_key_enable = api_key_enable,
    api_key_del = api_key_del
}
