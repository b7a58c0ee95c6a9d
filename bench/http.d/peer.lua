-- A persistent create: what nginx's module does of it, without looking at who
-- calls, and with no more checks than are needed.  Connections to Redis come
-- from a pool.

local cjson = require 'cjson.safe'
local redis = require 'nginx.redis'

local crc32 = ngx.crc32_short
local format = string.format
local random = math.random

local SHARDS = 128
local TENANT = '7e000000-0000-11ee-8000-00000000000a'

local M = {}
local last = 0


-- UUID of version 1; the shard is its clock sequence

local function new_id(shard)
    local now = ngx.now() * 1e7 + 0x01B21DD213814000

    if now <= last then
        now = last + 16
    end

    last = now

    return format('%08x-%04x-1%03x-%04x-%s', now % 2 ^ 32,
                  now / 2 ^ 32 % 2 ^ 16, now / 2 ^ 48 % 2 ^ 12,
                  0x8000 + shard, M.node)
end


local function answer(status, value)
    local text = cjson.encode(value)

    ngx.status = status
    ngx.header['Content-Type'] = 'application/json'
    ngx.header['Content-Length'] = #text
    ngx.print(text)
end


local function connect(port, user, password)
    local r = redis:new()

    r:set_timeout(2000)

    local ok, err = r:connect('127.0.0.1', port)

    if ok and r:get_reused_times() == 0 then
        ok, err = r:auth(user, password)
    end

    return ok and r, err
end


function M.create(port, user, password)
    local device = ngx.var.uri:match('/twoway/([%x%-]+)$')

    ngx.req.read_body()

    local body = cjson.decode(ngx.req.get_body_data() or '')

    if not device or type(body) ~= 'table' or type(body.method) ~= 'string' then
        return answer(400, { status = 400, message = 'Invalid request' })
    end

    local r, err = connect(port, user, password)

    if not r then
        return answer(503, { status = 503, message = err })
    end

    local shard = crc32(device) % SHARDS
    local id = new_id(shard)
    local reply, why = r:fcall('tb_rpc_create', 1,
        format('tb:{s%03o}:device:%s', shard, device), id, '', '0', '1', TENANT,
        '*', cjson.encode(body.method), cjson.encode(body.params), '', '', '',
        format('%d', body.expirationTime))

    if not reply then
        return answer(503, { status = 503, message = why })
    end

    r:set_keepalive(60000, 64)

    if reply[1] ~= 'queued' then
        return answer(409, { status = 409, message = reply[1] })
    end

    return answer(200, { rpcId = id })
end


math.randomseed(ngx.now() * 1000)
M.node = format('%02x%04x%06x', random(0, 127) * 2 + 1, random(0, 65535),
                random(0, 2 ^ 24 - 1))

return M
