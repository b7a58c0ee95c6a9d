-- Logging in, and what follows: for nginx.

local call = redis.call
local find, match = string.find, string.match
local min = math.min

local bad, int, is_uuid = use('text', 'bad', 'int', 'is_uuid')
local clock = use('clock', 'clock')
local wrong = use('context', 'wrong')
local SESSION, user_key, moving, writing, add_fields, count, over, failed,
      password_of, session_text, put_session =
    use('user', 'SESSION', 'user_key', 'moving', 'writing', 'add_fields',
        'count', 'over', 'failed', 'password_of', 'session_text',
        'put_session')


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


local function refused(left)
    return left > 0 and { 'locked', left } or { 'busy' }
end


-- tb_rpc_login_address A <max> <ms>: a try from there is under way
--
-- keys      A, <prefix>login:<address in hex>
-- arguments max: the failures that are the last; ms: how long they are known,
--           from the first one on, and how long the address is locked then
-- replies   {ok}, {locked, ms}, {busy}: with the tries that are under way there
--           could be too many
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN, -OOM

local function address(keys, a)
    local n = numbers(a, 2, 0)
    local err = not n and bad('max and ms are numbers') or address_key(keys)

    if err then
        return err
    end

    local left = count(keys[1], clock(), n[1], n[2])

    return left and refused(left) or { 'ok' }
end


local function ends(key, n)
    if n[3] == 1 then
        failed(key, clock(), n[1], n[2])

    else
        over(key)
    end

    return 1
end


-- tb_rpc_login_address_end A <max> <ms> <failed>: a try from there is over.
-- Failures before it stay: whoever has one account can't guess at others for
-- ever.
--
-- keys      A, <prefix>login:<address in hex>
-- arguments max, ms: as above; failed: 1, or 0
-- replies   1
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function address_end(keys, a)
    local n = numbers(a, 3, 1)
    local err = not n and bad('max, ms and failed are numbers')
                or address_key(keys)

    return err or ends(keys[1], n)
end


-- tb_rpc_login_try U <max> <ms> <delay> <max delay>: a try is under way
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments max, ms: as above, of the name, be it a user's or not; delay: of
--           the second try, in ms; it doubles with each, up to max delay
-- replies   {ok, delay}: nobody, {ok, delay, hash, enabled, password, <the
--           fields of user.lua>}, {locked, ms}, {busy}
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
        return refused(left)
    end

    local delay = tries > 1 and min(n[3] * 2 ^ min(tries - 2, 30), n[4]) or 0
    local v = call('HMGET', u.key, 'hash', 'enabled', 'password')

    if not v[1] or v[1] == '' then
        return { 'ok', delay }
    end

    return add_fields(u, { 'ok', delay, v[1], v[2] or '0',
                           password_of(v[1], v[3]) })
end


-- tb_rpc_login_try_end U <max> <ms> <failed>: a try is over; one that was right
-- ends by tb_rpc_login_done
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments max, ms: as above; failed: 1, or 0: it was not looked at
-- replies   1
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function try_end(keys, a)
    local n = numbers(a, 3, 1)

    if not n then
        return bad('max, ms and failed are numbers')
    end

    local u, err = writing(keys)

    return err or ends(u.tries, n)
end


-- tb_rpc_login_done U <sessionId> <jti> <ttl> <max> <seen> [<hash> [<only>]]
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments sessionId: of the new session; jti: the SHA-256 of the jti of its
--           refresh token, in hex; ttl: ms until that is over; max: sessions
--           of a user; seen: the password of tb_rpc_login_try's reply; hash:
--           another hash of it, or with only, 1, of another password, which
--           ends all other sessions
-- replies   {ok}, {changed}: disabled, gone, or with another password meanwhile
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN, -OOM

local function done(keys, a)
    local ttl, max = int(a[3], MAX_MS), int(a[4], 1000)

    if not is_uuid(a[1]) or not is_sha256(a[2]) or not ttl or ttl == 0
       or not max or max == 0 or not a[5]
    then
        return bad('tb_rpc_login_done needs sessionId, jti, ttl, max and seen')
    end

    local hash = a[6] ~= '' and a[6] or nil

    if hash and #hash > 255 or a[7] and (a[7] ~= '1' or not hash) then
        return bad('a hash has up to 255 bytes, only is 1 and needs one')
    end

    local u, err = writing(keys)

    if err then
        return err
    end

    local v = call('HMGET', u.key, 'hash', 'enabled', 'password')

    -- a hash that is there already: the same command once more

    if v[2] ~= '1' or not v[1] or v[1] == ''
       or password_of(v[1], v[3]) ~= a[5] and v[1] ~= hash
    then
        return { 'changed' }
    end

    if hash and v[1] ~= hash then
        call('HSET', u.key, 'hash', hash, 'password',
             a[7] and password_of(hash) or a[5])
    end

    local before = call('HGET', u.sessions, a[1])

    if not before or match(before, SESSION) ~= a[2] then
        call('HDEL', u.tries, 'n', 'until')
        over(u.tries)
    end

    if a[7] then
        call('DEL', u.sessions)
    end

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
    address = address, address_end = address_end, try = try,
    try_end = try_end, done = done, refresh = refresh, logout = logout,
    user = user
}
