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


-- What waits, and the queue, are touched by a call that is among them or goes
-- there again, and where one that waits may take its place.

local BACK = { timeout = true, ['return'] = true }


local function wrong_report(x, c, event)
    local d = device(x)
    local err = wrong(x.due, 'zset')

    if not err and c.kind == 'L' then
        err = wrong(x.body, 'hash')

    elseif not err then
        err = wrong(x.status, 'zset')
    end

    if not err and (c.state == 'p' or c.state == 'q' or BACK[event]
                    or d and d.wait)
    then
        err = wrong(x.pending, 'zset')
              or (d and d.bridge and wrong(queue_key(x), 'list'))
    end

    return err or (config(x).events == 1 and wrong(x.p .. 'events', 'stream'))
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

    err = wrong_report(x, c, event)

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
