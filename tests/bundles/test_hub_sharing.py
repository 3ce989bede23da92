"""Bundles on a local stand-in of the Hub, by the real client over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import yaml
from huggingface_hub import constants

from bbtvp.bundles.hub import HubAddress, HubBundle
from bbtvp.bundles.signing import sign_bundle
from bbtvp.core.errors import BbtvpError, BundleError, DataError, UsageError
from bbtvp.core.signing import generate_key
from bbtvp.prompt import Exemplars, Prompt, PromptSpace, bundle, preset
from tests.bundles.local_hub import LocalHub, Refusal, local_hub
from tests.support import bbtvp

# An upload that fails leaves huggingface_hub's folder to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")

REPO = "lab/pets"
TOKEN = "hf_writer"
FACTS = {"task": "pets", "licence": "Apache-2.0", "source_models": ["hf/llava-hf/llava-1.5-7b-hf"]}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The stand-in, an empty cache, and no token."""
    with local_hub() as served:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, served.url)
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield served
        huggingface_hub.close_session()


def prompt(seed: int = 0) -> Prompt:
    space = preset("default", 32)
    return space.prompt(np.random.default_rng(seed).standard_normal(space.dim))


def saved(seed: int = 0, **facts: object) -> Path:
    path = Path(f"made-{seed}.vprompt")
    prompt(seed).save(path, {**FACTS, **facts})
    return path


def showing() -> Prompt:
    """A prompt that shows an image of its task."""
    layer = Exemplars.of([(np.full((16, 16, 3), 9, np.uint8), "cat", "cat")], [(0,)])
    space = PromptSpace((layer, *preset("default", 64).layers), 64)
    return space.prompt(space.embed(layer.start(0), ("exemplars",), space.neutral()))


def one_line(error: BbtvpError) -> str:
    line = str(error)
    assert "\n" not in line
    assert TOKEN not in line
    return line


# -- there and back --------------------------------------------------------------------------------
def test_a_prompt_goes_there_and_comes_back(hub: LocalHub) -> None:
    url = prompt().push_to_hub(REPO, meta=FACTS, token=TOKEN)
    assert re.fullmatch(rf"{hub.url}/{REPO}/commit/[0-9a-f]{{40}}", url)
    files = hub.files(REPO)
    assert files.keys() == {".gitattributes", "README.md", "prompt.vprompt"}
    assert Prompt.from_pretrained(REPO).digest == prompt().digest


def test_a_bundle_is_uploaded_as_it_is(hub: LocalHub) -> None:
    path = saved()
    public = generate_key(Path("lab.key"))
    sign_bundle(path, Path("lab.key"))
    HubBundle(path).push_to_hub(REPO, token=TOKEN)
    assert hub.files(REPO)["prompt.vprompt"] == path.read_bytes()
    assert Prompt.from_pretrained(REPO, signed_by=[public]).digest == prompt().digest
    other = generate_key(Path("other.key"))
    with pytest.raises(BundleError, match="signed by another key"):
        Prompt.from_pretrained(REPO, signed_by=[other])


def test_a_folder_is_uploaded_as_one_file(hub: LocalHub) -> None:
    prompt().save("folder", FACTS)
    HubBundle(Path("folder")).push_to_hub(REPO, token=TOKEN)
    assert hub.files(REPO)["prompt.vprompt"] == saved().read_bytes()


def test_an_older_revision(hub: LocalHub) -> None:
    first = HubBundle(saved(0)).push_to_hub(REPO, token=TOKEN).rpartition("/")[2]
    HubBundle(saved(1)).push_to_hub(REPO, token=TOKEN)
    assert Prompt.from_pretrained(REPO).digest == prompt(1).digest
    assert Prompt.from_pretrained(REPO, revision=first).digest == prompt(0).digest


def test_a_private_repository(hub: LocalHub) -> None:
    HubBundle(saved()).push_to_hub(REPO, token=TOKEN, private=True)
    with pytest.raises(DataError, match="no such repository, or not for this token"):
        Prompt.from_pretrained(REPO)
    assert Prompt.from_pretrained(REPO, token=TOKEN).digest == prompt().digest


def test_what_is_there_already_stays(hub: LocalHub) -> None:
    HubBundle(saved()).push_to_hub(REPO, token=TOKEN)
    hub.repositories[REPO].commit("main", {"notes.md": b"mine"})
    HubBundle(saved(1)).push_to_hub(REPO, token=TOKEN)
    assert hub.files(REPO)["notes.md"] == b"mine"


