-- Records in the order of what has no index.

local pcall_redis = redis.pcall
local gsub, char, fmt = string.gsub, string.char, string.format
local sort = table.sort
local tonumber, type = tonumber, type


local SORT_BYTES = 1048576      -- of all texts: 5 ms


local HEX = {}
local BYTES = 'B' < 'a' and 'Z' < '_' and '_' < 'a' and 'z' < '\195'

for i = 0, 255 do
    HEX[char(i)] = fmt('%02x', i)
end


-- strings are compared in the server's locale, hex digits are in order in any

local function ordered(text)
    return BYTES and text or (gsub(text, '.', HEX))
end


-- all ids, sorted by what has no index; ties by rpcId, missing last

local function sorted(prefix, ids, property, desc)
    local value, bytes = {}, 0
    local first = property == 'expirationTime' and 'e'
                  or property == 'response' and 'R' or 'm'

    for i = 1, #ids do
        local v = pcall_redis('HMGET', prefix .. 'rpc:' .. ids[i], first, 'p')

        if v.err or not v[1] then
            value[ids[i]] = nil

        elseif first == 'e' then
            value[ids[i]] = tonumber(v[1])

        elseif first == 'm' then
            value[ids[i]] = v[1] .. '\0' .. (v[2] or '')

        else
            value[ids[i]] = v[1]
        end

        local text = value[ids[i]]

        if type(text) == 'string' then
            bytes = bytes + #text

            if bytes > SORT_BYTES then
                return nil
            end

            value[ids[i]] = ordered(text)
        end
    end

    sort(ids, function(a, b)
        local v, w = value[a], value[b]

        if v == w then
            return a < b
        end

        if v == nil or w == nil then
            return w == nil
        end

        if desc then
            return v > w
        end

        return v < w
    end)

    return ids
end


return { sorted = sorted }
