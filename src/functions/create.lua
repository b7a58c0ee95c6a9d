-- tb_rpc_create: from a request to a call.

local call = redis.call
local lower = string.lower
local min = math.min
local tonumber = tonumber

local RELEASE, RETRY, CONFIG_TTL, QUEUED, STATUS =
    use('const', 'RELEASE', 'RETRY', 'CONFIG_TTL', 'QUEUED', 'STATUS')
local bad, kept_dec = use('text', 'bad', 'kept_dec')
local config = use('settings', 'config')
local writing, wrong = use('context', 'writing', 'wrong')
local device, is_online, online, held, strategy, take_turn, set_wait, arm =
    use('device', 'device', 'is_online', 'online', 'held', 'strategy',
        'take_turn', 'set_wait', 'arm')
local open_calls, turn_taken, has_room =
    use('call', 'open_calls', 'turn_taken', 'has_room')
local event = use('record', 'event')
local polls = use 'poll'
local release = use('queue', 'release')
local fill, create_error = use('create_args', 'fill', 'create_error')
local find_repeated = use('create_repeat', 'find_repeated')
local create_record, create_expired =
    use('create_record', 'create_record', 'create_expired')
local last_id, undo, create_open =
    use('create_open', 'last_id', 'undo', 'create_open')


-- device known and caller's, call new, and not one too many?

local function create_refused(x, a, persistent, plain)
    local d = device(x)

    if not d then
        return { 'unknown' }
    end

    -- for the log only: its caller is not told that it exists

    if d.tenant ~= a[5] and d.tenant ~= lower(a[5]) then
        return { 'unknown', 'tenant' }
    end

    if a[6] ~= '*' and (a[6] == '' or d.customer ~= lower(a[6])) then
        return { 'customer' }
    end

    return find_repeated(x, a, persistent, plain)
end


-- Which cap is reached?  Only tb_rpc_create adds open calls and records, so
-- what was counted holds for as many more; not for long, since another server
-- may have been the master meanwhile.

local function capped(x, persistent)
    local set = config(x)

    if x.free > 0 and x.free_of == set and x.now >= x.free_from
       and x.now < x.free_from + CONFIG_TTL
    then
        x.free = x.free - 1
        return nil
    end

    local records = call('ZCARD', x.index)
    local open = open_calls(x)

    x.free = min(set.max_records - records, set.max_pending - open) - 1
    x.free_from, x.free_of = x.now, set

    if persistent and records >= set.max_records then
        return 'records'
    end

    return open >= set.max_pending and 'pending' or nil
end


-- A poll is open: the new call waits for it, behind others if there are some.
-- The poll's worker may be gone, which is seen when it is told.

local function create_offered(x, c, a)
    release(x, RELEASE)

    if not call('ZSCORE', x.pending, c.rid) then
        return 'queued'
    end

    if polls.open(x) or online(x) then
        return 'turn'
    end

    if c.kind == 'L' and a[14] == 'reject' then
        undo(x, c)
        return 'rejected'
    end

    return 'offline'
end


local function create_new(x, c, a, word)
    local err, full = create_open(x, c, a, word)

    if full then

        -- its bridge does not read: the device counts as offline

        word = 'offline'

        if a[14] == 'reject' and c.kind == 'L' then
            return { 'rejected' }
        end

        err = create_open(x, c, a, word)
    end

    if err then
        return err
    end

    if c.kind == 'P' then
        create_record(x, c, a, x.device.tenant, c.expiry_text, '0')
        event(x, c.id, STATUS[QUEUED])
    end

    local last = last_id(x, c.number)

    if last then
        call('HSET', x.key, 'last', last)
    end

    if word ~= 'queued' then
        set_wait(x)

    else
        take_turn(x, c.rid)
    end

    if full then
        arm(x, x.now + RETRY)
    end

    if word == 'turn' and polls.open(x) then
        word = create_offered(x, c, a)
    end

    if word == 'rejected' then
        return { word }
    end

    return { word, c.id, c.number, c.expiry - x.now, x.now }
end


-- where does a new call go?

local function create_place(x)
    local d = x.device

    -- from pending it is handed to the poll

    if d.poll and polls.open(x) then
        return 'turn'
    end

    if not is_online(d.bridge, d.till, x.now) then
        return 'offline'
    end

    if (d.wait and call('ZCARD', x.pending) > 0) or (d.held and held(x)) then
        return 'turn'
    end

    if strategy(x) == 'burst' then
        return has_room(x) and 'queued' or 'turn'
    end

    return d.turn and turn_taken(x) and 'turn' or 'queued'
end


-- tb_rpc_create D <rpcId> <replyTo> <oneway> <persistent> <tenantId>
--               <customer> <method> <params> <additionalInfo> <retries>
--               <timeout> <expiration> <maxHold> <offline> <requestUUID>
--               <hash> <traceparent>
--
-- keys      D, the device
-- arguments replyTo: the caller's worker; customer: "*" for a tenant's
--           administrator; method, params, additionalInfo: JSON texts; timeout
--           in ms or expiration in epoch ms; offline: wait or reject.  Empty
--           texts stand for what is absent; behind timeout they may be left out
-- replies   {queued}, {turn}, {offline} or {expired}, each followed by rpcId,
--           requestId, remaining ms, createdTime; or, and nothing was created,
--           {rejected}, {unknown}, {customer}, {pending}, {records}, {conflict}
-- errors    a wrong key or argument; a key of another type; the rpcId is that
--           of another device; -OOM; -TRYAGAIN

local function create(keys, a)
    local x, err = writing(keys)

    if not x then
        return err
    end

    if #a < 11 then
        return bad('tb_rpc_create needs 11 to 17 arguments, not ' .. #a)
    end

    local persistent = a[4] == '1'
    local plain = fill(a)
    local wrong_arg, time = create_error(a, persistent, plain)

    if wrong_arg then
        return bad(wrong_arg)
    end

    local reply = create_refused(x, a, persistent, plain)

    if reply then
        return reply
    end

    local cap = capped(x, persistent)

    if cap == 'records' then
        return { cap }
    end

    -- exact in a double, as all times

    local expiry = a[11] ~= '' and min(x.now + time, 9007199254740991) or time

    if not persistent and (tonumber(a[13]) or 0) > 0 then
        expiry = min(expiry, x.now + tonumber(a[13]))
    end

    -- eight fields: a ninth one would double the table

    local c = {
        kind = persistent and 'P' or 'L', id = a[1], oneway = a[3] == '1',
        expiry = expiry, expiry_text = kept_dec(1, expiry), rid = '',
        number = 0, plain = plain or a[9] == '' and a[10] == ''
                                     and a[15] == '' and a[17] == ''
    }

    if config(x).events == 1 then
        err = wrong(x.p .. 'events', 'stream')

        if err then
            return err
        end
    end

    if expiry <= x.now then
        if persistent then
            return create_expired(x, c, a, x.device.tenant)
        end

        return { 'expired', c.id, 0, 0, x.now }
    end

    if cap then
        return { cap }
    end

    local word = create_place(x)

    if word == 'offline' and a[14] == 'reject' and not persistent then
        return { 'rejected' }
    end

    return create_new(x, c, a, word)
end


return { create = create }
