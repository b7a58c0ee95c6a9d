-- tb_rpc_config: nginx tells the settings.

local call = redis.call
local match = string.match
local concat = table.concat

local bad, int, dec, shown = use('text', 'bad', 'int', 'dec', 'shown')
local settings = use 'settings'
local moving = use('context', 'moving')


local function config_text(a)
    local given = {}

    for i = 2, #a, 2 do
        local name, value = a[i], a[i + 1]

        if not settings.DEFAULTS[name] then
            return nil, 'setting ' .. shown(name) .. ' is unknown'
        end

        if name == 'strategy' then
            if not settings.STRATEGY[value] then
                return nil, 'strategy ' .. shown(value) .. ' is unknown'
            end

        else
            local n = int(value, settings.MAX[name])

            if not n or n < (settings.MIN[name] or 0) then
                return nil, name .. ' ' .. shown(value) .. ' is not a number'
                            .. ' in its range'
            end

            value = dec(n)
        end

        given[name] = value
    end

    local text = {}

    for i = 1, #settings.NAMES do
        local name = settings.NAMES[i]

        if given[name] then
            text[#text + 1] = name .. '=' .. given[name]
        end
    end

    return concat(text, ' ')
end


-- tb_rpc_config C <stamp> [<setting> <value> ...]
--
-- keys      C, <prefix>{s<n>}:config
-- arguments stamp: the newest wins; what is not named has its default
-- replies   {1}, or {0, <stored stamp>}: other settings of a newer stamp stay
-- errors    a wrong key or argument; -TRYAGAIN

local function set_config(keys, a)
    local prefix = #keys == 1 and match(keys[1], '^([^{}]*{s%d%d%d}:)config$')

    if not prefix then
        return bad('1 key is needed, <prefix>{s<n>}:config')
    end

    local stamp = int(a[1])

    if not stamp or #a % 2 ~= 1 then
        return bad('tb_rpc_config needs a stamp and pairs of setting and'
                   .. ' value')
    end

    local text, err = config_text(a)

    if not text then
        return bad(err)
    end

    local moved = moving(prefix)

    if moved then
        return moved
    end

    local v = call('HMGET', keys[1], 'stamp', 'settings')
    local stored = int(v[1] or nil) or 0

    if v[2] ~= text and stored > stamp then
        return { 0, stored }
    end

    if v[2] ~= text or stored < stamp then
        call('HSET', keys[1], 'stamp', dec(stamp), 'settings', text)
        settings.forget(prefix)
    end

    return { 1 }
end


return { set_config = set_config }
