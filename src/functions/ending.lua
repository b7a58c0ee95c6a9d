-- How calls end, and how their callers learn of it.

local call = redis.call

local PUBLISH_MAX, RELEASE = use('const', 'PUBLISH_MAX', 'RELEASE')
local stat = use('context', 'stat')
local drop_turn = use('device', 'drop_turn')
local remove = use('call', 'remove')
local set_status, keep_record = use('record', 'set_status', 'keep_record')
local take_back, release = use('queue', 'take_back', 'release')


local ANSWER_TTL = 30000        -- ms an answer is kept for its worker


-- every call ends here

local function close(x, c)
    remove(x, c)
    take_back(x, c, c.state)
    drop_turn(x, c.rid)
    release(x, RELEASE)
end


local function finish(x, c, created, code, response)
    keep_record(x, c.id)
    set_status(x, c, created, code, response)
    close(x, c)
end


-- for the worker that holds the caller

local function answer(x, c, kind, payload)
    local text = kind .. (payload or '')

    call('SET', x.p .. 'answer:' .. c.id, text, 'PX', ANSWER_TTL)

    if #text > PUBLISH_MAX then
        text = 'G'
    end

    call('SPUBLISH', x.p .. 'reply:' .. c.worker, c.id .. text)
end


-- a record that is gone can't be reported about: the call goes as well

local function drop_broken(x, c)
    call('ZREM', x.due, c.due)
    close(x, c)
    stat(x, 'broken')
end


return {
    close = close, finish = finish, answer = answer, drop_broken = drop_broken
}
