"""Floor 3: one way to call an endpoint, whoever runs it. What a vendor's API looks like is in
`adapters/`, a file each.

dialect    what an adapter supplies: bodies, headers, and what a reply means; no network
images     pixels to the bytes that are sent, and what vendors do to them (limits.toml)
prices     what tokens cost (prices.toml), bounds and estimates
transport  one HTTP exchange: timeouts, sizes, redirects, keys kept secret
faults     what a status, a body or an exception means: retry, wait, stop
limiter    how many at once, how many a minute
fleet      several servers of one model: whose turn it is, who is down
caller     many exchanges: retries, limits, the budget, in order
labels     label log-probabilities from the tokens that an API shows
remote     `Endpoint`, the model made of all that, and of the response store
probe      what an endpoint really does, found by asking
batch      the half-price interfaces as another way to execute
"""

from bbtvp.endpoint.provider import ApiFeatures as ApiFeatures
from bbtvp.endpoint.provider import BatchApi as BatchApi
from bbtvp.endpoint.provider import HttpRequest as HttpRequest
from bbtvp.endpoint.provider import ParsedReply as ParsedReply
from bbtvp.endpoint.provider import ProviderApi as ProviderApi
from bbtvp.endpoint.provider import Token as Token
