-- Visitors for wrk: reads "host path" and "host path cookie" lines once, then asks for them in turn, and prints the figures as one
-- line of JSON.
local asked, total = 0, 0
local requests = {}

function init(arguments)
  for line in io.lines(arguments[1]) do
    local host, path, cookie = line:match("^(%S+) (%S+) ?(%S*)$")
    local known = cookie ~= "" and "Cookie: " .. cookie .. "\r\n" or ""
    total = total + 1
    requests[total] = "GET " .. path .. " HTTP/1.1\r\nHost: " .. host .. "\r\nAccept-Encoding: identity\r\n" .. known .. "\r\n"
  end
end

function request()
  asked = asked + 1
  return requests[(asked - 1) % total + 1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50": %.4f, "p95": %.4f, "p99": %.4f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
