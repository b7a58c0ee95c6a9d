-- Logging in, and what follows: for nginx.

local call = redis.call
local find, match = string.find, string.match
local min = math.min

local bad, int, is_uuid = use('text', 'bad', 'int', 'is_uuid')
local clock = use('clock', 'clock')
local wrong = use('context', 'wrong')
local SESSION, user_key, moving, writing, add_fields, count, session_text,
      put_session =
    use('user', 'SESSION', 'user_key', 'moving', 'writing', 'add_fields',
        'count', 'session_text', 'put_session')


local MAX_MS = 31536000000              -- a year


local function is_sha256(s)
    return s and #s == 64 and find(s, '^[0-9a-f]+$')
end


-- nil unless they are numbers, from 1 on but for the last ones

local function numbers(a, n, zero)
    local out = {}

    for i = 1, n do
        out[i] = int(a[i], MAX_MS)

        if not out[i] or out[i] == 0 and i <= n - zero then
            return nil
        end
    end

    return out
end


-- A: <prefix>login:<address in hex>

local function address_key(keys)
    if #keys ~= 1 or not find(keys[1], '^[^{}]-login:%x+$') then
        return bad('1 key is needed, <prefix>login:<address in hex>')
    end

    return moving(keys[1]) or wrong(keys[1], 'hash')
end


-- tb_rpc_login_address A <max> <ms>: a try from there, a failure until
--                                    tb_rpc_login_good takes it back
--
-- keys      A, <prefix>login:<address in hex>
-- arguments max: the failures that are the last; ms: how long they are known,
--           and how long the address is locked then
-- replies   {ok}, {locked, ms}
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN, -OOM

local function address(keys, a)
    local n = numbers(a, 2, 0)
    local err = not n and bad('max and ms are numbers') or address_key(keys)

    if err then
        return err
    end

    local left = count(keys[1], clock(), n[1], n[2])

    return left and { 'locked', left } or { 'ok' }
end


-- tb_rpc_login_good A: the last try from there was none to guess.  Failures
-- before it stay: whoever has one account can't guess at others for ever.
--
-- keys      A, <prefix>login:<address in hex>
-- arguments none
-- replies   1, or 0: nothing is known of that address
-- errors    a wrong key; a key of another type; -TRYAGAIN

local function good(keys)
    local err = address_key(keys)

    if err then
        return err
    end

    local n = int(call('HGET', keys[1], 'n') or nil)

    if not n then
        return 0
    end

    if n <= 1 then
        call('DEL', keys[1])

    else
        call('HINCRBY', keys[1], 'n', -1)
        call('HDEL', keys[1], 'until')
    end

    return 1
end


-- tb_rpc_login_try U <max> <ms> <delay> <max delay>: a try, a failure until
--                                  tb_rpc_login_done says that it was none
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments max, ms: as above, of the name, be it a user's or not; delay: of
--           the second try, in ms; it doubles with each, up to max delay
-- replies   {ok, delay}: nobody, {ok, delay, hash, enabled, <the fields of
--           user.lua>}, {locked, ms}
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN, -OOM

local function try(keys, a)
    local n = numbers(a, 4, 2)

    if not n then
        return bad('max, ms, delay and max delay are numbers')
    end

    local u, err = writing(keys)

    if err then
        return err
    end

    local left, tries = count(u.tries, u.now, n[1], n[2])

    if left then
        return { 'locked', left }
    end

    local delay = tries > 1 and min(n[3] * 2 ^ min(tries - 2, 30), n[4]) or 0
    local v = call('HMGET', u.key, 'hash', 'enabled')

    if not v[1] or v[1] == '' then
        return { 'ok', delay }
    end

    return add_fields(u, { 'ok', delay, v[1], v[2] or '0' })
end


