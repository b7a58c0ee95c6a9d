-- Persistent calls, when their time has come.

local call = redis.call
local min = math.min
local tonumber = tonumber

local QUEUED, SENT, DELIVERED, TIMEOUT, EXPIRED, FAILED =
    use('const', 'QUEUED', 'SENT', 'DELIVERED', 'TIMEOUT', 'EXPIRED', 'FAILED')
local is_uuid = use('text', 'is_uuid')
local config = use('settings', 'config')
local context, stat = use('context', 'context', 'stat')
local strategy = use('device', 'strategy')
local open_call, due_within = use('call', 'open_call', 'due_within')
local record, set_status, keep_record, purge =
    use('record', 'record', 'set_status', 'keep_record', 'purge')
local push_again = use('queue', 'push_again')
local finish, drop_broken = use('ending', 'finish', 'drop_broken')
local overdue = use 'overdue'


-- no acknowledgement in time: the same call once more, or its end

local function unacknowledged(x, c, r)
    local max = config(x).max_retries
    local used = tonumber(r.used or 0) or 0

    max = min(tonumber(r.retries or max) or max, max)

    if used >= max then
        finish(x, c, r.created, FAILED,
               '{"error":"There was a Timeout and all retry attempts have'
               .. ' been exhausted. Retry attempts set: ' .. max .. '"}')
        return
    end

    call('HSET', x.rpc .. c.id, 'u', used + 1)
    set_status(x, c, r.created, TIMEOUT)
    push_again(x, c)
    stat(x, 'retries')
end


-- no open call goes with this record

local function lost(x, id, r)
    if r.status ~= QUEUED and r.status ~= SENT and r.status ~= TIMEOUT
       and (r.status ~= DELIVERED or r.oneway)
    then
        purge(x, id)
        return
    end

    stat(x, 'broken')
    set_status(x, { id = id }, r.created, FAILED,
               '{"error":"The call was lost."}')
    keep_record(x, id)
end


local function tick(prefix, id, now)
    local r = record({ rpc = prefix .. 'rpc:' }, id)

    if not r or not is_uuid(r.device) then
        local v = call('HMGET', prefix .. 'rpc:' .. id, 'd', 'i')
        local x = context(prefix, v[1] or '', now)
        local c = v[2] and open_call(x, v[2])

        purge(x, id)

        if c and c.id == id then
            drop_broken(x, c)
        end

        return
    end

    local x = context(prefix, r.device, now)
    local c = r.rid and open_call(x, r.rid)

    if not c or c.id ~= id then
        lost(x, id, r)
        return
    end

    local set = config(x)

    c.expiry = tonumber(r.expiry)

    if now >= c.expiry then
        finish(x, c, r.created, EXPIRED)

    elseif c.state == 'q' then
        overdue.queued(x, c)

    elseif c.state == 'h' then
        overdue.handed(x, c)

    elseif c.state == 's' then
        if now >= c.time + set.ack_timeout then
            unacknowledged(x, c, r)

        else
            due_within(x, c, c.time + set.ack_timeout - now)
        end

    elseif c.state == 'd' and strategy(x) == 'response' then
        if now >= c.time + set.response_timeout then
            finish(x, c, r.created, FAILED, '{"error":"There was a timeout'
                   .. ' awaiting for RPC response from device."}')

        else
            due_within(x, c, c.time + set.response_timeout - now)
        end

    elseif c.state == 'd' then
        overdue.turn(x, c, 'response', set.response_timeout)

    else
        due_within(x, c)
    end
end


return { unacknowledged = unacknowledged, tick = tick }
