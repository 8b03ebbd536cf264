-- One decision about a rate limit that many processes share: what one of them saw is counted, what it
-- learned is taken over if nobody was faster, and it is given the slots that come next.
--
-- KEYS[1]  hash: where all stand with the limit; its times are seconds by this server's clock
-- KEYS[2]  hash: who asks for slots: "how many wait there, until when that counts"
-- KEYS[3]  sorted set: the limits of this pacer that were met lately
-- ARGV[1]  JSON, see `SharedLane.question`;  ARGV[2]  the channel on which all are told
-- ask, now, text: see `common.lua`

local limit = {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do limit[flat[i]] = flat[i + 1] end
local function number(name) return tonumber(limit[name] or '0') end
local function put(name, value) limit[name] = text(value) end

-- What it learned. Two that were refused together have both learned it: the first is believed.
local news, taken = false, false
if ask.change and ask.expects == (limit.epoch or '0') then
    for name, value in pairs(ask.change) do
        limit[name] = type(value) == 'number' and text(value) or value
    end
    -- A limit that was forgotten and met again is another one: the clock keeps the numbers apart.
    limit.epoch = string.format('%.0f', math.max(number('epoch') + 1, math.floor(now * 1e6)))
    put('probe', 0)
    news, taken = true, true
end
if not limit.epoch then return cjson.encode({now = text(now)}) end

-- What it saw since it last spoke.
put('granted', number('granted') + ask.sent)
put('missed', number('missed') + ask.missed)
put('burst', number('burst') + ask.burst)
if ask.push > 0 and number('rate') > 0 then
    put('tat', math.max(number('tat'), now) + ask.push / number('rate'))
end
if ask.open_at > number('open_at') then
    put('open_at', ask.open_at)
    news = true
end
if ask.probe_back then put('probe', 0) end

-- Which part of all who wait stand there.
local share = 1
if ask.waiting > 0 then
    local others = 0
    local askers = redis.call('HGETALL', KEYS[2])
    for i = 1, #askers, 2 do
        local waiting, till = string.match(askers[i + 1], '(%S+) (%S+)')
        if tonumber(till) < now then
            redis.call('HDEL', KEYS[2], askers[i])
        elseif askers[i] ~= ask.me then
            others = others + tonumber(waiting)
        end
    end
    share = ask.waiting / (ask.waiting + others)
else
    redis.call('HDEL', KEYS[2], ask.me)
end

local function grown(slots)
    -- What nobody asks for in time is not tried either, so it does not grow. As in `pace.py`, but a creep waits for
    -- as long as a search does: slots are leased ahead, so what is refused is known late.
    local rate = number('rate')
    if number('tat') + 2 / rate + 0.05 < now then return end
    if limit.kind == 'creep' then
        put('step', math.max(number('step'), ask.step))
        local step = number('step')
        if number('growth') >= number('turn') then step = step / number('hurry') end
        put('growth', number('growth') * 2 ^ (slots / math.max(step, ask.patience * rate)))
        put('rate', math.min(number('base') * (1 + number('growth')), number('top')))
    else
        local doublings = math.min(math.max((now - number('since')) / ask.patience, 0), 1)
        put('rate', math.min(rate * 2 ^ doublings, number('top')))
    end
end

local slots, start, gap, again = 0, now, 0, 0
local first = number('granted') + 1
if ask.wanted > 0 then
    if limit.kind == 'closed' then
        local due = math.max(number('due'), number('open_at'), number('probe'))
        if now >= due then
            slots, gap = 1, ask.probing / 4
            put('probe', now + ask.probing)
        else
            again = math.max(number('due'), number('open_at'), math.min(number('probe'), now + ask.patience / 2))
        end
    else
        start = math.max(number('tat'), number('open_at'), now)
        if start - math.max(number('open_at'), now) < ask.horizon then
            slots = math.min(ask.wanted, math.max(1, math.floor(number('rate') * ask.ahead * share + 0.5)))
            grown(slots)
            put('since', math.max(now, number('since')))
            gap = 1 / number('rate')
            put('tat', start + slots * gap)
        else
            -- What is leased far ahead does not grow with the rate: one after the other comes again.
            again = math.min(math.max(number('turn'), start - ask.horizon), now + 2 * ask.horizon)
            put('turn', again + 1 / number('rate'))
        end
    end
    put('granted', number('granted') + slots)
    local till = math.max(now, start + slots * gap, again) + 1
    redis.call('HSET', KEYS[2], ask.me, text(ask.waiting) .. ' ' .. text(till))
end

-- Kept while somebody waits or is refused, and for a while after.
local touched = news or ask.waiting > 0 or ask.burst > 0
if touched and now - number('told') > ask.tell_every then news = true end
if news then put('told', now) end
local fields = {}
for name, value in pairs(limit) do fields[#fields + 1] = name; fields[#fields + 1] = value end
redis.call('HSET', KEYS[1], unpack(fields))
if touched then
    local keep = math.ceil((math.max(0, number('open_at') - now) + ask.quiet) * 1000)
    redis.call('PEXPIRE', KEYS[1], keep)
    redis.call('PEXPIRE', KEYS[2], keep)
    redis.call('ZADD', KEYS[3], text(now + keep / 1000), ask.digest)
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. text(now))
    redis.call('PEXPIRE', KEYS[3], math.max(keep, redis.call('PTTL', KEYS[3])))
end
if news then redis.call('PUBLISH', ARGV[2], cjson.encode({name = ask.digest, fields = limit})) end

return cjson.encode({
    now = text(now), limit = limit, share = text(share), again = text(again),
    taken = taken, slots = slots, start = text(start), gap = text(gap), first = text(first),
})
