-- One record: tb_rpc_get, tb_rpc_delete, tb_rpc_uuid.

local call = redis.call
local sub, match, lower = string.sub, string.match, string.lower
local insert = table.insert

local bad, is_uuid = use('text', 'bad', 'is_uuid')
local clock = use('clock', 'clock')
local context_of, moving, record_key =
    use('context', 'context_of', 'moving', 'record_key')
local wrong_session = use('device', 'wrong_session')
local open_call = use('call', 'open_call')
local event, purge = use('record', 'event', 'purge')
local happens = use('machine', 'happens')


-- tb_rpc_get R <tenantId> <customer>
--
-- keys      R, the record
-- arguments customer: "*" for a tenant's administrator
-- replies   {ok, <field>, <value> ...}, {unknown}, {tenant}, {customer}
-- errors    a wrong key

local function get(keys, a)
    local prefix, id = record_key(keys)

    if not prefix then
        return id
    end

    local r = call('HGETALL', keys[1])
    local tenant, dev

    for i = 1, #r, 2 do
        if r[i] == 't' then
            tenant = r[i + 1]

        elseif r[i] == 'd' then
            dev = r[i + 1]
        end
    end

    if not tenant or not dev then
        return { 'unknown' }
    end

    if tenant ~= lower(a[1] or '') then
        return { 'tenant' }
    end

    if a[2] ~= '*' then
        local customer = call('HGET', prefix .. 'device:' .. dev,
                              'customerId')

        if not customer or customer == '' or customer ~= lower(a[2] or '')
        then
            return { 'customer' }
        end
    end

    insert(r, 1, 'ok')

    return r
end


-- tb_rpc_delete R <tenantId>: the record, and its call when it is open
--
-- keys      R, the record
-- arguments tenantId: whose it must be
-- replies   {ok}, {unknown}, {tenant}
-- errors    a wrong key; a key of another type; -TRYAGAIN

local function delete(keys, a)
    local prefix, id = record_key(keys)

    if not prefix then
        return id
    end

    local v = call('HMGET', keys[1], 't', 'd', 'i')

    if not v[1] or not v[2] then
        return { 'unknown' }
    end

    if v[1] ~= lower(a[1] or '') then
        return { 'tenant' }
    end

    local x = context_of(prefix, v[2], clock())
    local err = moving(prefix) or wrong_session(x)

    if err then
        return err
    end

    local c = open_call(x, v[3] or '')

    event(x, id, 'DELETED')
    purge(x, id)

    if c and c.id == id then
        happens('deleted', x, c)
    end

    return { 'ok' }
end


-- tb_rpc_uuid U [<tenantId>]
--
-- keys      U, <prefix>{s<n>}:uuid:<requestUUID>
-- arguments tenantId: whose call it is counts; in another shard another tenant
--           may have used the same requestUUID
-- replies   {ok, rpcId}, {unknown}
-- errors    a wrong key

local function find_uuid(keys, a)
    local prefix = #keys == 1 and match(keys[1], '^([^{}]*{s%d%d%d}:)uuid:')

    if not prefix then
        return bad('1 key is needed, <prefix>{s<n>}:uuid:<requestUUID>')
    end

    local v = call('GET', keys[1])

    if not v or not is_uuid(sub(v, 1, 36)) then
        return { 'unknown' }
    end

    if a[1] and call('HGET', prefix .. 'rpc:' .. sub(v, 1, 36), 't')
                ~= lower(a[1])
    then
        return { 'unknown' }
    end

    return { 'ok', sub(v, 1, 36) }
end


return { get = get, delete = delete, find_uuid = find_uuid }
