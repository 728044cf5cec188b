-- Sends the requests of a file in turn, for ever, and prints what happened as one line of JSON.
--
-- wrk -s requests.lua URL -- FILE ORIGIN [verify]
--
-- A line of FILE is METHOD, PATH, CREDENTIAL and BODY, parted by tabs; the last two may be empty. A credential is what
-- `Authorization` says, or `Cookie: ` and what that says.
-- ORIGIN is what `Origin` says in every request, or `-` for none.
-- With `verify` every status is counted too, which costs the load generator too much for a measured round.

local threads = {}
local requests = {}
local at = 0
statuses = ""

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  for line in io.lines(args[1]) do
    local method, path, credential, body = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$")
    local headers = {}
    local cookie = credential:match("^Cookie: (.*)$")
    if cookie then
      headers["Cookie"] = cookie
    elseif credential ~= "" then
      headers["Authorization"] = credential
    end
    if args[2] ~= "-" then
      headers["Origin"] = args[2]
    end
    if body == "" then
      body = nil
    else
      headers["Content-Type"] = "application/json"
    end
    table.insert(requests, wrk.format(method, path, headers, body))
  end
  if args[3] == "verify" then
    local seen = {}
    function response(status)
      seen[status] = (seen[status] or 0) + 1
      statuses = ""
      for code, times in pairs(seen) do
        statuses = statuses .. code .. "=" .. times .. " "
      end
    end
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local seen = ""
  for _, thread in ipairs(threads) do
    seen = seen .. thread:get("statuses")
  end
  local e = summary.errors
  print(string.format(
    'RESULT {"requests":%d,"micros":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,'
      .. '"socket_errors":%d,"status_errors":%d,"statuses":"%s"}',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    latency.max, e.connect + e.read + e.write + e.timeout, e.status, seen))
end
