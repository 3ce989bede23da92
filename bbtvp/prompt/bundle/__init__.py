"""The bundle: a prompt as one `.vprompt` file, or as a folder of the same files.

docs/bundle.md is the specification, and `manifest.Manifest` the model that reads it.

- `manifest.json`: schema, canvas, layers, z (exact float64), what z gives for human eyes and for
  readers in other languages, what is known of the prompt (`About`), free meta, the SHA-256 of the
  other files and of the manifest itself;
- `z.npy`: z instead, where it has over 100 values;
- `frame.png`: the frame layer, RGBA, transparent where a square image goes; only with a frame
  layer;
- `exemplar-….png`: the images of the task that the prompt shows; such a bundle **holds data**, and
  says so: `contains_data`;
- `signature.json`: a signature of the manifest's digest, which does not cover it.

Equal content gives equal bytes. The digests show damage and careless edits; they are no signature:
who alters a bundle on purpose can compute them anew. Nothing is unpickled, run, or written to disk
while reading, and every read has a limit.
"""

from bbtvp.prompt.bundle.archive import FRAME as FRAME
from bbtvp.prompt.bundle.archive import SUFFIX as SUFFIX
from bbtvp.prompt.bundle.archive import packed as packed
from bbtvp.prompt.bundle.content import Bundle as Bundle
from bbtvp.prompt.bundle.content import digest_of as digest_of
from bbtvp.prompt.bundle.content import files_of as files_of
from bbtvp.prompt.bundle.content import layer_of as layer_of
from bbtvp.prompt.bundle.content import put_signature as put_signature
from bbtvp.prompt.bundle.content import read as read
from bbtvp.prompt.bundle.content import undrawn as undrawn
from bbtvp.prompt.bundle.content import write as write
from bbtvp.prompt.bundle.content import written as written
from bbtvp.prompt.bundle.manifest import MANIFEST as MANIFEST
from bbtvp.prompt.bundle.manifest import SCHEMA as SCHEMA
from bbtvp.prompt.bundle.manifest import About as About
from bbtvp.prompt.bundle.manifest import EvidenceEntry as EvidenceEntry
from bbtvp.prompt.bundle.manifest import split as split
from bbtvp.prompt.bundle.png import png_of as png_of
from bbtvp.prompt.bundle.steps import steps as steps
