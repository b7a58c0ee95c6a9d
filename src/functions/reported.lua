-- The common beginning of what bridges and workers report about a call.

local tonumber = tonumber

local IDS = use('const', 'IDS')
local bad, int, dec, shown = use('text', 'bad', 'int', 'dec', 'shown')
local config = use('settings', 'config')
local device_context, wrong, ignored =
    use('context', 'device_context', 'wrong', 'ignored')
local device, queue_key = use('device', 'device', 'queue_key')
local open_call = use('call', 'open_call')
local brief_record = use('record', 'brief_record')
local drop_broken = use('ending', 'drop_broken')


-- a claim moves nothing but the call

local function wrong_report(x, c, claim)
    local err = wrong(x.due, 'zset')

    if c.kind == 'L' then
        err = err or wrong(x.p .. 'answer:' .. c.id, 'string')
    end

    -- the end of a lightweight call may hand a persistent one to a poll

    if c.kind == 'P' or not claim then
        err = err or wrong(x.status, 'zset')
              or (config(x).events == 1 and wrong(x.p .. 'events', 'stream'))
    end

    if err or claim then
        return err
    end

    return wrong(x.p .. 'none', 'none', x.pending, 'list')
           or (device(x) and device(x).bridge and wrong(queue_key(x), 'list'))
end


-- the common beginning: x, the open call, its record; or what to return

local function report(keys, a, name, at)
    local x, err = device_context(keys)

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
        return nil, ignored(x, name)
    end

    device(x)
    config(x)

    local r = c.kind == 'P' and brief_record(x, c.id) or nil

    -- without its record a call ends

    err = wrong_report(x, c, name == 'sent' and (r or c.kind == 'L'))

    if err then
        return nil, err
    end

    if c.kind == 'P' then
        if not r then
            drop_broken(x, c)
            return nil, ignored(x, name)
        end

        c.expiry = tonumber(r.expiry)
    end

    return x, c, r
end


return { report = report }
