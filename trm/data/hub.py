"""Files of the Hugging Face hub: from its cache on this machine, or downloaded.

Where they are and who may read them is huggingface_hub's to say, with HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE. The file itself is read by `trm.data.download`, which resumes it in a later call.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from trm.data.download import HTTP_FAULTS, TIMEOUT, Address, download, why_refused
from trm.errors import TrmError, first_line

COMMIT = "[0-9a-f]{40}"

RepoType = Literal["dataset", "model"]


def hub_file(repo: str, name: str, revision: str | None, of: RepoType, part: Path) -> Path:
    """A file of a hub repository: in the hub's own cache, or downloaded to `part`.

    TrmError with the reason where neither has it, within seconds when offline.
    """
    cached = _cached(repo, name, revision, of)
    if cached is not None and re.fullmatch(COMMIT, revision or ""):
        return cached
    offline = _why_offline()
    if offline is not None:
        if cached is None:
            raise TrmError(offline)
        return cached
    commit, address = _address(repo, name, revision, of)
    # Where large files are stored, an address holds for an hour.
    return _cached(repo, name, commit, of) or download(
        address, part, lambda: _address(repo, name, commit, of)[1]
    )


def _cached(repo: str, name: str, revision: str | None, of: RepoType) -> Path | None:
    from huggingface_hub import constants, try_to_load_from_cache

    path = try_to_load_from_cache(
        repo, name, cache_dir=constants.HF_HUB_CACHE, revision=revision, repo_type=of
    )
    return Path(path) if isinstance(path, str) else None


def _address(repo: str, name: str, revision: str | None, of: RepoType) -> tuple[str, Address]:
    """The commit that `revision` is now, and where the file of that commit is."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo, name, repo_type=of, revision=revision)
    try:
        found = get_hf_file_metadata(url, timeout=TIMEOUT)
    except Exception as error:  # those of its HTTP client too
        raise TrmError(_why_unanswered(error)) from None
    if found.commit_hash is None or found.etag is None:
        raise TrmError(
            f"{constants.ENDPOINT} does not answer as a hub does: a login page or a proxy may "
            "answer in its place. Check HF_ENDPOINT and the network"
        )
    headers = {k: v for k, v in build_hf_headers().items() if k.lower() == "authorization"}
    is_hub = urlsplit(found.location).netloc == urlsplit(url).netloc
    version = f"{repo}/{name} {found.etag}"
    return found.commit_hash, Address(found.location, name, version, headers if is_hub else {})


def _why_unanswered(error: Any) -> str:
    """`error` is of huggingface_hub or of its HTTP client; some have a response."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return first_line(error) if status is None else why_refused(status)


def _why_offline() -> str | None:
    """Why the hub cannot be reached; None where it answers, whatever it says."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and it is not in the cache"
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return None
    except HTTP_FAULTS as error:
        return f"{constants.ENDPOINT} does not answer ({first_line(error)})"
    return None
