-- One decision about a retry budget that many processes share: what one of them did is counted, and it
-- is given tokens to spend until it speaks again.
--
-- KEYS[1]  hash: per tenth of the window, first attempts ("calls:N") and retries in vain ("spent:N")
-- KEYS[2]  hash: who takes part: "retries under way, until when; tokens to spend, until when"
-- ARGV[1]  JSON, see `SharedRetryBudget.question`
-- ask, now, text: see `common.lua`

local tenth = math.floor(now / (ask.window / 10))
if ask.calls > 0 then redis.call('HINCRBY', KEYS[1], 'calls:' .. tenth, ask.calls) end
if ask.spent > 0 then redis.call('HINCRBY', KEYS[1], 'spent:' .. tenth, ask.spent) end
local sums = {calls = 0, spent = 0}
local counts = redis.call('HGETALL', KEYS[1])
for i = 1, #counts, 2 do
    local what, at = string.match(counts[i], '(%a+):(%d+)')
    if tonumber(at) <= tenth - 10 then
        redis.call('HDEL', KEYS[1], counts[i])
    else
        sums[what] = sums[what] + tonumber(counts[i + 1])
    end
end

local out, processes = ask.held, 1
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
    if all[i] ~= ask.me then
        local held, held_till, tokens, till = string.match(all[i + 1], '(%S+) (%S+) (%S+) (%S+)')
        if tonumber(till) < now then tokens = 0 end
        if tonumber(held_till) < now then held = 0 end
        if tonumber(till) < now and tonumber(held_till) < now then
            redis.call('HDEL', KEYS[2], all[i])
        else
            out, processes = out + held + tokens, processes + 1
        end
    end
end

-- Half of its part is leased; the other half it may use on credit while its question is on the way.
local left = math.max(0, math.floor(ask.share * sums.calls + ask.reserve) - sums.spent - out)
local tokens = math.min(left, math.ceil(left / (2 * processes)))
local credit = math.floor((left - tokens) / processes)
local lease = {text(ask.held), text(now + (ask.held > 0 and ask.window or 0)), text(tokens), text(now + ask.lapse)}
redis.call('HSET', KEYS[2], ask.me, table.concat(lease, ' '))
redis.call('PEXPIRE', KEYS[1], math.ceil(ask.window * 1000))
redis.call('PEXPIRE', KEYS[2], math.ceil((ask.window + ask.lapse) * 1000))
return cjson.encode({now = text(now), tokens = tokens, credit = credit})