def test_a_folder_of_this_disk(hub: LocalHub) -> None:
    path = Path("local")
    path.mkdir()
    prompt().save(path / "prompt.vprompt")
    assert Prompt.from_pretrained(path).digest == prompt().digest
    assert not hub.seen


def test_the_cache_is_enough_where_the_hub_is_away(hub: LocalHub) -> None:
    HubBundle(saved()).push_to_hub(REPO, token=TOKEN)
    Prompt.from_pretrained(REPO)
    asked = len(hub.seen)
    assert Prompt.from_pretrained(REPO, local_files_only=True).digest == prompt().digest
    assert len(hub.seen) == asked


def test_the_card(hub: LocalHub) -> None:
    HubBundle(saved()).push_to_hub(REPO, token=TOKEN)
    _, metadata, text = hub.files(REPO)["README.md"].decode().split("---\n", 2)
    found = yaml.safe_load(metadata)
    assert found["library_name"] == "bbtvp"
    assert found["license"] == "apache-2.0"
    assert found["base_model"] == ["llava-hf/llava-1.5-7b-hf"]
    assert "visual-prompt" in found["tags"]
    assert "pets" in text


@pytest.mark.parametrize("licence", [None, "CC-BY-4.0", "LicenseRef-Lab", "ask the lab: first"])
def test_a_licence_that_the_hub_takes(hub: LocalHub, licence: str | None) -> None:
    path = saved(licence=licence) if licence else Path("bare.vprompt")
    if licence is None:
        prompt().save(path)
    HubBundle(path).push_to_hub(REPO, token=TOKEN)
    _, metadata, _ = hub.files(REPO)["README.md"].decode().split("---\n", 2)
    found = yaml.safe_load(metadata)
    told = found.get("license_name") or found.get("license")
    assert told in (licence, licence and licence.lower())


# -- tokens ----------------------------------------------------------------------------------------
def test_a_token_is_sent_and_not_kept(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    prompt().push_to_hub(REPO, meta=FACTS)
    assert {sent for method, _, sent in hub.seen if method == "POST"} == {f"Bearer {TOKEN}"}
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in kept)
    assert not any(TOKEN.encode() in content for content in hub.files(REPO).values())


@pytest.mark.parametrize(
    ("token", "said"), [(None, "give a token"), ("hf_reader", "use one that may write there")]
)
def test_a_token_that_may_not_write(hub: LocalHub, token: str | None, said: str) -> None:
    with pytest.raises(DataError) as caught:
        HubBundle(saved()).push_to_hub(REPO, token=token)
    assert said in one_line(caught.value)
    assert not hub.repositories


# -- refusals --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Refusal(404, "RepoNotFound"), "no such repository"),
        (Refusal(401, "RepoNotFound"), "no such repository, or not for this token"),
        (Refusal(403, "GatedRepo"), "ask on its page"),
        (Refusal(500), "cannot be reached"),
    ],
)
def test_a_repository_that_is_not_to_be_had(hub: LocalHub, refusal: Refusal, said: str) -> None:
    hub.refusals[REPO] = refusal
    with pytest.raises(DataError) as caught:
        Prompt.from_pretrained(REPO)
    assert said in one_line(caught.value)


def test_a_revision_and_a_file_that_are_not_there(hub: LocalHub) -> None:
    HubBundle(saved()).push_to_hub(REPO, token=TOKEN)
    with pytest.raises(DataError, match="no such branch, tag or commit"):
        Prompt.from_pretrained(REPO, revision="v9")
    with pytest.raises(DataError, match="no such branch, tag or commit"):
        HubBundle(saved()).push_to_hub(REPO, token=TOKEN, branch="v9")
    del hub.files(REPO)["prompt.vprompt"]
    with pytest.raises(DataError, match=r"it holds no prompt\.vprompt"):
        Prompt.from_pretrained(REPO)


@pytest.mark.parametrize("name", ["a b/c", "one/two/three", "..", "lab/pets--more"])
def test_names_of_no_repository(hub: LocalHub, name: str) -> None:
    with pytest.raises(DataError, match="no name of a repository"):
        Prompt.from_pretrained(name)


