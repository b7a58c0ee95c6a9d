-- What tick does with a call whose time has come, whichever kind it is of.

local min = math.min

local RELEASE, CONFIRM = use('const', 'RELEASE', 'CONFIRM')
local config = use('settings', 'config')
local stat = use('context', 'stat')
local device, strategy, drop_turn =
    use('device', 'device', 'strategy', 'drop_turn')
local store, due_within = use('call', 'store', 'due_within')
local polls = use 'poll'
local release = use('queue', 'release')


-- Is the time over that a call has in its state?  Else tick looks again then.

local function is_over(x, c, ms)
    if x.now >= c.time + ms then
        return true
    end

    due_within(x, c, c.time + ms - x.now)
end


-- nobody said yet that the device has it

local function is_unsure(x, c)
    local ms = config(x).ack_timeout

    if polls.open(x) then
        ms = min(ms, CONFIRM)
    end

    if is_over(x, c, ms) then
        stat(x, 'unconfirmed')
        return true
    end
end


-- Has the turn too long; the caller goes on waiting for the answer.  Under
-- another strategy than at its push the calls behind it may be free to go.

local function turn(x, c, how, ms)
    local d = device(x)

    if not d or d.turn ~= c.rid then
        due_within(x, c)
        return
    end

    if not is_over(x, c, ms) then
        return
    end

    if strategy(x) == how then
        store(x, c, 'x')
        drop_turn(x, c.rid)

    elseif c.state == 'd' then
        drop_turn(x, c.rid)
    end

    due_within(x, c)
    release(x, RELEASE)
end


return { is_over = is_over, is_unsure = is_unsure, turn = turn }
