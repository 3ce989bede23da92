"""Floor 4: a prompt in front of an application whose code stays as it is.

A request is changed as bytes, or on its way through the HTTP client of an official SDK:

    transform_request(body, "chat", Prompt.load("pets.vprompt")).body
    OpenAI(http_client=httpx2.Client(transport=PromptTransport(prompt, httpx2.HTTPTransport())))
"""

from bbtvp.deploy.bodies import APIS as APIS
from bbtvp.deploy.bodies import api_of as api_of
from bbtvp.deploy.transform import TransformedRequest as TransformedRequest
from bbtvp.deploy.transform import transform_request as transform_request
from bbtvp.deploy.transport import AsyncPromptTransport as AsyncPromptTransport
from bbtvp.deploy.transport import PromptTransport as PromptTransport
