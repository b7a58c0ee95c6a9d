-- tb_rpc_device_del.  What it has to end it ends in slices, so that a device
-- with many open calls holds up nobody else: while some are left, the device
-- is unknown to everybody and has a field "gone".

local call, error_reply = redis.call, redis.error_reply
local find = string.find

local writing = use('context', 'writing')
local device, queue_key, wrong_session, arm =
    use('device', 'device', 'queue_key', 'wrong_session', 'arm')
local parse, remove = use('call', 'parse', 'remove')
local brief_record = use('record', 'brief_record')
local forget = use('beats', 'forget')
local polls = use 'poll'
local trim = use('queue', 'trim')
local action = use('machine', 'action')
local member, wrong_list = use('listed', 'member', 'wrong_list')


local SLICE = 16                -- calls ended at once


local function end_call(x, rid, text)
    local c = parse(x, rid, text)
    local r = c and c.kind == 'P' and brief_record(x, c.id)

    if not c then
        call('HDEL', x.inflight, rid)

    elseif c.kind == 'L' or r then
        action('orphaned', c)(x, c, r)
        remove(x, c)

    else
        call('ZREM', x.due, c.due)
        remove(x, c)
    end
end


-- how many calls were ended, and whether some are left

local function end_calls(x)
    local all = call('HGETALL', x.inflight)
    local n = 0

    -- what is in a queue could still be taken

    for i = 1, #all, 2 do
        if find(all[i + 1], '^[PL]q') then
            end_call(x, all[i], all[i + 1])
            all[i] = false
            n = n + 1
        end
    end

    for i = 1, #all, 2 do
        if all[i] then
            if n >= SLICE then
                return n, true
            end

            end_call(x, all[i], all[i + 1])
            n = n + 1
        end
    end

    call('DEL', x.key, x.inflight, x.pending, x.body)
    call('ZREM', x.due, '@' .. x.id)

    return n, false
end


-- more of a device that is being deleted; how many calls were ended

local function delete_more(x)
    if not call('HGET', x.key, 'gone') then
        return 1
    end

    local n, more = end_calls(x)

    if more then
        arm(x, x.now)
    end

    return n + 1
end


-- Before a device is made anew: an error while much is left of the old one.

local function delete_rest(x)
    if not call('HGET', x.key, 'gone') then
        return nil
    end

    local _, more = end_calls(x)

    if more then
        return error_reply('TRYAGAIN tb_rpc: device ' .. x.id .. ' is being'
                           .. ' deleted, try again')
    end
end


-- tb_rpc_device_del D: ends open calls; records stay until their time is over
--
-- keys      D, the device
-- arguments none
-- replies   1, or 0: it was unknown
-- errors    a wrong key; a key of another type; -TRYAGAIN

local function device_del(keys)
    local x, err = writing(keys)

    if not x then
        return err
    end

    err = wrong_session(x) or wrong_list(x)

    if err then
        return err
    end

    local d = device(x)
    local listed = member(x)
    local worker, session = polls.open(x)
    local queue = d and d.bridge and queue_key(x)

    if worker then
        polls.tell(x, worker, 'E' .. session)
    end

    -- nobody finds it from here on

    x.device = false
    forget(x)

    if listed then
        call('ZREM', x.p .. 'devices', listed)
    end

    local _, more = end_calls(x)

    if more then
        call('DEL', x.key, x.pending)
        call('HSET', x.key, 'gone', '1')
        arm(x, x.now)
    end

    if queue then
        trim(x.p, queue)
    end

    return d and 1 or 0
end


return {
    delete_more = delete_more, delete_rest = delete_rest,
    device_del = device_del
}
