-- The settings of a shard, as nginx has sent them by tb_rpc_config.

local call = redis.call
local match = string.match

local CONFIG_TTL = use('const', 'CONFIG_TTL')
local int = use('text', 'int')


local STRATEGY = {
    burst = 'burst',
    sequential_on_ack = 'ack',
    sequential_on_response = 'response'
}

local NAMES = {
    'max_retries', 'ack_timeout', 'response_timeout', 'record_ttl',
    'strategy', 'events', 'max_pending', 'max_records', 'max_queue',
    'max_response', 'shards'
}

local DEFAULTS = {
    max_retries = 5, ack_timeout = 10000, response_timeout = 30000,
    record_ttl = 2592000000, strategy = 'burst', events = 0,
    max_pending = 1000, max_records = 200000, max_queue = 10000,
    max_response = 65536, shards = 0
}

local MAX = {
    max_retries = 2147483647, events = 1, shards = 512
}

-- with none a call that was taken is overdue at once, for ever

local MIN = {
    ack_timeout = 10, response_timeout = 10
}


local function parse_settings(text)
    local s = {}

    for i = 1, #NAMES do
        local name = NAMES[i]
        local value = match(text, '%f[%w_]' .. name .. '=([%w_]+)')

        if name == 'strategy' then
            s[name] = STRATEGY[value] and value or DEFAULTS[name]

        else
            local n = int(value, MAX[name])

            s[name] = n and n >= (MIN[name] or 0) and n or DEFAULTS[name]
        end
    end

    return s
end


-- One text a shard; it is read again after CONFIG_TTL, or when it was written
-- by tb_rpc_config here.

local known, parsed = false, false
local shards, shards_n = {}, 0


local function settings(x)
    local shard = shards[x.p]

    if shard and x.now < shard.till and x.now >= shard.from then
        return shard.settings
    end

    local text = call('HGET', x.p .. 'config', 'settings') or ''

    if text ~= known then
        parsed = parse_settings(text)
        known = text
    end

    -- as many as there can be, whatever prefixes are tried

    if shards_n > 16384 then
        shards, shards_n, shard = {}, 0, nil
    end

    if not shard then
        shard = {}
        shards[x.p] = shard
        shards_n = shards_n + 1
    end

    shard.from, shard.till = x.now, x.now + CONFIG_TTL
    shard.settings = parsed

    return parsed
end


local function config(x)
    if not x.config then
        x.config = settings(x)
    end

    return x.config
end


local function forget(prefix)
    shards[prefix] = nil
end


return {
    config = config, forget = forget, STRATEGY = STRATEGY, NAMES = NAMES,
    DEFAULTS = DEFAULTS, MIN = MIN, MAX = MAX
}
