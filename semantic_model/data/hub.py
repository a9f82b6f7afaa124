"""Pre-trained parts by name: a local folder, the local Hugging Face cache, or a download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from schemas.errors import MissingPartError, ModelError

_SECONDS = 5.0  # without a network, say so soon


def hub_folder(
    name: str, files: Sequence[str], *, what: str, ways_out: str, complete: Callable[[Path], bool] = Path.is_dir
) -> Path:
    """The folder that holds a pre-trained part.

    Args:
        name: a local folder, or a Hugging Face id: taken from the local cache, else downloaded.
        files: names or patterns of the files to download.
        what: what it is, for the error.
        ways_out: what else can be done, for the error.
        complete: whether what is in the cache will do; else the rest is downloaded.

    Raises:
        MissingPartError: neither a folder, nor cached, nor to be had.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        raise MissingPartError(f"there is no folder '{name}' with {what}", fix=ways_out) from None
    disable_progress_bars()
    try:
        cached = Path(snapshot_download(name, allow_patterns=list(files), local_files_only=True))
        if complete(cached):
            return cached
    except HFValidationError:
        raise MissingPartError(f"'{name}', {what}, is neither a folder nor a Hugging Face id", fix=ways_out) from None
    except (LocalEntryNotFoundError, OSError):
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=list(files), etag_timeout=_SECONDS))
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as problem:
        # no network, no such repository, or one that asks for a login: httpx's own errors come as OSError or these
        raise MissingPartError(
            f"'{name}', {what}, is neither a folder nor in the local Hugging Face cache, "
            f"and cannot be downloaded ({type(problem).__name__})",
            fix=ways_out,
        ) from None


def weights_in(path: Path) -> Path:
    """The safetensors file that ``path`` is, or that lies in it as ``model.safetensors``.

    Raises:
        ModelError: no such file, or one of another kind.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix != ".safetensors":
        raise ModelError(
            "weights are read as safetensors only (a .pth is a pickle, which can run code)",
            where=file,
            fix="convert it once with safetensors.torch.save_file, in a place where you trust the file",
        )
    if not file.is_file():
        raise ModelError("there is no such weights file", where=file)
    return file


def network_in(folder: Path, pretrained: bool, *, what: str) -> Any:
    """The network of a Hugging Face folder, with its weights or with random ones.

    Raises:
        ModelError: the folder does not hold one, or lacks some of its weights.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        if pretrained:
            network, told = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            lost = sorted(name for name in told["missing_keys"] if "pooler." not in name)  # which would stay random
            if lost:
                raise ModelError(f"not the weights of {what}: there is no '{lost[0]}'", where=folder)
            return network
        return AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RuntimeError, SafetensorError) as problem:
        raise ModelError(f"not {what}: {str(problem).splitlines()[0]}", where=folder) from None
