-- Users: their keys, and what is theirs.
--
-- What belongs to a user is in the slot of the user's key, which has no braces:
-- the key is the tag of the others.

local call, pcall_redis = redis.call, redis.pcall
local error_reply, sha1hex = redis.error_reply, redis.sha1hex
local find, lower, match, fmt =
    string.find, string.lower, string.match, string.format
local pairs, tonumber, type, unpack = pairs, tonumber, type, unpack

local clock = use('clock', 'clock')
local bad, dec, shown = use('text', 'bad', 'dec', 'shown')
local wrong = use('context', 'wrong')


-- what nginx makes tokens of, behind the hash and "enabled"

local FIELDS = { 'id', 'name', 'tenantId', 'customerId', 'authority',
                 'firstName', 'lastName', 'createdTime' }


-- U: <prefix>user:<lower-case name>

local function user_key(keys)
    local key = #keys == 1 and keys[1]
    local name = key and match(key, '^[^{}]*user:([^{}]+)$')

    if not name or #name > 255 or find(name, '%c') or lower(name) ~= name then
        return nil, bad('1 key is needed, <prefix>user:<lower-case name>, not '
                        .. shown(key or ''))
    end

    return {
        key = key, tries = '{' .. key .. '}:tries',
        sessions = '{' .. key .. '}:sessions'
    }
end


-- Is the slot all here?  See context.lua: this one is no shard's.

local function moving(tag)
    if type(pcall_redis('EXISTS', '{' .. tag .. '}:none',
                        '{' .. tag .. '}:none2')) == 'table'
    then
        -- it does not tell whose: nginx may log it

        return error_reply('TRYAGAIN tb_rpc: the slot of the key is not all'
                           .. ' here, try again')
    end
end


-- for functions that write: u, or nil and an error

local function writing(keys)
    local u, err = user_key(keys)

    if u then
        err = moving(u.key)

        if not err and wrong(u.key, 'hash', u.tries, 'hash', u.sessions,
                             'hash')
        then
            err = bad('the user, the tries or the sessions of that name are'
                      .. ' no hash; remove what is in their place')
        end
    end

    if err then
        return nil, err
    end

    u.now, u.time = clock()

    return u
end


-- behind what is in the reply already; an empty text for what is not there

local function add_fields(u, reply)
    local v = call('HMGET', u.key, unpack(FIELDS))

    for i = 1, #FIELDS do
        reply[#reply + 1] = v[i] or ''
    end

    return reply
end


-- Tries under a key: "n" have failed, "open" are under way, "until" that it is
-- locked.  Each is counted before it is looked at: so no number of tries at the
-- same time slips through.  The ms that are left of a lock, 0 if only so many
-- are under way, or nil and how many there are.

local function count(key, now, limit, window)
    local v = call('HMGET', key, 'until', 'n', 'open')
    local until_ms = tonumber(v[1] or nil)

    if until_ms then
        if until_ms > now then
            return until_ms - now
        end

        call('DEL', key)
        v = {}
    end

    local tries = (v[2] or 0) + (v[3] or 0)

    if tries >= limit then
        return 0
    end

    call('HINCRBY', key, 'open', 1)

    if not v[2] and not v[3] then
        call('PEXPIRE', key, window)
    end

    return nil, tries + 1
end


-- One of them is over.  The first failure begins the time that all are known
-- for; the last one the same of a lock.

local function over(key)
    local v = call('HMGET', key, 'open', 'n')
    local open = (v[1] or 1) - 1

    if open > 0 then
        call('HSET', key, 'open', open)

    elseif v[2] then
        call('HDEL', key, 'open')

    else
        call('DEL', key)
    end
end


local function failed(key, now, limit, window)
    local n = call('HINCRBY', key, 'n', 1)

    if n >= limit and call('HSETNX', key, 'until', dec(now + window)) == 1
       or n == 1
    then
        call('PEXPIRE', key, window)
    end

    over(key)
end


-- Which password it is, whatever hash it has by now: of the first one.

local function password_of(hash, password)
    return password or sha1hex(hash)
end


-- A session: "<SHA-256 of the jti> <created> <refreshed> <expires>", in ms.

local SESSION = '^(%x+) (%d+) (%d+) (%d+)$'


local function session_text(sha, created, now, ttl)
    return fmt('%s %s %s %s', sha, created, dec(now), dec(now + ttl))
end


-- Puts one, drops those that are over, and while there are max the one that was
-- refreshed first.

local function put_session(u, id, text, max)
    local all = call('HGETALL', u.sessions)
    local open, n, last = {}, 0, tonumber((match(text, '(%d+)$')))

    for i = 1, #all, 2 do
        local _, _, refreshed, expires = match(all[i + 1], SESSION)

        if not expires or tonumber(expires) <= u.now then
            call('HDEL', u.sessions, all[i])

        elseif all[i] ~= id then
            open[all[i]], n = tonumber(refreshed), n + 1
            last = expires + 0 > last and expires + 0 or last
        end
    end

    while n >= max do
        local oldest

        for other, refreshed in pairs(open) do
            if not oldest or refreshed < open[oldest]
               or refreshed == open[oldest] and other < oldest
            then
                oldest = other
            end
        end

        call('HDEL', u.sessions, oldest)
        open[oldest], n = nil, n - 1
    end

    call('HSET', u.sessions, id, text)
    call('PEXPIRE', u.sessions, last - u.now)
end


return {
    FIELDS = FIELDS, SESSION = SESSION, user_key = user_key, moving = moving,
    writing = writing, add_fields = add_fields, count = count, over = over,
    failed = failed, password_of = password_of, session_text = session_text,
    put_session = put_session
}
