"""Hostile patches, receipts and registries from a seed, as an attacker makes them.

The attacker knows the formats: every digest is computed anew, and the spelling is the right one. A
case is a function of its seed and number, so each can be made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from bbtvp.bundles.patch import diff, patch
from bbtvp.core import clock
from bbtvp.core.digest import canonical_json, digest, digest_json
from bbtvp.core.errors import BbtvpError
from bbtvp.prompt import Frame, Placement, PromptSpace, Tone
from bbtvp.prompt.bundle.archive import packed
from bbtvp.registry import PromptRegistry
from bbtvp.registry.records import EVIDENCE, EvidenceRecord, EvidenceRow
from bbtvp.registry.suggest import suggest
from bbtvp.report.html.registry import registry_page
from bbtvp.report.receipt import receipt_text
from bbtvp.verify import verify
from bbtvp.verify.receipt import Receipt, read_receipt
from bbtvp.verify.recount import recount
from tests.prompt.hostile import Attacker
from tests.support import SIDE, Eye, patterns

SPACE = PromptSpace((Placement(search=("zoom",)), Tone(("contrast",)), Frame("dct", 40)), SIDE)
PROMPT = SPACE.prompt(np.linspace(-1.0, 2.0, SPACE.dim))


@lru_cache(maxsize=1)
def honest() -> Path:
    """A folder with two bundles, a patch, receipts, and a registry; it goes with the process."""
    folder = Path(mkdtemp())
    PROMPT.save(folder / "old.vprompt", {"task": "patterns", "source_models": ["eye/near"]})
    SPACE.prompt(PROMPT.z * 0.9).save(folder / "new.vprompt", {"task": "patterns"})
    diff(folder / "old.vprompt", folder / "new.vprompt", folder / "honest.vpatch")
    for name, sequential in (("plain", False), ("sequential", True)):
        proof = verify(PROMPT, patterns(), [Eye(gain=25)], source="eye/near", sequential=sequential)
        receipt = Receipt.of(proof, patterns(), salt=b"s" * 32, allow=("name", "models"))
        receipt.write(folder / f"{name}.json")
    registry = PromptRegistry.create(folder / "registry")
    registry.add(folder / "old.vprompt")
    registry.add_receipt(folder / "plain.json")
    row = PromptRegistry.open(folder / "registry").entries()[0].evidence[0]
    other = {**row.model_dump(), "model": "eye/far", "receipt": None}
    registry.keep(EVIDENCE, EvidenceRecord(rows=(EvidenceRow.model_validate(other),)))
    registry.retire(registry.entries()[0].short, "a test")
    return folder


class HostileCase:
    """A case: its kind of attack, the errors that it may end in, and what uses it."""

    errors = BbtvpError
    ways: tuple[str, ...] = ()

    def __init__(self, seed: int, number: int, place: Path) -> None:
        self.attacker = Attacker(seed, number)
        self.random = self.attacker.random
        self.place = place
        self.way = self.random.choice(self.ways)
        self.make()

    def make(self) -> None:
        """Write the files of the case."""

    def changed(self, value: Any) -> Any:
        """A document with some values changed, or with a bomb in it."""
        for _ in range(self.random.choice((1, 1, 1, 2, 4, 12))):
            if value:
                self.attacker._change(value)
        return self.attacker._bomb(value) if value and self.random.random() < 0.04 else value

    def altered(self, data: bytes) -> bytes:
        return self.attacker._altered(data)


def spelt(value: Any) -> bytes:
    """JSON in its one spelling where there is one."""
    try:
        return canonical_json(value).encode()
    except (ValueError, RecursionError):
        return json.dumps(value).encode()


class HostilePatch(HostileCase):
    """A patch for an honest bundle."""

    ways = ("bytes", "header", "payload", "bomb", "hostile bundle")

    def make(self) -> None:
        line, _, payload = (honest() / "honest.vpatch").read_bytes().partition(b"\n")
        header = json.loads(line)
        if self.way == "header":
            header = self.changed(header)
        elif self.way == "payload":
            payload = self.altered(payload)
        elif self.way == "bomb":
            header, payload = self._bomb(header, payload)
        elif self.way == "hostile bundle":
            header, payload = self._other(header)
        if self.way != "bytes" and isinstance(header.get("payload"), str):
            header["payload"] = hashlib.sha256(payload).hexdigest()
        data = spelt(header) + b"\n" + payload
        self.path = self.place / "case.vpatch"
        self.path.write_bytes(self.altered(data) if self.way == "bytes" else data)

    def _bomb(self, header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Parts that unpack to far more than they say, or to all that may be."""
        said = self.random.choice((10, 1 << 20, 64 << 20, 2**63))
        packer = zlib.compressobj(9, wbits=-15)
        held = packer.compress(bytes(self.random.choice((10, 1 << 20, 64 << 20)))) + packer.flush()
        count = self.random.choice((1, 2, 60))
        part = {"how": self.random.choice(("deflate", "words")), "size": said, "held": len(held)}
        names = (
            "manifest.json",
            "z.npy",
            "frame.png",
            *(f"exemplar-{n:016x}.png" for n in range(60)),
        )
        files = [{"name": name, **part} for name in names[:count]]
        return {**header, "files": files}, held * count

    def _other(self, header: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """A patch that gives a hostile bundle, and says its digests rightly."""
        found = self.attacker.manifest()  # it writes the files of the attacker anew
        files = self.attacker.files
        parts = []
        payload = b""
        for name, data in files.items():
            packer = zlib.compressobj(9, wbits=-15)
            held = packer.compress(data) + packer.flush()
            parts.append({"name": name, "how": "deflate", "size": len(data), "held": len(held)})
            payload += held
        manifest = files["manifest.json"]
        try:
            result = json.loads(manifest)["digest"]
        except (ValueError, KeyError, TypeError, RecursionError):
            result = "0" * 64
        archive = hashlib.sha256(packed(files) if found else b"").hexdigest()
        data = any(name.startswith("exemplar-") for name in files)
        return {
            **header,
            "result": result,
            "archive": archive,
            "contains_data": data,
            "files": parts,
        }, payload

    def use(self) -> None:
        patch(honest() / "old.vprompt", self.path, self.place / "made.vprompt")


class HostileReceipt(HostileCase):
    """A receipt as a stranger sends it."""

    ways = ("bytes", "values", "values", "values", "evidence")

    def make(self) -> None:
        name = self.random.choice(("plain", "sequential"))
        data = (honest() / f"{name}.json").read_bytes()
        if self.way == "bytes":
            data = self.altered(data)
        else:
            found = json.loads(data)
            part = self.random.choice(found["models"]) if self.way == "evidence" else found
            part.update(self.changed(part))
            data = spelt(signed_anew(found))
        self.path = self.place / "case.json"
        self.path.write_bytes(data)

    def use(self) -> None:
        found = read_receipt(self.path)
        receipt_text(found)
        try:
            recount(found)
        finally:
            found.signature_of()


def signed_anew(receipt: dict[str, Any]) -> dict[str, Any]:
    """The receipt with its digest computed anew, as its reader does it."""
    try:
        receipt["digest"] = Receipt.model_validate(receipt).computed_digest()
    except (ValueError, RecursionError):
        rest = {k: v for k, v in receipt.items() if k not in ("digest", "signature")}
        receipt["digest"] = digest_json(rest) if _is_json(rest) else "0" * 64
    return receipt


def _is_json(value: Any) -> bool:
    try:
        canonical_json(value).encode()
    except (ValueError, RecursionError, TypeError):
        return False
    return True


class HostileRegistry(HostileCase):
    """A registry that a stranger wrote: its index, its marker, its records."""

    ways = ("marker", "index", "index values", "index values", "record", "record", "bundle")

    def make(self) -> None:
        self.folder = self.place / "registry"
        shutil.copytree(honest() / "registry", self.folder)
        index = self.folder / "index.json"
        if self.way == "marker":
            marker = {"schema": "bbtvp.registry/1", "signed_by": ["A" * 43 + "="]}
            (self.folder / "registry.json").write_bytes(spelt(self.changed(marker)))
        elif self.way == "index":
            index.write_bytes(self.altered(index.read_bytes()))
        elif self.way == "index values":
            found = json.loads(index.read_bytes())
            path = self.random.choice(list(found["files"]))
            found["files"][path] = self.changed(found["files"][path])
            if self.random.random() < 0.2:
                found = self.changed(found)
            index.write_bytes(spelt(found))
        else:
            self._record()

    def _record(self) -> None:
        """A record or a bundle in place of an honest one, named by its own digest."""
        if self.random.random() < 0.7:
            (self.folder / "index.json").unlink()
        if self.way == "bundle":
            made = self.attacker.write(self.place)
            if made.is_file():
                named = self.random.choice(list((self.folder / "bundles").iterdir()))
                shutil.copy(made, named)
            return
        file = self.random.choice(sorted(self.folder.glob("*/*.json")))
        data = spelt(self.changed(json.loads(file.read_bytes())))
        file.unlink()
        name = digest(data)
        if file.parent.name == "receipts":
            found = signed_anew(json.loads(data)) if _loads(data) else {}
            data = spelt(found)
            name = str(found.get("digest", name))[:64]
        place = file.with_name(f"{name}.json")
        if place.parent == file.parent:
            place.write_bytes(data)

    def use(self) -> None:
        registry = PromptRegistry.open(self.folder)
        for entry in registry.entries():
            entry.as_json(clock.today())
            json.dumps(entry.as_json(clock.today()), allow_nan=False)
        registry.search(task="p", model="eye", status="verified")
        registry_page(registry)
        suggest(registry.entries(), "eye/new")
        for entry in registry.entries():
            with registry.bundle_file(entry):
                pass
        registry.rebuild()


def _loads(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


CASES = {"patch": HostilePatch, "receipt": HostileReceipt, "registry": HostileRegistry}
