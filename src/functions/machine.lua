-- What happens to an open call: event by state, to an action.  The actions are
-- in persistent.lua and light.lua, under these names; a kind that has no such
-- action has an empty cell.  What has no cell is late, doubled or impossible:
-- it changes nothing and is counted as ignored_<event>.
--
-- States: p  waits in pending: the device is away, or it is not its turn
--         q  is in the bridge's queue
--         s  was taken by the bridge, which sends it
--         h  was handed to the device's open poll, not confirmed
--         d  the device has acknowledged it, the answer is awaited
--         x  lightweight only: gave its turn away, the answer is awaited
--
-- Where the actions lead, and the status that the record of a persistent call
-- has then; more than one where it depends on the call, its retries or answer:
--
--     claim         s:SENT
--     claim_again   s:SENT
--     ack           d:DELIVERED     end:DELIVERED
--     retry         q:TIMEOUT       end:FAILED       x
--     answered      end:SUCCESSFUL  end:FAILED
--     give_up       end:FAILED
--     put_back      p:QUEUED
--     recover       p:QUEUED
--     withdraw      end
--     drop          end
--     orphan        end:FAILED
--     unheard       q:TIMEOUT       end:FAILED       x
--     unsure        p:QUEUED
--     unanswered    end:FAILED      x
--     expire        end:EXPIRED
--
-- docs/lifecycle.dot is made from all this by script/lifecycle.

local gmatch = string.gmatch

local ignored = use('context', 'ignored')
local persistent = use 'persistent'
local light = use 'light'


local TABLE = [[
            p          q          s          h          d          x
taken       -          claim      -          -          -          -
again       -          -          claim_again -         -          -
delivered   ack        ack        ack        ack        -          ack
timeout     -          -          retry      -          -          -
respond     answered   answered   answered   answered   answered   answered
failed      give_up    give_up    give_up    give_up    give_up    give_up
return      -          -          put_back   put_back   -          -
moved       -          put_back   recover    -          -          -
cancel      withdraw   withdraw   withdraw   withdraw   withdraw   withdraw
deleted     drop       drop       drop       drop       drop       drop
orphaned    orphan     orphan     orphan     orphan     orphan     orphan
overdue     -          -          unheard    unsure     unanswered -
expired     expire     expire     expire     expire     expire     expire
]]

local STATES = { 'p', 'q', 's', 'h', 'd', 'x' }


local on = {}

for line in gmatch(TABLE, '[^\n]+') do
    local event, n

    for word in gmatch(line, '%S+') do
        if not event then
            event, n = word, 0
            on[event] = {}

        else
            n = n + 1
            on[event][STATES[n]] = word
        end
    end
end


local actions = { P = persistent, L = light }


-- the function for an event, or nil

local function action(event, c)
    return actions[c.kind][on[event][c.state]]
end


-- 1, or 0 when the call is in no state for it

local function happens(event, x, c, ...)
    local act = action(event, c)

    if not act then
        return ignored(x, event)
    end

    act(x, c, ...)

    return 1
end


return { action = action, happens = happens }
