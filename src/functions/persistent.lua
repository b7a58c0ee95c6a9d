-- What becomes of persistent calls: the actions of machine.lua.  r is what the
-- record says: created, expiry, retries, used.

local call = redis.call
local min = math.min
local tonumber = tonumber

local RELEASE, SENT, DELIVERED, SUCCESSFUL, TIMEOUT, EXPIRED, FAILED =
    use('const', 'RELEASE', 'SENT', 'DELIVERED', 'SUCCESSFUL', 'TIMEOUT',
        'EXPIRED', 'FAILED')
local config = use('settings', 'config')
local stat = use('context', 'stat')
local strategy = use('device', 'strategy')
local store, due_within = use('call', 'store', 'due_within')
local set_status, set_queued, keep_record =
    use('record', 'set_status', 'set_queued', 'keep_record')
local take_back, release, await_answer, wait, push_again =
    use('queue', 'take_back', 'release', 'await_answer', 'wait', 'push_again')
local close, finish = use('ending', 'close', 'finish')
local overdue = use 'overdue'


local M = {}


-- a bridge takes it; first what may be a key of another type, and does no harm
-- by itself

function M.claim(x, c)
    due_within(x, c, config(x).ack_timeout)
    set_status(x, c, c.created, SENT)
    store(x, c, 's')
end


-- the same bridge, which had no reply

function M.claim_again(x, c)
    store(x, c, 's')
    due_within(x, c, config(x).ack_timeout)
end


function M.ack(x, c, r)
    if c.oneway then
        finish(x, c, r.created, DELIVERED)
        return
    end

    local from = c.state

    store(x, c, 'd')
    take_back(x, c, from)
    set_status(x, c, r.created, DELIVERED)

    await_answer(x, c, from)
end


-- no acknowledgement: the same call once more, or its end

function M.retry(x, c, r)
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


-- max: the size in bytes above which it is too large, or nil

function M.answered(x, c, r, payload, max)
    if max then
        finish(x, c, r.created, FAILED, '{"error":"The response exceeds the'
               .. ' limit of ' .. max .. ' bytes"}')

    else
        finish(x, c, r.created, SUCCESSFUL, payload)
    end
end


function M.give_up(x, c, r, text)
    finish(x, c, r.created, FAILED, text)
end


-- it waits again, at its place; no retry is used

function M.put_back(x, c)
    local from = c.state

    wait(x, c)

    if from ~= 'q' then
        set_queued(x, c.id)
    end
end


-- taken and not acknowledged by a device that is elsewhere now: it must not be
-- lost

M.recover = M.put_back


-- its record was deleted

M.drop = close


function M.orphan(x, c, r)
    set_status(x, c, r.created, FAILED,
               '{"error":"The device was deleted."}')
    keep_record(x, c.id)
end


function M.unheard(x, c, r)
    if overdue.is_over(x, c, config(x).ack_timeout) then
        M.retry(x, c, r)
    end
end


function M.unsure(x, c)
    if overdue.is_unsure(x, c) then
        M.put_back(x, c)
        release(x, RELEASE)
    end
end


function M.unanswered(x, c, r)
    local ms = config(x).response_timeout

    if strategy(x) ~= 'response' then
        overdue.turn(x, c, 'response', ms)

    elseif overdue.is_over(x, c, ms) then
        finish(x, c, r.created, FAILED, '{"error":"There was a timeout'
               .. ' awaiting for RPC response from device."}')
    end
end


function M.expire(x, c, r)
    finish(x, c, r.created, EXPIRED)
end


return M
