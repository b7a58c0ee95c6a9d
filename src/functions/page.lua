-- One page of records.

local call, pcall_redis = redis.call, redis.pcall
local match = string.match
local min, max_of = math.min, math.max
local unpack, ipairs = unpack, ipairs

local QUEUED, SENT, DELIVERED, SUCCESSFUL, TIMEOUT, EXPIRED, FAILED =
    use('const', 'QUEUED', 'SENT', 'DELIVERED', 'SUCCESSFUL', 'TIMEOUT',
        'EXPIRED', 'FAILED')
local sorted = use('sort', 'sorted')
local source, older, range, oldest =
    use('source', 'source', 'older', 'range', 'oldest')


local SORT_RECORDS = 1000       -- sorted on demand at most: 5 ms
local QUEUED_PAGE = 128         -- QUEUED records of one reply

local BY_NAME = { DELIVERED, EXPIRED, FAILED, QUEUED, SENT, SUCCESSFUL,
                  TIMEOUT }


-- All that are QUEUED, in no order, from the open calls: to find thousands that
-- lie scattered takes too long.  nil when these are not all.

local function queued_ids(x, s)
    if call('HLEN', x.inflight) > SORT_RECORDS then
        return nil
    end

    local all = call('HGETALL', x.inflight)
    local ids = {}

    for i = 2, #all, 2 do
        local id = match(all[i], '^P[pq][01]([%x%-]+) ')
        local status = id and pcall_redis('HGET', x.rpc .. id, 's')

        if status == '0' then
            ids[#ids + 1] = id
        end
    end

    return #ids == s.total and ids or nil
end


-- Newest first, but the records of one ms in the order of their rpcIds:
-- ranks are exact, so only the groups at both ends of the page are looked up.

local function newest(s, first, last)
    local v = range(s, s.total - 1 - last, s.total - 1 - first)
    local ids = {}
    local i = #v - 1

    while i > 0 do
        local score, j = v[i + 1], i

        while v[j - 1] == score do
            j = j - 2
        end

        if i == #v - 1 or j == 1 then
            local above = s.total - older(s, score, '')
            local rank = older(s, score, '(') + first
                         + (#v - 1 - i) / 2 - above

            for _, id in ipairs(oldest(s, rank, rank + (i - j) / 2)) do
                ids[#ids + 1] = id
            end

        else
            for k = j, i, 2 do
                ids[#ids + 1] = v[k]
            end
        end

        i = j - 2
    end

    return ids
end


-- By the names of the statuses, the records of each the oldest first: one
-- source after the other, so that a page costs the same at any depth.

local function by_status(x, desc, offset, count)
    local ids, total = {}, 0

    for i = 1, #BY_NAME do
        local s = source(x, BY_NAME[desc and #BY_NAME + 1 - i or i])
        local first = max_of(offset - total, 0)

        -- to find those that lie scattered takes long: the page ends with them

        if s.all and s.total - first > QUEUED_PAGE then
            count = min(count, #ids + QUEUED_PAGE)
        end

        local last = min(first + count - #ids, s.total) - 1

        if first <= last then
            for _, id in ipairs(oldest(s, first, last)) do
                ids[#ids + 1] = id
            end
        end

        total = total + s.total
    end

    return ids, total
end


-- ids of a page, and the total

local function page(x, status, property, desc, offset, count)
    if property == 'status' then
        if not status then
            return by_status(x, desc, offset, count)
        end

        property, desc = 'createdTime', false
    end

    local s = source(x, status)
    local total = s.total

    if offset >= total or count == 0 then
        return {}, total
    end

    if property ~= 'createdTime' then
        if total > SORT_RECORDS then
            return nil, total
        end

        local ids = s.all and queued_ids(x, s)
                    or oldest(s, 0, total - 1)

        ids = sorted(x.p, ids, property, desc)

        if not ids then
            return nil, total
        end

        return { unpack(ids, offset + 1, min(offset + count, total)) }, total
    end

    -- to find those that lie scattered takes long

    if s.all then
        count = min(count, QUEUED_PAGE)
    end

    local last = min(offset + count, total) - 1

    if desc then
        return newest(s, offset, last), total
    end

    return oldest(s, offset, last), total
end


return { page = page }
