-- Spends what each charge costs, or nothing: the generic cell rate algorithm (THR-30) in microseconds, which a number of
-- Lua holds exactly. KEYS are the quotas; ARGV has the price and the tolerance of each: the time in which its quota gets the
-- units that are wanted, and that in which it gets all; and then the time, if it is not to be this server's. Answers whether
-- all had their units, and how much time each had used of its tolerance before.
local now = tonumber(ARGV[2 * #KEYS + 1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local answer, arrivals, ahead = { 1 }, {}, {}
for i, key in ipairs(KEYS) do
  local price, tolerance = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local arrival = arrivals[key]
  if not arrival then
    local kept = redis.call('GET', key)
    arrival = kept and tonumber(kept) or 0
    if arrival > now + tolerance then
      -- A clock went back, or the rate was larger: nobody is locked out for longer than whoever has spent all (THR-32).
      arrival = now + tolerance
      ahead[key] = arrival
    end
  end
  arrival = math.max(arrival, now)
  answer[i + 1] = arrival - now
  if arrival + price > now + tolerance then
    answer[1] = 0
  else
    arrival = arrival + price
  end
  arrivals[key] = arrival
end
for key, arrival in pairs(answer[1] == 1 and arrivals or ahead) do
  -- A quota that is full again is as good as none. It stays for some seconds more: the time that expires keys need not be
  -- the one that was given, and may be set forward a little.
  redis.call('SET', key, string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 5000)
end
return answer
