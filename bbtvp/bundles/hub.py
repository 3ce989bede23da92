"""Bundles on the Hugging Face Hub, by huggingface_hub's own mixin.

A repository holds `prompt.vprompt`, the card as `README.md`, and nothing else of ours. Tokens are
huggingface_hub's matter: HF_TOKEN, `hf auth login`, or `token=`; none is kept here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, final

from huggingface_hub import ModelCardData, ModelHubMixin, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bbtvp.bundles.card import card
from bbtvp.bundles.check import check_bundle
from bbtvp.core.errors import DataError, UsageError
from bbtvp.core.files import atomic_write
from bbtvp.core.origin import without_paths
from bbtvp.prompt.bundle import Bundle, files_of, packed, read

FILE = "prompt.vprompt"
"""The bundle's name in a repository."""
SCHEME = "hf://"

_MOST_BYTES = 64 << 20
_ADDRESS = re.compile(r"hf://(?P<repo>[^@?#]+)(?:@(?P<revision>[^?#]+))?")
_FAMILY = "hf/"
"""How the names of models begin that are on the Hub."""
_FOLDER = "/./"
"""What stands in the name of a model that lies in a folder instead (`without_paths`)."""
_HUB_LICENCES = {
    "agpl-3.0",
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "gpl-3.0",
    "isc",
    "lgpl-3.0",
    "mit",
    "mpl-2.0",
    "unlicense",
}
"""SPDX names that the Hub takes, in lower case; it takes any other as a name of "other"."""

_ERRORS: tuple[type[Exception], ...] = (
    *HfHubHTTPError.__bases__,  # the error of the HTTP client that this version uses, and OSError
    EntryNotFoundError,
    ValueError,
    RuntimeError,
)


@final
class HubAddress(NamedTuple):
    """A repository, "organisation/name", and a branch, tag or commit of it."""

    repo: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """The address that hf://organisation/name[@revision] stands for. UsageError for another."""
        found = _ADDRESS.fullmatch(text)
        if found is None or found["repo"].count("/") != 1:
            raise UsageError(f"{text!r} is no repository; write hf://ORGANISATION/NAME[@REVISION]")
        return cls(found["repo"], found["revision"])


@final
class HubBundle(ModelHubMixin):
    """A bundle file as the Hub's mixin wants it.

    `push_to_hub` uploads it with its card; `from_pretrained` brings it here, and `path` says where
    it lies: in the cache of huggingface_hub.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def push_to_hub(
        self, repo_id: str, *, with_data: bool = False, with_leaks: bool = False, **options: Any
    ) -> str:
        """Upload the bundle and its card in one commit; return the commit's URL.

        with_data: whether images of the task may be uploaded, where the bundle holds some.
        with_leaks: whether it may be where `bbtvp bundle check` finds a leak in it. options:
        `private`, `token`, `branch`, `create_pr`, `commit_message` and others of
        `ModelHubMixin.push_to_hub`.

        BundleError for a bundle that cannot be read; UsageError for one that is not to be uploaded;
        DataError, in one line, for all that the Hub refuses.
        """
        content = read(self.path)
        if content.about.contains_data and not with_data:
            raise UsageError(
                "the bundle holds training images of its task; "
                "say --with-data (with_data=True) if everyone who reads there may see them"
            )
        leaks = [] if with_leaks else check_bundle(self.path)
        if leaks:
            raise UsageError(
                f"the bundle gives away what nobody may want to share: {leaks[0]}; "
                "see bbtvp bundle check, and say --with-leaks (with_leaks=True) if all of it may go"
            )
        options = {"commit_message": "Add a visual prompt", **options}
        with _one_line(repo_id, options.get("branch")):
            return str(super().push_to_hub(repo_id, **options))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """The bundle of a repository, "organisation/name".

        options: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`. DataError,
        in one line, for all that the Hub refuses.
        """
        repo = str(pretrained_model_name_or_path)
        # Not by the mixin's own, which asks for a config.json first, and fails without the network
        # where the cache holds none.
        with _one_line(repo, options.get("revision")):
            return cls._from_pretrained(model_id=repo, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write all that the repository gets; the mixin makes a card only where none is."""
        file = save_directory / FILE
        atomic_write(file, packed(files_of(self.path)))
        text = f"---\n{_metadata(read(file))}\n---\n\n{card(file)}"
        atomic_write(save_directory / "README.md", text.encode())

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        local = Path(model_id) / FILE
        return cls(local if local.is_file() else _downloaded(model_id, **options))


def _metadata(content: Bundle) -> str:
    """https://huggingface.co/docs/hub/model-cards#model-card-metadata, as YAML."""
    names = map(without_paths, content.about.source_models)
    models = [name for name in names if name.startswith(_FAMILY) and _FOLDER not in name]
    licence = content.about.licence
    known = licence is None or licence.lower() in _HUB_LICENCES
    data = ModelCardData(
        library_name="bbtvp",
        pipeline_tag="image-text-to-text",
        tags=["visual-prompt", "bbtvp"],
        base_model=[name.removeprefix(_FAMILY) for name in models] or None,
        license=licence and (licence.lower() if known else "other"),
        license_name=None if known else licence,
    )
    return str(data.to_yaml())


def _downloaded(repo_id: str, **options: Any) -> Path:
    """Where the file lies, once huggingface_hub has brought it. DataError for one too large."""
    planned = hf_hub_download(repo_id, FILE, dry_run=True, **options)
    if planned.file_size is None or planned.file_size > _MOST_BYTES:
        raise DataError(
            f"{SCHEME}{repo_id}: its {FILE} is over {_MOST_BYTES >> 20} MiB, or of unknown size; "
            "it is no bundle"
        )
    return Path(hf_hub_download(repo_id, FILE, **options))


@contextmanager
def _one_line(repo: str, revision: str | None) -> Iterator[None]:
    """What the Hub and its client raise, as DataError."""
    place = SCHEME + repo + (f"@{revision}" if revision else "")
    try:
        yield
    except _ERRORS as error:
        raise DataError(f"{place}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if status == 401:
        return _NO_REPOSITORY
    if status == 403:
        return "this token may not do that; use one that may write there"
    if status is not None:
        return f"the Hub answers {status}; try again later"
    return f"the Hub cannot be reached ({type(error).__name__}); check the network"


_NO_REPOSITORY = (
    "no such repository, or not for this token; check the name, "
    "and give a token with HF_TOKEN or hf auth login"
)
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (GatedRepoError, "its owner lets people in one by one; ask on its page, then try again"),
    (RepositoryNotFoundError, _NO_REPOSITORY),
    (RevisionNotFoundError, "no such branch, tag or commit; check the revision"),
    (RemoteEntryNotFoundError, f"it holds no {FILE}; ask its owner for a bundle of bbtvp"),
    (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set; unset it to reach the Hub"),
    (HFValidationError, "this is no name of a repository; write ORGANISATION/NAME"),
)
"""Kinds of errors, the special ones first, and what is said of each."""
