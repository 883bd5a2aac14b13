"""The two Lua scripts of the Redis store: each is one atomic step on the keys of one partition.

Keys of a partition, in the order the scripts take them: meta (hash), timers (sorted set), two generations of
ids (strings), then states (strings). Scripts start with `#!lua`: Redis then refuses a write for want of
memory, disk or replicas before the script has begun, never in its middle.
"""

from __future__ import annotations

# ARGV: the meta format this engine knows.
# Returns a meta format that is newer, or: all meta fields, current ids, previous ids.
# The epoch is drawn from the server's clock in microseconds, so that it never repeats, not even when the
# server has lost the last acquisition with its last second.
ACQUIRE = b"""#!lua
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'format', 'generation')
if tonumber(stored[2] or 0) > tonumber(ARGV[1]) then
  return stored[2]
end
local now = redis.call('TIME')
local epoch = math.max(tonumber(stored[1] or 0) + 1, now[1] * 1000000 + now[2])
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'format', ARGV[1])
local generation = tonumber(stored[3] or 0)
return {
  redis.call('HGETALL', KEYS[1]),
  redis.call('GET', KEYS[3 + generation]),
  redis.call('GET', KEYS[4 - generation])
}
"""

# KEYS, from the fifth on: states to set, states to delete.
# ARGV: epoch, expected sequence, ids, whether to rotate them ('1'), number of states to set, of timer
# arguments, of timers to remove, of meta arguments; then these four lists.
# Returns a Verdict. The number of arguments of one call is bounded by Lua's stack (8000 values).
COMMIT = b"""#!lua
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'sequence', 'generation')
local epoch, sequence = tonumber(stored[1] or 0), tonumber(stored[2] or 0)
local own, expected = tonumber(ARGV[1]), tonumber(ARGV[2])
if epoch > own then return 3 end
if epoch < own then return 4 end
if sequence == expected + 1 then return 2 end
if sequence ~= expected then return 4 end

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

local states, due, done, meta = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local pairs_set = {}
for i = 1, states do
  pairs_set[2 * i - 1] = KEYS[4 + i]
  pairs_set[2 * i] = ARGV[8 + i]
end
send('MSET', nil, pairs_set, 1, 2 * states)
send('DEL', nil, KEYS, 5 + states, #KEYS - 4 - states)
send('ZADD', KEYS[2], ARGV, 9 + states, due)
send('ZREM', KEYS[2], ARGV, 9 + states + due, done)
send('HSET', KEYS[1], ARGV, 9 + states + due + done, meta)
redis.call('HSET', KEYS[1], 'sequence', string.format('%.0f', expected + 1))

local generation = tonumber(stored[3] or 0)
if ARGV[3] ~= '' then
  redis.call('APPEND', KEYS[3 + generation], ARGV[3])
end
if ARGV[4] == '1' then
  redis.call('DEL', KEYS[4 - generation])
  redis.call('HSET', KEYS[1], 'generation', 1 - generation)
end
return 1
"""
