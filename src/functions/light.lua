-- What becomes of lightweight calls: the actions of machine.lua.

local call = redis.call
local sub = string.sub

local PUBLISH_MAX, RELEASE = use('const', 'PUBLISH_MAX', 'RELEASE')
local config = use('settings', 'config')
local device, strategy, drop_turn =
    use('device', 'device', 'strategy', 'drop_turn')
local NOBODY, is_answered, store, due, due_within =
    use('call', 'NOBODY', 'is_answered', 'store', 'due', 'due_within')
local take_back, place, release, await_answer, wait =
    use('queue', 'take_back', 'place', 'release', 'await_answer', 'wait')
local close, answer = use('ending', 'close', 'answer')
local overdue = use 'overdue'


local M = {}


-- when tick must look at a call that was taken just now; one that was pushed
-- without the turn, under another strategy, has none to give away

local function watch(x, c)
    local ms = config(x).ack_timeout

    if c.oneway then
        due(x, c, x.now + ms)

    elseif strategy(x) == 'ack' and device(x).turn == c.rid then
        due_within(x, c, ms)
    end
end


-- a bridge takes it: that is the answer to a one-way call

function M.claim(x, c)
    store(x, c, 's')
    watch(x, c)

    if c.oneway and c.worker ~= NOBODY then
        answer(x, c, 'S')
    end
end


-- the same bridge, which had no reply

function M.claim_again(x, c)
    store(x, c, 's')
    watch(x, c)
end


-- the end of a one-way call

local function done(x, c)
    if not is_answered(c) then
        answer(x, c, 'S')
    end

    close(x, c)
end


function M.ack(x, c)
    if c.oneway then
        done(x, c)
        return
    end

    local from = c.state

    store(x, c, 'd')
    call('HDEL', x.body, c.rid)
    take_back(x, c, from)

    await_answer(x, c, from)
end


-- no acknowledgement: the call gives its turn away, its caller goes on waiting
-- for the answer

function M.retry(x, c)
    if c.oneway then
        close(x, c)
        return
    end

    store(x, c, 'x')
    due_within(x, c)
    drop_turn(x, c.rid)
    release(x, RELEASE)
end


-- max: the answer is too large

function M.answered(x, c, r, payload, max)
    if c.oneway then
        done(x, c)
        return
    end

    answer(x, c, max and 'L' or 'A', not max and payload or nil)
    close(x, c)
end


function M.give_up(x, c, r, text)
    if not is_answered(c) then
        answer(x, c, 'F', sub(text, 1, PUBLISH_MAX))
    end

    close(x, c)
end


-- it waits again, at its place; nobody is answered twice

function M.put_back(x, c)
    if is_answered(c) then
        c.worker = NOBODY
    end

    wait(x, c)
end


-- its caller does not wait any more

M.withdraw = close


function M.orphan(x, c)
    if not is_answered(c) then
        answer(x, c, 'D')
    end
end


function M.unheard(x, c)
    local ms = config(x).ack_timeout

    if not c.oneway then
        overdue.turn(x, c, 'ack', ms)

    elseif x.now >= c.time + ms then
        close(x, c)

    else
        due(x, c, c.time + ms)
    end
end


function M.unsure(x, c)
    if x.now >= c.expiry then
        due_within(x, c)

    elseif overdue.is_unsure(x, c) then
        wait(x, c)
        release(x, RELEASE)
    end
end


function M.unanswered(x, c)
    overdue.turn(x, c, 'response', config(x).response_timeout)
end


-- behind a worker that is gone: else it had cancelled the call

function M.expire(x, c)
    if not is_answered(c) then
        answer(x, c, 'X', place(x, c))
    end

    close(x, c)
end


return M
