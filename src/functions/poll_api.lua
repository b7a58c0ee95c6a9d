-- Polls of devices over HTTP, as their workers bring them.

local call = redis.call
local find = string.find
local tonumber = tonumber

local RELEASE = use('const', 'RELEASE')
local bad, int, dec, shown = use('text', 'bad', 'int', 'dec', 'shown')
local writing = use('context', 'writing')
local device, arm, wrong_session =
    use('device', 'device', 'arm', 'wrong_session')
local polls = use 'poll'
local release = use('queue', 'release')


local function arguments(keys, a)
    local x, err = writing(keys)

    if not x then
        return nil, err
    end

    if #(a[1] or '') > 64 or not find(a[1] or '', '^[%w%.%_:%-]+$') then
        return nil, bad('worker ' .. shown(a[1]) .. ' is not a worker name')
    end

    if not int(a[2], 999999999999999) then
        return nil, bad('session ' .. shown(a[2]) .. ' is not a number')
    end

    err = wrong_session(x)

    if err then
        return nil, err
    end

    return x
end


-- tb_rpc_poll D <worker> <session> <ttl> [<again>]: the device asks for a call
--
-- keys      D, the device
-- arguments session: number of the poll in its worker; ttl: ms it may wait;
--           again: 1 when this poll was told of a call and has got nothing
-- replies   {call, requestId, attempt, <envelope>}, {wait}: it is the open poll
--           now, {unknown}
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function poll(keys, a)
    local ttl = int(a[3])

    if not ttl or ttl == 0 then
        return bad('ttl ' .. shown(a[3]) .. ' is not a number of ms')
    end

    local x, err = arguments(keys, a)

    if not x then
        return err
    end

    if not device(x) then
        return { 'unknown' }
    end

    local worker, session = polls.open(x)

    if worker and (worker ~= a[1] or session ~= a[2]) then
        polls.tell(x, worker, 'E' .. session)
    end

    local c, item = polls.unconfirmed(x, a[4] == '1')

    if not c then
        c, item = polls.next_call(x)

        if c then
            call('ZREM', x.pending, c.rid)
        end
    end

    if c then
        polls.close(x)
        polls.claim(x, c)

        return { 'call', tonumber(c.rid), c.attempt, item }
    end

    x.device.poll = a[1] .. ' ' .. a[2] .. ' ' .. dec(x.now + ttl)
    call('HSET', x.key, 'poll', x.device.poll)
    arm(x, x.now + ttl)

    return { 'wait' }
end


-- tb_rpc_unpoll D <worker> <session>: the poll is over, without a call
--
-- keys      D, the device
-- arguments as for tb_rpc_poll
-- replies   1, or 0: it is not open
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function unpoll(keys, a)
    local x, err = arguments(keys, a)

    if not x then
        return err
    end

    local worker, session = polls.open(x)

    if worker ~= a[1] or session ~= a[2] then
        return 0
    end

    polls.close(x)

    -- a bridge was the second choice

    release(x, RELEASE)

    return 1
end


return { poll = poll, unpoll = unpoll }
