-- Texts and numbers: checks of arguments, and what is made of numbers.

local error_reply = redis.error_reply
local sub, gsub, find, fmt = string.sub, string.gsub, string.find, string.format
local tonumber = tonumber


local function bad(text)
    return error_reply('ERR tb_rpc: ' .. text)
end


-- a decimal number without sign, exact in a double

local function int(s, max)
    if not s or #s > 16 or not find(s, '^%d+$') then
        return nil
    end

    local n = tonumber(s)

    if n > (max or 9007199254740992) then
        return nil
    end

    return n
end


-- tostring() and ".." print 14 digits

local function dec(n)
    return fmt('%d', n)
end


local UUID = '^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x'
             .. '%-%x%x%x%x%x%x%x%x%x%x%x%x$'


local function is_uuid(s)
    return s and #s == 36 and find(s, UUID)
end


-- the same for a number that is small nearly always

local SMALL = {}

for i = 0, 256 do
    SMALL[i] = dec(i)
end


local function short(n)
    return SMALL[n] or dec(n)
end


-- what an error may show of an argument

local function shown(s)
    return '"' .. gsub(sub(s or '', 1, 64), '[^%w%.%_:@{}/ %-]', '?')
           .. '"'
end


-- Under load many calls come in one ms, with the same timeout: the text made of
-- the i-th number is kept, which saves a create two formats.

local numbers, texts = { 0, 0, 0, 0, 0 }, { '0', '0', '0', '0', '0' }


local function kept_dec(i, n)
    if n ~= numbers[i] then
        numbers[i], texts[i] = n, dec(n)
    end

    return texts[i]
end


return {
    bad = bad, int = int, dec = dec, short = short, is_uuid = is_uuid,
    shown = shown, kept_dec = kept_dec
}
