-- Provisioning of devices.

local call = redis.call
local find, match, lower = string.find, string.match, string.lower
local tonumber, pairs = tonumber, pairs

local RELEASE, BRIDGE = use('const', 'RELEASE', 'BRIDGE')
local bad, is_uuid, shown = use('text', 'bad', 'is_uuid', 'shown')
local config, STRATEGY = use('settings', 'config', 'STRATEGY')
local UNREAD, writing, wrong = use('context', 'UNREAD', 'writing', 'wrong')
local device, session_device, wrong_session =
    use('device', 'device', 'session_device', 'wrong_session')
local record = use('record', 'record')
local release = use('queue', 'release')
local move_out = use('session', 'move_out')
local delete_rest = use('device_end', 'delete_rest')
local member, wrong_list, list =
    use('listed', 'member', 'wrong_list', 'list')
local crc32 = use('shard', 'crc32')


local NO_CUSTOMER = '13814000-1dd2-11b2-8080-808080808080'


local function device_error(x, tenant, customer, fields)
    if not is_uuid(x.id) or x.id ~= lower(x.id) then
        return 'device id ' .. shown(x.id) .. ' is not a lower-case UUID'
    end

    if not is_uuid(tenant) then
        return 'tenantId ' .. shown(tenant) .. ' is not a UUID'
    end

    if customer ~= '' and not is_uuid(customer) then
        return 'customerId ' .. shown(customer) .. ' is not a UUID'
    end

    for name, value in pairs(fields) do
        if name == 'name' then
            if #value > 255 then
                return 'name is longer than 255 bytes'
            end

        elseif name == 'strategy' then
            if value ~= '' and not STRATEGY[value] then
                return 'strategy ' .. shown(value) .. ' is not burst,'
                       .. ' sequential_on_ack or sequential_on_response'
            end

        elseif name ~= 'bridge' then
            return 'field ' .. shown(name)
                   .. ' is not name, strategy or bridge'

        elseif value ~= '' and (#value > 64 or not find(value, BRIDGE)) then
            return 'bridge ' .. shown(value)
                   .. ' is not 1..64 of A-Z a-z 0-9 . _ : @ -'
        end
    end

    local shards = config(x).shards
    local shard = tonumber(match(x.p, '{s(%d+)}:$'), 8)

    if shards > 0 and shard ~= crc32(x.id) % shards then
        return 'device ' .. x.id .. ' belongs to shard '
               .. crc32(x.id) % shards .. ' of ' .. shards .. ', not to '
               .. shard
    end
end


-- a static route holds while no session is attached

local function set_route(x, bridge)
    local d = session_device(x)

    if bridge == (d.route or '') then
        return
    end

    if not d.session then
        move_out(x)
    end

    if bridge == '' then
        call('HDEL', x.key, 'route')
        d.route = false

        if not d.session then
            call('HDEL', x.key, 'bridge', 'until')
            d.bridge, d.till = false, false
        end

        return
    end

    call('HSET', x.key, 'route', bridge)
    d.route = bridge

    if not d.session then
        call('HSET', x.key, 'bridge', bridge, 'until', '-1')
        d.bridge, d.till = bridge, '-1'
    end
end


-- is anything here of another tenant?

local function is_foreign(x, d, tenant)
    local records = call('ZCARD', x.index)

    if d then
        return d.tenant ~= tenant
               and (records > 0 or call('HLEN', x.inflight) > 0)
    end

    if records == 0 then
        return false
    end

    local r = record(x, call('ZRANGE', x.index, 0, 0)[1])

    return not r or r.tenant ~= tenant
end


local function set_fields(x, fields)
    for name, value in pairs(fields) do
        if name ~= 'bridge' then
            if value == '' then
                call('HDEL', x.key, name)

            else
                call('HSET', x.key, name, value)
            end
        end
    end
end


-- tb_rpc_device_put D <tenantId> <customerId or ""> [<field> <value> ...]
--
-- keys      D, the device
-- arguments field: name, strategy or bridge (a static route); an empty value
--           removes it, what is not named stays
-- replies   1
-- errors    a wrong key or argument; not the id's shard; records or open calls
--           of another tenant; a key of another type; -OOM

local function device_put(keys, a)
    local x, err = writing(keys)

    if not x then
        return err
    end

    if #a < 2 or #a % 2 ~= 0 then
        return bad('tb_rpc_device_put needs tenantId, customerId or "", and'
                   .. ' pairs of field and value')
    end

    local tenant, customer = lower(a[1]), lower(a[2])
    local fields = {}

    for i = 3, #a, 2 do
        fields[a[i]] = a[i + 1]
    end

    if customer == NO_CUSTOMER then
        customer = ''
    end

    err = device_error(x, tenant, customer, fields)

    if err then
        return bad(err)
    end

    err = wrong_session(x) or wrong_list(x)
          or (fields.bridge and wrong(x.p .. 'queue:' .. fields.bridge,
                                      'list'))

    if err then
        return err
    end

    local d = device(x)

    err = not d and delete_rest(x)

    if err then
        return err
    end

    if is_foreign(x, d, tenant) then
        return bad('device ' .. x.id .. ' has records or open calls of'
                   .. ' another tenant')
    end

    local before = member(x)

    call('HSET', x.key, 'tenantId', tenant, 'customerId', customer)

    set_fields(x, fields)
    list(x, before)

    x.device = UNREAD

    if fields.bridge then
        set_route(x, fields.bridge)
    end

    release(x, RELEASE)

    return 1
end


return { device_put = device_put }
