-- The common beginning of what bridges and workers report about a call.

local tonumber = tonumber

local IDS = use('const', 'IDS')
local bad, int, dec, shown = use('text', 'bad', 'int', 'dec', 'shown')
local config = use('settings', 'config')
local writing, wrong, ignored = use('context', 'writing', 'wrong', 'ignored')
local device, queue_key = use('device', 'device', 'queue_key')
local open_call = use('call', 'open_call')
local brief_record = use('record', 'brief_record')
local drop_broken = use('ending', 'drop_broken')


local function wrong_report(x, c)
    local err = wrong(x.due, 'zset', x.pending, 'zset', x.status, 'zset')

    if not err and c.kind == 'L' then
        err = wrong(x.body, 'hash')
    end

    return err or (config(x).events == 1 and wrong(x.p .. 'events', 'stream'))
           or (device(x) and device(x).bridge and wrong(queue_key(x), 'list'))
end


-- x, the open call, and what its record says; or what to return
--
-- at: the argument that is the attempt

local function report(keys, a, event, at)
    local x, err = writing(keys)

    if not x then
        return nil, err
    end

    if not int(a[1], IDS) then
        return nil, bad('requestId ' .. shown(a[1]) .. ' is not a number')
    end

    local attempt

    if at and a[at] and a[at] ~= '' then
        attempt = int(a[at], 999999999)

        if not attempt then
            return nil, bad('attempt ' .. shown(a[at]) .. ' is not a number')
        end
    end

    local c = open_call(x, dec(tonumber(a[1])))

    -- it was pushed, and what is reported is about the latest push

    if not c or c.attempt == 0 or (attempt and attempt ~= c.attempt) then
        return nil, ignored(x, event)
    end

    local r = c.kind == 'P' and brief_record(x, c.id) or nil

    err = wrong_report(x, c)

    if err then
        return nil, err
    end

    -- without its record a call ends

    if c.kind == 'P' then
        if not r then
            drop_broken(x, c)
            return nil, ignored(x, event)
        end

        c.expiry = tonumber(r.expiry)
    end

    return x, c, r
end


return { report = report }
