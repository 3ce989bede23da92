"""Floor 3: one way to call an endpoint, for all vendors.

What a vendor's API looks like is in `adapters/`, one file each.

access     where a service's key and address come from
provider   what an adapter supplies: bodies, headers, and what a reply means; no network
reading    checked reading of JSON replies, for adapters
images     pixels to the bytes that are sent, and what vendors do to them
limits     what vendors accept (limits.toml); resizing: their rules
prices     what tokens cost (prices.toml), bounds and estimates; price_sources: others' tables
known      how models behave and when they end (models.toml)
counting   tokens of an image: as counted, as billed, or by the limits
inquiry    what a vendor answers about a model at no cost
transport  one HTTP exchange: timeouts, sizes, redirects, secret keys
faults     what to do about a failed exchange: retry, wait, stop
limiter    how many exchanges at once, how many a minute
fleet      several servers of one model: which one is next, and which is down
pending    one request from its first attempt to its outcome
caller     many requests: retries, limits, the budget
spelling   tokens and the text that they spell
labels     label log-probabilities from the tokens that an API shows
forced     structured output that allows only the given labels
query      one image query: its bytes, its key in the store, its reply
probe      what an endpoint really does, found by asking
batch      vendors' batch interfaces
settings   the options that all endpoints share
remote     `Endpoint`, the model made of all this
"""

from bbtvp.endpoint.provider import ApiFeatures as ApiFeatures
from bbtvp.endpoint.provider import BatchApi as BatchApi
from bbtvp.endpoint.provider import HttpRequest as HttpRequest
from bbtvp.endpoint.provider import ParsedReply as ParsedReply
from bbtvp.endpoint.provider import ProviderApi as ProviderApi
from bbtvp.endpoint.provider import Token as Token
