-- Which shard is a device in?

local byte = string.byte
local band, bxor, bnot, rshift = bit.band, bit.bxor, bit.bnot, bit.rshift


local CRC = {}

for i = 0, 255 do
    local c = i

    for _ = 1, 8 do
        local odd = band(c, 1) == 1

        c = rshift(c, 1)
        c = odd and bxor(c, 0xEDB88320) or c
    end

    CRC[i] = c
end


local function crc32(s)
    local c = bnot(0)

    for i = 1, #s do
        c = bxor(rshift(c, 8), CRC[band(bxor(c, byte(s, i)), 255)])
    end

    return bnot(c) % 4294967296
end


return { crc32 = crc32 }
