-- What every script begins with: the question, the moment by this server's clock (a test hands in its own), and
-- numbers as text without loss.
local ask = cjson.decode(ARGV[1])

local function text(number) return string.format('%.17g', number) end

local now = ask.now
if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end
