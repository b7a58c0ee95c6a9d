--[[

tb_rpc: the state machine of device calls, as a Redis Functions library.
Keys, arguments and replies are described in docs/redis-schema.md.

KEYS[1] of every function names the shard: all other keys are made from its
prefix, up to and including "{s<n>}:", so that a function touches one slot.
API keys and users have no shard: user.lua says how it is with these.

script/functions puts the files of this folder into one text.  All but this one
and register.lua are bodies of functions, which give a table of what others may
use of them:

    define('<file>', function(use)
        ...
    end)

A body runs once, when another file or an FCALL first asks for it: nothing
global can be touched while the library is loaded.  It reads and writes nothing
in Redis, and uses only files that don't use it.  200 locals and 60 upvalues,
Lua's limits, count per file.

--]]

local VERSION = 9

local bodies, made = {}, {}


local function define(file, body)
    bodies[file] = body
end


local function pick(file, field, ...)
    if not field then
        return
    end

    local value = made[file][field]

    if value == nil then
        error('tb_rpc: ' .. file .. '.lua has no ' .. field)
    end

    return value, pick(file, ...)
end


-- the table of a file, or what of it is named

local function use(file, ...)
    if made[file] == nil then
        local body = bodies[file]

        if not body then
            error('tb_rpc: there is no ' .. file .. '.lua')
        end

        made[file] = false

        local ok, result = pcall(body, use)

        made[file] = ok and result or nil

        if not ok then
            error(result, 0)
        end

    elseif not made[file] then
        error('tb_rpc: ' .. file .. '.lua uses itself, by way of others')
    end

    if ... then
        return pick(file, ...)
    end

    return made[file]
end


-- entry is a function of the file

local function register(name, file, entry, flag)
    local run, bells, ring

    redis.register_function{
        function_name = 'tb_rpc_' .. name,
        callback = function(keys, args)
            if not run then
                run = use(file, entry)
                bells, ring = use('bell', 'bells', 'ring')
            end

            local reply = run(keys, args)

            if bells[1] then
                ring()
            end

            return reply
        end,
        flags = flag and { flag } or {}
    }
end
