-- Takes back what was spent of a quota (THR-30): its arrival time moves back by the price, in microseconds, and never before
-- now. KEYS is the quota; ARGV has price and tolerance, and then the time, if it is not to be this server's: see spend.lua.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local key, price, tolerance = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('GET', key)
-- What is not known is whole.
local arrival = math.min(kept and tonumber(kept) or 0, now + tolerance) - price
if arrival > now then
  -- It stays as long as what was spent: see spend.lua.
  redis.call('SET', key, string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 5000)
elseif kept then
  redis.call('DEL', key)
end
return 0
