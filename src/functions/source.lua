-- What a page is cut from: the records by createdTime, all or those of one
-- status, with ranks from 0, the oldest one.

local call = redis.call
local floor, min, max_of = math.floor, math.min, math.max
local tonumber = tonumber

local BAND, QUEUED, SENT, FAILED =
    use('const', 'BAND', 'QUEUED', 'SENT', 'FAILED')
local dec = use('text', 'dec')


-- A record that is QUEUED is not in the index of statuses: that is one write
-- less for each call, and for most of them the next one comes in the same ms.
-- What is QUEUED is what the index of all records has more.  It is counted by
-- subtraction, between any two moments, and found by halving what lies between
-- them; nearly always it is the youngest records, where the first look goes.

local LEAF = 64                 -- records looked at one by one


local function source(x, status)
    local s = { index = x.index, status = x.status, key = x.index, base = 0 }

    if status and status ~= QUEUED then
        s.key = x.status
        s.base = call('ZCOUNT', s.key, '-inf', '(' .. dec(status * BAND))
        s.total = call('ZCOUNT', s.key, dec(status * BAND),
                       '(' .. dec((status + 1) * BAND))
        return s
    end

    s.total = call('ZCARD', s.key)

    if status == QUEUED then
        s.all = s.total

        -- what was made before version 4 is there with the code 0

        s.total = max_of(s.all - call('ZCOUNT', s.status, dec(BAND), '+inf'),
                         0)
    end

    return s
end


-- how many of the source are older than the score, or as old if "bound" is ''

local function older(s, score, bound)
    local n = call('ZCOUNT', s.key, '-inf', bound .. score) - s.base

    if s.all then
        for code = SENT, FAILED do
            local from = code * BAND

            n = n - call('ZCOUNT', s.status, dec(from),
                         bound .. dec(from + tonumber(score)))
        end
    end

    return n
end


-- the records between two scores that are not QUEUED

local function not_queued(s, first, last)
    local others = {}

    for code = SENT, FAILED do
        local from = code * BAND
        local ids = call('ZRANGEBYSCORE', s.status,
                         dec(from + tonumber(first or 0)),
                         dec(from + tonumber(last or 0)))

        for i = 1, #ids do
            others[ids[i]] = true
        end
    end

    return others
end


-- w: the ranks that are wanted, and the members found, with their scores.  The
-- QUEUED ones among the ranks from lo to hi - 1 of the index of all records are
-- counted from "queued" on.

local function leaf(s, w, lo, hi, queued)
    for from = lo, hi - 1, LEAF do
        local v = call('ZRANGE', s.index, from,
                       min(from + LEAF, hi) - 1, 'WITHSCORES')
        local others = not_queued(s, v[2], v[#v])

        for i = 1, #v, 2 do
            if not others[v[i]] then
                if queued >= w.first and queued <= w.last then
                    w[#w + 1], w[#w + 2] = v[i], v[i + 1]
                end

                queued = queued + 1
            end
        end
    end
end


-- "till": how many are QUEUED before the rank hi; mid: where to look first.  lo
-- and hi never part the records of one ms: a count can't tell them apart.

local function walk(s, w, lo, hi, queued, till, mid)
    if queued >= till or till <= w.first or queued > w.last then
        return
    end

    if till - queued == hi - lo then
        local v = call('ZRANGE', s.index, lo + max_of(w.first - queued, 0),
                       lo + min(w.last + 1, till) - queued - 1, 'WITHSCORES')

        for i = 1, #v do
            w[#w + 1] = v[i]
        end

        return
    end

    if hi - lo <= LEAF then
        leaf(s, w, lo, hi, queued)
        return
    end

    mid = mid or floor((lo + hi) / 2)

    local score = call('ZRANGE', s.index, mid, mid, 'WITHSCORES')[2]
    local a = call('ZCOUNT', s.index, '-inf', '(' .. score)
    local b = a < mid and call('ZCOUNT', s.index, '-inf', score) or mid

    if a == lo and b == hi then
        leaf(s, w, lo, hi, queued)
        return
    end

    local before = a > lo and older(s, score, '(') or queued
    local upto = b == hi and till or b > mid and older(s, score, '')
                 or before

    walk(s, w, lo, a, queued, before)
    walk(s, w, a, b, before, upto)
    walk(s, w, b, hi, upto, till)
end


-- members and scores, the oldest one first

local function range(s, first, last)
    if not s.all then
        return call('ZRANGE', s.key, s.base + first, s.base + last,
                    'WITHSCORES')
    end

    local w = { first = first, last = last }

    walk(s, w, 0, s.all, 0, s.total, s.all - s.total)

    return w
end


local function oldest(s, first, last)
    if not s.all then
        return call('ZRANGE', s.key, s.base + first, s.base + last)
    end

    local v = range(s, first, last)
    local ids = {}

    for i = 1, #v, 2 do
        ids[#ids + 1] = v[i]
    end

    return ids
end


return { source = source, older = older, range = range, oldest = oldest }
