package TB::Sequence::Look;

use strict;
use warnings;

# what there is in Redis, as TB::Model::text() has it; "bad" lines are what
# must not be

our $SCRIPT = <<'END';
local p, ttl = 'tb:{s000}:', ARGV[1]
local out, indexes, records = {}, {}, { [''] = {}, [':status'] = {} }
local function count(kind, id)
  records[kind][id] = (records[kind][id] or 0) + 1
end
local function say(...) out[#out + 1] = table.concat({ ... }, ' ') end
local function due(m) return redis.call('ZSCORE', p .. 'due', m) end
local function old(m) return redis.call('ZSCORE', p .. 'old', m) end
local function shown(s) return #s .. ':' .. string.sub(s, 1, 100) end
local see = {
  device = function(key, id)
    local v = redis.call('HMGET', key, 'bridge', 'until', 'session', 'prev',
                         'prev2', 'prev3', 'prev4', 'route', 'strategy')
    for i = 1, 9 do v[i] = v[i] and v[i] ~= '' and v[i] or '-' end
    say('device', id, unpack(v))
    local ended = redis.call('HGET', key, 'ended')
    if ended then say('ended', id, ended) end
    local held = redis.call('HGET', key, 'held')
    if held then say('held', id, held) end
    local out, n = redis.call('HGET', key, 'out'), 0
    for _, c in ipairs(redis.call('HVALS', p .. 'inflight:' .. id)) do
      if string.match(c, '^.[qs]') then n = n + 1 end
    end
    if out and tonumber(out) ~= n then say('bad out', id, out, n) end
    local poll = redis.call('HGET', key, 'poll')
    if poll then say('poll', id, poll) end
    if (v[3] ~= '-' or poll) and not due('@' .. id) then
      say('bad session', id)
    end
  end,
  devices = function(key)
    for _, v in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      say('listed', (string.gsub(v, '^[%x%-]+/', '')))
    end
  end,
  pending = function(key, id)
    say('wait', id, unpack(redis.call('ZRANGE', key, 0, -1)))
  end,
  inflight = function(key, id)
    local v = redis.call('HGETALL', key)
    for i = 1, #v, 2 do
      local kind, call, attempt =
        string.match(v[i + 1], '^([PL][pqshdx][01])([%x%-]+) (%d+) %d+ %d+ %d+')
      local head = redis.call('HEXISTS', p .. 'body:' .. id, v[i]) == 1
      -- a call that was acknowledged has none, also when its turn is over
      if head ~= (string.match(kind or '', '^L[pqsh]') ~= nil)
         and string.sub(kind, 2, 2) ~= 'x' then
        say('bad body', v[i])
      end
      if kind and string.sub(kind, 1, 1) == 'P' and old(call) then
        say('bad old', v[i])
      end
      say('open', id, v[i], kind or 'bad', call or v[i + 1], attempt or '')
      if not due(string.sub(v[i + 1], 1, 1) == 'P' and call
                 or id .. '/' .. v[i]) then say('bad due', v[i]) end
    end
  end,
  queue = function(key, id)
    local v = redis.call('LRANGE', key, 0, -1)
    for i, item in ipairs(v) do
      v[i] = string.gsub(item, ' ', '/')
    end
    say('queue', id, unpack(v))
  end,
  rpc = function(key, id)
    local v = redis.call('HMGET', key, 'd', 's', 'u', 'R', 'c')
    say('record', id, v[1], v[2], v[3] or 0, shown(v[4] or ''))
    count('', v[1])
    local index = p .. 'index:' .. v[1]
    local code = redis.call('ZSCORE', index .. ':status', id)
    if v[2] ~= '0' then count(':status', v[1]) end
    if tonumber(redis.call('ZSCORE', index, id)) ~= tonumber(v[5])
       or tonumber(code or v[5]) ~= v[2] * 2 ^ 42 + v[5]
       or not code ~= (v[2] == '0') then say('bad index', id) end
    if ttl ~= '0' and not due(id) == not old(id) then say('bad due', id) end
  end,
  index = function(key, id)
    local id, kind = string.match(id, '^([^:]+)(.*)$')
    indexes[#indexes + 1] = { key, id, kind }
  end,
  answer = function(key, id) say('answer', id, shown(redis.call('GET', key)))
  end,
  uuid = function(key, id)
    say('uuid', id, string.match(redis.call('GET', key), '^%S+'))
  end,
  -- a copy says what the device says
  beats = function(key)
    local v = redis.call('HGETALL', key)
    for i = 1, #v, 2 do
      local d = redis.call('HMGET', p .. 'device:' .. v[i], 'until', 'session')
      if v[i + 1] ~= (d[1] or '') .. ' ' .. (d[2] or '') then
        say('bad beat', v[i], v[i + 1])
      end
    end
  end,
  stats = function(key)
    local v = redis.call('HGETALL', key)
    for i = 1, #v, 2 do say('count', v[i], v[i + 1]) end
  end
}
local no = { due = 1, old = 1, config = 1, events = 1, body = 1, taken = 1, queues = 1,
             ['clock-test'] = 1 }
for _, key in ipairs(redis.call('KEYS', p .. '*')) do
  local name, id = string.match(string.sub(key, #p + 1), '^([^:]+):?(.*)$')
  if see[name] then see[name](key, id)
  elseif not no[name] then say('bad key', key) end
end
for _, v in ipairs(indexes) do
  if redis.call('ZCARD', v[1]) ~= records[v[3]][v[2]] then
    say('bad', v[1])
  end
end
table.sort(out)
return table.concat(out, '\n')
END


1;
