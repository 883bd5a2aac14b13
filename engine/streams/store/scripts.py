"""The two Lua scripts of the Redis store: each is one atomic step on the keys of one partition.

Keys of a partition, in the order the scripts take them: fence (string `EPOCH SEQUENCE`), meta (hash),
timers (sorted set), current and previous ids (strings), then states (strings). Scripts start with `#!lua`:
Redis then refuses a write for want of memory, disk or replicas before the script has begun, never in its
middle.
"""

from __future__ import annotations

# ARGV: the meta format this engine knows, the number of partitions ('0': not told).
# Returns `format N` of a newer one, `partitions N` of another one, or: fence, all meta fields, current ids,
# previous ids.
# The epoch is drawn from the server's clock in microseconds, so that it never repeats, not even when the
# server has lost the last acquisition with its last second.
ACQUIRE = b"""#!lua
local format = redis.call('HGET', KEYS[2], 'format')
if tonumber(format or 0) > tonumber(ARGV[1]) then
  return 'format ' .. format
end
local written = redis.call('HGET', KEYS[2], 'partitions')
if ARGV[2] ~= '0' then
  if written and written ~= ARGV[2] then
    return 'partitions ' .. written
  end
  redis.call('HSET', KEYS[2], 'partitions', ARGV[2])
end
local epoch, sequence = string.match(redis.call('GET', KEYS[1]) or '0 0', '^(%d+) (%d+)$')
local now = redis.call('TIME')
local fence = string.format('%.0f %s', math.max(epoch + 1, now[1] * 1000000 + now[2]), sequence)
redis.call('SET', KEYS[1], fence)
redis.call('HSET', KEYS[2], 'format', ARGV[1])
return { fence, redis.call('HGETALL', KEYS[2]), redis.call('GET', KEYS[4]), redis.call('GET', KEYS[5]) }
"""

# KEYS, from the sixth on: states to set, states to delete.
# ARGV: epoch, sequence expected, sequence after it, ids, whether to rotate them ('1'), number of states to
# set, of timer arguments, of timers to remove, of meta arguments; then these four lists.
# Returns a Verdict. The number of arguments of one call is bounded by Lua's stack (8000 values).
COMMIT = b"""#!lua
local fence = redis.call('GET', KEYS[1])
if fence ~= ARGV[1] .. ' ' .. ARGV[2] then
  local epoch, sequence = string.match(fence or '0 0', '^(%d+) (%d+)$')
  if tonumber(epoch) > tonumber(ARGV[1]) then return 3 end
  if epoch == ARGV[1] and sequence == ARGV[3] then return 2 end
  return 4
end

local STACK = 7000
local function send(command, key, list, first, count)
  for from = first, first + count - 1, STACK do
    local to = math.min(from + STACK, first + count) - 1
    if key then
      redis.call(command, key, unpack(list, from, to))
    else
      redis.call(command, unpack(list, from, to))
    end
  end
end

local states, due, done, meta = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local values = { KEYS[1], ARGV[1] .. ' ' .. ARGV[3] }
for i = 1, states do
  values[2 * i + 1] = KEYS[5 + i]
  values[2 * i + 2] = ARGV[9 + i]
end
send('MSET', nil, values, 1, 2 * states + 2)
send('DEL', nil, KEYS, 6 + states, #KEYS - 5 - states)
send('ZADD', KEYS[3], ARGV, 10 + states, due)
send('ZREM', KEYS[3], ARGV, 10 + states + due, done)
send('HSET', KEYS[2], ARGV, 10 + states + due + done, meta)
if ARGV[4] ~= '' then
  redis.call('APPEND', KEYS[4], ARGV[4])
end
if ARGV[5] == '1' then
  redis.call('DEL', KEYS[5])
  if redis.call('EXISTS', KEYS[4]) == 1 then
    redis.call('RENAME', KEYS[4], KEYS[5])
  end
end
return 1
"""