-- tb_rpc_login_done U <sessionId> <jti> <ttl> <max> <seen> [<hash> [<only>]]
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments sessionId: of the new session; jti: the SHA-256 of the jti of its
--           refresh token, in hex; ttl: ms until that is over; max: sessions
--           of a user; seen: the hash that the password was compared with, ""
--           of a public customer; hash: another one instead; only: 1 ends all
--           other sessions
-- replies   {ok}, {changed}: disabled, gone, or with another hash meanwhile
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN, -OOM

local function done(keys, a)
    local ttl, max = int(a[3], MAX_MS), int(a[4], 1000)

    if not is_uuid(a[1]) or not is_sha256(a[2]) or not ttl or ttl == 0
       or not max or max == 0 or not a[5]
    then
        return bad('tb_rpc_login_done needs sessionId, jti, ttl, max and seen')
    end

    local hash = a[6] ~= '' and a[6] or a[5]

    if #hash > 255 or (a[7] or '1') ~= '1' then
        return bad('a hash has up to 255 bytes, only is 1')
    end

    local u, err = writing(keys)

    if err then
        return err
    end

    local v = call('HMGET', u.key, 'hash', 'enabled')

    if v[2] ~= '1' or v[1] ~= a[5] and v[1] ~= hash then
        return { 'changed' }
    end

    if v[1] ~= hash then
        call('HSET', u.key, 'hash', hash)
    end

    if a[7] then
        call('DEL', u.sessions)
    end

    call('DEL', u.tries)
    put_session(u, a[1], session_text(a[2], u.time, u.now, ttl), max)

    return { 'ok' }
end


-- tb_rpc_login_refresh U <sessionId> <jti> <new jti> <ttl>
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments as above; jti is used up by this
-- replies   {ok, <the fields of user.lua>}, {unknown}: no such user or session,
--           {disabled}, {used}: all of the session is over now
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function refresh(keys, a)
    local ttl = int(a[4], MAX_MS)

    if not is_uuid(a[1]) or not is_sha256(a[2]) or not is_sha256(a[3])
       or not ttl or ttl == 0
    then
        return bad('tb_rpc_login_refresh needs sessionId, jti, new jti and'
                   .. ' ttl')
    end

    local u, err = writing(keys)

    if err then
        return err
    end

    local text = call('HGET', u.sessions, a[1])
    local sha, created, _, expires = match(text or '', SESSION)

    if not sha or expires + 0 <= u.now then
        return { 'unknown' }
    end

    local enabled = call('HGET', u.key, 'enabled')

    if enabled ~= '1' then
        call('DEL', u.sessions)
        return { enabled and 'disabled' or 'unknown' }
    end

    -- the same command once more is no second use

    if sha ~= a[3] then

        if sha ~= a[2] then
            call('HDEL', u.sessions, a[1])
            return { 'used' }
        end

        put_session(u, a[1], session_text(a[3], created, u.now, ttl), 1000)
    end

    return add_fields(u, { 'ok' })
end


-- tb_rpc_login_logout U [<sessionId>]
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments sessionId: without it all of the user's
-- replies   how many there were
-- errors    a wrong key; a key of another type; -TRYAGAIN

local function logout(keys, a)
    local u, err = writing(keys)

    if err then
        return err
    end

    if a[1] then
        return call('HDEL', u.sessions, a[1])
    end

    local n = call('HLEN', u.sessions)

    call('DEL', u.sessions)

    return n
end


-- tb_rpc_login_user U
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments none
-- replies   {ok, 1: a public customer, enabled, <the fields of user.lua>},
--           {unknown}
-- errors    a wrong key

local function user(keys)
    local u, err = user_key(keys)

    if err then
        return err
    end

    local v = call('HMGET', u.key, 'hash', 'enabled')

    if not v[2] then
        return { 'unknown' }
    end

    return add_fields(u, { 'ok', v[1] == '' and '1' or '0', v[2] })
end


return {
    address = address, good = good, try = try, done = done, refresh = refresh,
    logout = logout, user = user
}