def test_a_hub_that_is_not_there(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as caught:
        HubBundle(saved()).push_to_hub(REPO, token=TOKEN)
    assert "HF_HUB_OFFLINE is set" in one_line(caught.value)
    with pytest.raises(DataError):
        Prompt.from_pretrained(REPO)


def test_a_file_that_is_too_large_is_not_brought(hub: LocalHub, tmp_path: Path) -> None:
    HubBundle(saved()).push_to_hub(REPO, token=TOKEN)
    hub.announced_size = (64 << 20) + 1
    with pytest.raises(DataError, match="over 64 MiB"):
        Prompt.from_pretrained(REPO)
    assert not list((tmp_path / "cache").rglob("prompt.vprompt"))


def test_what_is_there_is_read_as_any_bundle(hub: LocalHub) -> None:
    HubBundle(saved()).push_to_hub(REPO, token=TOKEN)
    hub.repositories[REPO].commit("main", {"prompt.vprompt": b"no bundle"})
    with pytest.raises(BundleError, match="not a bundle"):
        Prompt.from_pretrained(REPO)


def test_training_images_are_uploaded_only_if_that_is_said(hub: LocalHub) -> None:
    with pytest.raises(UsageError, match="holds training images"):
        showing().push_to_hub(REPO, token=TOKEN)
    assert not hub.seen
    showing().push_to_hub(REPO, token=TOKEN, with_data=True)
    assert Prompt.from_pretrained(REPO).contains_data


def test_what_gives_something_away_is_uploaded_only_if_that_is_said(hub: LocalHub) -> None:
    path = saved(notes="/home/ann/images/cat-7.png")
    ran = bbtvp("bundle", "push", path, f"hf://{REPO}")
    assert ran.code == 2
    assert "gives away" in ran.err
    assert not hub.seen
    HubBundle(path).push_to_hub(REPO, token=TOKEN, with_leaks=True)
    assert REPO in hub.repositories


def test_a_damaged_bundle_is_not_uploaded(hub: LocalHub) -> None:
    path = saved()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError):
        HubBundle(path).push_to_hub(REPO, token=TOKEN)
    assert not hub.seen


# -- the command line ------------------------------------------------------------------------------
def test_the_commands(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved()
    ran = bbtvp("bundle", "push", path, f"hf://{REPO}")
    assert ran.code == 1
    assert "give a token" in ran.err
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ran = bbtvp("bundle", "push", path, f"hf://{REPO}")
    assert ran.code == 0
    commit = ran.out.strip().rpartition("/")[2]
    HubBundle(saved(1)).push_to_hub(REPO)
    assert bbtvp("bundle", "pull", f"hf://{REPO}@{commit}", "-o", "got.vprompt").code == 0
    assert Path("got.vprompt").read_bytes() == path.read_bytes()
    ran = bbtvp("bundle", "pull", f"hf://{REPO}", "--sha256", "0" * 64, "-o", "other.vprompt")
    assert ran.code == 1
    assert "the SHA-256 of what is there is" in ran.err
    public = generate_key(Path("lab.key"))
    ran = bbtvp("bundle", "pull", f"hf://{REPO}", "--signed-by", public, "-o", "other.vprompt")
    assert ran.code == 1
    assert "is not signed" in ran.err
    assert not Path("other.vprompt").exists()


@pytest.mark.parametrize("url", ["lab/pets", "hf://lab", "hf://a/b/c", "hf://", "https://h/a/b"])
def test_addresses_of_no_repository(url: str) -> None:
    with pytest.raises(UsageError, match="is no repository; write hf://"):
        HubAddress.parse(url)


def test_an_address_has_a_revision() -> None:
    assert HubAddress.parse("hf://lab/pets") == ("lab/pets", None)
    assert HubAddress.parse("hf://lab/pets@refs/pr/1") == ("lab/pets", "refs/pr/1")


def test_another_address_needs_a_digest() -> None:
    ran = bbtvp("bundle", "pull", "https://h/p.vprompt", "-o", "got.vprompt")
    assert ran.code == 2
    assert "--sha256" in ran.err


def test_the_manifest_that_came_back_is_the_one_that_went(hub: LocalHub) -> None:
    path = saved()
    HubBundle(path).push_to_hub(REPO, token=TOKEN)
    came = HubBundle.from_pretrained(REPO).path
    assert bundle.digest_of(came) == bundle.digest_of(path)
    assert json.loads(bundle.files_of(came)["manifest.json"])["task"] == "pets"
