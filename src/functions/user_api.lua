-- Provisioning of users.

local call = redis.call
local find, lower, match, sub =
    string.find, string.lower, string.match, string.sub

local bad, is_uuid, shown = use('text', 'bad', 'is_uuid', 'shown')
local password_of, writing = use('user', 'password_of', 'writing')

local MAX_NAME = 64                     -- bytes of a first or last name
local MAX_BYTES = 268435456             -- of memory for a password
local BAD_HASH = 'the hash is not "$scrypt$ln=...,r=...,p=...$<salt>$<key>", or'
                 .. ' costs too little or too much'


-- what nginx can compute

local function is_hash(s)
    if not s or #s > 255 then
        return false
    end

    local ln, r, p, salt, key = match(s, '^%$scrypt%$ln=(%d%d),r=(%d%d?),'
                                         .. 'p=(%d%d?)%$([%w+/]+)%$([%w+/]+)$')

    if not ln then
        return false
    end

    ln, r, p = ln + 0, r + 0, p + 0

    return ln >= 10 and ln <= 20 and r >= 1 and r <= 32 and p >= 1 and p <= 16
           and 128 * r * 2 ^ ln <= MAX_BYTES
           and #salt >= 11 and #salt <= 86 and #salt % 4 ~= 1
           and #key == 43
end


local function check(a)
    if #a < 7 then
        return 'tb_rpc_user_put needs 7 arguments, not ' .. #a
    end

    if not is_uuid(a[1]) or not is_uuid(a[2])
       or (a[3] ~= '' and not is_uuid(a[3]))
    then
        return 'userId, tenantId or customerId is not a UUID'
    end

    if a[4] ~= 'TENANT_ADMIN' and a[4] ~= 'CUSTOMER_USER'
       and a[4] ~= 'SYS_ADMIN'
    then
        return 'authority ' .. shown(a[4]) .. ' is not TENANT_ADMIN,'
               .. ' CUSTOMER_USER or SYS_ADMIN'
    end

    if a[4] == 'CUSTOMER_USER' and a[3] == '' then
        return 'a CUSTOMER_USER needs a customerId'
    end

    if a[5] ~= '0' and a[5] ~= '1' then
        return 'enabled is 0 or 1'
    end

    if a[7] == '' then
        if a[4] ~= 'CUSTOMER_USER' or lower(a[3]) ~= a[6] then
            return 'without a hash it is a public customer: a CUSTOMER_USER'
                   .. ' whose name is the customerId'
        end

    elseif not is_hash(a[7]) then
        return BAD_HASH
    end

    for i = 8, 9 do
        if #(a[i] or '') > MAX_NAME or find(a[i] or '', '%c') then
            return 'firstName or lastName is longer than 64 bytes or not'
                   .. ' printable'
        end
    end
end


-- tb_rpc_user_put U <userId> <tenantId> <customerId or ""> <authority>
--                 <enabled> <name> <hash or ""> [<firstName> [<lastName>]]
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments name: as it was typed; hash: of the password, without one it is a
--           public customer, who needs none
-- replies   1, or 0: there is one of that name, nothing has changed
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN, -OOM

local function user_put(keys, a)
    local wrong = check(a)

    if wrong then
        return bad(wrong)
    end

    local u, err = writing(keys)

    if err then
        return err
    end

    -- the prefix may have a "user:" of its own, and so may the name

    if sub(u.key, -#a[6] - 5) ~= 'user:' .. lower(a[6]) then
        return bad('the name is not that of the key')
    end

    if call('EXISTS', u.key) == 1 then
        return 0
    end

    call('HSET', u.key, 'id', lower(a[1]), 'tenantId', lower(a[2]),
         'customerId', lower(a[3]), 'authority', a[4], 'name', a[6],
         'hash', a[7], 'password', password_of(a[7]), 'firstName', a[8] or '',
         'lastName', a[9] or '',
         'createdTime', u.time, 'enabled', a[5])

    return 1
end


-- tb_rpc_user_password U <hash>: ends all sessions and locks
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments hash: of the new password
-- replies   1, or 0: there is no such user, or it is a public customer
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function user_password(keys, a)
    if not is_hash(a[1]) then
        return bad(BAD_HASH)
    end

    local u, err = writing(keys)

    if err then
        return err
    end

    if (call('HGET', u.key, 'hash') or '') == '' then
        return 0
    end

    call('HSET', u.key, 'hash', a[1], 'password', password_of(a[1]))
    call('DEL', u.sessions, u.tries)

    return 1
end


-- tb_rpc_user_enable U <enabled>: 0 ends all sessions, 1 a lock
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments enabled: 0 or 1
-- replies   1, or 0: there is no such user
-- errors    a wrong key or argument; a key of another type; -TRYAGAIN

local function user_enable(keys, a)
    if a[1] ~= '0' and a[1] ~= '1' then
        return bad('enabled is 0 or 1')
    end

    local u, err = writing(keys)

    if err then
        return err
    end

    if call('EXISTS', u.key) == 0 then
        return 0
    end

    call('HSET', u.key, 'enabled', a[1])
    call('DEL', a[1] == '0' and u.sessions or u.tries)

    return 1
end


-- tb_rpc_user_del U
--
-- keys      U, <prefix>user:<lower-case name>
-- arguments none
-- replies   1, or 0: there was no such user
-- errors    a wrong key; a key of another type; -TRYAGAIN

local function user_del(keys)
    local u, err = writing(keys)

    if err then
        return err
    end

    call('DEL', u.sessions, u.tries)

    return call('DEL', u.key)
end


return {
    user_put = user_put, user_password = user_password,
    user_enable = user_enable, user_del = user_del
}
